"""Where files are kept: object storage, or a folder. Keys are `<tenant>/<sha256>`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from shared.contracts.errors import TransientError


class FileMissingError(Exception):
    """The store has no such file."""


class FileStore:
    """`url` is an obstore URL (`s3://...`) or empty for the folder."""

    def __init__(self, url: str, folder: Path) -> None:
        if url:
            self._store = from_url(url)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(folder)

    async def put(self, tenant: str, sha256: str, content: IO[bytes]) -> None:
        """Keep a file; the same one again changes nothing. Raises TransientError."""
        try:
            await obstore.put_async(self._store, f"{tenant}/{sha256}", content)
        except (BaseError, OSError) as error:
            raise TransientError(f"files: {type(error).__name__}") from error

    async def stream(self, tenant: str, sha256: str) -> AsyncIterator[bytes]:
        """The file's bytes. Raises FileMissingError, TransientError."""
        try:
            found = await obstore.get_async(self._store, f"{tenant}/{sha256}")
        except FileNotFoundError as missing:
            raise FileMissingError from missing
        except (BaseError, OSError) as error:
            raise TransientError(f"files: {type(error).__name__}") from error
        return _chunks(found)


async def _chunks(found: obstore.GetResult) -> AsyncIterator[bytes]:
    try:
        async for chunk in found.stream():
            yield bytes(chunk)
    except (BaseError, OSError) as error:
        raise TransientError(f"files: {type(error).__name__}") from error
