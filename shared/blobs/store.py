"""Where files are kept: object storage, or a folder. Keys are `<tenant>/<sha256>`.

Content is named by its digest: the same file twice is one, and what is stored never changes.
What is derived from a file lies beside it, as `<tenant>/<sha256>.<variant>`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from shared.contracts.errors import TransientError

THUMB = "thumb"
M4A = "m4a"
VARIANTS = (THUMB, M4A)
"""What is derived from a file."""

_PIECE = 256 * 1024
_PART = 5 * 1024 * 1024  # the least that S3 takes as a part of an upload
_PARTS_AT_ONCE = 2  # by default 12: 60 MB of memory for each upload
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobMissingError(Exception):
    """The store has no such file."""


class BlobStore:
    """`url` is an obstore URL (`s3://...`) or empty for the folder.

    Every call raises TransientError while the store is away; files are never whole in memory.
    """

    def __init__(self, url: str, folder: Path) -> None:
        if url:
            self._store = from_url(url)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(folder)

    async def put(self, tenant: str, sha256: str, content: IO[bytes], *, variant: str = "") -> None:
        """Keep a file, all of it or nothing; the same one again changes nothing."""
        key = _key(tenant, sha256, variant)
        try:
            await obstore.put_async(
                self._store, key, content, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def stream(
        self,
        tenant: str,
        sha256: str,
        *,
        variant: str = "",
        start: int = 0,
        end: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The file's bytes from `start` to before `end`. Raises BlobMissingError at once."""
        key = _key(tenant, sha256, variant)
        options: obstore.GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        try:
            found = await obstore.get_async(self._store, key, options=options)
        except FileNotFoundError as missing:
            raise BlobMissingError from missing
        except (BaseError, OSError) as error:
            raise _away(error) from error
        return _pieces(found)

    async def size(self, tenant: str, sha256: str, *, variant: str = "") -> int | None:
        """How long the file is; None: there is none."""
        try:
            found = await obstore.head_async(self._store, _key(tenant, sha256, variant))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _away(error) from error
        return int(found["size"])

    async def delete(self, tenant: str, sha256: str) -> None:
        """Remove a file and what was derived from it; there being none is fine."""
        for variant in ("", *VARIANTS):
            await self._delete([_key(tenant, sha256, variant)])

    async def delete_tenant(self, tenant: str) -> None:
        """Remove all files of a tenant."""
        try:
            async for page in obstore.list(self._store, prefix=_folder(tenant)):
                await self._delete([each["path"] for each in page])
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def _delete(self, keys: list[str]) -> None:
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError:
            return  # was removed before
        except (BaseError, OSError) as error:
            raise _away(error) from error


async def _pieces(found: obstore.GetResult) -> AsyncIterator[bytes]:
    try:
        async for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)
    except (BaseError, OSError) as error:
        raise _away(error) from error


def _folder(tenant: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ValueError("not a tenant's id")
    return tenant


def _key(tenant: str, sha256: str, variant: str = "") -> str:
    if not _DIGEST.fullmatch(sha256) or (variant and variant not in VARIANTS):
        raise ValueError("not a file's name")
    return f"{_folder(tenant)}/{sha256}" + (f".{variant}" if variant else "")


def _away(error: Exception) -> TransientError:
    return TransientError(f"blobs: {type(error).__name__}")
