"""Whether what is counted of a topic is what is in it and what is stored of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from services.inbox.decisions.facts import apply_fact
from services.inbox.decisions.parsing import Parsed, Recorded
from services.inbox.model.conversation import Message
from services.inbox.model.items import Fact, Incoming, ReactionFact
from services.inbox.model.tally import Lane, Outcome, Place, Refusal, Tally
from shared.value import value


class Gap(StrEnum):
    """Why nothing stored says what became of a record."""

    LOST = "lost"
    """Something should, and does not."""
    EXPIRED = "expired"
    """It is old enough to have been deleted: the counter alone knows."""


@value
class Evidence:
    """What is stored of one record. `message` is the one that it is, or that it is about.

    `old`: what is stored of it can have been deleted by now.
    """

    old: bool
    message: Message | None = None
    refusal: Refusal | None = None
    kept: bool = False
    """A fact that waits, or a change that is recorded."""
    parked: bool = False
    """In the parking lot, or dropped from there by an operator."""


def found(parsed: Parsed | Recorded | None, source: str, stored: Evidence) -> Outcome | Gap:
    """What became of a record (None: it cannot be read), as far as what is stored tells."""
    message, refusal = stored.message, stored.refusal
    item = parsed.item if isinstance(parsed, Parsed) else None
    if isinstance(item, Incoming) and message is not None and message.source == source:
        return Outcome.MESSAGE
    if refusal is not None:
        if refusal.now is not None:
            return refusal.now
        gone = refusal.outcome is Outcome.PARKED and not stored.parked
        return Gap.LOST if gone else refusal.outcome
    if isinstance(item, Incoming):
        if message is not None:
            return Outcome.DUPLICATE
        return Gap.EXPIRED if stored.old else Gap.LOST
    if isinstance(item, Fact):
        if stored.kept or (message is not None and _says(message, item)):
            return Outcome.FACT
        return Gap.EXPIRED if message is None and stored.old else Gap.LOST
    return Outcome.CHANGE if isinstance(parsed, Recorded) and stored.kept else Gap.LOST


def _says(message: Message, item: Fact) -> bool:
    fact = item.fact
    if message.deleted or apply_fact(message, fact) is None:
        return True
    if not isinstance(fact, ReactionFact):
        return False
    # In a contact's own chat it is the contact's, whoever the webhook names.
    whose = [each for each in message.reactions if each.kind == fact.kind]
    return len(whose) == 1 and not fact.stamp.after(whose[0].stamp)


@value
class Difference:
    """Something that is not as it should be; names places, never what they hold."""

    what: str
    where: str
    detail: str = ""


@dataclass(slots=True)
class _Seen:
    received: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    expired: int = 0


class Reckoning:
    """Takes every record of a topic in turn, then says what differs from the counters.

    `upto`: what is below was surely counted (the committed offsets); of what is above it only
    what the counters claim is taken. `starts`: where counting began.
    """

    def __init__(
        self, tallies: Iterable[Tally], *, starts: dict[int, int], upto: dict[int, int]
    ) -> None:
        self._tallies = {tally.lane: tally for tally in tallies}
        self._starts = starts
        self._upto = upto
        self._seen: dict[Lane, _Seen] = {}
        self._first: dict[int, int] = {}
        self._differences: list[Difference] = []
        self.records = 0

    def concerns(self, lane: Lane, place: Place) -> bool:
        """Whether the record is to be taken; told of every one, to know where the topic begins."""
        self._first.setdefault(place.partition, place.offset)
        if place.offset < self._starts.get(place.partition, place.offset + 1):
            return False
        tally = self._tallies.get(lane)
        counted = tally is not None and tally.first <= place.offset <= tally.upto
        if not counted and place.offset < self._upto.get(place.partition, 0):
            self._differences.append(Difference("not_counted", place.id))
        return counted

    def take(
        self,
        lane: Lane,
        place: Place,
        outcome: Outcome | Gap,
        since: Refusal | None,
        kind: str = "",
    ) -> None:
        """One counted record and what became of it; `since`: what it was refused for."""
        self.records += 1
        seen = self._seen.setdefault(lane, _Seen())
        seen.received += 1
        match outcome:
            case Gap.EXPIRED:
                seen.expired += 1
            case Gap.LOST:
                self._differences.append(Difference("lost", place.id, kind))
            case Outcome():
                if since is not None and since.now is outcome:
                    outcome = since.outcome  # as it was counted
                seen.outcomes[outcome] += 1

    def differences(self) -> Iterator[Difference]:
        """What does not agree."""
        yield from self._differences
        for lane, tally in self._tallies.items():
            seen = self._seen.get(lane, _Seen())
            if sum(tally.outcomes.values()) != tally.received:
                yield Difference(
                    "unbalanced",
                    lane.id,
                    f"received {tally.received}, outcomes {sum(tally.outcomes.values())}",
                )
            # Of what the topic has deleted since, only the counter knows.
            cut = tally.first < self._first.get(lane.partition, tally.upto + 1)
            if seen.received > tally.received or (seen.received < tally.received and not cut):
                yield Difference(
                    "received", lane.id, f"topic {seen.received}, counter {tally.received}"
                )
            unknown = seen.expired + (tally.received - seen.received if cut else 0)
            for outcome in Outcome:
                counted, there = tally.outcomes[outcome], seen.outcomes[outcome]
                if not there <= counted <= there + unknown:
                    yield Difference(outcome.value, lane.id, f"stored {there}, counter {counted}")
