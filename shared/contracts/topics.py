"""The one list of topics: name, key, partitions, retention, owner, readers, personal data.

Topic creation, AsyncAPI, Strimzi resources and the documentation are generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

DEAD_SUFFIX = ".dead"


class Visibility(StrEnum):
    """Who may subscribe: `public` topics keep their contract for anybody."""

    PUBLIC = "public"
    INTERNAL = "internal"


class PersonalData(StrEnum):
    """What the values hold. Keys and headers never hold any."""

    NONE = "none"
    NAMES = "names"
    IDENTIFIERS = "identifiers"
    """Phone numbers, and wamids, which contain them."""
    MESSAGES = "messages"
    SECRETS = "secrets"


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared topic.

    `retention` None on a compacted topic: a key's last value stays for ever.
    `partitions` is set at creation and never changed: adding one lets version 7 overtake 6.
    """

    base: str
    key: str
    owner: tuple[str, ...]
    readers: tuple[str, ...]
    visibility: Visibility
    personal_data: PersonalData
    retention: timedelta | None
    about: str
    partitions: int = 12
    compacted: bool = False
    dead_letters: bool = True

    def name(self, prefix: str = "", lane: str = "") -> str:
        """The name on the broker: prefix, base, then the lane as a suffix."""
        return f"{prefix}{self.base}{'.' + lane if lane else ''}"

    def dead_name(self, prefix: str = "", lane: str = "") -> str:
        """The dead-letter topic of this topic."""
        return self.name(prefix, lane) + DEAD_SUFFIX


INBOUND = Topic(
    base="whatsapp.inbound.v1",
    key="keyed hash of (number, group or customer)",
    owner=("ingest",),
    readers=("inbox",),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.MESSAGES,
    retention=timedelta(days=14),
    about="One item of a webhook each: a message, a status, an echo or another change.",
)
QUARANTINE = Topic(
    base="whatsapp.quarantine.v1",
    key="number, or none",
    owner=("ingest",),
    readers=("operators",),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.MESSAGES,
    retention=timedelta(days=30),
    about="Webhooks signed right but not understood: the raw bytes, the reason in headers.",
    dead_letters=False,
)
CONVERSATION_EVENTS = Topic(
    base="conversation.events.v1",
    key="conversation id",
    owner=("inbox",),
    readers=("notifier", "routing", "anybody"),
    visibility=Visibility.PUBLIC,
    personal_data=PersonalData.MESSAGES,
    retention=timedelta(days=30),
    about="Every change of every conversation, gap-free by version.",
)
ROUTING_DECISIONS = Topic(
    base="routing.decisions.v1",
    key="conversation id",
    owner=("routing",),
    readers=("inbox", "anybody"),
    visibility=Visibility.PUBLIC,
    personal_data=PersonalData.NONE,
    retention=timedelta(days=30),
    about="Assign or park, always with the reason.",
)
OUTBOUND = Topic(
    base="whatsapp.outbound.v1",
    key="conversation id",
    owner=("inbox",),
    readers=("delivery",),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.MESSAGES,
    retention=timedelta(days=14),
    about="Commands to WhatsApp: message.send, message.read, media.fetch, contact.block, ...",
)
DELIVERY_EVENTS = Topic(
    base="delivery.events.v1",
    key="conversation id (or number)",
    owner=("delivery",),
    readers=("inbox",),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.IDENTIFIERS,
    retention=timedelta(days=14),
    about="What became of a command, and news of numbers and templates.",
)
AGENT_EVENTS = Topic(
    base="agent.events.v1",
    key="agent id",
    owner=("notifier", "inbox"),
    readers=("routing", "notifier", "inbox"),
    visibility=Visibility.PUBLIC,
    personal_data=PersonalData.NONE,
    retention=timedelta(days=7),
    about="Presence (sockets) and availability of agents.",
)
CONTACT_EVENTS = Topic(
    base="contact.events.v1",
    key="contact id",
    owner=("inbox",),
    readers=("notifier", "anybody"),
    visibility=Visibility.PUBLIC,
    personal_data=PersonalData.NAMES,
    retention=timedelta(days=30),
    about="Changes of contacts, by the contact's own version.",
)
ACCOUNT_EVENTS = Topic(
    base="account.events.v1",
    key="tenant + account",
    owner=("inbox",),
    readers=("anybody",),
    visibility=Visibility.PUBLIC,
    personal_data=PersonalData.NONE,
    retention=timedelta(days=30),
    about="What Meta tells of accounts, numbers and templates, and of what contacts want.",
)
DIRECTORY = Topic(
    base="directory.v1",
    key="tenant + entity id",
    owner=("inbox",),
    readers=("ingest", "inbox", "routing", "notifier", "delivery"),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.NAMES,
    retention=None,
    compacted=True,
    dead_letters=False,
    about="Tenants, numbers, agents, teams, labels and policies: the last state of each.",
)
CREDENTIALS = Topic(
    base="credentials.v1",
    key="number id",
    owner=("inbox",),
    readers=("ingest", "delivery"),
    visibility=Visibility.INTERNAL,
    personal_data=PersonalData.SECRETS,
    retention=None,
    compacted=True,
    dead_letters=False,
    about="Encrypted access tokens and app secrets of numbers. Own ACL.",
)

ALL: tuple[Topic, ...] = (
    INBOUND,
    QUARANTINE,
    CONVERSATION_EVENTS,
    ROUTING_DECISIONS,
    OUTBOUND,
    DELIVERY_EVENTS,
    AGENT_EVENTS,
    CONTACT_EVENTS,
    ACCOUNT_EVENTS,
    DIRECTORY,
    CREDENTIALS,
)
DEAD_LETTER_RETENTION = timedelta(days=30)
