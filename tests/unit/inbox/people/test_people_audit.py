from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.inbox.decisions.audit import audit_change, audit_creation
from services.inbox.model.audit import AuditActor
from services.inbox.model.entities import (
    Agent,
    Entity,
    Keyset,
    Label,
    Number,
    Team,
    Tenant,
    TenantPolicy,
)
from shared.contracts.directory import Policy
from shared.contracts.views import Role

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADMIN = AuditActor("agent", "admin")
BASE: dict[str, Any] = {
    "id": "1",
    "tenant": "t",
    "created_by": "request",
    "created_at": AT,
    "changed_at": AT,
    "version": 1,
}
AGENT = Agent(**BASE, email="a@b", name="Ana", role=Role.AGENT, password_hash="HASH")
NUMBER = Number(**BASE, phone_number_id="9", sealed="SEALED", bot_webhook_url="https://x/?t=TOKEN")
POLICY = TenantPolicy(**BASE, policy=Policy())
LABEL = Label(**BASE, name="VIP", color=None)
KEYSET = Keyset(**BASE, issuer="atrio", keys=[])


def changed(before: Entity, **members: Any) -> list[Any]:
    after = replace(before, version=2, changed_at=AT + timedelta(seconds=1), **members)
    return [
        (r.action, r.target, r.before, r.after, r.secrets)
        for r in audit_change(before, after, ADMIN)
    ]


@pytest.mark.parametrize(
    ("before", "members", "records"),
    [
        pytest.param(
            AGENT,
            {"role": Role.ADMIN, "team_ids": ("v",)},
            [
                (
                    "agent.changed",
                    ("agent", "1"),
                    {"role": "agent", "team_ids": []},
                    {"role": "admin", "team_ids": ["v"]},
                    (),
                )
            ],
            id="what differs",
        ),
        pytest.param(
            AGENT,
            {"password_hash": "OTHER", "tokens_valid_after": AT},
            [("agent.changed", ("agent", "1"), {}, {}, ("password",))],
            id="a password by its name",
        ),
        pytest.param(
            NUMBER,
            {"sealed": "OTHER", "bot_webhook_url": None},
            [("number.changed", ("number", "1"), {"bot": True}, {"bot": False}, ("credentials",))],
            id="credentials by their name",
        ),
        pytest.param(AGENT, {"available": False}, [], id="no switch of availability"),
        pytest.param(
            AGENT,
            {"revoked_sessions": {"s": AT}},
            [("session.revoked", ("session", "s"), {}, {"agent": "1"}, ())],
            id="a session",
        ),
        pytest.param(
            AGENT,
            {"tokens_valid_after": AT},
            [("session.revoked", ("agent", "1"), {}, {"agent": "1"}, ())],
            id="all sessions",
        ),
        pytest.param(
            replace(AGENT, revoked_sessions={"old": AT}),
            {"revoked_sessions": {}},
            [],
            id="no session that is forgotten",
        ),
        pytest.param(
            POLICY,
            {"policy": Policy(strategy="least_busy")},
            [
                (
                    "policy.changed",
                    ("policy", "1"),
                    {"strategy": "manual"},
                    {"strategy": "least_busy"},
                    (),
                )
            ],
            id="the policy's member",
        ),
        pytest.param(
            LABEL,
            {"deleted": True, "name": ""},
            [
                (
                    "label.deleted",
                    ("label", "1"),
                    {"name": "VIP", "color": None, "merged_into": None},
                    {},
                    (),
                )
            ],
            id="what was deleted",
        ),
        pytest.param(KEYSET, {"keys": [{}]}, [], id="no keys: they are no tenant's"),
    ],
)
def test_a_change_says_what_differs(
    before: Entity, members: dict[str, Any], records: list[Any]
) -> None:
    assert changed(before, **members) == records


def test_what_begins_to_exist_is_told_without_secrets() -> None:
    tenant = Tenant(**BASE, name="Acme")
    made = audit_creation([AGENT, tenant, POLICY, NUMBER, Team(**BASE, name="V")], ADMIN)
    assert [r.action for r in made] == [
        "agent.created",
        "tenant.created",
        "number.created",
        "team.created",
    ]
    assert {r.actor for r in made} == {ADMIN}
    assert len({r.id for r in made}) == len(made)
    assert not any(secret in repr(made) for secret in ("HASH", "SEALED", "TOKEN"))


@pytest.mark.parametrize("entity", [AGENT, NUMBER], ids=lambda e: type(e).__name__)
def test_a_new_member_is_not_shown_by_itself(entity: Entity) -> None:
    """Whoever adds a member decides here whether admins may see it in the trail."""
    undecided = {
        Agent: {"password_hash", "available", "tokens_valid_after", "revoked_sessions"},
        Number: {"sealed", "bot_webhook_url"},
    }
    own = {f.name for f in fields(entity)} - {f.name for f in fields(Entity)}
    shown = audit_creation([entity], ADMIN)[0].after.keys() - {"bot"}
    assert own - shown == undecided[type(entity)]
