import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from services.ingest.api import Limits, WebhookApp
from services.ingest.model import Source
from services.ingest.storage import Apps
from shared.contracts.errors import TransientError
from shared.observability.metrics import Metrics
from shared.sealing import Sealer
from tests.unit.ingest.entries import MASTER_KEY, credentials_record

RAW = Path(__file__).parents[2] / "payloads" / "raw"
PATH = "/webhooks/whatsapp"


@dataclass
class Recorder:
    """Stands for what makes a body durable."""

    taken: list[tuple[bytes, Source]] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, body: bytes, source: Source) -> None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.taken.append((body, source))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        code: str = problem["code"]
        return code


async def probes(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Ingest:
    """The application and what a client does to it."""

    def __init__(self, **limits: Any) -> None:
        self.accept = Recorder()
        self.apps = Apps(Sealer(MASTER_KEY))
        self.ready = True
        self.metrics = Metrics()
        values = {
            "body_bytes": 4 * 1024 * 1024,
            "in_flight_bytes": 64 * 1024 * 1024,
            "body_timeout": timedelta(seconds=5),
        }
        self.app = WebhookApp(
            self.accept,
            self.apps,
            secrets=("new", "old"),
            verify_token="verify-me",
            ready=lambda: self.ready,
            limits=Limits(**{**values, **limits}),
            metrics=self.metrics,
            others=probes,
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        chunks: Iterator[bytes] | list[bytes] | None = None,
        headers: dict[str, str] | None = None,
        query: bytes = b"",
        then: Message | None = None,
    ) -> Answer | None:
        parts = list(chunks or [b""])
        waiting: list[Message] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        if then is None:
            waiting[-1]["more_body"] = False
        elif then:
            waiting.append(then)
        sent: list[Message] = []

        async def receive() -> Message:
            if waiting:
                return waiting.pop(0)
            return await asyncio.get_running_loop().create_future()

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        await self.app(scope, receive, send)
        if not sent:
            return None
        given = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return Answer(sent[0]["status"], given, b"".join(each["body"] for each in sent[1:]))

    async def post(
        self, body: bytes, secret: str = "new", path: str = PATH, **options: Any
    ) -> Answer:
        headers = {"X-Hub-Signature-256": sign(body, secret), "Content-Length": str(len(body))}
        options.setdefault("headers", headers)
        options.setdefault("chunks", [body])
        answer = await self.call("POST", path, **options)
        assert answer is not None
        return answer


def sign(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


@pytest.mark.parametrize("secret", ["new", "old"])
async def test_post_takes_both_secrets_of_a_rotation(ingest: Ingest, secret: str):
    answer = await ingest.post(b"{}", secret)

    assert (answer.status, answer.body) == (200, b"")
    assert ingest.accept.taken == [(b"{}", Source())]


async def test_post_checks_the_raw_bytes():
    body = (RAW / "msg_text_unicode.body").read_bytes()
    signatures = json.loads((RAW / "msg_text_unicode.sig.json").read_text())
    ingest = Ingest()
    ingest.app._platform = {signatures["app_secret"].encode(): None}

    async def post(signature: str) -> int:
        answer = await ingest.post(body, headers={"X-Hub-Signature-256": signature})
        return answer.status

    assert await post(signatures["valid_for_raw_body"]) == 200
    assert await post(signatures["what_re_serialising_gives_and_must_be_rejected"]) == 401


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        pytest.param(None, "signature_missing", id="missing"),
        pytest.param("", "signature_malformed", id="empty"),
        pytest.param("sha256=", "signature_malformed", id="no-digits"),
        pytest.param("sha256=" + "g" * 64, "signature_malformed", id="not-hex"),
        pytest.param("sha256=" + "é" * 32, "signature_malformed", id="not-ascii"),
        pytest.param("sha1=" + "0" * 66, "signature_malformed", id="sha1"),
        pytest.param("sha256=" + " " * 64, "signature_mismatch", id="blank"),
        pytest.param("sha256=" + "0" * 64, "signature_mismatch", id="wrong"),
        pytest.param(sign(b"{}", "other"), "signature_mismatch", id="another-secret"),
        pytest.param(sign(b"{} ", "new"), "signature_mismatch", id="another-body"),
    ],
)
async def test_post_without_a_right_signature_has_no_effect(
    ingest: Ingest, signature: str | None, code: str
):
    headers = {} if signature is None else {"X-Hub-Signature-256": signature}

    answer = await ingest.post(b"{}", headers=headers)

    assert (answer.status, answer.code) == (401, code)
    assert ingest.accept.taken == []


