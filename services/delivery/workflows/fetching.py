"""An incoming file: looked up, downloaded, checked, kept."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from services.delivery.gateways.downloads import (
    Downloaded,
    DownloadFailedError,
    DownloadRefusedError,
    Downloads,
)
from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import CallAnswer, Done, ErrorNote, GraphError, NotSent
from services.delivery.workflows.telling import error_json
from shared.blobs.store import BlobStore
from shared.contracts.commands import FetchMedia
from shared.ids import IdHasher
from shared.media.measuring import measure
from shared.observability.metrics import Metrics

Result = dict[str, Any] | CallAnswer
"""Members of `MediaOutcome`, or the answer that stands in the way."""


class Fetcher:
    """Downloads to the store under tenant and sha256."""

    def __init__(
        self,
        *,
        graph: Graph,
        downloads: Downloads,
        files: BlobStore,
        hasher: IdHasher,
        metrics: Metrics,
    ) -> None:
        self._graph = graph
        self._downloads = downloads
        self._files = files
        self._hasher = hasher
        self._metrics = metrics

    async def fetch(self, tenant: str, command: FetchMedia, who: Credentials) -> Result:
        """Have the file stored. Raises TransientError when the store is away."""
        expected = hex_digest(command.sha256)
        address = command.url
        if address is not None and self._downloads.allows(address):
            try:
                file = await self._downloads.fetch(address, who.access_token)
            except DownloadRefusedError as refused:
                return self._refused(refused.reason)
            except DownloadFailedError:
                pass  # addresses live five minutes: ask for a new one
            else:
                return await self._keep(tenant, command, file, expected)
        answer = await self._graph.media(who, command.whatsapp_media_id)
        if not isinstance(answer, Done):
            return answer
        address = answer.members.get("url")  # type: ignore[assignment]
        if not isinstance(address, str):
            return NotSent("no_url")
        try:
            file = await self._downloads.fetch(address, who.access_token)
        except DownloadRefusedError as refused:
            return self._refused(refused.reason)
        except DownloadFailedError as failed:
            return GraphError(-1, failed.reason, transient=True)
        return await self._keep(tenant, command, file, expected)

    async def _keep(
        self, tenant: str, command: FetchMedia, file: Downloaded, expected: str | None
    ) -> Result:
        with file.content:
            if expected is not None and file.sha256 != expected:
                return GraphError(-1, "sha256_mismatch", transient=True)
            measures = await asyncio.to_thread(measure, file.content)
            await self._files.put(tenant, file.sha256, file.content)
        self._metrics.media.labels("down", "done").inc()
        return {
            "media_id": self._hasher.of("media", tenant, command.message_id),
            "mime_type": command.mime_type or file.mime_type,
            "size": file.size,
            "sha256": file.sha256,
            "width": measures.width,
            "height": measures.height,
            "duration_ms": measures.duration_ms,
        }

    def _refused(self, reason: str) -> dict[str, Any]:
        self._metrics.media.labels("down", "refused").inc()
        return {"error": error_json(ErrorNote(reason, reason))}


def hex_digest(sha256: str | None) -> str | None:
    """Meta writes it in base64 in webhooks and in hex in answers; None: not a digest."""
    if sha256 is None:
        return None
    try:
        raw = (
            bytes.fromhex(sha256) if len(sha256) == 64 else base64.b64decode(sha256, validate=True)
        )
    except ValueError:
        return None
    return raw.hex() if len(raw) == 32 else None
