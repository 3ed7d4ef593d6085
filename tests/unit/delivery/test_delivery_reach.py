"""What each answer of Graph's does to this chat, to this number's other chats, to other numbers.

The table is that of WhatsApp's error page, by what we promise to do; `RULES` is not asked.
"""

import base64
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest

from services.delivery.decisions.errors import RULES
from services.delivery.decisions.schedule import Schedule
from services.delivery.decisions.states import target
from services.delivery.gateways.graph import Credentials
from services.delivery.model import (
    Ambiguous,
    Answer,
    Claim,
    GraphError,
    NotSent,
    Recipient,
    SendRecord,
    SendStatus,
    Settlement,
)
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.posting import Poster
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import InRecord
from shared.faults import NoFaults
from shared.observability.metrics import Metrics
from shared.sealing import Sealer

T0 = datetime(2026, 6, 1, tzinfo=UTC)
KEY = base64.b64encode(b"k" * 32).decode()

FAILS = {
    *(100, 130403, 130472, 130497, 131008, 131009, 131021, 131026, 131030, 131047, 131049, 131050),
    *(131051, 131052, 131053, 131062, *range(132000, 132017), 132068, 132069, 135000, 137000),
    *(139100, 139101),
}
WAITS = {
    *(1, 2, 131000, 131016, 131055, 131063, 131064, 133004, 134100, 134101, 134102),
    *(139102, 139103),
}
PAIR = {131056}
SLOWER = {130429}
HELD = {4, 80007, 131057, 2494100}
STOPPED = {
    *(0, 3, 10, 33, 190, *range(200, 300), 368, 131005, 131031, 131037, 131042, 131045),
    *(c for c in range(133000, 133017) if c != 133004),
    134011,
}
PAUSED = {131048}
CHAT, NUMBER, OTHERS = "this chat", "this number", "other numbers"


class Stopped(Clock):
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return T0

    def monotonic(self) -> float:
        return self.seconds


class OneAnswer:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def send(self, _who: Credentials, _body: object) -> Answer:
        return self._answer


def record(name: str, seq: int, chat: str, number: str) -> SendRecord:
    return SendRecord(
        id=name,
        tenant="t",
        number_id=number,
        conversation_id=chat,
        message_id=name,
        partition=0,
        seq=seq,
        base=0,
        status=SendStatus.QUEUED,
        attempt=0,
        recipient=Recipient(wa_id=f"1202555{chat}"),
        type="text",
        body=b'{"body": "x"}',
        queued_at=T0,
        stored_at=T0,
    )


def credentials(number: str, version: int = 1) -> InRecord:
    sealed = Sealer(KEY).seal(orjson.dumps({"access_token": "a"}), owner=number)
    value = {
        "number_id": number,
        "tenant": "t",
        "version": version,
        "phone_number_id": f"2{number}",
        "sealed": sealed,
    }
    headers = Envelope("c", "credentials.number", "inbox", timestamp(T0), "t").headers()
    return InRecord("credentials", 0, 0, number.encode(), orjson.dumps(value), tuple(headers), 0)


class Bench:
    """One pod's schedule with a message sent and answered; `free` tells what may go."""

    def __init__(self, answer: Answer) -> None:
        nothing = cast("Any", None)
        self.clock = Stopped()
        self.schedule = Schedule(full_rate=80)
        graph = cast("Any", OneAnswer(answer))
        self.numbers = Numbers(
            sealer=Sealer(KEY),
            schedule=self.schedule,
            stopped=nothing,
            publisher=nothing,
            graph=graph,
            clock=self.clock,
            standard_rate=80,
        )
        for number in ("1", "2"):
            self.numbers.apply_credentials(credentials(number))
        self._poster = Poster(
            graph=graph,
            numbers=self.numbers,
            uploader=nothing,
            schedule=self.schedule,
            clock=self.clock,
            faults=NoFaults(),
            metrics=Metrics(),
            jitter=lambda: 0.0,
        )

    async def answered(self) -> Settlement:
        self.schedule.offer(record("first", 1, "0", "1"), self.clock.seconds)
        (first,) = self.schedule.take(self.clock.seconds, 1)
        claim = Claim(first.id, first.tenant, 1, "token")
        settlement = await self._poster.post(first, claim, self.clock.seconds + 5)
        if target(settlement.trigger) is SendStatus.RETRY:
            due = self.clock.due(settlement.due_at)
            self.schedule.replace(first, self.clock.seconds, due)
        else:
            self.schedule.remove(first.id, self.clock.seconds)
        for name, chat, number in ((CHAT, "0", "1"), (NUMBER, "3", "1"), (OTHERS, "4", "2")):
            self.schedule.offer(record(name, 2, chat, number), self.clock.seconds)
        return settlement

    def free(self, after: float = 0.0) -> set[str]:
        self.clock.seconds += after
        return {each.id for each in self.schedule.take(self.clock.seconds, 9)}


def codes(found: set[int]) -> Any:
    return pytest.mark.parametrize("code", sorted(found))


def test_every_code_of_the_table_is_here():
    assert set(RULES) == FAILS | WAITS | PAIR | SLOWER | HELD | STOPPED | PAUSED


@codes(FAILS)
async def test_message_fails_and_nobody_waits(code: int):
    bench = Bench(GraphError(code))
    assert target((await bench.answered()).trigger) is SendStatus.FAILED
    assert bench.free() == {CHAT, NUMBER, OTHERS}


@codes(WAITS | PAIR)
async def test_chat_alone_waits_for_the_next_try(code: int):
    bench = Bench(GraphError(code))
    assert target((await bench.answered()).trigger) is SendStatus.RETRY
    assert bench.free() == {NUMBER, OTHERS}
    assert bench.free(3600) == {"first"}


@codes(SLOWER)
async def test_number_goes_on_slower(code: int):
    bench = Bench(GraphError(code))
    await bench.answered()
    assert bench.free() == {OTHERS}
    assert bench.free(1 / 40) == {NUMBER}
    assert bench.free(60) == {"first"}


@codes(HELD)
async def test_number_is_held_and_no_other(code: int):
    bench = Bench(GraphError(code))
    await bench.answered()
    assert bench.free() == {OTHERS}
    assert bench.free(59) == set()
    assert bench.free(600) == {"first", NUMBER}


@codes(STOPPED | PAUSED)
async def test_number_is_stopped_until_its_cause_is_gone_and_no_other(code: int):
    bench = Bench(GraphError(code))
    assert target((await bench.answered()).trigger) is SendStatus.RETRY
    (stop,) = bench.numbers.stops()
    assert (stop.until is not None) == (code in PAUSED)
    assert bench.free() == {OTHERS}
    assert bench.free(86_400) == set()
    bench.numbers.apply_credentials(credentials("1", version=2))
    assert bench.free() == {"first", NUMBER}


async def test_lost_answer_lets_everybody_go_on():
    bench = Bench(Ambiguous("reset"))
    assert target((await bench.answered()).trigger) is SendStatus.UNKNOWN
    assert bench.free() == {CHAT, NUMBER, OTHERS}


async def test_request_that_was_not_written_makes_its_chat_wait():
    bench = Bench(NotSent("refused"))
    assert target((await bench.answered()).trigger) is SendStatus.RETRY
    assert bench.free() == {NUMBER, OTHERS}
    assert bench.free(60) == {"first"}
