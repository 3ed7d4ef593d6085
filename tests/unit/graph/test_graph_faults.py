import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.testing.graph.behaviour import Fault
from shared.testing.graph.errors import KINDS
from shared.testing.graph.limits import Buckets
from tests.unit.graph.graph_client import NUMBER, Graph

API = Path(__file__).parents[2] / "payloads" / "api"
SAMPLES = {path.stem: path.read_text() for path in sorted(API.glob("error_*.json"))}


@pytest.mark.parametrize("name", SAMPLES)
async def test_error_on_demand_equals_the_sample(graph: Graph, name: str) -> None:
    expected = json.loads(SAMPLES[name])
    details = expected["error"].get("error_data", {}).get("details")
    await graph.fault(error=expected["error"]["code"], details=details)
    status, answer = await graph.send()
    assert status == expected.pop("_http_status")
    answer["error"]["fbtrace_id"] = expected["error"]["fbtrace_id"]
    assert answer == expected


async def test_every_listed_error_can_be_had(graph: Graph) -> None:
    listed = (await graph.control("GET", "errors"))["items"]
    assert {one["code"] for one in listed} == set(KINDS)
    for one in listed:
        await graph.control("DELETE", "faults")
        await graph.fault(error=one["code"], times=1)
        status, answer = await graph.send()
        assert (status, answer["error"]["code"]) == (one["http_status"], one["code"])
    assert (await graph.control("GET", "state"))["accepted"] == 0


async def test_error_with_another_http_status_and_a_transient_hint(graph: Graph) -> None:
    await graph.fault(error=2, http_status=500, is_transient=True)
    status, answer = await graph.send()
    assert (status, answer["error"]["is_transient"]) == (500, True)


async def test_times_and_skip_count_matching_sends(graph: Graph) -> None:
    await graph.fault(error=131016, skip=1, times=2)
    codes = [(await graph.send())[0] for _ in range(5)]
    assert codes == [200, 500, 500, 200, 200]
    told = (await graph.control("GET", "faults"))["items"][0]
    assert told["hits"] == 2


async def test_fault_concerns_only_what_it_names(graph: Graph) -> None:
    await graph.fault(error=131026, match={"recipient": "+12025550122"})
    await graph.fault(error=190, match={"phone_number_id": "200000000000009"})
    await graph.fault(error=131053, match={"type": "image"})
    assert (await graph.send())[0] == 200
    assert (await graph.send(to="+1 (202) 555-0122"))[0] == 400
    image = {"type": "image", "image": {"id": "1"}, "text": None}
    assert (await graph.send(**image))[1]["error"]["code"] == 131053


@pytest.mark.parametrize("call", ["read", "*"])
async def test_fault_can_concern_other_calls(graph: Graph, call: str) -> None:
    await graph.fault(error=131000, match={"call": call})
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.a"}
    assert (await graph.call("POST", f"{NUMBER}/messages", body))[0] == 500
    assert (await graph.send())[0] == (200 if call == "read" else 500)


def test_ratio_repeats_with_its_seed() -> None:
    def hits(seed: int) -> list[bool]:
        fault = Fault(error=1, ratio=0.3, seed=seed)
        return [fault.takes("send", NUMBER, (), "text") for _ in range(200)]

    assert hits(4) == hits(4)
    assert hits(4) != hits(5)
    assert 30 <= sum(hits(4)) <= 90


async def test_removed_fault_no_longer_acts(graph: Graph) -> None:
    fault = await graph.fault(error=1)
    await graph.control("DELETE", f"faults/{fault['id']}")
    assert (await graph.send())[0] == 200