async def test_post_chooses_the_secret_by_its_path(ingest: Ingest):
    ingest.apps.apply(credentials_record("n1", app_id="app-1", secret="one"))
    ingest.apps.apply(credentials_record("n2", app_id="app-1", secret="one", tenant="two"))
    ingest.apps.apply(credentials_record("n3", app_id="app-1", secret="three", tenant="three"))

    async def post(secret: str, path: str) -> int:
        return (await ingest.post(b"{}", secret, path)).status

    assert await post("one", f"{PATH}/app-1") == 200
    assert await post("three", f"{PATH}/app-1") == 200
    assert ingest.accept.taken == [
        (b"{}", Source("app-1", frozenset({"acme", "two"}))),
        (b"{}", Source("app-1", frozenset({"three"}))),
    ]
    assert await post("new", f"{PATH}/app-1") == 401
    assert await post("one", PATH) == 401
    assert await post("one", f"{PATH}/app-2") == 401
    assert len(ingest.accept.taken) == 2


@pytest.mark.parametrize("path", [f"{PATH}/", f"{PATH}/a/b", f"{PATH}x"])
async def test_post_to_another_path_is_404(ingest: Ingest, path: str):
    assert (await ingest.post(b"{}", path=path)).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_another_method_is_405(ingest: Ingest, method: str):
    answer = await ingest.call(method, PATH)

    assert answer is not None
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


async def test_other_paths_go_to_the_probes(ingest: Ingest):
    answer = await ingest.call("GET", "/livez")

    assert answer is not None
    assert answer.status == 204


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("size", "status"), [(4096, 200), (4097, 413), (100_000, 413)])
async def test_post_over_the_limit_is_413(size: int, status: int, declared: bool):
    ingest = Ingest(body_bytes=4096)
    body = b"x" * size
    headers = {"X-Hub-Signature-256": sign(body, "new")}
    if declared:
        headers["Content-Length"] = str(size)
    chunks = [body[at : at + 1000] for at in range(0, size, 1000)]

    answer = await ingest.post(body, chunks=chunks, headers=headers)

    assert answer.status == status
    assert len(ingest.accept.taken) == (status == 200)
    assert ingest.app._allowance.free == 64 * 1024 * 1024


@pytest.mark.parametrize("declared", [True, False])
async def test_post_far_over_the_limit_ends_the_connection(declared: bool):
    ingest = Ingest(body_bytes=4096)
    headers = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    if declared:
        headers["Content-Length"] = str(10**9)
    endless = [b"x" * 1024 * 1024] * 40

    answer = await ingest.post(b"", chunks=endless, headers=headers)

    assert (answer.status, answer.code) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_post_that_comes_too_slowly_is_408():
    ingest = Ingest(body_timeout=timedelta(milliseconds=50))

    answer = await ingest.post(b"x", then={})

    assert (answer.status, answer.code) == (408, "body_too_slow")
    assert answer.headers["connection"] == "close"
    assert ingest.app._allowance.free == 64 * 1024 * 1024


