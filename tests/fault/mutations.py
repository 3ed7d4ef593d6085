"""Damage to a good recording, each of a kind that a checker must report.

A mutation takes a recording and a random source and returns a damaged copy; the original stays.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tests.fault.checker import Kind
from tests.fault.recording import Recording, Stored

_ONCE = {"message.received", "message.queued"}
Mutation = Callable[[Recording, random.Random], Recording]


def _inbound(it: Recording) -> list[int]:
    posted = {wamid for wamids in it.posted.values() for wamid in wamids}
    return [n for n, one in enumerate(it.stored) if one.wamid in posted]


def _outbound(it: Recording) -> list[int]:
    answered = {send.message for send in it.sends}
    return [n for n, one in enumerate(it.stored) if one.id in answered]


def _drop_stored(it: Recording, rng: random.Random) -> Recording:
    gone = rng.choice(_inbound(it))
    return replace(it, stored=[one for n, one in enumerate(it.stored) if n != gone])


def _duplicate_stored(it: Recording, rng: random.Random) -> Recording:
    copied = it.stored[rng.choice(_inbound(it))]
    return replace(it, stored=[*it.stored, replace(copied, id=copied.id + "x")])


def _swap_stored(it: Recording, rng: random.Random) -> Recording:
    by_wamid = {it.stored[n].wamid: n for n in _inbound(it)}
    wamids = rng.choice([w for w in it.posted.values() if len(w) > 1])
    at = rng.randrange(len(wamids) - 1)
    one, other = by_wamid[wamids[at]], by_wamid[wamids[at + 1]]
    stored = list(it.stored)
    stored[one] = replace(stored[one], seq=it.stored[other].seq)
    stored[other] = replace(stored[other], seq=it.stored[one].seq)
    return replace(it, stored=stored)


def _drop_send(it: Recording, rng: random.Random) -> Recording:
    gone = rng.choice(_outbound(it))
    return replace(it, stored=[one for n, one in enumerate(it.stored) if n != gone])


def _duplicate_send(it: Recording, rng: random.Random) -> Recording:
    copied = it.stored[rng.choice(_outbound(it))]
    return replace(it, stored=[*it.stored, replace(copied, id=copied.id + "x")])


def _swap_sends(it: Recording, rng: random.Random) -> Recording:
    seqs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, send in enumerate(it.sends):
        if send.seq is not None:
            seqs[send.agent, send.conversation].append(n)
    mine = rng.choice([numbers for numbers in seqs.values() if len(numbers) > 1])
    one, other = rng.sample(mine, 2)
    sends = list(it.sends)
    sends[one], sends[other] = sends[other], sends[one]
    return replace(it, sends=sends)


def _drop_told(it: Recording, rng: random.Random) -> Recording:
    gone = rng.choice(it.told)
    what = (gone.conversation, gone.version)
    return replace(it, told=[t for t in it.told if (t.conversation, t.version) != what])


def _duplicate_told(it: Recording, rng: random.Random) -> Recording:
    """The same event again as a new one: at the end, with the next version."""
    places = [n for n, told in enumerate(it.told) if told.type in _ONCE]
    told = it.told[rng.choice(places)]
    head = next(head for head in it.heads if head.id == told.conversation)
    again = replace(told, version=head.version + 1, digest=b"again")
    heads = [replace(one, version=one.version + (one.id == head.id)) for one in it.heads]
    return replace(it, told=[*it.told, again], heads=heads)


def _swap_told(it: Recording, rng: random.Random) -> Recording:
    places: dict[str, list[int]] = defaultdict(list)
    seen = set()
    for n, one in enumerate(it.told):
        if (one.conversation, one.version) not in seen:
            seen.add((one.conversation, one.version))
            places[one.conversation].append(n)
    mine = rng.choice([numbers for numbers in places.values() if len(numbers) > 1])
    at = rng.randrange(len(mine) - 1)
    told = list(it.told)
    told[mine[at]], told[mine[at + 1]] = told[mine[at + 1]], told[mine[at]]
    return replace(it, told=told)


def _alter_repeat(it: Recording, rng: random.Random) -> Recording:
    return replace(it, told=[*it.told, replace(rng.choice(it.told), digest=b"altered")])


def _drop_delivered(it: Recording, rng: random.Random) -> Recording:
    gone = rng.choice(it.delivered)
    return replace(it, delivered=[one for one in it.delivered if one != gone])


def _duplicate_delivered(it: Recording, rng: random.Random) -> Recording:
    return replace(it, delivered=[*it.delivered, rng.choice(it.delivered)])


def _swap_delivered(it: Recording, rng: random.Random) -> Recording:
    stored: dict[str, Stored] = {one.id: one for one in it.stored}
    chats: dict[str, list[int]] = defaultdict(list)
    for n, message in enumerate(it.delivered):
        chats[stored[message].conversation].append(n)
    one, other = rng.sample(rng.choice([c for c in chats.values() if len(c) > 1]), 2)
    delivered = list(it.delivered)
    delivered[one], delivered[other] = delivered[other], delivered[one]
    return replace(it, delivered=delivered)


def _alter_action(it: Recording, rng: random.Random) -> Recording:
    """The history has another event where an answered action should be."""
    action = rng.choice([one for one in it.actions if one.standing is not None])
    standing = action.standing
    if standing is None:
        raise AssertionError("an answered action has a standing")
    place = (action.conversation, standing.version)
    other = replace(standing, epoch=standing.epoch - 1)
    told = [
        replace(t, standing=other) if (t.conversation, t.version) == place else t for t in it.told
    ]
    return replace(it, told=told)


def _duplicate_action(it: Recording, rng: random.Random) -> Recording:
    """The call is forgotten, so that its event has no cause."""
    known = {(t.conversation, t.version): t for t in it.told}
    causes = [
        a
        for a in it.actions
        if a.standing is not None
        and a.kind != "transfer"
        and known[a.conversation, a.standing.version].actor == a.agent
        and known[a.conversation, a.standing.version].type.startswith("conversation.")
    ]
    gone = rng.choice(causes)
    same = (gone.agent, gone.conversation, gone.kind)
    return replace(it, actions=[a for a in it.actions if (a.agent, a.conversation, a.kind) != same])


def _refuse_action(it: Recording, rng: random.Random) -> Recording:
    """What was answered is recorded as refused, and took effect."""
    known = {(t.conversation, t.version): t for t in it.told}
    done = rng.choice(
        [
            n
            for n, a in enumerate(it.actions)
            if a.standing is not None
            and a.kind != "transfer"
            and known[a.conversation, a.standing.version].actor == a.agent
            and known[a.conversation, a.standing.version].type.startswith("conversation.")
        ]
    )
    same = (it.actions[done].agent, it.actions[done].conversation, it.actions[done].kind)
    return replace(
        it,
        actions=[
            replace(a, standing=None, refused=True)
            if (a.agent, a.conversation, a.kind) == same
            else a
            for a in it.actions
        ],
    )


def _refuse_send(it: Recording, rng: random.Random) -> Recording:
    done = rng.choice([n for n, send in enumerate(it.sends) if send.message is not None])
    sends = list(it.sends)
    sends[done] = replace(sends[done], message=None, seq=None, refused=True)
    return replace(it, sends=sends)


def _swap_actions(it: Recording, rng: random.Random) -> Recording:
    """Two answers to one agent about one chat came in the other order."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, action in enumerate(it.actions):
        if action.standing is not None:
            places[action.agent, action.conversation].append(n)

    def version(n: int) -> int:
        standing = it.actions[n].standing
        return 0 if standing is None else standing.version

    mine = rng.choice([ns for ns in places.values() if version(ns[0]) < version(ns[-1])])
    actions = list(it.actions)
    actions[mine[0]], actions[mine[-1]] = actions[mine[-1]], actions[mine[0]]
    return replace(it, actions=actions)


