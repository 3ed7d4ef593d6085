"""`python -m tests.fault.delivery`: delivery is killed at random moments while Meta is unreliable.

A real process, SIGKILL, accepted sends whose answer is lost, answers that come too late, bodies
that are not Graph's, refusals for a moment. What must hold: no message is posted twice (but after
a refusal), none is lost, each chat keeps its order, what is ambiguous ends `unknown` and is never
failed, and where Meta has accepted it its status says so by our id. With `--steps` the process
dies once at each step of the state machine instead.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.home import ROOT
from services.inbox.decisions.facts import shown_status
from shared.contracts.records import OutRecord
from shared.contracts.views import MessageStatus
from tests.support.delivery_process import DeliveryRig, delivery_rig, holds, send_command
from tests.support.mortal_delivery import DURING, STEPS
from tests.support.stack import Addresses, local

# How often a burst of messages passes each step at least: batches, but for each message its POST.
_VISITS = dict.fromkeys(STEPS, 2) | dict.fromkeys(("post.before", "post.after", DURING), 12)
_SLICE = 8
_REFUSED = tuple(f"chat-{n}" for n in range(4))
_EPOCH = datetime.fromtimestamp(0, UTC)
_SETTLE_SECONDS = 20.0
_END_SECONDS = 60.0
# The shortest that Kafka allows: so long a killed member keeps its partitions.
_SETTINGS = {
    "ATRIO_KAFKA_SESSION_TIMEOUT": "PT6S",
    "ATRIO_GRAPH_CONNECT": "PT0.3S",
    "ATRIO_GRAPH_TOTAL": "PT1S",
    "ATRIO_DELIVERY_DEADLINE": "PT0.5S",
    "ATRIO_DELIVERY_LEASE": "PT2S",
    "ATRIO_DELIVERY_RATE": "1000",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`sends` are spread over the kills and over `chats`; `steps`: each step kills once."""

    seed: int
    sends: int = 240
    chats: int = 40
    kills: int = 3
    steps: bool = False


@dataclass(slots=True)
class Outcome:
    """What happened, and what is wrong with it."""

    sends: int
    posts: int = 0
    accepted: int = 0
    unknown: int = 0
    settled: int = 0
    """Of the unknown ones, those that a status of Meta's settles."""
    unposted: int = 0
    """Of the unknown ones, those whose claim died before the POST: only a human can tell."""
    ambiguous: int = 0
    """Posts that got no answer of Graph's."""
    refused: int = 0
    """Posts that Graph refused for a moment: each allows one more."""
    kills: int = 0
    wrong: list[str] = field(default_factory=list)


async def run(plan: Plan, stack: Addresses, folder: Path) -> Outcome:
    """One run; the caller judges `wrong`."""
    chance = random.Random(plan.seed)
    name = f"f{plan.seed}x{secrets.token_hex(3)}"
    async with delivery_rig(stack, name, folder, **_SETTINGS) as rig:
        await _be_unreliable(rig, plan.seed)
        messages = [f"m{n}" for n in range(plan.sends)]
        chat_of = {m: f"chat-{chance.randrange(plan.chats)}" for m in messages}
        deaths = chance.sample(STEPS, len(STEPS)) if plan.steps else [None] * plan.kills
        wrong = []
        for turn, step in enumerate(deaths):
            burst = _part(messages, turn, len(deaths) + 1)
            commands = [_command(message, chat_of) for message in burst]
            if step is None:
                await _killed_somewhere(rig, commands, chance)
            elif not await _killed_at(rig, commands, f"{step}:{chance.randint(1, _VISITS[step])}"):
                wrong.append(f"{step} was not reached")
        await rig.start_pod()
        last = _part(messages, len(deaths), len(deaths) + 1)
        await rig.publish([_command(message, chat_of) for message in last])
        await rig.ended(messages, _END_SECONDS)
        out = await _judge(rig, plan, messages, chat_of)
        out.kills, out.wrong = len(deaths), wrong + out.wrong
        return out


