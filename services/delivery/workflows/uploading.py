"""Files of outgoing messages are given to Meta before the send, once per number."""

from __future__ import annotations

from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import Ambiguous, Done, GraphError, NotSent, SendRecord
from services.delivery.storage import Uploads
from services.delivery.workflows.clock import Clock
from shared.blobs.store import BlobMissingError, BlobStore
from shared.observability.metrics import Metrics


class UploadRefusedError(Exception):
    """Meta did not take the file; `answer` is judged like that of a send."""

    def __init__(self, answer: GraphError | NotSent | Ambiguous) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


FILE_MISSING = 131053
"""The code of Meta's own "media upload error", also for a file that our store does not have."""


class Uploader:
    """Media ids by (number, content), from the cache or by an upload."""

    def __init__(
        self, *, uploads: Uploads, files: BlobStore, graph: Graph, clock: Clock, metrics: Metrics
    ) -> None:
        self._uploads = uploads
        self._files = files
        self._graph = graph
        self._clock = clock
        self._metrics = metrics

    async def media_id(self, who: Credentials, record: SendRecord) -> str:
        """Meta's id of the record's file. Raises UploadRefusedError, TransientError."""
        media = record.media
        if media is None:
            raise ValueError("the record has no file")
        found = await self._uploads.find(
            record.tenant, record.number_id, media.sha256, self._clock.now()
        )
        # After a refused send the id may be the reason: a retry uploads again.
        if found is not None and record.retries == 0:
            return found
        try:
            content = await self._files.stream(record.tenant, media.sha256)
        except BlobMissingError as missing:
            raise UploadRefusedError(GraphError(FILE_MISSING, "file_missing")) from missing
        answer = await self._graph.upload(who, media, content)
        media_id = answer.members.get("id") if isinstance(answer, Done) else None
        if isinstance(answer, Done) and not isinstance(media_id, str):
            answer = Ambiguous("no_media_id")
        if not isinstance(answer, Done):
            self._metrics.media.labels("up", "refused").inc()
            raise UploadRefusedError(answer)
        self._metrics.media.labels("up", "done").inc()
        media_id = str(media_id)
        await self._uploads.keep(
            record.tenant, record.number_id, media.sha256, media_id, self._clock.now()
        )
        return media_id
