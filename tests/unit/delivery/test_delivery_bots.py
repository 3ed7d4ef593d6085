from datetime import UTC, datetime, timedelta

import orjson
import pytest

from services.delivery.decisions.bots import RETRIES, body_of, headers, judge, signature
from services.delivery.model import BotAnswer, BotDone, BotFailed, BotHook, BotLater
from shared.addresses import is_public, leads_inside
from shared.contracts.commands import NotifyBot

# The vector that the specification's own libraries are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORMER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ID, MOMENT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
NOW = datetime.fromtimestamp(MOMENT, UTC)


def test_signature_is_that_of_the_specification():
    assert signature(SECRET, ID, MOMENT, BODY) == SIGNED


def test_each_part_is_signed():
    others = {
        signature(FORMER, ID, MOMENT, BODY),
        signature(SECRET, ID + "x", MOMENT, BODY),
        signature(SECRET, ID, MOMENT + 1, BODY),
        signature(SECRET, ID, MOMENT, BODY + b" "),
    }
    assert len(others - {SIGNED}) == 4


def test_secret_that_is_no_base64_is_refused():
    with pytest.raises(ValueError, match="base64"):
        signature("whsec_not base64", ID, MOMENT, BODY)


def test_former_secret_signs_too_while_it_counts():
    hook = BotHook("https://bot.test", SECRET, FORMER, NOW)
    before = headers(hook.secrets(NOW - timedelta(seconds=1)), ID, NOW, BODY)
    after = headers(hook.secrets(NOW), ID, NOW, BODY)
    assert before["webhook-signature"] == f"{SIGNED} {signature(FORMER, ID, MOMENT, BODY)}"
    assert after["webhook-signature"] == SIGNED
    assert (after["webhook-id"], after["webhook-timestamp"]) == (ID, str(MOMENT))


def test_secrets_are_in_no_text_of_a_hook():
    assert SECRET not in repr(BotHook("https://bot.test", SECRET, FORMER, NOW))


def test_body_names_event_chat_and_version():
    command = NotifyBot(
        conversation_id="c1",
        number_id="n1",
        epoch=1,
        version=7,
        type="message.received",
        at=NOW,
        data={"message": {}},
    )
    assert orjson.loads(body_of(command)) == {
        "type": "message.received",
        "timestamp": "2021-02-25T15:02:10.000Z",
        "conversation_id": "c1",
        "version": 7,
        "data": {"message": {}},
    }


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("answer", "retries", "expected"),
    [
        pytest.param(BotAnswer(200), 0, BotDone(), id="told"),
        pytest.param(BotAnswer(204), 5, BotDone(), id="told at last"),
        pytest.param(BotAnswer(500), 0, BotLater(SECOND, "http_500"), id="its own error"),
        pytest.param(BotAnswer(503), 3, BotLater(8 * SECOND, "http_503"), id="still"),
        pytest.param(BotAnswer(500), RETRIES, BotFailed("http_500"), id="too often"),
        pytest.param(BotAnswer(429), 0, BotLater(SECOND, "http_429"), id="too fast"),
        pytest.param(
            BotAnswer(429, retry_after=20 * SECOND),
            0,
            BotLater(20 * SECOND, "http_429"),
            id="says when",
        ),
        pytest.param(
            BotAnswer(503, retry_after=3600 * SECOND),
            0,
            BotLater(30 * SECOND, "http_503"),
            id="says a time that nobody waits for",
        ),
        pytest.param(BotAnswer(404), 0, BotFailed("http_404"), id="not there"),
        pytest.param(BotAnswer(410), 0, BotFailed("http_410"), id="gone"),
        pytest.param(BotAnswer(307), 0, BotFailed("redirected"), id="redirect"),
        pytest.param(
            BotAnswer(reason="not_reached"), 1, BotLater(2 * SECOND, "not_reached"), id="down"
        ),
        pytest.param(
            BotAnswer(reason="address_not_allowed", final=True),
            0,
            BotFailed("address_not_allowed"),
            id="inside the network",
        ),
    ],
)
def test_answer_is_judged(answer: BotAnswer, retries: int, expected: object):
    assert judge(answer, retries=retries, jitter=lambda: 0.0) == expected


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_address_inside_a_network_is_not_public(address: str, public: bool):
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("https://127.0.0.1/hook", True),
        ("https://[::1]:8443/hook", True),
        ("http://2130706433/hook", True),
        ("https://localhost/hook", True),
        ("https://93.184.216.34/hook", False),
        ("https://name-that-is-not-there.invalid/hook", False),
    ],
)
async def test_url_that_leads_inside_is_found(url: str, inside: bool):
    assert await leads_inside(url) is inside
