"""Variables of canned replies."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from services.inbox.decisions.canned import Setting, render_reply, unknown_variables
from services.inbox.decisions.draft import blank
from services.inbox.model.conversation import ContactSnapshot
from shared.contracts.directory import NumberEntry, Policy


@dataclass(frozen=True)
class Names:
    def agent_name(self, tenant: str, agent: str) -> str | None:  # noqa: ARG002 - the protocol's shape
        return {"a1": "Ana"}.get(agent)

    def team_name(self, tenant: str, team: str) -> str | None:  # noqa: ARG002 - the protocol's shape
        return None

    def label(self, tenant: str, label: str) -> tuple[str, str | None] | None:  # noqa: ARG002 - the protocol's shape
        return None

    def number(self, tenant: str, number: str) -> NumberEntry | None:
        return NumberEntry(
            id=number, tenant=tenant, version=1, phone_number_id="1", display_phone_number="+52"
        )

    def policy(self, tenant: str) -> Policy:  # noqa: ARG002 - the protocol's shape
        return Policy()


CHAT = blank(
    "c1",
    tenant="t1",
    number_id="n1",
    contact=ContactSnapshot("p1", name="Luz {{agent.name}}", wa_id="521"),
    group_id=None,
    generation=1,
    now=datetime(2026, 3, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("text", "shown", "missing"),
    [
        pytest.param("plain {text} {{}", "plain {text} {{}", (), id="no_variable"),
        pytest.param("{{agent.name}}/{{ number.phone }}", "Ana/+52", (), id="filled"),
        pytest.param("{{contact.name}}", "Luz {{agent.name}}", (), id="not_looked_through_again"),
        pytest.param(
            "{{contact.phone}}{{contact.username}}!", "521!", ("contact.username",), id="missing"
        ),
        pytest.param("{{team.name}} {{team.name}}", " ", ("team.name",), id="told_once"),
    ],
)
def test_reply_is_filled_in(text: str, shown: str, missing: tuple[str, ...]):
    rendered = render_reply(text, Setting(CHAT, "a1", Names()))
    assert (rendered.text, rendered.missing) == (shown, missing)


def test_variables_that_there_are_not_are_found():
    assert unknown_variables("{{contact.name}} {{contact.password}} {{ }}") == [
        "contact.password",
        "",
    ]
