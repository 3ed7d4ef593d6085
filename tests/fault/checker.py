"""Whether a recording keeps its promises. Pure: a recording in, findings and a tally out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from tests.fault.recording import Recording, Shown, Stored, Told

_SETTLED = {"accepted", "sent", "delivered", "read", "played"}
_STATUSES = 5
"""Each fact is told once, a late `sent` too: unknown, accepted, sent, delivered, read."""
_TOLD_BY_ACTION = {
    "accept": "conversation.assigned",
    "close": "conversation.closed",
    "hold": "conversation.held",
    "transfer": "conversation.transferred",
    "read": "conversation.read",
}


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    OUT_OF_ORDER = "out of order"
    GAP = "gap"
    ALTERED = "altered"
    INVENTED = "invented"
    STALE = "stale"
    LEFTOVER = "leftover"
    BREACH = "breach"


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    what: str


@dataclass(slots=True)
class Verdict:
    """All that is wrong, and what was looked at."""

    findings: list[Finding] = field(default_factory=list)
    acknowledged: int = 0
    events: int = 0
    repeats: int = 0
    doubtful: int = 0

    @property
    def good(self) -> bool:
        return not self.findings

    def count(self, kind: Kind) -> int:
        return sum(one.kind is kind for one in self.findings)

    def add(self, kind: Kind, what: str) -> None:
        self.findings.append(Finding(kind, what))

    def tally(self) -> str:
        """The line that says it all."""
        others = Counter(one.kind.value for one in self.findings)
        counted = (Kind.LOST, Kind.DUPLICATED, Kind.OUT_OF_ORDER, Kind.GAP)
        rest = {kind: n for kind, n in others.items() if kind not in counted}
        return (
            f"lost {self.count(Kind.LOST)} of {self.acknowledged} acknowledged, "
            f"{self.count(Kind.DUPLICATED)} duplicated, "
            f"{self.count(Kind.OUT_OF_ORDER)} out of order, "
            f"{self.count(Kind.GAP)} gaps in {self.events} events ({self.repeats} repeats), "
            f"{self.doubtful} sends in doubt, other findings: {rest or 'none'}"
        )


def check(recording: Recording) -> Verdict:
    """Everything that the recording breaks."""
    verdict = Verdict()
    first = _check_topic(recording, verdict)
    _check_customers(recording, verdict)
    _check_sends(recording, verdict)
    _check_whatsapp(recording, verdict)
    _check_actions(recording, first, verdict)
    _check_messages_told(recording, first, verdict)
    _check_shown(recording, verdict)
    _check_views(recording, verdict)
    for what in recording.breaches:
        verdict.add(Kind.BREACH, what)
    for what, count in recording.leftovers.items():
        if count:
            verdict.add(Kind.LEFTOVER, f"{count} in {what}")
    return verdict


def _check_topic(recording: Recording, verdict: Verdict) -> dict[tuple[str, int], Told]:
    """First occurrences are 1..n without a gap up to the head; repeats are byte-identical."""
    first: dict[tuple[str, int], Told] = {}
    last: dict[str, int] = defaultdict(int)
    for told in recording.told:
        known = first.get((told.conversation, told.version))
        if known is not None:
            verdict.repeats += 1
            if known.digest != told.digest:
                verdict.add(Kind.ALTERED, f"{told.conversation}:{told.version} repeated otherwise")
            continue
        first[told.conversation, told.version] = told
        reached = last[told.conversation]
        if told.version > reached + 1:
            verdict.add(Kind.GAP, f"{told.conversation}: {told.version} after {reached}")
        elif told.version <= reached:
            verdict.add(Kind.OUT_OF_ORDER, f"{told.conversation}: {told.version} after {reached}")
        last[told.conversation] = max(reached, told.version)
    verdict.events = len(first)
    heads = {head.id: head for head in recording.heads}
    for head in recording.heads:
        if last[head.id] < head.version:
            told_to = last[head.id]
            verdict.add(Kind.GAP, f"{head.id}: told up to {told_to} of {head.version}")
        if head.outbox:
            verdict.add(Kind.LEFTOVER, f"{head.outbox} in the outbox of {head.id}")
    for conversation, version in last.items():
        if conversation not in heads or heads[conversation].version < version:
            verdict.add(Kind.LOST, f"{conversation}: version {version} was told, not kept")
    return first


def _check_customers(recording: Recording, verdict: Verdict) -> None:
    """Each acknowledged message once, each customer's in the order of posting, none invented."""
    stored: dict[str, list[Stored]] = defaultdict(list)
    ours = {send.client_id for send in recording.sends}
    for one in recording.stored:
        if one.client_id is None:
            stored[one.wamid or one.id].append(one)
        elif one.client_id not in ours:
            verdict.add(Kind.INVENTED, f"message {one.id} is nobody's")
    for wamid, copies in stored.items():
        if wamid not in recording.offered:
            verdict.add(Kind.INVENTED, f"message {copies[0].id} was never posted")
        if len(copies) > 1:
            verdict.add(Kind.DUPLICATED, f"message {copies[0].id} is stored {len(copies)} times")
    for customer, wamids in recording.posted.items():
        verdict.acknowledged += len(wamids)
        found = [stored[wamid][0] for wamid in wamids if wamid in stored]
        for position, wamid in enumerate(wamids):
            if wamid not in stored:
                verdict.add(Kind.LOST, f"{customer}: message {position} is not stored")
        _check_rising(f"{customer}: stored", [one.seq for one in found], verdict)
        if len({one.conversation for one in found}) > 1:
            verdict.add(Kind.OUT_OF_ORDER, f"{customer}: is in several conversations")