async def test_drop_before_accepting_leaves_nothing(graph: Graph) -> None:
    await graph.fault(drop="before_accept", times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await graph.send()
    state = await graph.control("GET", "state")
    assert (state["received"], state["accepted"]) == (1, 0)
    await graph.idle()
    assert graph.receiver.hooks == []


async def test_accept_then_drop_gives_statuses_but_no_answer(graph: Graph) -> None:
    await graph.fault(drop="after_accept", times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await graph.send(biz_opaque_callback_data="ours")
    await graph.receiver.until(3)
    assert {one["biz_opaque_callback_data"] for one in graph.receiver.statuses()} == {"ours"}


@pytest.mark.parametrize("accept", [False, True])
async def test_bare_5xx_has_no_graph_body(graph: Graph, accept: bool) -> None:
    await graph.fault(http_status=502, accept=accept)
    status, answer = await graph.send()
    assert (status, isinstance(answer, bytes)) == (502, True)
    await graph.idle()
    assert graph.receiver.names() == (["sent", "delivered", "read"] if accept else [])


async def test_status_can_come_before_the_answer(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"delays_ms": 50})
    await graph.fault(status_first=True)
    await graph.send()
    assert graph.receiver.names() == ["sent"]
    await graph.idle()
    assert graph.receiver.names() == ["sent", "delivered", "read"]


async def test_slow_answer_comes_after_its_statuses(graph: Graph) -> None:
    await graph.fault(delay_ms=200)
    started = time.monotonic()
    sending = asyncio.create_task(graph.send())
    await graph.receiver.until(3)
    assert not sending.done()
    assert (await sending)[0] == 200
    assert time.monotonic() - started >= 0.2


async def test_failed_status_follows_an_accepted_send(graph: Graph) -> None:
    await graph.fault(failed_status=131026)
    assert (await graph.send())[0] == 200
    await graph.idle()
    [report] = graph.receiver.statuses()
    assert report["status"] == "failed"
    assert report["errors"][0]["code"] == 131026
    assert report["errors"][0]["error_data"]["details"]
    assert "pricing" not in report


async def test_fault_can_choose_the_statuses(graph: Graph) -> None:
    await graph.fault(statuses=["sent", "failed"], failed_status=131049)
    await graph.send()
    await graph.idle()
    assert sorted(graph.receiver.names()) == ["failed", "sent"]


async def test_unknown_member_of_a_fault_is_refused(graph: Graph) -> None:
    url = f"{graph.url}/_control/faults"
    async with graph.http.post(url, json={"eror": 1}) as answer:
        assert answer.status == 422


async def test_pair_limit_allows_a_burst_of_45(graph: Graph) -> None:
    await graph.control("PATCH", "limits", {"pair": True})
    await graph.control("PATCH", "webhooks", {"enabled": False})
    codes = [(await graph.send())[0] for _ in range(46)]
    assert codes == [200] * 45 + [400]
    status, answer = await graph.send()
    assert (status, answer["error"]["code"]) == (400, 131056)
    assert (await graph.send(to="+12025550122"))[0] == 200


async def test_throughput_limit_is_80_and_1000_when_high(graph: Graph) -> None:
    await graph.control("PATCH", "limits", {"throughput": True})
    await graph.control("PATCH", "webhooks", {"enabled": False})

    async def burst() -> list[int]:
        answers = await asyncio.gather(*(graph.send() for _ in range(250)))
        return [answer.get("error", {}).get("code", 200) for _, answer in answers]

    assert 130429 in await burst()
    await graph.control("PUT", f"numbers/{NUMBER}", {"throughput": "HIGH"})
    await graph.control("PATCH", "limits", {"throughput": True})
    assert set(await burst()) == {200}


def test_bucket_refills_with_time() -> None:
    now = [0.0]
    buckets = Buckets(lambda: now[0], kept=2)

    def take(key: str = "a") -> bool:
        return buckets.take((key,), burst=2, per_second=1 / 6)

    assert [take(), take(), take()] == [True, True, False]
    now[0] = 6.0
    assert [take(), take()] == [True, False]
    assert [take("b"), take("c")] == [True, True]
    assert take("a")  # forgotten, so full again


async def test_window_is_enforced_when_switched_on(graph: Graph) -> None:
    await graph.control("PATCH", "limits", {"window": True})
    assert (await graph.send())[1]["error"]["code"] == 131047
    await graph.control("POST", "inbound", {"from": "12025550111", "text": "hello"})
    assert (await graph.send())[0] == 200


async def test_revoked_token_is_error_190(graph: Graph) -> None:
    await graph.control("POST", "tokens", {"revoke": ["unit-token"]})
    status, answer = await graph.send()
    assert (status, answer["error"]["code"]) == (401, 190)
    await graph.control("DELETE", "tokens")
    assert (await graph.send())[0] == 200


async def test_only_declared_tokens_are_good(graph: Graph) -> None:
    await graph.control("POST", "tokens", {"allow": ["good"]})
    assert (await graph.send())[0] == 401
    assert (await graph.call("GET", f"{NUMBER}", token="good"))[0] == 200


async def test_missing_token_is_error_190(graph: Graph) -> None:
    async with graph.http.post(f"{graph.url}/v25.0/{NUMBER}/messages", json={}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (401, 190)


async def test_requests_are_listed_with_a_hash_of_the_token(graph: Graph) -> None:
    await graph.send("one")
    await graph.send("two")
    listed = await graph.control("GET", f"requests?phone_number_id={NUMBER}&path=/messages")
    bodies: list[Any] = [one["body"]["text"]["body"] for one in listed["items"]]
    assert bodies == ["one", "two"]
    first = listed["items"][0]
    assert "unit-token" not in json.dumps(listed)
    assert "authorization" not in first["headers"]
    assert len(first["token_sha256"]) == 16
    assert first["at"] > 0
    other = await graph.control("GET", "requests?phone_number_id=1")
    assert other["items"] == []


async def test_requests_are_bounded(graph: Graph) -> None:
    for _ in range(60):
        await graph.call("GET", NUMBER)
    listed = await graph.control("GET", "requests")
    assert (len(listed["items"]), listed["received"]) == (50, 60)
