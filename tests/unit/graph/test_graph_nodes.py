import base64
import hashlib
from typing import Any

import aiohttp
import pytest

from tests.unit.graph.graph_client import NUMBER, Graph, text

WABA = "100000000000001"
PHOTO = b"\xff\xd8\xff a photo"


def form(content: bytes = PHOTO, kind: str = "image/jpeg", **without: None) -> aiohttp.FormData:
    made = aiohttp.FormData()
    fields = {"messaging_product": "whatsapp", "type": kind}
    for name, value in fields.items():
        if name not in without:
            made.add_field(name, value)
    if "file" not in without:
        made.add_field("file", content, filename="photo.jpg", content_type=kind)
    return made


async def upload(graph: Graph, **options: Any) -> tuple[int, Any]:
    return await graph.call("POST", f"{NUMBER}/media", data=form(**options))


async def download(graph: Graph, url: str, token: str = "unit-token") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"}
    async with graph.http.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_media_is_uploaded_looked_up_and_downloaded(graph: Graph) -> None:
    status, answer = await upload(graph)
    assert (status, set(answer)) == (200, {"id"})
    status, shown = await graph.call("GET", answer["id"], params={"phone_number_id": NUMBER})
    assert status == 200
    assert shown.pop("url").startswith(f"{graph.url}/whatsapp_business/attachments/?mid=")
    assert shown == {
        "messaging_product": "whatsapp",
        "mime_type": "image/jpeg",
        "sha256": hashlib.sha256(PHOTO).hexdigest(),
        "file_size": len(PHOTO),
        "id": answer["id"],
    }
    _, shown = await graph.call("GET", answer["id"])
    assert await download(graph, shown["url"]) == (200, PHOTO)


async def test_media_needs_the_token(graph: Graph) -> None:
    _, answer = await upload(graph)
    _, shown = await graph.call("GET", answer["id"])
    await graph.control("POST", "tokens", {"revoke": ["stale"]})
    assert (await download(graph, shown["url"], "stale"))[0] == 401
    async with graph.http.get(shown["url"]) as refused:
        assert refused.status == 401


async def test_expired_url_is_404_until_looked_up_again(graph: Graph) -> None:
    _, answer = await upload(graph)
    _, shown = await graph.call("GET", answer["id"])
    await graph.control("POST", f"media/{answer['id']}/expire")
    assert (await download(graph, shown["url"]))[0] == 404
    _, shown = await graph.call("GET", answer["id"])
    assert await download(graph, shown["url"]) == (200, PHOTO)


async def test_forged_url_is_404(graph: Graph) -> None:
    _, answer = await upload(graph)
    _, shown = await graph.call("GET", answer["id"])
    assert (await download(graph, shown["url"] + "0"))[0] == 404


async def test_media_belongs_to_its_number(graph: Graph) -> None:
    _, answer = await upload(graph)
    params = {"phone_number_id": "200000000000002"}
    status, refused = await graph.call("GET", answer["id"], params=params)
    assert (status, refused["error"]["code"]) == (400, 100)
    await graph.control("PATCH", "limits", {"media": True})
    image = text(to="+12025550111", type="image", image={"id": answer["id"]}, text=None)
    assert (await graph.call("POST", f"{NUMBER}/messages", image))[0] == 200
    assert (await graph.call("POST", "200000000000002/messages", image))[0] == 400


async def test_deleted_media_is_gone(graph: Graph) -> None:
    _, answer = await upload(graph)
    assert await graph.call("DELETE", answer["id"]) == (200, {"success": True})
    assert (await graph.call("GET", answer["id"]))[0] == 400
    assert (await graph.call("DELETE", answer["id"]))[0] == 400


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param({"messaging_product": None}, 100, id="no product"),
        pytest.param({"file": None}, 100, id="no file"),
        pytest.param({"kind": "image/gif"}, 100, id="unsupported type"),
        pytest.param(
            {"content": b"x" * (500 * 1024 + 1), "kind": "image/webp"}, 131053, id="large sticker"
        ),
    ],
)
async def test_wrong_upload_is_refused(graph: Graph, options: Any, code: int) -> None:
    status, answer = await upload(graph, **options)
    assert (status, answer["error"]["code"]) == (400, code)


async def test_upload_is_recorded_without_its_bytes(graph: Graph) -> None:
    await upload(graph)
    [request] = (await graph.control("GET", "requests?call=media_upload"))["items"]
    assert request["body"] is None
    assert request["size"] > len(PHOTO)


async def test_registered_media_can_be_downloaded(graph: Graph) -> None:
    data = base64.b64encode(b"voice").decode()
    made = await graph.control("POST", "media", {"mime_type": "audio/ogg", "data_base64": data})
    _, shown = await graph.call("GET", made["id"])
    assert await download(graph, shown["url"]) == (200, b"voice")


async def test_oldest_media_is_forgotten_past_the_bound(graph: Graph) -> None:
    first = await graph.control("POST", "media", {"size": 90 * 2**20})
    for _ in range(2):
        await graph.control("POST", "media", {"size": 90 * 2**20})
    assert (await graph.call("GET", first["id"]))[0] == 400