def _check_rising(what: str, values: Sequence[int], verdict: Verdict) -> None:
    for position, (one, other) in enumerate(pairwise(values)):
        if other <= one:
            verdict.add(Kind.OUT_OF_ORDER, f"{what}: {other} after {one} at {position + 1}")


def _check_sends(recording: Recording, verdict: Verdict) -> None:
    """An answered send is there once, as answered; a refused one is not there.

    One that was cut off is there wholly or not at all.
    """
    stored: dict[tuple[str, str], list[Stored]] = defaultdict(list)
    for one in recording.stored:
        if one.client_id is not None:
            stored[one.conversation, one.client_id].append(one)
    answered: dict[tuple[str, str], list[int]] = defaultdict(list)
    for send in recording.sends:
        copies = stored[send.conversation, send.client_id]
        if len(copies) > 1:
            verdict.add(Kind.DUPLICATED, f"send {send.client_id} is stored {len(copies)} times")
        if send.refused and copies:
            verdict.add(Kind.INVENTED, f"send {send.client_id} was refused and is stored")
        if send.message is None or send.seq is None:
            continue
        verdict.acknowledged += 1
        answered[send.agent, send.conversation].append(send.seq)
        if not copies:
            verdict.add(Kind.LOST, f"send {send.client_id} was answered and is not stored")
        elif (copies[0].id, copies[0].seq) != (send.message, send.seq):
            verdict.add(Kind.ALTERED, f"send {send.client_id} is not what was answered")
    for (agent, conversation), seqs in answered.items():
        _check_rising(f"sends of {agent} in {conversation}", seqs, verdict)


def _check_whatsapp(recording: Recording, verdict: Verdict) -> None:
    """What was queued reached WhatsApp once and in the chat's order, or is shown as in doubt."""
    delivered = Counter(recording.delivered)
    outgoing = {one.id: one for one in recording.stored if one.client_id is not None}
    status = {one.id: one.status for one in recording.shown}
    for message, times in delivered.items():
        if times > 1:
            verdict.add(Kind.DUPLICATED, f"message {message} was sent {times} times")
        if message not in outgoing:
            verdict.add(Kind.INVENTED, f"message {message} was sent and is not stored")
    for message in outgoing:
        if message in recording.doubtful and not delivered[message]:
            verdict.doubtful += 1
            if status.get(message) not in {"queued", "unknown"}:
                verdict.add(Kind.ALTERED, f"send {message} in doubt is {status.get(message)}")
        elif not delivered[message]:
            verdict.add(Kind.LOST, f"message {message} was not sent, shown {status.get(message)}")
        elif status.get(message) not in _SETTLED:
            verdict.add(Kind.STALE, f"message {message} was sent, shown {status.get(message)}")
    by_chat: dict[str, list[int]] = defaultdict(list)
    for message in dict.fromkeys(recording.delivered):
        if message in outgoing:
            by_chat[outgoing[message].conversation].append(outgoing[message].seq)
    for conversation, seqs in by_chat.items():
        _check_rising(f"sent in {conversation}", seqs, verdict)


