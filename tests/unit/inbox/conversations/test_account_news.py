"""What webhooks tell of accounts: the word, what it is about, and nobody's name or phone."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from deploy.local.home import ROOT
from services.inbox.decisions.accounts import DETAILS_LIMIT, Told, number_with, told_by
from services.inbox.decisions.parsing import Recorded, parse
from services.inbox.model.accounts import TemplateRef
from services.ingest.decisions.reading import read_json
from services.ingest.decisions.splitting import split
from services.ingest.workflows.accept import encode
from shared.contracts.directory import NumberEntry
from shared.contracts.inbound import InboundType
from shared.ids import IdHasher

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def recorded(value: dict[str, Any]) -> Recorded:
    found = parse(InboundType.CHANGE, "acme", "ce", value, AT, IdHasher("key-secret"))
    assert isinstance(found, Recorded)
    return found


def told(sample: str) -> Told | None:
    (item,) = split(read_json((ROOT / "tests/payloads" / f"{sample}.json").read_bytes())).items
    value = encode(item, None, "2026-06-01T12:00:00.000Z")
    assert value is not None
    return told_by(recorded(orjson.loads(value)))


def change(field: str, **item: Any) -> Told | None:
    return told_by(recorded({"field": field, "item": item, "waba_id": "1"}))


@pytest.mark.parametrize(
    ("sample", "word", "details"),
    [
        (
            "account_update_restriction",
            "ACCOUNT_RESTRICTION",
            {
                "restriction_info": [
                    {
                        "restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING",
                        "expiration": 1780600000,
                    }
                ]
            },
        ),
        ("account_review", "APPROVED", {}),
        (
            "phone_quality_throughput",
            "THROUGHPUT_UPGRADE",
            {
                "current_limit": "TIER_UNLIMITED",
                "max_daily_conversations_per_business": "TIER_UNLIMITED",
            },
        ),
        ("template_quality", "YELLOW", {"previous_quality_score": "GREEN"}),
        ("template_category", "MARKETING", {"previous_category": "UTILITY"}),
        (
            "business_capability",
            None,
            {"max_daily_conversations_per_business": 2000, "max_phone_numbers_per_waba": 25},
        ),
        (
            "user_preferences_stop",
            "stop",
            {
                "detail": "User requested to stop marketing messages",
                "category": "marketing_messages",
                "timestamp": 1780000000,
            },
        ),
    ],
)
def test_a_change_says_its_word_and_the_rest(
    sample: str, word: str | None, details: dict[str, Any]
) -> None:
    found = told(sample)

    assert found is not None
    assert (found.news.change, found.news.details) == (word, details)
    assert found.news.waba_id == "100000000000001"
    assert "12025550" not in json.dumps(found.news.details)


@pytest.mark.parametrize("sample", ["calls_connect", "group_settings", "history_chunk"])
def test_what_is_about_chats_is_no_news_of_an_account(sample: str) -> None:
    assert told(sample) is None


def test_the_template_and_who_is_meant_are_told_apart() -> None:
    status, preference = told("template_status_approved"), told("user_preferences_stop")

    assert status is not None
    assert preference is not None
    assert status.news.template == TemplateRef("500000000000001", "order_update", "en_US")
    assert preference.news.template is None
    assert preference.person.user_id == "US.90000000000000000001"
    assert preference.person.wa_id == "12025550111"


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"event": None, "decision": {}},
        {"event": ["x"], "message_template_name": {"a": 1}, "display_phone_number": 5},
        {"user_id": [], "wa_id": {}, "value": False},
    ],
)
def test_odd_shapes_are_news_without_a_word(item: dict[str, Any]) -> None:
    found = change("account_update", **item)

    assert found is not None
    assert found.news.change is None


@pytest.mark.parametrize(
    ("field", "item", "word"),
    [
        ("account_alerts", {"alert_type": "OBA_APPROVED", "alert_status": "NONE"}, "OBA_APPROVED"),
        ("account_alerts", {"alert_info": {"alert_type": "INCREASED"}}, "INCREASED"),
        ("business_username_updates", {"username": "shop", "status": "approved"}, "approved"),
        ("flows", {"event": "FLOW_STATUS_CHANGE", "flow_id": "9"}, "FLOW_STATUS_CHANGE"),
    ],
)
def test_regression_alerts_usernames_and_flows_are_news(
    field: str, item: dict[str, Any], word: str
) -> None:
    found = change(field, **item)

    assert found is not None
    assert found.news.change == word


def test_regression_account_update_may_name_its_phone_in_another_member() -> None:
    found = change("account_update", event="VERIFIED_ACCOUNT", phone_number="12025550100")

    assert found is not None
    assert (found.phone, found.news.details) == ("12025550100", {})


def test_long_words_and_large_details_are_cut() -> None:
    found = change("account_update", event="E" * 5000, violation_info="V" * DETAILS_LIMIT)

    assert found is not None
    assert found.news.change == "E" * 128
    assert found.news.details == {"truncated": True}


def test_a_number_is_found_by_the_phone_that_it_is_shown_with() -> None:
    def number(identifier: str, phone: str | None, waba: str | None) -> NumberEntry:
        return NumberEntry(
            id=identifier,
            tenant="acme",
            version=1,
            phone_number_id=identifier,
            display_phone_number=phone,
            waba_id=waba,
        )

    numbers = [
        number("a", None, "1"),
        number("b", "+1 (202) 555-0100", "2"),
        number("c", "+1 202-555-0100", "1"),
    ]

    assert number_with("12025550100", "1", numbers) == "c"
    assert number_with("12025550199", "1", numbers) is None
    assert number_with("", "1", numbers) is None
