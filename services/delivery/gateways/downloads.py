"""Downloads of incoming files: the address comes from a webhook, so it is not trusted."""

from __future__ import annotations

import hashlib
import socket
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from shared.addresses import is_public

_CHUNK = 64 * 1024
_IN_MEMORY = 1024 * 1024


class DownloadRefusedError(Exception):
    """Not a file that we fetch; `reason` is a stable code. Asking again does not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DownloadFailedError(Exception):
    """It did not work this time; `expired`: the address is not valid any more."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A whole file; `content` is to be closed by whoever got it."""

    content: IO[bytes]
    size: int
    sha256: str
    mime_type: str | None


class Downloads:
    """Fetches with the bearer token from Meta's hosts and the configured Graph host only."""

    def __init__(
        self,
        graph_url: str,
        *,
        hosts: tuple[str, ...],
        largest: int,
        total: timedelta = timedelta(minutes=10),
    ) -> None:
        self._graph = URL(graph_url).origin()
        self._hosts = frozenset(hosts)
        self._largest = largest
        self._timeout = aiohttp.ClientTimeout(
            total=total.total_seconds(), connect=5, sock_connect=5, sock_read=30
        )
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Build the session; connects to nothing."""
        resolver = _PublicResolver(allowed=self._graph.host or "")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, limit=64),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "atrio-delivery"},
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def allows(self, address: str) -> bool:
        """Whether the token may be sent to this address."""
        try:
            url = URL(address)
            origin = url.origin()
        except ValueError:
            return False
        if url.user is not None or url.password is not None:
            return False
        return origin == self._graph or (
            url.scheme == "https" and url.host in self._hosts and url.port in (443, None)
        )

    async def fetch(self, address: str, access_token: str) -> Downloaded:
        """The whole file, streamed to disk beyond 1 MiB.

        Raises DownloadRefusedError, DownloadFailedError.
        """
        if not self.allows(address):
            raise DownloadRefusedError("host_not_allowed")
        if self._session is None:
            raise RuntimeError("downloads are not started")
        content: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - handed over
        try:
            async with self._session.get(
                address,
                headers={"authorization": f"Bearer {access_token}"},
                allow_redirects=False,
            ) as response:
                return await self._read(response, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            content.close()
            raise DownloadFailedError(type(error).__name__) from error
        except BaseException:
            content.close()
            raise

    async def _read(self, response: aiohttp.ClientResponse, content: IO[bytes]) -> Downloaded:
        if 300 <= response.status < 400:
            raise DownloadRefusedError("redirected")
        if response.status in {401, 403, 404, 410}:
            raise DownloadFailedError(f"http_{response.status}", expired=True)
        if response.status != 200:
            raise DownloadFailedError(f"http_{response.status}")
        if (response.content_length or 0) > self._largest:
            raise DownloadRefusedError("too_large")
        digest = hashlib.sha256()
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > self._largest:
                raise DownloadRefusedError("too_large")
            digest.update(chunk)
            content.write(chunk)
        content.seek(0)
        mime = response.headers.get("content-type")
        return Downloaded(content, size, digest.hexdigest(), mime)


class _PublicResolver(AbstractResolver):
    """Hides private addresses, so that a name cannot lead inside the network."""

    def __init__(self, *, allowed: str, inner: AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._inner = inner or aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host == self._allowed:
            return found
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise OSError(f"{len(found)} addresses, none public")
        return public

    @override
    async def close(self) -> None:
        await self._inner.close()
