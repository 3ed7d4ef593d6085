"""The catalogue of uploads, and which messages show which file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime

from services.inbox.model.conversation import Media
from services.inbox.model.media import Kind, Shown, Upload
from services.inbox.model.outgoing import StoredMedia
from services.inbox.storage.entries import MESSAGES
from shared.mongo.client import Database, Document, transient_errors

MEDIA = "media"
_FILE = tuple(field.name for field in fields(StoredMedia) if field.name != "id")
_PAGE = 100


class MediaStore:
    """Every call names the tenant; only the sweep of unused uploads asks for those of all."""

    def __init__(self, database: Database) -> None:
        self._uploads = database[MEDIA]
        self._messages = database[MESSAGES]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._uploads.create_index([("tenant", 1), ("sha256", 1)], name="content")
            await self._uploads.create_index(
                "touched_at", name="unused", partialFilterExpression={"unused": True}
            )
            for member in ("id", "sha256"):
                path = f"media.{member}"
                # Texts are in neither: an index entry is paid for by files alone.
                await self._messages.create_index(
                    [("tenant", 1), (path, 1)],
                    name=f"media_{member}",
                    partialFilterExpression={path: {"$type": "string"}},
                )

    async def begin(self, upload: Upload) -> None:
        """Notes an upload before its content is stored: from here on the content is wanted."""
        file = asdict(upload.file)
        document: Document = {
            "_id": file.pop("id"),
            "tenant": upload.tenant,
            "uploader": upload.uploader,
            "kind": upload.kind.value,
            "created_at": upload.created_at,
            "touched_at": upload.created_at,
            "stored": False,
            "unused": True,
            **file,
        }
        with transient_errors():
            await self._uploads.insert_one(document)

    async def finish(self, tenant: str, media_id: str) -> None:
        """The content is stored: the upload is there for everybody who may see it."""
        with transient_errors():
            await self._uploads.update_one(
                {"_id": media_id, "tenant": tenant}, {"$set": {"stored": True}}
            )

    async def find(self, tenant: str, media_id: str) -> Upload | None:
        """An upload whose content is stored."""
        with transient_errors():
            found = await self._uploads.find_one(
                {"_id": media_id, "tenant": tenant, "stored": True}
            )
        return None if found is None else _upload(found)

    async def touch(self, tenant: str, media_id: str, now: datetime) -> bool:
        """Notes that the upload is about to be sent; False: it is gone."""
        with transient_errors():
            done = await self._uploads.update_one(
                {"_id": media_id, "tenant": tenant, "stored": True}, {"$set": {"touched_at": now}}
            )
        return done.matched_count == 1

    async def shown(self, tenant: str, media_id: str) -> AsyncIterator[Shown]:
        """Messages with this file, deleted ones left out."""
        query: Document = {
            "tenant": tenant,
            "media.id": {"$type": "string", "$eq": media_id},
            "deleted": {"$ne": True},
        }
        with transient_errors():
            cursor = self._messages.find(query, {"conversation": 1, "media": 1}).batch_size(_PAGE)
            async for doc in cursor:
                yield Shown(doc["conversation"], Media(**doc["media"]))

    async def is_deleted(self, tenant: str, media_id: str) -> bool:
        """Whether messages had the file, and all of them are deleted."""
        query: Document = {"tenant": tenant, "media.id": {"$type": "string", "$eq": media_id}}
        with transient_errors():
            gone = await self._messages.find_one({**query, "deleted": True}, {"_id": 1})
            if gone is None:
                return False
            left = await self._messages.find_one({**query, "deleted": {"$ne": True}}, {"_id": 1})
        return left is None

    # -- uploads that no message used

    async def unused(self, before: datetime, limit: int) -> list[Upload]:
        """The oldest that nobody was about to send since, finished or not."""
        query = {"unused": True, "touched_at": {"$lt": before}}
        with transient_errors():
            docs = await self._uploads.find(query).sort("touched_at", 1).limit(limit).to_list(None)
        return [_upload(doc) for doc in docs]

    async def used(self, tenant: str, media_id: str) -> None:
        """A message has it: it stays as long as the message."""
        with transient_errors():
            await self._uploads.update_one(
                {"_id": media_id, "tenant": tenant}, {"$unset": {"unused": ""}}
            )

    async def expire(self, tenant: str, media_id: str, before: datetime) -> bool:
        """Hides an unused upload from everybody; False: somebody is about to send it."""
        with transient_errors():
            done = await self._uploads.update_one(
                {"_id": media_id, "tenant": tenant, "touched_at": {"$lt": before}},
                {"$set": {"stored": False}},
            )
        return done.matched_count == 1

    async def is_wanted(self, tenant: str, sha256: str, before: datetime) -> bool:
        """Whether an upload has this content that is not expired itself."""
        query: Document = {
            "tenant": tenant,
            "sha256": sha256,
            "$or": [{"stored": True}, {"touched_at": {"$gte": before}}],
        }
        with transient_errors():
            return await self._uploads.find_one(query, {"_id": 1}) is not None

    async def remove(self, tenant: str, media_id: str) -> bool:
        """Removes an upload from the catalogue; whether it was this call."""
        with transient_errors():
            done = await self._uploads.delete_one({"_id": media_id, "tenant": tenant})
        return done.deleted_count == 1

    # -- what the eraser asks and does

    async def of_conversation(self, tenant: str, conversation: str) -> list[tuple[str, str]]:
        """Id and digest of every file that a conversation has or had."""
        query: Document = {
            "tenant": tenant,
            "conversation": conversation,
            "media.sha256": {"$type": "string"},
        }
        with transient_errors():
            docs = await self._messages.find(query, {"media.id": 1, "media.sha256": 1}).to_list(
                None
            )
        return [(doc["media"].get("id") or "", doc["media"]["sha256"]) for doc in docs]

    async def is_shown(
        self, tenant: str, digests: Sequence[str], *, except_in: str | None = None
    ) -> bool:
        """Whether a message that is not deleted has this content, in another conversation."""
        query: Document = {
            "tenant": tenant,
            "media.sha256": {"$type": "string", "$in": list(digests)},
            "deleted": {"$ne": True},
        }
        if except_in is not None:
            query["conversation"] = {"$ne": except_in}
        with transient_errors():
            return await self._messages.find_one(query, {"_id": 1}) is not None

    async def remove_untouched(self, tenant: str, ids: Sequence[str], before: datetime) -> None:
        """Removes uploads that nobody was about to send since."""
        if not ids:
            return
        with transient_errors():
            await self._uploads.delete_many(
                {"_id": {"$in": list(ids)}, "tenant": tenant, "touched_at": {"$lt": before}}
            )

    async def is_uploaded(self, tenant: str, sha256: str) -> bool:
        """Whether an upload has this content, stored or about to be."""
        with transient_errors():
            found = await self._uploads.find_one({"tenant": tenant, "sha256": sha256}, {"_id": 1})
        return found is not None

    async def erase(self, tenant: str) -> None:
        """Removes the tenant's catalogue."""
        with transient_errors():
            await self._uploads.delete_many({"tenant": tenant})


def _upload(doc: Document) -> Upload:
    return Upload(
        tenant=doc["tenant"],
        uploader=doc["uploader"],
        kind=Kind(doc["kind"]),
        created_at=doc["created_at"],
        file=StoredMedia(id=doc["_id"], **{name: doc[name] for name in _FILE}),
    )
