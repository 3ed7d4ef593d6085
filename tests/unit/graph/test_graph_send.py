import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.graph.graph_client import NUMBER, SECRET, Graph, text

API = Path(__file__).parents[2] / "payloads" / "api"


def sample(name: str) -> Any:
    return json.loads((API / f"{name}.json").read_text())


def shape(value: Any) -> Any:
    """Names and types: what an answer looks like without its values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


async def test_send_answers_like_the_sample(graph: Graph) -> None:
    status, answer = await graph.send()
    assert status == 200
    assert shape(answer) == shape(sample("send_ok_phone"))
    assert answer["contacts"] == sample("send_ok_phone")["contacts"]


async def test_send_to_a_bsuid_answers_user_id_and_reports_it(graph: Graph) -> None:
    body = text(recipient="US.90000000000000000001")
    status, answer = await graph.call("POST", f"{NUMBER}/messages", body)
    assert status == 200
    assert answer["contacts"] == sample("send_ok_bsuid")["contacts"]
    await graph.idle()
    for report in graph.receiver.statuses():
        assert report["recipient_user_id"] == "US.90000000000000000001"
        assert "recipient_id" not in report


async def test_send_to_a_group_answers_the_group(graph: Graph) -> None:
    group = "FakeGroupIdFakeGroupIdFakeGroupIdFakeGroupId"
    await graph.control("PUT", f"groups/{group}", {"participants": ["12025550111", "12025550122"]})
    status, answer = await graph.send(to=group, recipient_type="group")
    assert status == 200
    assert shape(answer) == shape(sample("send_ok_group"))
    await graph.idle()
    reports = graph.receiver.statuses()
    assert [report["recipient_type"] for report in reports] == ["group"] * 5
    assert {report.get("recipient_participant_id") for report in reports} == {
        None,
        "12025550111",
        "12025550122",
    }


async def test_to_wins_over_recipient(graph: Graph) -> None:
    _, answer = await graph.send(recipient="US.90000000000000000001")
    assert answer["contacts"][0]["wa_id"] == "12025550111"


async def test_send_answers_the_normalised_wa_id(graph: Graph) -> None:
    await graph.control("PUT", "recipients/5511900000001", {"wa_id": "551100000001"})
    _, answer = await graph.send(to="+5511900000001")
    assert answer["contacts"] == sample("send_ok_phone_normalised")["contacts"]
    await graph.idle()
    assert {one["recipient_id"] for one in graph.receiver.statuses()} == {"551100000001"}


async def test_country_code_is_prepended_to_a_number_without_plus(graph: Graph) -> None:
    await graph.control("PUT", f"numbers/{NUMBER}", {"country_code": "91"})
    _, answer = await graph.send(to="1 (631) 555-1234")
    assert answer["contacts"][0]["wa_id"] == "9116315551234"


async def test_statuses_come_signed_with_the_callback_data(graph: Graph) -> None:
    _, answer = await graph.send(biz_opaque_callback_data="ours/1")
    await graph.idle()
    hooks = graph.receiver.hooks
    assert [hook.path for hook in hooks] == ["/webhooks/whatsapp"] * 3
    assert all(hook.signed_with(SECRET) for hook in hooks)
    assert all(rb"ours\/1" in hook.body for hook in hooks)
    reports = {one["status"]: one for one in graph.receiver.statuses()}
    assert set(reports) == {"sent", "delivered", "read"}
    for report in reports.values():
        assert report["id"] == answer["messages"][0]["id"]
        assert report["biz_opaque_callback_data"] == "ours/1"
        assert report["recipient_id"] == "12025550111"
        assert isinstance(report["timestamp"], str)
    regular = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "service"}
    assert reports["sent"]["pricing"] == reports["delivered"]["pricing"] == regular
    assert "pricing" not in reports["read"]


async def test_pricing_comes_with_read_when_delivered_never_comes(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"statuses": ["sent", "read"]})
    await graph.send()
    await graph.idle()
    assert all("pricing" in report for report in graph.receiver.statuses())


async def test_reaction_only_gets_sent(graph: Graph) -> None:
    body = text(to="+12025550111", type="reaction", text=None)
    body["reaction"] = {"message_id": "wamid.x", "emoji": ""}
    assert (await graph.call("POST", f"{NUMBER}/messages", body))[0] == 200
    await graph.idle()
    assert graph.receiver.names() == ["sent"]


async def test_template_is_priced_by_its_category(graph: Graph) -> None:
    await graph.control(
        "PUT",
        "templates/100000000000001",
        {"templates": [{"name": "promo", "language": "es", "category": "MARKETING"}]},
    )
    body = text(to="+12025550111", type="template", text=None)
    body["template"] = {"name": "promo", "language": {"code": "es"}}
    assert (await graph.call("POST", f"{NUMBER}/messages", body))[0] == 200
    await graph.idle()
    assert graph.receiver.statuses()[0]["pricing"]["category"] == "marketing"


async def test_unknown_template_is_refused_when_templates_are_checked(graph: Graph) -> None:
    await graph.control("PATCH", "limits", {"templates": True})
    body = text(to="+12025550111", type="template", text=None)
    body["template"] = {"name": "order_update", "language": {"code": "en_US"}}
    status, answer = await graph.call("POST", f"{NUMBER}/messages", body)
    expected = sample("error_132001")
    assert status == expected["_http_status"]
    assert answer["error"]["error_data"] == expected["error"]["error_data"]


READ = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.abc"}


@pytest.mark.parametrize(
    ("body", "call"),
    [
        pytest.param(READ, "read", id="read"),
        pytest.param(READ | {"typing_indicator": {"type": "text"}}, "typing", id="typing"),
    ],
)
async def test_mark_read_and_typing_succeed(graph: Graph, body: Any, call: str) -> None:
    assert await graph.call("POST", f"{NUMBER}/messages", body) == (200, {"success": True})
    listed = await graph.control("GET", f"requests?call={call}")
    assert [one["body"] for one in listed["items"]] == [body]
    assert graph.receiver.hooks == []


INTERACTIVE = {"type": "interactive", "text": None}


def buttons(count: int = 1, title: str = "Yes") -> dict[str, Any]:
    made = [
        {"type": "reply", "reply": {"id": str(n), "title": f"{title}{n}"}} for n in range(count)
    ]
    return {"type": "button", "body": {"text": "?"}, "action": {"buttons": made}}


def rows(count: int) -> dict[str, Any]:
    made = [{"id": str(n), "title": f"row {n}"} for n in range(count)]
    action = {"button": "Choose", "sections": [{"rows": made}]}
    return {"type": "list", "body": {"text": "?"}, "action": action}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        pytest.param({"messaging_product": None}, 100, id="no product"),
        pytest.param({"to": None}, 100, id="no recipient"),
        pytest.param({"type": "hologram"}, 100, id="unknown type"),
        pytest.param({"type": "image"}, 131008, id="no member of the type"),
        pytest.param({"text": {}}, 131008, id="empty text"),
        pytest.param({"text": {"body": "x" * 4097}}, 131009, id="long text"),
        pytest.param({"text": {"body": 5}}, 131009, id="text is no string"),
        pytest.param({"to": "US.90000000000000000001"}, 131009, id="bsuid in to"),
        pytest.param({"to": None, "recipient": "12025550111"}, 131009, id="phone in recipient"),
        pytest.param({"biz_opaque_callback_data": "x" * 513}, 131009, id="long callback data"),
        pytest.param({"context": {}}, 131008, id="context without message_id"),
        pytest.param(
            {"type": "image", "image": {"id": "1", "link": "x"}}, 131009, id="id and link"
        ),
        pytest.param(
            {"type": "image", "image": {"id": "1", "caption": "x" * 1025}},
            131009,
            id="long caption",
        ),
        pytest.param({"type": "location", "location": {"latitude": 1}}, 131008, id="half a place"),
        pytest.param({"type": "contacts", "contacts": [{}]}, 131008, id="nameless contact"),
        pytest.param(
            {"type": "reaction", "reaction": {"emoji": "x"}}, 131008, id="reaction to none"
        ),
        pytest.param({**INTERACTIVE, "interactive": buttons(4)}, 131009, id="four buttons"),
        pytest.param({**INTERACTIVE, "interactive": buttons(1, "x" * 20)}, 131009, id="long title"),
        pytest.param({**INTERACTIVE, "interactive": rows(11)}, 131009, id="eleven rows"),
        pytest.param({"type": "template", "template": {"name": "x"}}, 131008, id="no language"),
        pytest.param({"to": "+12025550100"}, 131021, id="to itself"),
    ],
)
async def test_wrong_body_is_refused(graph: Graph, members: Any, code: int) -> None:
    status, answer = await graph.call(
        "POST", f"{NUMBER}/messages", text(**{"to": "+12025550111", **members})
    )
    assert (status, answer["error"]["code"]) == (400, code)
    assert (await graph.control("GET", "state"))["accepted"] == 0


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"text": {"body": "x" * 4096}}, id="longest text"),
        pytest.param({**INTERACTIVE, "interactive": buttons(3, "x" * 19)}, id="three buttons"),
        pytest.param({**INTERACTIVE, "interactive": rows(10)}, id="ten rows"),
        pytest.param({"type": "sticker", "sticker": {"id": "7"}}, id="sticker"),
        pytest.param(
            {"type": "location", "location": {"latitude": 0, "longitude": -77.5}}, id="place"
        ),
        pytest.param(
            {"type": "contacts", "contacts": [{"name": {"formatted_name": "Bo"}}]}, id="contact"
        ),
        pytest.param({"context": {"message_id": "wamid.q"}}, id="reply"),
    ],
)
async def test_right_body_is_accepted(graph: Graph, members: Any) -> None:
    body = text(**{"to": "+12025550111", **members})
    assert (await graph.call("POST", f"{NUMBER}/messages", body))[0] == 200


async def test_body_that_is_no_json_is_refused(graph: Graph) -> None:
    status, answer = await graph.call("POST", f"{NUMBER}/messages", data=b"{nope")
    assert (status, answer["error"]["code"]) == (400, 100)


async def test_unknown_path_and_version_are_graph_errors(graph: Graph) -> None:
    status, answer = await graph.call("GET", f"{NUMBER}/nothing")
    assert (status, answer["error"]["code"]) == (400, 2500)
    headers = {"Authorization": "Bearer x"}
    url = f"{graph.url}/25/{NUMBER}/messages"
    async with graph.http.post(url, json=text(to="+1202555"), headers=headers) as refused:
        assert (await refused.json())["error"]["code"] == 2500