async def test_block_answers_like_the_samples(graph: Graph) -> None:
    body = {"messaging_product": "whatsapp", "block_users": [{"user": "+12025550111"}]}
    path = f"{NUMBER}/block_users"
    status, answer = await graph.call("POST", path, body)
    users = [{"input": "+12025550111", "wa_id": "12025550111"}]
    assert status == 200
    assert answer == {"messaging_product": "whatsapp", "block_users": {"added_users": users}}
    _, listed = await graph.call("GET", path)
    assert listed["data"] == [{"messaging_product": "whatsapp", "wa_id": "12025550111"}]
    assert set(listed["paging"]["cursors"]) == {"after", "before"}
    _, answer = await graph.call("DELETE", path, body)
    assert answer["block_users"] == {"removed_users": users}
    assert (await graph.call("GET", path))[1] == {"data": []}


async def test_sending_to_a_blocked_user_fails_and_they_cannot_write(graph: Graph) -> None:
    bsuid = "US.90000000000000000001"
    await graph.control("PUT", "recipients/12025550111", {"user_id": bsuid})
    body = {"messaging_product": "whatsapp", "block_users": [{"user_id": bsuid}]}
    assert (await graph.call("POST", f"{NUMBER}/block_users", body))[0] == 200
    assert (await graph.send())[1]["error"]["code"] == 130403
    async with graph.http.post(f"{graph.url}/_control/inbound", json={"text": "x"}) as refused:
        assert refused.status == 422


async def test_partly_failed_block_is_139100(graph: Graph) -> None:
    await graph.control("PATCH", "limits", {"window": True})
    await graph.control("POST", "inbound", {"from": "12025550111", "text": "hello"})
    users = [{"user": "+12025550111"}, {"user": "+12025550122"}]
    body = {"messaging_product": "whatsapp", "block_users": users}
    status, answer = await graph.call("POST", f"{NUMBER}/block_users", body)
    assert (status, answer["error"]["code"]) == (400, 139100)
    assert len(answer["block_users"]["added_users"]) == 1
    [failed] = answer["block_users"]["failed_users"]
    assert (failed["wa_id"], failed["errors"][0]["code"]) == ("12025550122", 131047)


async def test_block_list_is_paged(graph: Graph) -> None:
    users = [{"user": f"+1202555{n:04d}"} for n in range(5)]
    body = {"messaging_product": "whatsapp", "block_users": users}
    await graph.call("POST", f"{NUMBER}/block_users", body)
    seen: list[str] = []
    params: dict[str, str] = {"limit": "2"}
    while True:
        _, listed = await graph.call("GET", f"{NUMBER}/block_users", params=params)
        seen += [one["wa_id"] for one in listed["data"]]
        if "next" not in listed["paging"]:
            break
        params["after"] = listed["paging"]["cursors"]["after"]
    assert seen == [f"1202555{n:04d}" for n in range(5)]


async def test_subscription_shows_the_override(graph: Graph) -> None:
    path = f"{WABA}/subscribed_apps"
    _, listed = await graph.call("GET", path)
    assert listed["data"][0]["whatsapp_business_api_data"]["id"] == "900000000000001"
    uri = {"override_callback_uri": "https://example.invalid/webhook", "verify_token": "v"}
    await graph.call("POST", path, uri)
    _, listed = await graph.call("GET", path)
    assert listed["data"][0]["override_callback_uri"] == "https://example.invalid/webhook"


async def test_number_fields_are_answered_as_asked(graph: Graph) -> None:
    _, shown = await graph.call("GET", NUMBER, params={"fields": "throughput,quality_rating"})
    assert shown == {
        "throughput": {"level": "STANDARD"},
        "quality_rating": "GREEN",
        "id": NUMBER,
    }
    await graph.control("PUT", f"numbers/{NUMBER}", {"throughput": "HIGH", "fields": {"x": 1}})
    _, shown = await graph.call("GET", NUMBER, params={"fields": "throughput,x"})
    assert (shown["throughput"]["level"], shown["x"]) == ("HIGH", 1)
    _, listed = await graph.call("GET", f"{WABA}/phone_numbers")
    assert [one["id"] for one in listed["data"]] == [NUMBER]
    _, account = await graph.call("GET", WABA)
    assert account["id"] == WABA


async def test_templates_are_listed_and_filtered(graph: Graph) -> None:
    templates = [{"name": "a", "language": "es"}, {"name": "b", "status": "PAUSED"}]
    await graph.control("PUT", f"templates/{WABA}", {"templates": templates})
    path = f"{WABA}/message_templates"
    _, listed = await graph.call("GET", path)
    assert [one["name"] for one in listed["data"]] == ["a", "b"]
    _, listed = await graph.call("GET", path, params={"status": "approved", "fields": "name"})
    assert [set(one) for one in listed["data"]] == [{"name", "id"}]


async def test_history_of_an_unknown_message_is_empty(graph: Graph) -> None:
    params = {"message_id": "wamid.none"}
    assert (await graph.call("GET", f"{NUMBER}/message_history", params=params))[1] == {"data": []}
    assert (await graph.call("GET", f"{NUMBER}/message_history"))[0] == 400
