"""The life of a conversation against a model of its own: plain dicts, from the design's table.

Several people act on what they remember, customers write and routing decides meanwhile.
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.inbox.decisions.admission import Verdict, judge, judge_mark, judge_send
from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import Fate, MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Refusal, Trigger, Viewer, sees
from services.inbox.decisions.sending import compose, queue
from services.inbox.model.conversation import ContactSnapshot, Stamp
from services.inbox.model.events import SYSTEM, Emitted
from services.inbox.model.items import (
    Assignment,
    Body,
    Fact,
    Incoming,
    Person,
    ReactionFact,
    RevokeFact,
)
from services.inbox.model.outgoing import OutgoingRequest
from shared.contracts.events import RoutingDecision
from tests.support.lifecycle_oracle import (
    MOVES,
    PEOPLE,
    ROWS,
    SUPERVISE,
    TEAMS,
    expected,
    in_sight,
    nothing,
    unseen,
)

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
who = agents = st.sampled_from(sorted(PEOPLE))
teams = st.sampled_from(TEAMS)
ON_WHAT_OTHERS_HOLD = ("close", "hold", "bot", "reopen", "to_agent", "to_team")
knowledge = st.sampled_from(("nothing", "what was seen", "what is"))


class Life(RuleBasedStateMachine):
    """One conversation; `model` is what it should be, `believed` what each person last saw."""

    @initialize(bot=st.booleans(), team=st.sampled_from((None, *TEAMS)))
    def begin(self, bot: bool, team: str | None) -> None:
        self.bot, self.number_team = bot, team
        self.now = START
        self.numbers = itertools.count(1)
        self.messages = MessageIndex()
        self.real = blank(
            "c1",
            tenant="t1",
            number_id="n1",
            contact=ContactSnapshot("k1"),
            group_id=None,
            generation=1,
            now=START,
        )
        self.inbound: list[Incoming] = []
        self.believed: dict[str, int] = {}
        self.model = nothing()
        self.write()

    # -- the model

    def moves(
        self, status: str, *, events: int = 1, agent: str | None = None, **members: Any
    ) -> None:
        """A row: the epoch rises by one, the version by one for each event."""
        model = self.model
        model.update(status=status, epoch=model["epoch"] + 1, version=model["version"] + events)
        model["parked"] = False
        if status in {"on_hold", "bot"}:
            model["assignee"] = None
        if agent is not None:
            model["assignee"] = agent
            model["held"].add(agent)
        model.update(members)

    def epoch_of(self, person: str, known: str) -> int | None:
        if known == "what is":
            return int(self.model["epoch"])
        return self.believed.get(person) if known == "what was seen" else None

    # -- the real one

    def viewer(self, person: str) -> Viewer:
        role, own = PEOPLE[person]
        return Viewer(person, "t1", role, own)

    def take(self, events: Iterable[Emitted], real: Any) -> None:
        """Each event is one version above the one before, and tells where it stood before it."""
        before = self.real
        for event in events:
            assert event.conversation.version == before.version + 1
            if before.version:
                assert event.before.status == before.status
                assert (event.before.assignee, event.before.team) == (before.assignee, before.team)
            before = event.conversation
        assert before == real or not list(events)
        self.real = real

    def moved(self, move: Move) -> int:
        draft = Draft(self.real, self.now)
        assert draft.move(move, actor=SYSTEM)
        self.take(draft.events, draft.conversation)
        return len(draft.events)

    def folds(self, *items: Any) -> list[Fate]:
        around = Surroundings(
            self.now,
            ContactSnapshot("k1", blocked=self.real.contact.blocked),
            self.bot,
            self.number_team,
            dict.fromkeys(PEOPLE, 1),
        )
        folded = fold(self.real, list(items), self.messages, around)
        self.take(folded.events, folded.conversation)
        assert not folded.left
        return [fate for _, fate in folded.fates]

    # -- what people do

    @rule(person=who)
    def look(self, person: str) -> None:
        if in_sight(self.model, person):
            self.believed[person] = self.model["epoch"]

    @rule(
        person=who,
        action=st.sampled_from((*(name for name in MOVES if name != "delete"), "to_agent")),
        known=knowledge,
        agent=agents,
        team=teams,
        times=st.integers(1, 2),
    )
    def act(self, person: str, action: str, known: str, agent: str, team: str, times: int) -> None:
        for _ in range(times):  # the second time with what was known before the first
            self._act(person, action, self.epoch_of(person, known), agent, team)

    @rule(person=who, known=knowledge, team=teams)
    def to_team(self, person: str, known: str, team: str) -> None:
        self._act(person, "to_team", self.epoch_of(person, known), None, team)

    @rule(person=who)
    def somebody_accepts(self, person: str) -> None:
        self._act(person, "accept", None, person, None)

    @precondition(lambda self: self.model["status"] == "open")
    @rule(person=who, action=st.sampled_from(ON_WHAT_OTHERS_HOLD), agent=agents, team=teams)
    def meddle(self, person: str, action: str, agent: str, team: str) -> None:
        to = {"to_agent": (agent, None), "to_team": (None, team)}.get(action, (None, None))
        self._act(person, action, None, *to)

    @rule(person=who)
    def may_not_delete(self, person: str) -> None:
        if person not in {self.model["assignee"], *SUPERVISE}:
            self._act(person, "delete", None, None, None)

    @precondition(lambda self: self.model["version"] > 15)
    @rule(person=who, known=knowledge)
    def delete(self, person: str, known: str) -> None:
        self._act(person, "delete", self.epoch_of(person, known), None, None)

    def _act(
        self, person: str, action: str, epoch: int | None, agent: str | None, team: str | None
    ) -> None:
        to = {"to_agent": Trigger.TRANSFER_AGENT, "to_team": Trigger.TRANSFER_TEAM}
        trigger = MOVES.get(action) or to[action]
        mine = person if action in {"accept", "reopen", "close"} else None
        given = agent if action == "to_agent" else mine
        move = Move(trigger, self.now, agent=given, team=team if action == "to_team" else None)
        found = judge(self.real, self.viewer(person), move, epoch=epoch, bot=self.bot)
        told = found.code if isinstance(found, Refusal) else found.value
        model = self.model
        wanted = expected(model, person, action, epoch=epoch, agent=agent, team=team, bot=self.bot)
        assert told == wanted, f"{person} {action} on {model['status']}: {told}, not {wanted}"
        if isinstance(found, Refusal) and told in {"stale_epoch", "already_assigned", "not_holder"}:
            holder = model["assignee"] if model["status"] == "open" else None
            assert found.params["holder"] == holder
        if found is not Verdict.GOES:
            return
        self.moved(move)
        target = ROWS[model["status"], action][0]
        match action:
            case "reopen":
                self.moves(target, events=2, agent=person, episode=model["episode"] + 1)
            case "accept":
                self.moves(target, agent=person)
            case "to_agent":
                self.moves(target, events=2, agent=agent)
            case "to_team":
                self.moves(target, team=team)
            case "close":
                self.moves(target, assignee=model["assignee"] or person)
            case "hold":
                self.moves(target, parked=True)
            case "delete":
                self.moves("closed", deleted=True, unread=0)
            case _:
                self.moves(target)

    @rule(person=who, known=knowledge)
    def send(self, person: str, known: str) -> None:
        model, epoch = self.model, self.epoch_of(person, known)
        viewer = self.viewer(person)
        found = judge_send(self.real, viewer, epoch=epoch, needs_window=True, now=self.now)
        wanted = unseen(model, person, epoch)
        if wanted is None:
            if model["status"] != "open" or model["assignee"] != person:
                wanted = "not_holder"
            elif model["blocked"]:
                wanted = "blocked"
            elif model["window"] <= self.now:
                wanted = "window_closed"
        assert (found and found.code) == wanted
        if found is not None:
            return
        client_id = f"o{next(self.numbers)}"
        request = OutgoingRequest(client_id=client_id, type="text", text="hola")
        draft = Draft(self.real, self.now)
        message = compose(
            request, self.real, viewer, message_id=client_id, media=None, now=self.now
        )
        self.messages.put(queue(draft, message, None))
        self.take(draft.events, draft.conversation)
        model.update(version=model["version"] + 1, seq=model["seq"] + 1)

    @rule(person=who, known=knowledge)
    def may_mark(self, person: str, known: str) -> None:
        model, epoch = self.model, self.epoch_of(person, known)
        found = judge_mark(self.real, self.viewer(person), epoch=epoch)
        wanted = unseen(model, person, epoch)
        if wanted is None and (
            model["assignee"] != person or model["status"] not in {"open", "closed"}
        ):
            wanted = "not_holder"
        assert (found and found.code) == wanted

    # -- what comes in

    @precondition(lambda self: not self.model["deleted"])
    @rule()
    def write(self) -> None:
        model = self.model
        number = next(self.numbers)
        item = Incoming(
            id=f"i{number}",
            wamid=f"wamid.{number}",
            sent_at=self.now,
            received_at=self.now,
            person=Person(),
            body=Body("text", "hola", None, {}),
            raw=b"{}",
            origin="customer",
        )
        fates = self.folds(item)
        if model["blocked"]:
            assert fates == [Fate.BLOCKED]
            return
        assert fates == [Fate.STORED]
        self.inbound.append(item)
        if model["status"] == "closed":
            self.moves(
                "bot" if self.bot else "on_hold",
                episode=model["episode"] + 1,
                team=self.number_team,
                unread=0,
            )
        model.update(
            version=model["version"] + 1,
            seq=model["seq"] + 1,
            unread=model["unread"] + 1,
            window=self.now + timedelta(hours=24),
            parked=False,
        )

    @precondition(lambda self: self.inbound and not self.model["deleted"])
    @rule(data=st.data())
    def comes_again(self, data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(self.inbound), min_size=1, max_size=4))
        assert set(self.folds(*again)) <= {Fate.DUPLICATE, Fate.BLOCKED}

    @precondition(lambda self: self.inbound and not self.model["deleted"])
    @rule(data=st.data(), revoke=st.booleans())
    def reacts_or_revokes(self, data: st.DataObject, revoke: bool) -> None:
        about = data.draw(st.sampled_from(self.inbound))
        number = next(self.numbers)
        stamp = Stamp(self.now, f"wamid.{number}")
        fact = RevokeFact(stamp) if revoke else ReactionFact("contact", "k1", "👍", stamp)
        item = Fact(f"f{number}", (about.id,), fact)
        first, second = self.folds(item, item)
        assert second is Fate.UNCHANGED
        self.model["version"] += first is Fate.APPLIED

    @rule(agent=agents, known=st.sampled_from(("now", "before")), episodes=st.integers(0, 1))
    def routed(self, agent: str, known: str, episodes: int) -> None:
        model = self.model
        decision = RoutingDecision(
            kind="assign",
            explanation={},
            decided_at=self.now,
            conversation_id="c1",
            agent_id=agent,
            episode=model["episode"] - episodes,
            epoch=model["epoch"] - (known == "before"),
            reason="least_busy",
        )
        applies = (
            not model["deleted"]
            and model["status"] == "on_hold"
            and (known, episodes) == ("now", 0)
            and not model["parked"]
        )
        assert self.folds(Assignment(decision)) == [Fate.APPLIED if applies else Fate.REFUSED]
        if applies:
            self.moves("open", agent=agent)

    # -- what the system does

    @precondition(lambda self: self.model["status"] == "open" and not self.model["deleted"])
    @rule()
    def holder_lost(self) -> None:
        self.moved(Move(Trigger.HOLDER_LOST, self.now))
        self.moves("on_hold")

    @precondition(
        lambda self: self.model["status"] in {"open", "on_hold"} and not self.model["deleted"]
    )
    @rule()
    def agent_or_team_deleted(self) -> None:
        waiting = self.real.waiting_since
        self.moved(Move(Trigger.RELEASED, self.now))
        self.moves("on_hold", team=None)
        assert self.real.waiting_since == (waiting or self.now)

    @precondition(lambda self: self.model["version"] > 10 and not self.model["deleted"])
    @rule(blocked=st.booleans())
    def block(self, blocked: bool) -> None:
        if blocked and self.model["status"] != "closed":
            self.moved(Move(Trigger.BLOCK, self.now))
            self.moves("closed")
        self.real = replace(self.real, contact=replace(self.real.contact, blocked=blocked))
        self.model["blocked"] = blocked

    @rule(hours=st.sampled_from((1, 12, 25)))
    def time_goes_by(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @invariant()
    def is_as_the_table_says(self) -> None:
        if not hasattr(self, "model"):
            return
        real = self.real
        found = {
            "status": real.status.value,
            "episode": real.episode,
            "epoch": real.epoch,
            "assignee": real.assignee,
            "team": real.team,
            "unread": real.unread,
            "seq": real.seq,
            "version": real.version,
            "window": real.window_closes_at,
            "deleted": real.deleted,
            "held": set(real.holders),
            "blocked": real.contact.blocked,
            "parked": real.held_by_agent,
        }
        assert found == self.model
        assert (real.waiting_since is not None) == (found["status"] == "on_hold")
        for person in PEOPLE:
            assert sees(real, self.viewer(person)) == in_sight(self.model, person)
            assert not sees(real, replace(self.viewer(person), tenant="t2"))


Life.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_life_of_a_conversation_is_the_table_of_the_design = Life.TestCase
