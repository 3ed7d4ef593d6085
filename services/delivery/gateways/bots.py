"""Tenants' bots over HTTP: their addresses are somebody else's word and are not trusted."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from services.delivery.model import BotAnswer
from shared.addresses import is_public, literal_of

NOT_ALLOWED = BotAnswer(reason="address_not_allowed", final=True)


class BotHooks:
    """Posts to bots. The address that was checked is the one that is connected to.

    `private`: addresses inside the network are allowed. No redirects, no cookies, no proxies.
    """

    def __init__(self, *, private: bool, total: timedelta) -> None:
        self._private = private
        self._timeout = aiohttp.ClientTimeout(
            total=total.total_seconds(), connect=min(5.0, total.total_seconds())
        )
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Build the session; connects to nothing."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_CheckedResolver(private=self._private),
                limit=256,
                limit_per_host=32,
                keepalive_timeout=15,
                ttl_dns_cache=10,
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "atrio-delivery"},
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> BotAnswer:
        """One attempt; of the answer only the status is read."""
        if self._session is None:
            raise RuntimeError("bot hooks are not started")
        host = URL(url).host or ""
        # A literal address is connected to without asking the resolver.
        if not self._private and literal_of(host) is not None and not is_public(host):
            return NOT_ALLOWED
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return BotAnswer(response.status, retry_after=_seconds(response.headers))
        except aiohttp.ClientConnectorDNSError as error:
            if isinstance(error.os_error, _NotPublicError):
                return NOT_ALLOWED
            return BotAnswer(reason="not_reached")
        except aiohttp.InvalidURL:
            return NOT_ALLOWED
        except (aiohttp.ClientError, TimeoutError, OSError):
            return BotAnswer(reason="not_reached")


def _seconds(headers: Mapping[str, str]) -> timedelta | None:
    value = headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isdecimal() and len(value) < 6 else None


class _NotPublicError(OSError):
    """The name leads inside the network."""


class _CheckedResolver(AbstractResolver):
    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._inner = aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        # One that is not public spoils them all: which is tried first is not ours to say.
        if not self._private and not all(is_public(each["host"]) for each in found):
            raise _NotPublicError("an address that is not public")
        return found

    @override
    async def close(self) -> None:
        await self._inner.close()
