"""Which addresses somebody else's URL may lead to: none inside the network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_RESOLVE_SECONDS = 3.0


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. Raises ValueError for other texts.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64, Teredo) counts as itself.
    """
    found = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found.teredo is not None:
            inner = found.teredo[1]
        elif found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def literal_of(host: str) -> str | None:
    """The host when it is an IP address itself, None for a name."""
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return None
    return host


async def leads_inside(url: str) -> bool:
    """Whether the URL's host is, or resolves to, any address that is not public.

    A name that does not resolve (yet) leads nowhere; who calls it looks again.
    """
    host = urlsplit(url).hostname or ""
    if literal_of(host) is not None:
        return not is_public(host)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return False
    return any(not is_public(str(each[4][0])) for each in found)