def _drop_shown(it: Recording, rng: random.Random) -> Recording:
    gone = rng.randrange(len(it.shown))
    return replace(it, shown=it.shown[:gone] + it.shown[gone + 1 :])


def _duplicate_shown(it: Recording, rng: random.Random) -> Recording:
    return replace(it, shown=[*it.shown, rng.choice(it.shown)])


def _forget_reaction(it: Recording, rng: random.Random) -> Recording:
    wamid = rng.choice([w for w, emoji in it.reactions.items() if emoji])
    message = next(one.id for one in it.stored if one.wamid == wamid)
    shown = [replace(one, emojis=()) if one.id == message else one for one in it.shown]
    return replace(it, shown=shown)


def _drop_from_socket(it: Recording, rng: random.Random) -> Recording:
    viewer = rng.choice([name for name, built in it.sockets.items() if built])
    built = dict(it.sockets[viewer])
    del built[rng.choice(list(built))]
    return replace(it, sockets={**it.sockets, viewer: built})


def _age_on_socket(it: Recording, rng: random.Random) -> Recording:
    viewer = rng.choice([name for name, built in it.sockets.items() if built])
    built = dict(it.sockets[viewer])
    conversation = rng.choice(list(built))
    view = built[conversation]
    built[conversation] = {**view, "version": view["version"] - 1}
    return replace(it, sockets={**it.sockets, viewer: built})