def _check_actions(
    recording: Recording, first: dict[tuple[str, int], Told], verdict: Verdict
) -> None:
    """An answered action is in the history as it was answered, in the order of the answers.

    No action took effect twice, and none that was refused.
    """
    tried: Counter[tuple[str, str, str]] = Counter()
    answered: dict[tuple[str, str], list[int]] = defaultdict(list)
    for action in recording.actions:
        tried[action.conversation, action.agent, action.kind] += not action.refused
        if action.standing is None:
            continue
        verdict.acknowledged += 1
        told = first.get((action.conversation, action.standing.version))
        answered[action.agent, action.conversation].append(action.standing.version)
        where = f"{action.kind} of {action.conversation}:{action.standing.version}"
        if told is None:
            verdict.add(Kind.LOST, f"{where} was answered and never told")
        elif told.standing != action.standing:
            verdict.add(Kind.ALTERED, f"{where} was told otherwise")
    for (agent, conversation), versions in answered.items():
        if versions != sorted(versions):
            verdict.add(Kind.OUT_OF_ORDER, f"answers to {agent} went back in {conversation}")
    done: Counter[tuple[str, str, str]] = Counter()
    for told in first.values():
        for kind, event in _TOLD_BY_ACTION.items():
            if told.type == event and told.actor is not None and told.by in {None, kind}:
                done[told.conversation, told.actor, kind] += 1
    for what, times in done.items():
        if times > tried[what]:
            conversation, agent, kind = what
            verdict.add(
                Kind.DUPLICATED,
                f"{kind} of {conversation} by {agent}: {times} events of {tried[what]} calls",
            )


def _check_messages_told(
    recording: Recording, first: dict[tuple[str, int], Told], verdict: Verdict
) -> None:
    """Each message began with one event, in the order of `seq`; no status was applied twice."""
    begun: dict[str, list[Told]] = defaultdict(list)
    chats: dict[str, list[Told]] = defaultdict(list)
    statuses: Counter[str] = Counter()
    for told in first.values():
        if told.message is None:
            continue
        if told.type == "message.status":
            statuses[told.message] += 1
        elif told.type in {"message.received", "message.queued"}:
            begun[told.message].append(told)
            chats[told.conversation].append(told)
    for message, times in statuses.items():
        if times > _STATUSES:
            verdict.add(Kind.DUPLICATED, f"message {message} was told {times} statuses")
    for one in recording.stored:
        events = begun.get(one.id, [])
        if not events:
            verdict.add(Kind.LOST, f"message {one.id} was never told")
        elif len(events) > 1:
            verdict.add(Kind.DUPLICATED, f"message {one.id} was told as new {len(events)} times")
        elif (events[0].conversation, events[0].seq) != (one.conversation, one.seq):
            verdict.add(Kind.ALTERED, f"message {one.id} was told in another place")
    known = {one.id for one in recording.stored}
    for message in begun.keys() - known:
        verdict.add(Kind.LOST, f"message {message} was told and is not stored")
    for conversation, events in chats.items():
        events.sort(key=lambda told: told.version)
        _check_rising(f"told in {conversation}", [told.seq or 0 for told in events], verdict)


def _check_shown(recording: Recording, verdict: Verdict) -> None:
    """REST shows exactly what is stored, and the last reaction to it."""
    shown: dict[str, Shown] = {}
    for one in recording.shown:
        if one.id in shown:
            verdict.add(Kind.DUPLICATED, f"message {one.id} is shown twice")
        shown[one.id] = one
    stored = {one.id: one for one in recording.stored}
    for message, kept in stored.items():
        seen = shown.get(message)
        if seen is None:
            verdict.add(Kind.LOST, f"message {message} is stored and not shown")
        elif (seen.conversation, seen.seq) != (kept.conversation, kept.seq):
            verdict.add(Kind.ALTERED, f"message {message} is shown in another place")
        elif kept.wamid in recording.reactions:
            emoji = recording.reactions[kept.wamid]
            if seen.emojis != ((emoji,) if emoji else ()):
                verdict.add(Kind.LOST, f"message {message} shows {seen.emojis}, not its reaction")
    for message in shown.keys() - stored.keys():
        verdict.add(Kind.INVENTED, f"message {message} is shown and not stored")


def _check_views(recording: Recording, verdict: Verdict) -> None:
    """What the sockets built is what REST says now."""
    for viewer, fresh in recording.rest.items():
        built = recording.sockets.get(viewer, {})
        for conversation in sorted(fresh.keys() | built.keys()):
            if fresh.get(conversation) != built.get(conversation):
                what = _difference(fresh.get(conversation), built.get(conversation))
                verdict.add(Kind.STALE, f"{viewer} holds {conversation} otherwise: {what}")
    for viewer, messages in recording.socket_messages.items():
        for message, view in messages.items():
            if view != recording.rest_messages.get(message):
                what = _difference(recording.rest_messages.get(message), view)
                verdict.add(Kind.STALE, f"{viewer} holds message {message} otherwise: {what}")


def _difference(fresh: dict[str, object] | None, built: dict[str, object] | None) -> str:
    if fresh is None or built is None:
        return "only the socket has it" if fresh is None else "only REST has it"
    members: Iterable[str] = fresh.keys() | built.keys()
    names = [name for name in sorted(members) if fresh.get(name) != built.get(name)]
    versions = f"version {fresh.get('version')} in REST, {built.get('version')} held"
    return f"{', '.join(names)} ({versions})"
