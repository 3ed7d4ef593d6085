"""The contracts as one AsyncAPI 3 document, and as a table.

    python -m shared.contracts.asyncapi > docs/contracts/asyncapi.json
    python -m shared.contracts.asyncapi table > docs/contracts/topics.md

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and its Kafka bindings 0.5.0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic.json_schema import models_json_schema

from shared.contracts.base import Payload
from shared.contracts.commands import COMMANDS
from shared.contracts.directory import CREDENTIALS_TYPE, ENTRIES, CredentialsEntry
from shared.contracts.envelope import JSON, TYPE_PREFIX, TYPE_SUFFIX
from shared.contracts.events import PAYLOADS, DecisionType, DeliveryEventType
from shared.contracts.inbound import (
    QUARANTINE_APP,
    QUARANTINE_REASON,
    QUARANTINE_TENANTS,
    InboundItem,
    InboundType,
    QuarantineReason,
)
from shared.contracts.topics import (
    ACCOUNT_EVENTS,
    AGENT_EVENTS,
    ALL,
    CONTACT_EVENTS,
    CONVERSATION_EVENTS,
    CREDENTIALS,
    DELIVERY_EVENTS,
    DIRECTORY,
    INBOUND,
    OUTBOUND,
    QUARANTINE,
    ROUTING_DECISIONS,
    Topic,
)

QUARANTINED = "whatsapp.quarantined"
"""The one type whose value is not JSON of ours: the bytes that Meta signed."""

_VERSION = "1.0.0"
_DAY = timedelta(days=1)
_NOBODY = frozenset({"anybody", "operators"})
_BINDING = "0.5.0"
_DELIVERY = frozenset(t.value for t in DeliveryEventType)
_DECISIONS = frozenset(t.value for t in DecisionType)

Document = dict[str, Any]


def messages_of(topic: Topic) -> Mapping[str, type[Payload]]:
    """The types that a topic carries, each with the model of its value; none for raw bytes."""
    if topic is INBOUND:
        return {t.value: InboundItem for t in InboundType}
    if topic is OUTBOUND:
        return COMMANDS
    if topic is DIRECTORY:
        return {f"directory.{kind.value}": model for kind, model in ENTRIES.items()}
    if topic is CREDENTIALS:
        return {CREDENTIALS_TYPE: CredentialsEntry}
    return {kind: model for kind, model in PAYLOADS.items() if topic_of(kind) is topic}


def topic_of(kind: str) -> Topic:
    """The topic of an event type. Raises ValueError for what is no event."""
    if kind in _DELIVERY:
        return DELIVERY_EVENTS
    if kind in _DECISIONS:
        return ROUTING_DECISIONS
    match kind.partition(".")[0]:
        case "message" | "conversation":
            return CONVERSATION_EVENTS
        case "contact":
            return CONTACT_EVENTS
        case "agent":
            return AGENT_EVENTS
        case "account":
            return ACCOUNT_EVENTS
        case _:
            raise ValueError(kind)


def document() -> Document:
    """The AsyncAPI document of every topic, under the names without prefix and lane."""
    used = {model.__name__: model for topic in ALL for model in messages_of(topic).values()}
    _, schemas = models_json_schema(
        [(model, "validation") for _, model in sorted(used.items())],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "id": "urn:atrio",
        "info": {
            "title": "Atrio",
            "version": _VERSION,
            "description": (
                "CloudEvents 1.0 in Kafka's binary mode. An installation may put a prefix before "
                "a topic's name and a lane behind it. Delivery is at least once: a repeated event "
                "has the same `ce_id` and the same bytes. Readers ignore members and skip types "
                "that they do not know. Public topics keep this contract; internal ones are "
                "documented for operators."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {topic.base: _channel(topic) for topic in ALL},
        "operations": dict(_operations()),
        "components": {
            "messages": {
                kind: _message(kind, model, topic)
                for topic in ALL
                for kind, model in messages_of(topic).items()
            }
            | {QUARANTINED: _quarantined()},
            "schemas": schemas["$defs"] | {"CloudEventHeaders": _headers()},
        },
    }


def _kinds(topic: Topic) -> Sequence[str]:
    return [QUARANTINED] if topic is QUARANTINE else list(messages_of(topic))


def _channel(topic: Topic) -> Document:
    policy: Document = {"cleanup.policy": ["compact" if topic.compacted else "delete"]}
    if topic.retention is not None:
        policy["retention.ms"] = topic.retention // timedelta(milliseconds=1)
    return {
        "address": topic.base,
        "title": topic.base,
        "description": f"{topic.about} Key: {topic.key}.",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in _kinds(topic)},
        "tags": [{"name": topic.visibility.value}],
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": policy,
                "bindingVersion": _BINDING,
            }
        },
        "x-personal-data": topic.personal_data.value,
        "x-dead-letters": topic.dead_name() if topic.dead_letters else None,
    }


def _operations() -> list[tuple[str, Document]]:
    found = []
    for topic in ALL:
        for action, names in (("send", topic.owner), ("receive", topic.readers)):
            found += [
                (
                    f"{name}.{action}.{topic.base}",
                    {
                        "action": action,
                        "channel": {"$ref": f"#/channels/{topic.base}"},
                        "tags": [{"name": name}],
                    },
                )
                for name in names
                if name not in _NOBODY
            ]
    return found


def _message(kind: str, model: type[Payload], topic: Topic) -> Document:
    return {
        "name": f"{TYPE_PREFIX}{kind}{TYPE_SUFFIX}",
        "title": kind,
        "contentType": JSON,
        "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "bindings": {"kafka": _key(topic)},
    }


def _key(topic: Topic) -> Document:
    return {
        "key": {"type": "string", "description": topic.key},
        "bindingVersion": _BINDING,
    }


def _quarantined() -> Document:
    headers = _headers()
    headers["properties"] |= {
        QUARANTINE_REASON: {"type": "string", "enum": [r.value for r in QuarantineReason]},
        QUARANTINE_APP: {"type": "string"},
        QUARANTINE_TENANTS: {"type": "string", "description": "Tenants, with commas."},
    }
    return {
        "name": f"{TYPE_PREFIX}{QUARANTINED}{TYPE_SUFFIX}",
        "title": QUARANTINED,
        "contentType": "application/octet-stream",
        "headers": headers,
        "payload": {"type": "string", "format": "binary"},
        "bindings": {"kafka": _key(QUARANTINE)},
    }


def _headers() -> Document:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": [
            "ce_id",
            "ce_type",
            "ce_source",
            "ce_specversion",
            "ce_time",
            "ce_tenantid",
            "content-type",
        ],
        "properties": {
            "ce_id": {**text, "description": "The same for each repetition of an event."},
            "ce_type": {**text, "pattern": r"^atrio\.[a-z_.]+\.v1$"},
            "ce_source": {**text, "description": "The service that wrote it."},
            "ce_specversion": {**text, "const": "1.0"},
            "ce_time": {**text, "format": "date-time"},
            "ce_tenantid": text,
            "ce_subject": {**text, "description": "The id of what the event is about."},
            "ce_sequence": {
                **text,
                "pattern": "^[0-9]+$",
                "description": "The subject's version; gap-free for conversations.",
            },
            "content-type": text,
            "traceparent": {**text, "description": "W3C Trace Context."},
        },
    }


def table() -> str:
    """The topics as a Markdown page."""
    columns = (
        "topic",
        "key",
        "partitions",
        "kept",
        "visibility",
        "personal data",
        "written by",
        "read by",
        "dead letters",
        "types",
    )
    lines = [
        "# Topics",
        "",
        "Generated by `python -m shared.contracts.asyncapi table`; the types' payloads are in",
        "[asyncapi.json](asyncapi.json). A prefix goes before the name (`ATRIO_TOPIC_PREFIX`), a",
        "lane behind it. `<topic>.dead` keeps what a consumer could not handle for 30 days.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for topic in ALL:
        kept = "last value of a key" if topic.retention is None else _days(topic.retention)
        cells = (
            f"`{topic.base}`",
            topic.key,
            str(topic.partitions),
            kept,
            topic.visibility.value,
            topic.personal_data.value,
            ", ".join(topic.owner),
            ", ".join(topic.readers),
            "yes" if topic.dead_letters else "no",
            ", ".join(f"`{kind}`" for kind in _kinds(topic)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _days(retention: timedelta) -> str:
    return f"{retention // _DAY} days"


def main(arguments: Sequence[str]) -> int:
    """Print the document, or with `table` the page; the exit code of the process."""
    match arguments:
        case []:
            sys.stdout.write(json.dumps(document(), indent=2) + "\n")
        case ["table"]:
            sys.stdout.write(table())
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
