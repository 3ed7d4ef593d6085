from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.access import DenialReason, Denied, admit
from services.inbox.model.people import Person, TokenClaims
from shared.contracts.directory import AgentEntry, TenantEntry
from shared.contracts.views import Role

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TENANT = TenantEntry(id="t", version=1, name="Acme")
AGENT = AgentEntry(id="a", tenant="t", version=1, name="Ana", role=Role.SUPERVISOR, team_ids=["v"])
CLAIMS = TokenClaims("a", "t", NOW, "s")


def test_an_agent_of_an_active_tenant_is_admitted_with_the_directorys_role_and_teams() -> None:
    assert admit(CLAIMS, AGENT, TENANT) == Person("a", "t", "Ana", Role.SUPERVISOR, ("v",), "s")


@pytest.mark.parametrize(
    ("agent", "tenant", "reason"),
    [
        pytest.param(AGENT, None, DenialReason.NO_TENANT, id="tenant erased"),
        pytest.param(
            AGENT,
            TENANT.model_copy(update={"status": "suspended"}),
            DenialReason.TENANT_SUSPENDED,
            id="tenant suspended",
        ),
        pytest.param(None, TENANT, DenialReason.NO_AGENT, id="agent deleted"),
        pytest.param(
            AGENT.model_copy(update={"tenant": "other"}),
            TENANT,
            DenialReason.NO_AGENT,
            id="another tenant's agent",
        ),
        pytest.param(
            AGENT.model_copy(update={"tokens_valid_after": NOW + timedelta(milliseconds=1)}),
            TENANT,
            DenialReason.TOKEN_REVOKED,
            id="password changed since",
        ),
        pytest.param(
            AGENT.model_copy(update={"revoked_sessions": ["s", "x"]}),
            TENANT,
            DenialReason.TOKEN_REVOKED,
            id="session revoked",
        ),
    ],
)
def test_nobody_else_is_admitted(
    agent: AgentEntry | None, tenant: TenantEntry | None, reason: DenialReason
) -> None:
    assert admit(CLAIMS, agent, tenant) == Denied(reason)


def test_a_token_of_the_same_millisecond_as_the_password_is_newer() -> None:
    agent = AGENT.model_copy(update={"tokens_valid_after": NOW})
    assert isinstance(admit(CLAIMS, agent, TENANT), Person)
