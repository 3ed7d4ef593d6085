"""Entities as documents of the collection `directory`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import TypeAdapter

from services.inbox.model.entities import CLASSES, KINDS, Entity, Number
from shared.contracts.directory import EntityKind
from shared.mongo.client import Document

_ADAPTERS: dict[type[Entity], TypeAdapter[Any]] = {cls: TypeAdapter(cls) for cls in KINDS}


def head_id(kind: type[Entity], entity_id: str) -> str:
    """The document's `_id`."""
    return f"{KINDS[kind].value}:{entity_id}"


def state_of(entity: Entity) -> Document:
    """The document without what the log adds (`_id`, `version`, the outbox).

    `sort` is the order of lists: by name, then id.
    """
    state: Document = {
        name: _stored(value) for name, value in _ADAPTERS[type(entity)].dump_python(entity).items()
    }
    del state["version"]
    state["kind"] = KINDS[type(entity)].value
    state["sort"] = f"{_label(entity).casefold()}\x1f{entity.id}"
    return state


def entity_of(document: Mapping[str, Any]) -> Entity:
    """The entity in a document, or in the state and version of a head."""
    cls = CLASSES[EntityKind(document["kind"])]
    entity: Entity = _ADAPTERS[cls].validate_python(dict(document))
    return entity


def _stored(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _label(entity: Entity) -> str:
    if isinstance(entity, Number):
        return entity.display_phone_number or entity.phone_number_id
    return str(getattr(entity, "name", ""))
