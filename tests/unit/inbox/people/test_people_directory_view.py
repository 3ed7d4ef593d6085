from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inbox.model.entities import Agent, Entity, Number, Team, Tenant
from services.inbox.storage.directory_documents import entity_of, state_of
from services.inbox.storage.directory_records import records_of
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.directory import EntityKind, Policy, split_directory_key
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.contracts.topics import AGENT_EVENTS, CREDENTIALS, DIRECTORY
from shared.contracts.views import Role
from shared.mongo.headlog import LogRecord

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
BASE = {"tenant": "t", "created_by": "r", "created_at": AT, "changed_at": AT, "version": 1}
TEAM = Team(id="v", name="Ventas", **BASE)  # type: ignore[arg-type]
AGENT = Agent(
    id="a",
    email="a@x.test",
    name="Ana",
    role=Role.AGENT,
    password_hash="h",
    team_ids=("v",),
    **BASE,  # type: ignore[arg-type]
)
NUMBER = Number(id="n", phone_number_id="200", sealed="s", **BASE)  # type: ignore[arg-type]
TENANT = Tenant(id="t", name="Acme", **BASE)  # type: ignore[arg-type]


def _read(record: LogRecord) -> InRecord:
    out = record.out()
    return InRecord("directory.v1", 0, 0, out.key, out.value, tuple(out.headers), 0)


def _told(view: DirectoryView, *entities: Entity) -> None:
    for entity in entities:
        view.apply(_read(records_of(entity)[0]))


def test_the_view_knows_what_it_was_told() -> None:
    view = DirectoryView()
    _told(view, TENANT, TEAM, AGENT, NUMBER)
    tenant, team, agent = view.tenant("t"), view.team("t", "v"), view.agent("t", "a")
    [number] = view.numbers("t")
    assert tenant is not None
    assert team is not None
    assert agent is not None
    assert (tenant.name, team.name, agent.name, number.id) == ("Acme", "Ventas", "Ana", "n")
    assert view.members("t", "v") == (agent,)
    assert view.policy("t") == Policy()


def test_another_tenant_sees_nothing_of_it() -> None:
    view = DirectoryView()
    _told(view, TENANT, TEAM, AGENT, NUMBER)
    assert view.team("u", "v") is None
    assert view.agent("u", "a") is None
    assert view.number("u", "n") is None
    assert view.members("u", "v") == ()


@given(st.permutations([1, 2, 3, 4]), st.booleans())
def test_the_newest_version_holds_in_whatever_order_they_come(
    order: list[int], deleted: bool
) -> None:
    view = DirectoryView()
    states = {v: replace(TEAM, version=v, name=f"v{v}") for v in order}
    states[4] = replace(states[4], deleted=deleted)
    _told(view, *(states[v] for v in order))
    team = view.team("t", "v")
    assert (None if team is None else team.name) == (None if deleted else "v4")


def test_only_the_topic_going_back_is_noted_not_our_own_head_start() -> None:
    view = DirectoryView()
    place = (EntityKind.TEAM, "t", "v")
    second = replace(TEAM, version=2)
    view.put(place, 2, None)
    _told(view, TEAM, second, second)
    assert view.behind == set()
    _told(view, TEAM)
    assert view.behind == {place}
    assert view.told(place) == 2


def test_a_number_that_is_there_again_under_a_new_id_outlives_the_old_ones_tombstone() -> None:
    view = DirectoryView()
    _told(view, NUMBER, replace(NUMBER, id="n2"), replace(NUMBER, version=2, deleted=True))
    assert [number.id for number in view.numbers("t")] == ["n2"]


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        pytest.param(None, b"{}", ((b"ce_sequence", b"1"),), id="no key"),
        pytest.param(b"t/else/x", b"{}", (("ce_sequence", b"1"),), id="unknown kind"),
        pytest.param(b"t/team/x", b"{}", (), id="no version"),
        pytest.param(b"t/team/x", b"{}", (("ce_sequence", b"1"),), id="no entry"),
        pytest.param(b"\xff", b"{}", (("ce_sequence", b"1"),), id="not text"),
    ],
)
def test_a_record_that_is_none_of_ours_is_refused(
    key: bytes | None, value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> None:
    with pytest.raises(PermanentError, match="bad_directory_record"):
        DirectoryView().apply(InRecord("directory.v1", 0, 0, key, value, headers, 0))


@pytest.mark.parametrize("entity", [TENANT, TEAM, AGENT, NUMBER], ids=lambda e: type(e).__name__)
def test_an_entity_comes_out_of_its_document_as_it_went_in(entity: Entity) -> None:
    assert entity_of({**state_of(entity), "_id": "x", "v": 9, "version": 1}) == entity


def test_records_tell_the_directory_first_and_no_secret_there() -> None:
    directory, credentials = records_of(NUMBER)
    assert (directory.topic, credentials.topic) == (DIRECTORY, CREDENTIALS)
    assert split_directory_key(directory.key.encode()) == ("t", EntityKind.NUMBER, "n")
    assert b"sealed" not in (directory.value or b"")
    assert credentials.key == "n"


def test_availability_is_an_event_only_when_it_changes() -> None:
    away = replace(AGENT, version=2, available=False)
    assert [r.topic for r in records_of(away, before=AGENT)] == [DIRECTORY, AGENT_EVENTS]
    renamed = replace(AGENT, version=2, name="Eva")
    assert [r.topic for r in records_of(renamed, before=AGENT)] == [DIRECTORY]


def test_a_tombstone_keeps_its_version_for_the_readers() -> None:
    gone = replace(NUMBER, version=5, deleted=True)
    for record in records_of(gone):
        assert record.value is None
        assert record.envelope.sequence == 5
