import asyncio
import base64
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from services.delivery.gateways.downloads import (
    DownloadFailedError,
    DownloadRefusedError,
    Downloads,
    _PublicResolver,
)
from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import Done, MediaFile
from services.delivery.workflows.fetching import hex_digest
from shared.blobs.store import BlobStore

GRAPH = "https://graph.facebook.com"
META = "lookaside.fbsbx.com"
MB = 2**20
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Any HTTP server of this machine; keeps who came with which token."""

    url: str = ""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    answer: Answer | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers.get("authorization")))
        assert self.answer is not None
        return await self.answer(request)


@pytest.fixture
async def servers() -> AsyncIterator[Callable[[], Awaitable[Server]]]:
    runners: list[web.AppRunner] = []

    async def serve() -> Server:
        server = Server()
        app = web.Application(client_max_size=200 * MB)
        app.router.add_route("*", "/{path:.*}", server.handle)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        site = web.TCPSite(runners[-1], "127.0.0.1", 0)
        await site.start()
        host, port = runners[-1].addresses[0][:2]
        server.url = f"http://{host}:{port}"
        return server

    yield serve
    await asyncio.gather(*(runner.cleanup() for runner in runners))


@pytest.fixture
async def downloads_of() -> AsyncIterator[Callable[[str], Awaitable[Downloads]]]:
    made: list[Downloads] = []

    async def start(graph_url: str) -> Downloads:
        made.append(Downloads(graph_url, hosts=(META,), largest=100 * MB))
        await made[-1].start()
        return made[-1]

    yield start
    await asyncio.gather(*(each.aclose() for each in made))


DownloadsOf = Callable[[str], Awaitable[Downloads]]
Servers = Callable[[], Awaitable[Server]]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://evil.example/x", id="another host"),
        pytest.param(f"http://{META}/x", id="not encrypted"),
        pytest.param(f"https://{META}:8443/x", id="another port"),
        pytest.param(f"https://{META}.evil.example/x", id="longer host"),
        pytest.param(f"https://evil.example/{META}", id="host in the path"),
        pytest.param(f"https://{META}@evil.example/x", id="host as a user"),
        pytest.param(f"https://user:secret@{META}/x", id="user"),
        pytest.param("https://127.0.0.1/x", id="loopback"),
        pytest.param("https://[::1]/x", id="loopback by IPv6"),
        pytest.param("https://10.0.0.1/x", id="private"),
        pytest.param("http://169.254.169.254/latest/meta-data", id="link-local"),
        pytest.param("https://[::ffff:10.0.0.1]/x", id="private inside IPv6"),
        pytest.param("https://2130706433/x", id="loopback as a number"),
        pytest.param("http://graph.facebook.com/x", id="graph, not encrypted"),
        pytest.param("https://graph.facebook.com:444/x", id="graph, another port"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("//lookaside.fbsbx.com/x", id="no scheme"),
        pytest.param("https://[", id="no address"),
        pytest.param("", id="nothing"),
    ],
)
async def test_the_token_goes_to_named_hosts_alone(downloads_of: DownloadsOf, address: str):
    downloads = await downloads_of(GRAPH)
    assert not downloads.allows(address)
    with pytest.raises(DownloadRefusedError, match="host_not_allowed"):
        await downloads.fetch(address, "token")


@pytest.mark.parametrize(
    "address",
    [f"https://{META}/x?mid=1", f"https://{META}:443/x", f"https://{META.upper()}/x", GRAPH + "/x"],
)
async def test_metas_hosts_and_the_configured_one_are_allowed(
    downloads_of: DownloadsOf, address: str
):
    assert (await downloads_of(GRAPH)).allows(address)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(downloads_of: DownloadsOf, servers: Servers, status: int):
    graph, elsewhere = await servers(), await servers()

    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"location": elsewhere.url + "/inside"})

    graph.answer = redirect
    downloads = await downloads_of(graph.url)
    with pytest.raises(DownloadRefusedError, match="redirected"):
        await downloads.fetch(graph.url + "/file", "token")
    assert graph.seen == [("/file", "Bearer token")]
    assert elsewhere.seen == []


class _Told(AbstractResolver):
    """Knows one name by these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self._addresses
        ]

    @override
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
    ],
)
async def test_a_name_that_leads_inside_is_hidden(address: str):
    resolver = _PublicResolver(allowed="graph.test", inner=_Told(address))
    with pytest.raises(OSError, match="none public"):
        await resolver.resolve(META, 443)
    both = _PublicResolver(allowed="graph.test", inner=_Told(address, "157.240.0.1"))
    assert [each["host"] for each in await both.resolve(META, 443)] == ["157.240.0.1"]
    # Who configures a Graph server of the own network means it.
    (found,) = await resolver.resolve("graph.test", 443)
    assert found["host"] == address