def _fill_outbox(it: Recording, rng: random.Random) -> Recording:
    heads = list(it.heads)
    n = rng.randrange(len(heads))
    heads[n] = replace(heads[n], outbox=1)
    return replace(it, heads=heads)


def _park(it: Recording, _rng: random.Random) -> Recording:
    return replace(it, leftovers={**it.leftovers, "parked": 1})


MUTATIONS: Final[Mapping[str, tuple[Mutation, Kind]]] = {
    "drop a stored message": (_drop_stored, Kind.LOST),
    "duplicate a stored message": (_duplicate_stored, Kind.DUPLICATED),
    "swap two stored messages": (_swap_stored, Kind.OUT_OF_ORDER),
    "drop a stored send": (_drop_send, Kind.LOST),
    "duplicate a stored send": (_duplicate_send, Kind.DUPLICATED),
    "swap two sends": (_swap_sends, Kind.OUT_OF_ORDER),
    "drop an event": (_drop_told, Kind.GAP),
    "duplicate an event": (_duplicate_told, Kind.DUPLICATED),
    "swap two events": (_swap_told, Kind.OUT_OF_ORDER),
    "alter a repeated event": (_alter_repeat, Kind.ALTERED),
    "drop what was sent": (_drop_delivered, Kind.LOST),
    "duplicate what was sent": (_duplicate_delivered, Kind.DUPLICATED),
    "swap what was sent": (_swap_delivered, Kind.OUT_OF_ORDER),
    "tell of an action otherwise": (_alter_action, Kind.ALTERED),
    "an action without a call": (_duplicate_action, Kind.DUPLICATED),
    "do what was refused": (_refuse_action, Kind.DUPLICATED),
    "store what was refused": (_refuse_send, Kind.INVENTED),
    "answer actions in another order": (_swap_actions, Kind.OUT_OF_ORDER),
    "drop a shown message": (_drop_shown, Kind.LOST),
    "duplicate a shown message": (_duplicate_shown, Kind.DUPLICATED),
    "forget a reaction": (_forget_reaction, Kind.LOST),
    "drop a conversation from a socket": (_drop_from_socket, Kind.STALE),
    "a socket one event behind": (_age_on_socket, Kind.STALE),
    "leave an outbox full": (_fill_outbox, Kind.LEFTOVER),
    "park a record": (_park, Kind.LEFTOVER),
}
