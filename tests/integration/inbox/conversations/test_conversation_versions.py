"""The version as entity tag: a read that is current costs no body, an action may ask for one."""

import pytest

from tests.integration.inbox.conversations.office import Office

pytestmark = pytest.mark.integration


async def test_a_read_of_what_is_held_already_is_304(shared_office: Office) -> None:
    ana = shared_office.ana
    conversation = await shared_office.opened_by(ana)
    path = f"/conversations/{conversation}"
    first = await ana("GET", path)
    tag = first.headers["etag"]
    assert tag == f'"{first.body["version"]}"'
    for header in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        again = await ana("GET", path, if_none_match=header)
        assert (again.status, again.raw, again.headers["etag"]) == (304, b"", tag)
    for header in ('"0"', "x", tag.strip('"')):
        assert (await ana("GET", path, if_none_match=header)).status == 200
    await shared_office.write(conversation, "hola")
    assert (await ana("GET", path, if_none_match=tag)).status == 200
    # Out of sight there is nothing to compare with.
    assert (await shared_office.carl("GET", path, if_none_match="*")).status == 404


async def test_an_action_on_another_version_is_412_and_changes_nothing(
    shared_office: Office,
) -> None:
    ana, carl = shared_office.ana, shared_office.carl
    conversation = await shared_office.opened_by(ana)
    before = await ana.get(conversation)
    now = before["version"]
    path = f"/conversations/{conversation}"
    priority = {"priority": "high"}
    for method, action, body in (
        ("POST", "/close", None),
        ("POST", "/hold", None),
        ("POST", "/accept", None),
        ("POST", "/read", None),
        ("POST", "/transfer", {"team_id": shared_office.sales}),
        ("PUT", "/priority", priority),
        ("DELETE", "", None),
    ):
        for tag in (f'"{now - 1}"', f'W/"{now}"', "rubbish"):
            answer = await ana(method, f"{path}{action}", body, if_match=tag)
            assert (answer.status, answer.code) == (412, "version_mismatch"), (action, tag)
            assert answer.body["version"] == now
            hidden = await carl(method, f"{path}{action}", body, if_match=tag)
            assert hidden.code in {"not_found", "already_assigned"}
    assert await ana.get(conversation) == before

    done = await ana("POST", f"{path}/hold", if_match=f'"1", "{now}"', idempotency_key="hold-it")
    assert (done.status, done.headers["etag"]) == (200, f'"{done.body["version"]}"')
    # The repeat of what was done is answered as done, whatever came since.
    again = await ana("POST", f"{path}/hold", if_match=f'"{now}"', idempotency_key="hold-it")
    assert (again.status, again.body) == (200, done.body)
    taken = await ana("POST", f"{path}/accept", if_match="*")
    assert taken.headers["etag"] == f'"{taken.body["version"]}"'
