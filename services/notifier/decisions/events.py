"""From a Kafka record to what the feed keeps of it."""

from __future__ import annotations

from typing import Any, Final

import orjson

from services.notifier.decisions.feed import audiences
from services.notifier.model import ALL, EVERYBODY, FeedEvent, Tags
from shared.contracts.envelope import Envelope, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import EventType
from shared.contracts.records import InRecord

_CONVERSATION: Final = frozenset(
    t.value for t in EventType if t.value.startswith(("conversation.", "message."))
)
_CONTACT: Final = frozenset(t.value for t in EventType if t.value.startswith("contact."))
_AGENT: Final = frozenset(t.value for t in EventType if t.value.startswith("agent."))
# Contacts hold personal data, and who sees one of a contact's chats is not known here: agents
# learn of a contact through `conversation.updated`.
_CONTACT_AUDIENCE: Final[Tags] = frozenset((ALL,))
_AGENT_AUDIENCE: Final[Tags] = frozenset((ALL, EVERYBODY))


def feed_event(record: InRecord) -> FeedEvent | None:
    """The feed's event of a record; None for a type that this version does not know.

    Raises PermanentError for a record that is not of the contract's shape.
    """
    envelope = read_envelope(record.headers)
    if envelope.type in _CONVERSATION:
        return _conversation_event(envelope, record.value)
    if envelope.type in _CONTACT:
        return _plain_event(envelope, record, "contact", _CONTACT_AUDIENCE)
    if envelope.type in _AGENT:
        # Availability and presence count on their own, so each has its own guard.
        return _plain_event(envelope, record, envelope.type, _AGENT_AUDIENCE)
    return None


def _conversation_event(envelope: Envelope, value: bytes | None) -> FeedEvent:
    version, conversation = envelope.sequence, envelope.subject
    if version is None or conversation is None or value is None:
        raise PermanentError("bad_event", "subject, sequence or value is missing")
    data = _object(value)
    try:
        if data["conversation"]["id"] != conversation:
            raise PermanentError("bad_event", "subject is another conversation")
        before, after = audiences(envelope.type, data["before"], data["conversation"])
    except (KeyError, TypeError) as error:
        raise PermanentError("bad_event", "members are missing") from error
    return FeedEvent(
        tenant=envelope.tenant,
        subject=conversation,
        version=version,
        gap_free=True,
        before=before,
        after=after,
        body=_body(envelope, conversation, version, value),
    )


def _plain_event(envelope: Envelope, record: InRecord, what: str, told: Tags) -> FeedEvent:
    if envelope.sequence is None or record.value is None or not record.key:
        raise PermanentError("bad_event", "key, sequence or value is missing")
    _object(record.value)
    return FeedEvent(
        tenant=envelope.tenant,
        subject=f"{what}:{record.key.decode(errors='replace')}",
        version=envelope.sequence,
        gap_free=False,
        before=told,
        after=told,
        body=_body(envelope, None, envelope.sequence, record.value),
    )


def _object(value: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise PermanentError("bad_event", "the value is not JSON") from error
    if not isinstance(data, dict):
        raise PermanentError("bad_event", "the value is no object")
    return data


def _body(envelope: Envelope, conversation: str | None, version: int, value: bytes) -> bytes:
    # The value was parsed above, so that it can be spliced as it is.
    subject = b"" if conversation is None else b'"conversation_id":%b,' % orjson.dumps(conversation)
    return b'{"type":%b,%b"version":%d,"at":%b,"data":%b}' % (
        orjson.dumps(envelope.type),
        subject,
        version,
        orjson.dumps(envelope.time),
        value,
    )
