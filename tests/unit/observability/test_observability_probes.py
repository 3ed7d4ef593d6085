import re

import pytest
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes


async def get(app: Starlette, path: str) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "server": ("x", 80),
        "client": None,
        "root_path": "",
    }
    give: Receive = receive
    take: Send = send
    await app(scope, give, take)
    body = b"".join(each.get("body", b"") for each in sent)
    return sent[0]["status"], body


async def test_probes_answer_200_when_nothing_is_wrong() -> None:
    app = Starlette(routes=probe_routes())
    assert await get(app, "/livez") == (200, b'{"status":"ok"}')
    assert (await get(app, "/readyz"))[0] == 200


async def test_probes_answer_503_with_the_reasons() -> None:
    app = Starlette(routes=probe_routes(live=lambda: ["stalled"], ready=lambda: ["not joined"]))
    status, body = await get(app, "/livez")
    assert (status, b"stalled" in body) == (503, True)
    status, body = await get(app, "/readyz")
    assert (status, b"not joined" in body) == (503, True)


async def test_metrics_are_exposed() -> None:
    metrics = Metrics()
    metrics.dead_letters.labels("t", "fold", "bug").inc()
    app = Starlette(routes=probe_routes(metrics=metrics))
    status, body = await get(app, "/metrics")
    assert status == 200
    assert b'atrio_dead_letters_total{kind="bug",stage="fold",topic="t"} 1.0' in body


def test_every_metric_has_the_prefix_and_no_personal_label() -> None:
    forbidden = re.compile(r"tenant|phone|wa_id|name|conversation|agent|wamid|user")
    for family in Metrics().registry.collect():
        assert family.name.startswith("atrio_")
        assert family.documentation.endswith(".")
    for value in vars(Metrics()).values():
        for label in getattr(value, "_labelnames", ()):
            assert not forbidden.search(label), label


def test_two_registries_do_not_collide() -> None:
    Metrics().published.labels("acked").inc()
    fresh = Metrics()
    assert fresh.published.labels("acked")._value.get() == pytest.approx(0)
