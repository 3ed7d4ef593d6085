"""What a run was answered, and what was found afterwards. Plain values: the checker needs no more.

A recording holds both sides. What was *acknowledged* comes from the load alone (an HTTP answer is
a promise); what was *found* comes from MongoDB, the topic, WhatsApp's stand-in, the REST API and
the agents' sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    """An agent's message; `message` and `seq` are None when no 202 was ever seen.

    `refused`: its one call was answered 4xx. It must not be there.
    """

    agent: str
    conversation: str
    client_id: str
    message: str | None = None
    seq: int | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """What an agent did with a conversation.

    `standing` is what the 200 said; None when the call was cut off or refused. `refused`: its one
    call was answered 4xx. A call that was refused when it came again may have been done before.
    """

    agent: str
    conversation: str
    kind: str
    standing: Standing | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What an action is about, at one version of the conversation."""

    version: int
    status: str
    episode: int
    epoch: int
    assignee: str | None
    team: str | None

    @classmethod
    def of(cls, view: View) -> Standing:
        assignee, team = view["assignee"], view["team"]
        return cls(
            version=view["version"],
            status=view["status"],
            episode=view["episode"],
            epoch=view["epoch"],
            assignee=None if assignee is None else assignee["id"],
            team=None if team is None else team["id"],
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in MongoDB."""

    id: str
    conversation: str
    seq: int
    wamid: str | None
    client_id: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """A conversation in MongoDB; `outbox` counts what is not known to be published."""

    id: str
    version: int
    outbox: int


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the events' topic. `digest` covers key, value and headers."""

    conversation: str
    version: int
    digest: bytes
    type: str
    standing: Standing
    message: str | None = None
    seq: int | None = None
    actor: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as REST shows it to a supervisor."""

    id: str
    conversation: str
    seq: int
    status: str | None
    emojis: tuple[str, ...] = ()


@dataclass(slots=True)
class Recording:
    """One run."""

    posted: dict[str, list[str]] = field(default_factory=dict)
    """Customer -> ids of messages whose webhook was answered 200, in the order of posting."""
    offered: set[str] = field(default_factory=set)
    """Every message id that was posted, answered or not."""
    reactions: dict[str, str] = field(default_factory=dict)
    """Message id -> the last emoji that was answered 200 for it."""
    sends: list[Send] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    stored: list[Stored] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    """In the order of the topic's partitions."""
    delivered: list[str] = field(default_factory=list)
    """Our ids of the messages that WhatsApp accepted, in its order."""
    doubtful: set[str] = field(default_factory=set)
    """Our ids of sends that a kill left between claim and answer: shown `unknown` or waiting."""
    shown: list[Shown] = field(default_factory=list)
    rest: dict[str, dict[str, View]] = field(default_factory=dict)
    """Viewer -> conversation -> view, read fresh over REST."""
    sockets: dict[str, dict[str, View]] = field(default_factory=dict)
    """The same, as the viewer's socket built it."""
    rest_messages: dict[str, View] = field(default_factory=dict)
    socket_messages: dict[str, dict[str, View]] = field(default_factory=dict)
    """Viewer -> message -> view, for the messages that came over the viewer's socket."""
    breaches: list[str] = field(default_factory=list)
    """What the clients saw that the protocol forbids."""
    leftovers: dict[str, int] = field(default_factory=dict)
    """What should be empty (parked, dead letters, quarantine...) and how much is in it."""