def _part(messages: list[str], turn: int, turns: int) -> list[str]:
    return messages[len(messages) * turn // turns : len(messages) * (turn + 1) // turns]


def _command(message: str, chat_of: dict[str, str]) -> OutRecord:
    chat = chat_of[message]
    return send_command(message, chat, int(message[1:]), _phone(chat))


async def _killed_somewhere(
    rig: DeliveryRig, commands: list[OutRecord], chance: random.Random
) -> None:
    pod = await rig.start_pod()
    await rig.publish(commands)
    await rig.has_told(rig.told + chance.randrange(len(commands)), 5.0)
    await asyncio.sleep(chance.uniform(0, 0.05))  # any line of the code
    pod.kill()
    await pod.wait()


async def _killed_at(rig: DeliveryRig, commands: list[OutRecord], kill_at: str) -> bool:
    """Whether the process died where it should; all commands are given in any case."""
    pod = await rig.start_pod(kill_at)
    for start in range(0, len(commands), _SLICE):
        await rig.publish(commands[start : start + _SLICE])
        await holds(lambda: pod.returncode is not None, 0.2)
    await holds(lambda: pod.returncode is not None, _SETTLE_SECONDS)
    died = pod.returncode == -signal.SIGKILL
    if pod.returncode is None:
        pod.kill()
        await pod.wait()
    return died


async def _be_unreliable(rig: DeliveryRig, seed: int) -> None:
    faults: tuple[dict[str, object], ...] = (
        *(
            {"error": 131000, "times": 2, "skip": 2 * n, "match": {"recipient": _phone(chat)}}
            for n, chat in enumerate(_REFUSED)
        ),
        {"drop": "after_accept", "ratio": 0.06},
        {"drop": "before_accept", "ratio": 0.04},
        {"delay_ms": 1500, "ratio": 0.03},
        {"http_status": 502, "accept": True, "ratio": 0.04},
        {"delay_ms": 40},
    )
    for number, fault in enumerate(faults):
        await rig.control("POST", "/faults", {**fault, "seed": seed + number})


async def _judge(
    rig: DeliveryRig, plan: Plan, messages: list[str], chat_of: dict[str, str]
) -> Outcome:
    requests = (await rig.control("GET", "/requests?call=send&limit=100000"))["items"]
    posts = Counter(each["body"]["biz_opaque_callback_data"] for each in requests)
    sent = (await rig.control("GET", "/sent?limit=100000"))["items"]
    accepted = [str(each["biz_opaque_callback_data"]) for each in sent]
    await holds(lambda: all(m in rig.statuses for m in accepted), _SETTLE_SECONDS)
    faults = (await rig.control("GET", "/faults"))["items"]
    out = Outcome(plan.sends, posts.total(), len(accepted))
    refusals = [each["hits"] for each in faults[: len(_REFUSED)]]
    out.refused = sum(refusals)
    out.ambiguous = sum(each["hits"] for each in faults[len(_REFUSED) : -1])
    again: Counter[str] = Counter()
    for m, n in posts.items():
        if chat_of[m] in _REFUSED:
            again[chat_of[m]] += n - 1
        elif n > 1:
            out.wrong.append(f"{m} was posted {n} times")
    out.wrong += [
        f"{chat}: {again[chat]} posts too many after {n} refusals"
        for chat, n in zip(_REFUSED, refusals, strict=True)
        if again[chat] > n
    ]
    out.wrong += [f"{m} was accepted twice" for m, n in Counter(accepted).items() if n > 1]
    met: defaultdict[str, list[int]] = defaultdict(list)
    for message in accepted:
        met[chat_of[message]].append(int(message[1:]))
    out.wrong += [f"{chat} is out of order" for chat, seqs in met.items() if seqs != sorted(seqs)]
    at_meta = set(accepted)
    for message in messages:
        told = rig.outcomes.get(message)
        if not told:
            out.wrong.append(f"{message} is lost")
        elif set(told) - {"send.accepted", "send.unknown"}:
            out.wrong.append(f"{message} ended as {told}")
        elif "send.accepted" in told:
            if message not in at_meta:
                out.wrong.append(f"{message} was never accepted")
        else:
            out.unknown += 1
            out.unposted += message not in posts
            if message in at_meta:
                _settle(rig, message, out)
    # An answer was lost: nothing else may become of it.
    if out.unknown < out.ambiguous:
        out.wrong.append(f"{out.ambiguous} answers were lost, {out.unknown} sends are unknown")
    return out


def _settle(rig: DeliveryRig, message: str, out: Outcome) -> None:
    statuses = {MessageStatus(status) for status in rig.statuses.get(message, ())}
    shown = shown_status(dict.fromkeys(statuses, _EPOCH), MessageStatus.UNKNOWN)
    if shown is MessageStatus.UNKNOWN or shown is None:
        out.wrong.append(f"{message} stays unknown although Meta has it")
    else:
        out.settled += 1


def _phone(chat: str) -> str:
    return f"1202555{int(chat.removeprefix('chat-')):04d}"


def show(plan: Plan, outcome: Outcome) -> None:
    """The tally of a run."""
    print(
        f"seed {plan.seed}: {outcome.sends} sends, {outcome.kills} kills, {outcome.posts} posts, "
        f"{outcome.ambiguous} answers lost, {outcome.refused} refused for a moment, "
        f"{outcome.unknown} unknown "
        f"({outcome.settled} settled by a status, {outcome.unposted} never posted)"
    )
    for line in outcome.wrong:
        print(f"  WRONG: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.delivery", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--sends", type=int, default=2000)
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--steps", action="store_true", help="die once at each step instead")
    given = parser.parse_args()
    plan = Plan(given.seed, given.sends, given.chats, given.kills, steps=given.steps)
    folder = Path(tempfile.mkdtemp(prefix="atrio-delivery-"))
    print(f"seed {plan.seed}, log in {folder}", flush=True)
    with local(ROOT / ".atrio" / "fault-delivery", keep=False) as stack:
        outcome = asyncio.run(run(plan, stack, folder))
    show(plan, outcome)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
