"""Message templates by account, as delivery read them at Meta last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import orjson
from pymongo import DeleteMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from services.inbox.decisions.templates import template_of
from services.inbox.model.channels import Template, TemplateQuery
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors

TEMPLATES = "templates"
READINGS = "template_readings"


class TemplateStore:
    """All methods raise TransientError when the server is away."""

    def __init__(self, database: Database) -> None:
        self._templates = database[TEMPLATES]
        self._readings = database[READINGS]

    async def ensure_indexes(self) -> None:
        """What the list and a send look by."""
        with transient_errors():
            await self._templates.create_index([("tenant", 1), ("sort", 1)], name="list")
            await self._templates.create_index(
                [("tenant", 1), ("waba", 1), ("name", 1), ("language", 1)], name="send"
            )

    async def put(
        self, tenant: str, waba_id: str, templates: Sequence[Template], at: datetime
    ) -> None:
        """Keep what one reading showed, unless a later one is held."""
        writes = [
            UpdateOne(
                {"_id": f"{tenant}/{waba_id}/{template.id}", "at": {"$lte": at}},
                {"$set": _document(tenant, waba_id, template, at)},
                upsert=True,
            )
            for template in templates
        ]
        if not writes:
            return
        with transient_errors():
            try:
                await self._templates.bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise

    async def finish(self, tenant: str, waba_id: str, at: datetime) -> None:
        """A reading is whole: what it did not show is gone."""
        with transient_errors():
            await self._templates.bulk_write(
                [DeleteMany({"tenant": tenant, "waba": waba_id, "at": {"$lt": at}})]
            )
            try:
                await self._readings.update_one(
                    {"_id": f"{tenant}/{waba_id}", "at": {"$lte": at}},
                    {"$set": {"tenant": tenant, "at": at}},
                    upsert=True,
                )
            except DuplicateKeyError:
                return

    async def read_at(self, tenant: str, waba_id: str) -> datetime | None:
        """When the last whole reading of an account began; None: its templates are not known."""
        with transient_errors():
            found = await self._readings.find_one({"_id": f"{tenant}/{waba_id}"})
        return None if found is None else found["at"]

    async def find(self, tenant: str, waba_id: str, name: str, language: str) -> Template | None:
        """The template that a send names."""
        query = {"tenant": tenant, "waba": waba_id, "name": name, "language": language}
        with transient_errors():
            found = await self._templates.find_one(query)
        return None if found is None else _template(found)

    async def page(
        self, tenant: str, query: TemplateQuery, *, limit: int, after: str | None = None
    ) -> tuple[list[Template], str | None]:
        """Templates by name and language, and where the next page begins."""
        wanted: Document = {"tenant": tenant}
        for member, value in (
            ("waba", query.waba_id),
            ("language", query.language),
            ("category", query.category and query.category.upper()),
            ("status", query.status and query.status.upper()),
        ):
            if value is not None:
                wanted[member] = value
        if query.q:
            wanted["name"] = {"$regex": re.escape(query.q.lower())}
        if after is not None:
            wanted["sort"] = {"$gt": after}
        with transient_errors():
            found = await (
                self._templates.find(wanted).sort("sort", 1).limit(limit + 1).to_list(None)
            )
        more = len(found) > limit
        found = found[:limit]
        return [_template(each) for each in found], found[-1]["sort"] if more else None


def _document(tenant: str, waba_id: str, template: Template, at: datetime) -> Document:
    # JSON inside BSON: Meta's shapes may hold what BSON refuses.
    raw = {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "category": template.category,
        "status": template.status,
        "quality_score": {"score": template.quality},
        "rejected_reason": template.reason,
        "parameter_format": "NAMED" if template.named else "POSITIONAL",
        "components": template.components,
    }
    return {
        "tenant": tenant,
        "waba": waba_id,
        "name": template.name,
        "language": template.language,
        "category": template.category.upper(),
        "status": template.status.upper(),
        "sort": f"{template.name}\x1f{template.language}\x1f{template.id}\x1f{waba_id}",
        "raw": orjson.dumps(raw),
        "at": at,
    }


def _template(doc: Document) -> Template:
    template = template_of(orjson.loads(doc["raw"]))
    assert template is not None  # noqa: S101 - it was one when it was stored
    return replace(template, waba_id=doc["waba"])
