"""Who is let in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from services.inbox.model.people import Person, TokenClaims
from shared.contracts.directory import AgentEntry, TenantEntry

_MILLISECOND = timedelta(milliseconds=1)


class DenialReason(StrEnum):
    """Why a good signature is not enough."""

    NO_AGENT = "no_agent"
    NO_TENANT = "no_tenant"
    TENANT_SUSPENDED = "tenant_suspended"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a reason, not a secret


@dataclass(frozen=True, slots=True)
class Denied:
    reason: DenialReason


def admit(
    claims: TokenClaims, agent: AgentEntry | None, tenant: TenantEntry | None
) -> Person | Denied:
    """The person behind a verified token, judged by the directory of now."""
    if tenant is None:
        return Denied(DenialReason.NO_TENANT)
    if tenant.status != "active":
        return Denied(DenialReason.TENANT_SUSPENDED)
    if agent is None or agent.tenant != tenant.id:
        return Denied(DenialReason.NO_AGENT)
    # The directory's times have milliseconds only: a token of the same one is newer.
    revoked = agent.tokens_valid_after
    if revoked is not None and claims.issued_at + _MILLISECOND <= revoked:
        return Denied(DenialReason.TOKEN_REVOKED)
    if claims.session is not None and claims.session in agent.revoked_sessions:
        return Denied(DenialReason.TOKEN_REVOKED)
    return Person(
        agent.id, agent.tenant, agent.name, agent.role, tuple(agent.team_ids), claims.session
    )