@pytest.mark.parametrize(
    ("status", "expired"), [(401, True), (403, True), (404, True), (410, True), (500, False)]
)
async def test_an_address_that_is_not_valid_any_more_is_told(
    downloads_of: DownloadsOf, servers: Servers, status: int, expired: bool
):
    graph = await servers()

    async def gone(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    graph.answer = gone
    with pytest.raises(DownloadFailedError) as failed:
        await (await downloads_of(graph.url)).fetch(graph.url + "/file", "token")
    assert (failed.value.reason, failed.value.expired) == (f"http_{status}", expired)


@pytest.mark.parametrize("told", [True, False], ids=["length told", "length not told"])
async def test_a_file_without_end_is_cut_off(
    downloads_of: DownloadsOf, servers: Servers, told: bool
):
    graph = await servers()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if told:
            response.content_length = 101 * MB
        await response.prepare(request)
        while True:
            await response.write(bytes(MB))

    graph.answer = endless
    with pytest.raises(DownloadRefusedError, match="too_large"):
        await (await downloads_of(graph.url)).fetch(graph.url + "/file", "token")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param("ab" * 32, "ab" * 32, id="hex"),
        pytest.param("AB" * 32, "ab" * 32, id="large hex"),
        pytest.param(base64.b64encode(b"\xab" * 32).decode(), "ab" * 32, id="base64"),
        pytest.param("zz" * 32, None, id="64 letters that are no hex"),
        pytest.param(base64.b64encode(b"\xab" * 31).decode(), None, id="too short"),
        pytest.param("not a digest", None, id="nonsense"),
        pytest.param("é" * 44, None, id="not ASCII"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_a_digest_is_read_in_both_spellings(told: str | None, expected: str | None):
    assert hex_digest(told) == expected


async def test_a_large_file_is_never_whole_in_memory(
    downloads_of: DownloadsOf, servers: Servers, tmp_path: Path
):
    size = 100 * MB
    graph = await servers()
    process = psutil.Process()
    largest = received = 0
    content = b"hola mundo;1\n\0\0\0" * 4096

    def look() -> None:
        nonlocal largest
        largest = max(largest, process.memory_info().rss)

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/csv"})
        response.content_length = size
        await response.prepare(request)
        for _ in range(size // len(content)):
            look()
            await response.write(content)
        return response

    async def take(request: web.Request) -> web.StreamResponse:
        nonlocal received
        async for piece in request.content.iter_chunked(MB):
            received += len(piece)
            look()
        return web.json_response({"id": "1"})

    downloads = await downloads_of(graph.url)
    files = BlobStore("", tmp_path)
    client = Graph(graph.url, version="v25.0")
    await client.start()
    before = process.memory_info().rss
    graph.answer = give
    found = await downloads.fetch(graph.url + "/file", "token")
    with found.content:
        look()
        await files.put("acme", found.sha256, found.content)
    look()
    graph.answer = take
    who = Credentials("1", "token", 1)
    file = MediaFile(found.sha256, "text/csv", found.size)
    answer = await client.upload(who, file, await files.stream("acme", found.sha256))
    await client.aclose()
    assert isinstance(answer, Done)
    assert found.size == size
    assert found.sha256 == hashlib.sha256(content * (size // len(content))).hexdigest()
    assert size < received < size + 2000
    assert largest - before < 64 * MB
