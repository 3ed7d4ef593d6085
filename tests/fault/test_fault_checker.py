import random
from dataclasses import replace

import pytest

from tests.fault.checker import Kind, Verdict, check
from tests.fault.mutations import MUTATIONS, Mutation
from tests.fault.recording import Action, Recording, Send
from tests.fault.small import small_recording


def test_checker_finds_nothing_in_a_good_recording():
    verdict = check(small_recording())

    assert verdict.findings == []
    assert verdict.acknowledged == 20 + 12 + 8
    assert verdict.repeats == 8


@pytest.mark.parametrize(
    ("mutation", "kind"), [pytest.param(*m, id=name) for name, m in MUTATIONS.items()]
)
def test_checker_reports_damage_wherever_it_is(mutation: Mutation, kind: Kind):
    for seed in range(50):
        verdict = check(mutation(small_recording(), random.Random(seed)))
        assert verdict.count(kind) > 0, seed


def test_checker_reports_every_single_message_that_is_missing():
    good = small_recording()

    for gone in good.stored:
        verdict = check(replace(good, stored=[one for one in good.stored if one is not gone]))
        assert verdict.count(Kind.LOST) > 0


def test_checker_reports_every_single_event_that_is_missing():
    good = small_recording()

    for gone in set(good.told):
        verdict = check(replace(good, told=[one for one in good.told if one != gone]))
        assert verdict.count(Kind.GAP) > 0


def _in_doubt(status: str) -> Recording:
    good = small_recording()
    message = good.delivered[-1]
    return replace(
        good,
        doubtful={message},
        delivered=good.delivered[:-1],
        shown=[replace(one, status=status) if one.id == message else one for one in good.shown],
    )


def _kinds(verdict: Verdict) -> set[Kind]:
    return {one.kind for one in verdict.findings}


def test_checker_accepts_a_send_in_doubt_that_is_shown_so():
    verdict = check(_in_doubt("unknown"))

    assert (verdict.doubtful, _kinds(verdict)) == (1, set())


def test_checker_reports_a_send_in_doubt_that_is_shown_as_sent():
    assert _kinds(check(_in_doubt("sent"))) == {Kind.ALTERED}


def test_checker_reports_a_sent_message_that_is_shown_unknown():
    good = small_recording()
    shown = [replace(one, status="unknown") if one.status else one for one in good.shown]

    assert _kinds(check(replace(good, shown=shown))) == {Kind.STALE}


def test_checker_reports_statuses_that_come_without_end():
    good = small_recording()
    head = good.heads[0]
    told = next(t for t in good.told if t.type == "message.status" and t.conversation == head.id)
    more = [replace(told, version=head.version + n, digest=b"more") for n in range(1, 6)]
    heads = [replace(one, version=one.version + 5 * (one is head)) for one in good.heads]

    assert _kinds(check(replace(good, told=good.told + more, heads=heads))) == {Kind.DUPLICATED}


def test_checker_accepts_a_call_that_was_cut_off_and_done():
    good = small_recording()
    cut = [
        Send(one.agent, one.conversation, one.client_id) if n == 0 else one
        for n, one in enumerate(good.sends)
    ]
    actions = [replace(one, standing=None) for one in good.actions]

    assert check(replace(good, sends=cut, actions=actions)).good


def test_checker_reports_an_answer_that_the_history_does_not_have():
    good = small_recording()
    done = next(one for one in good.actions if one.standing is not None)
    assert done.standing is not None
    beyond = Action("ana", done.conversation, "close", replace(done.standing, version=99))

    assert Kind.LOST in _kinds(check(replace(good, actions=[*good.actions, beyond])))


def test_checker_reports_a_message_that_nobody_posted():
    good = small_recording()

    assert _kinds(check(replace(good, offered=set()))) == {Kind.INVENTED}


def test_checker_reports_what_a_client_saw_against_the_protocol():
    good = replace(small_recording(), breaches=["ana: went from 3 to 5"])

    assert _kinds(check(good)) == {Kind.BREACH}