async def test_post_of_a_client_that_left_has_no_effect(ingest: Ingest):
    headers = {"X-Hub-Signature-256": sign(b"x", "new")}

    answer = await ingest.call(
        "POST", PATH, chunks=[b"x"], headers=headers, then={"type": "http.disconnect"}
    )

    assert answer is None
    assert ingest.accept.taken == []
    assert ingest.app._allowance.free == 64 * 1024 * 1024


async def test_post_beyond_the_bytes_in_flight_is_503_until_others_are_done():
    ingest = Ingest(in_flight_bytes=1000)
    ingest.accept.gate = asyncio.Event()
    first = asyncio.create_task(ingest.post(b"x" * 600))
    await ingest.accept.entered.wait()

    refused = await ingest.post(b"x" * 600)

    assert (refused.status, refused.code) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"

    ingest.accept.gate.set()

    assert (await first).status == 200
    assert (await ingest.post(b"x" * 600)).status == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(TransientError("kafka"), "not_durable", id="doubt"),
        pytest.param(RuntimeError("bug"), "internal", id="bug"),
    ],
)
async def test_post_that_is_not_durable_is_503(ingest: Ingest, error: Exception, code: str):
    ingest.accept.error = error

    answer = await ingest.post(b"{}")

    assert (answer.status, answer.code) == (503, code)
    assert ingest.app._allowance.free == 64 * 1024 * 1024


async def test_post_before_the_directory_is_read_is_503(ingest: Ingest):
    ingest.ready = False

    answer = await ingest.post(b"{}")

    assert (answer.status, answer.code) == (503, "not_ready")


QUERY = b"hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge="


@pytest.mark.parametrize(
    ("challenge", "body"),
    [
        pytest.param(b"1158201444", b"1158201444", id="digits"),
        pytest.param(b"0012", b"0012", id="leading-zeros"),
        pytest.param(b"%3Cb%3E", b"<b>", id="markup"),
        pytest.param(b"%ff%C3%A9", b"\xff\xc3\xa9", id="bytes"),
        pytest.param(b"", b"", id="empty"),
    ],
)
async def test_get_gives_the_challenge_back_verbatim(ingest: Ingest, challenge: bytes, body: bytes):
    answer = await ingest.call("GET", PATH, query=QUERY + challenge)

    assert answer is not None
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        pytest.param(b"", 403, "verification_failed", id="nothing"),
        pytest.param(
            QUERY.replace(b"verify-me", b"no") + b"1", 403, "verification_failed", id="wrong-token"
        ),
        pytest.param(
            QUERY.replace(b"subscribe", b"x") + b"1", 403, "verification_failed", id="mode"
        ),
        pytest.param(QUERY.rpartition(b"&")[0], 400, "challenge_missing", id="no-challenge"),
    ],
)
async def test_get_refuses_a_wrong_verification(
    ingest: Ingest, query: bytes, status: int, code: str
):
    answer = await ingest.call("GET", PATH, query=query)

    assert answer is not None
    assert (answer.status, answer.code) == (status, code)


async def test_get_of_an_app_compares_its_own_token(ingest: Ingest):
    ingest.apps.apply(credentials_record("n1", app_id="app-1", verify_token="mine"))

    async def status(path: str, token: bytes) -> int:
        answer = await ingest.call("GET", path, query=QUERY.replace(b"verify-me", token) + b"1")
        assert answer is not None
        return answer.status

    assert await status(f"{PATH}/app-1", b"mine") == 200
    assert await status(f"{PATH}/app-1", b"verify-me") == 403
    assert await status(f"{PATH}/app-2", b"mine") == 403
    assert await status(PATH, b"mine") == 403
    ingest.ready = False
    assert await status(f"{PATH}/app-1", b"mine") == 503


async def test_every_answer_is_counted(ingest: Ingest):
    await ingest.post(b"{}")
    await ingest.post(b"{}", "wrong")

    text = ingest.metrics.render()[0].decode()

    assert 'atrio_webhooks_total{status="200"} 1.0' in text
    assert 'atrio_webhooks_total{status="401"} 1.0' in text
