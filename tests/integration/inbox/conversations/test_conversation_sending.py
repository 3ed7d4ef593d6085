"""Sending: once, by the holder, within the window; resending and discarding."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from shared.contracts.commands import SendMessage
from shared.contracts.events import MessageEvent
from shared.contracts.topics import CONVERSATION_EVENTS, OUTBOUND
from shared.contracts.views import Message, MessageStatus
from tests.integration.inbox.conversations.office import Member, Office, days_ago
from tests.integration.inbox.topic_reader import TopicReader

INTERACTIVE = {
    "type": "button",
    "body": {"text": "¿Seguimos?"},
    "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Sí"}}]},
}
TEMPLATE = {"name": "hello_world", "language": {"code": "es"}}
CONTACTS = [{"name": {"formatted_name": "Luz"}, "phones": [{"phone": "+52 1"}]}]


async def commands_of(office: Office, conversation: str, count: int) -> list[dict[str, Any]]:
    """The `message.send` commands of a conversation, each once, in the order of the topic.

    A command may come again (another process carried its outbox entry): delivery takes it once.
    """
    found: dict[bytes, dict[str, Any]] = {}

    def all_there(reader: TopicReader) -> bool:
        for key, value, headers in reader.records:
            if key == conversation and value and b"message.send" in headers["ce_type"]:
                found.setdefault(headers["ce_id"], json.loads(value))
        return len(found) >= count

    async with TopicReader(office.tenant.inbox.settings, OUTBOUND) as reader:
        await reader.until(all_there)
    return list(found.values())


@pytest.mark.parametrize(
    ("content", "type_", "body", "text"),
    [
        pytest.param({}, "text", {"body": "Hola"}, "Hola", id="text"),
        pytest.param(
            {
                "type": "location",
                "location": {"latitude": 19.4, "longitude": -99.1, "name": "Zócalo"},
            },
            "location",
            {"latitude": 19.4, "longitude": -99.1, "name": "Zócalo"},
            "Zócalo",
            id="location",
        ),
        pytest.param(
            {"type": "contacts", "contacts": CONTACTS}, "contacts", CONTACTS, None, id="contacts"
        ),
        pytest.param(
            {"type": "interactive", "interactive": INTERACTIVE},
            "interactive",
            INTERACTIVE,
            "¿Seguimos?",
            id="interactive",
        ),
        pytest.param(
            {"type": "template", "template": TEMPLATE}, "template", TEMPLATE, None, id="template"
        ),
    ],
)
async def test_message_is_queued_with_its_command(
    shared_office: Office, content: dict[str, Any], type_: str, body: Any, text: str | None
):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    if content:
        content = {"text": None, **content}
    sent = await office.ana.send(conversation, **content)
    assert sent.status == 202, sent.raw
    message = Message.model_validate(sent.body)
    assert (message.type, message.text, message.seq) == (type_, text, 2)
    assert message.status is MessageStatus.QUEUED
    assert message.author.model_dump() == {"kind": "agent", "id": office.ana.id, "name": "ana"}
    thread = await office.ana("GET", f"/conversations/{conversation}/messages")
    assert thread.body["items"][0] == sent.body
    shown = await office.ana.get(conversation)
    assert shown["last_message"]["id"] == message.id
    assert shown["unread"] == 1

    [command] = await commands_of(office, conversation, 1)
    parsed = SendMessage.model_validate(command)
    document = await office.document(conversation)
    assert (parsed.message_id, parsed.seq, parsed.type) == (message.id, 2, type_)
    assert parsed.body == body
    assert parsed.recipient.wa_id == document["contact"]["wa_id"]


async def test_event_of_a_send_fits_the_contract(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    sent = await office.ana.send(conversation)
    async with TopicReader(office.tenant.inbox.settings, CONVERSATION_EVENTS) as reader:
        await reader.until(lambda it: 4 in it.versions(conversation))
        assert list(dict.fromkeys(reader.versions(conversation))) == [1, 2, 3, 4]
        event = MessageEvent.model_validate_json(reader.values(conversation)[-1] or b"")
    assert event.message == Message.model_validate(sent.body)
    assert event.before.assignee == office.ana.id


async def test_same_client_id_is_the_same_message(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    client_id = uuid.uuid4().hex
    answers = await asyncio.gather(
        *(office.ana.send(conversation, client_id=client_id, text=f"{n}") for n in range(20))
    )
    answers.append(await office.ana.send(conversation, client_id=client_id))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.raw for answer in answers}) == 1
    assert (await office.document(conversation))["seq"] == 2
    # Also when the chat has gone to somebody else meanwhile.
    await office.sue.act(conversation, "transfer", agent_id=office.sue.id)
    again = await office.ana.send(conversation, client_id=client_id, epoch=2)
    assert (again.status, again.body["id"]) == (202, answers[0].body["id"])
    other = await office.bea.send(conversation, client_id=client_id)
    assert other.status == 404


async def test_concurrent_sends_take_places_of_their_own(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    answers = await asyncio.gather(*(office.ana.send(conversation) for _ in range(8)))
    assert sorted(answer.body["seq"] for answer in answers) == list(range(2, 10))
    commands = await commands_of(office, conversation, 8)
    assert [command["seq"] for command in commands] == list(range(2, 10))


async def test_window_closed_lets_only_templates_through(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana, sent_at=days_ago(1.01))
    for content in ({}, {"type": "interactive", "text": None, "interactive": INTERACTIVE}):
        refused = await office.ana.send(conversation, **content)
        assert (refused.status, refused.code) == (409, "window_closed")
    sent = await office.ana.send(conversation, type="template", text=None, template=TEMPLATE)
    assert sent.status == 202


async def test_blocked_contact_gets_nothing(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    contact = (await office.ana.get(conversation))["contact"]["id"]
    assert (await office.ana("POST", f"/contacts/{contact}/block")).status == 200
    assert (await office.ana.act(conversation, "reopen")).status == 200
    refused = await office.ana.send(conversation, type="template", text=None, template=TEMPLATE)
    assert (refused.status, refused.code) == (409, "blocked")


async def test_reply_quotes_a_message_of_the_conversation(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    foreign = await office.opened_by(office.ana)
    [quoted] = (await office.ana("GET", f"/conversations/{conversation}/messages")).body["items"]
    sent = await office.ana.send(conversation, reply_to=quoted["id"])
    assert sent.body["reply_to"] == quoted["id"]
    [command] = await commands_of(office, conversation, 1)
    assert command["reply_to_wamid"] == quoted["wamid"]
    refused = await office.ana.send(foreign, reply_to=quoted["id"])
    assert (refused.status, refused.code) == (422, "validation")
    assert refused.body["errors"] == [{"field": "reply_to", "code": "unknown"}]


@pytest.mark.parametrize("outcome", [None, MessageStatus.UNKNOWN, MessageStatus.FAILED])
async def test_regression_what_whatsapp_does_not_know_cannot_be_quoted(
    shared_office: Office, outcome: MessageStatus | None
):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    ours = (await office.ana.send(conversation)).body["id"]
    if outcome is not None:
        await office.outcome(conversation, ours, outcome)
    refused = await office.ana.send(conversation, reply_to=ours)
    assert (refused.status, refused.code) == (422, "validation")
    assert refused.body["errors"] == [{"field": "reply_to", "code": "unknown"}]


async def test_ours_is_quoted_once_whatsapp_has_it(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    ours = (await office.ana.send(conversation)).body["id"]
    await office.outcome(conversation, ours, MessageStatus.ACCEPTED)
    sent = await office.ana.send(conversation, reply_to=ours)
    assert (sent.status, sent.body["reply_to"]) == (202, ours)
    [_, command] = await commands_of(office, conversation, 2)
    assert command["reply_to_wamid"].startswith("wamid.")


async def test_reaction_is_a_fact_on_its_message(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    [target] = (await office.ana("GET", f"/conversations/{conversation}/messages")).body["items"]

    async def react(who: Member, emoji: str, client_id: str) -> Any:
        reaction = {"message_id": target["id"], "emoji": emoji}
        answer = await who.send(
            conversation, client_id=client_id, type="reaction", text=None, reaction=reaction
        )
        assert answer.status == 202, answer.raw
        return answer.body

    first = await react(office.ana, "👍", "one")
    mine = {"by": {"kind": "agent", "id": office.ana.id}, "emoji": "👍"}
    assert (first["id"], first["reactions"]) == (target["id"], [mine])
    assert await react(office.ana, "👍", "one") == first
    await office.ana.act(conversation, "transfer", agent_id=office.bea.id)
    second = await react(office.bea, "🎉", "two")
    assert [each["emoji"] for each in second["reactions"]] == ["🎉"]
    version = (await office.bea.get(conversation))["version"]
    assert await react(office.bea, "👍", "one") == second  # a late repeat changes nothing
    assert (await office.bea.get(conversation))["version"] == version
    assert (await react(office.bea, "", "three"))["reactions"] == []

    commands = await commands_of(office, conversation, 3)
    assert [command["body"] for command in commands] == [
        {"message_id": target["wamid"], "emoji": emoji} for emoji in ("👍", "🎉", "")
    ]
    assert len({command["message_id"] for command in commands} | {target["id"]}) == 4
    thread = await office.bea("GET", f"/conversations/{conversation}/messages")
    assert len(thread.body["items"]) == 1


async def test_unknown_media_is_refused(shared_office: Office):
    conversation = await shared_office.opened_by(shared_office.ana)
    refused = await shared_office.ana.send(
        conversation, type="image", text="caption", media={"id": "nothing"}
    )
    assert (refused.status, refused.code) == (422, "unknown_media")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"text": "x" * 4097}, id="long_text"),
        pytest.param({"text": "\ud800"}, id="surrogate"),
        pytest.param({"text": " "}, id="blank"),
        pytest.param({"type": "hologram"}, id="type"),
        pytest.param({"client_id": ""}, id="client_id"),
        pytest.param({"unknown": 1}, id="member"),
        pytest.param({"epoch": "1"}, id="epoch"),
        pytest.param({"reply_to": "Ω"}, id="reply_to"),
        pytest.param({"location": {}}, id="other_member"),
        pytest.param(
            {"type": "template", "text": None, "template": {**TEMPLATE, "x": "\udfff"}},
            id="surrogate_inside",
        ),
        pytest.param(
            {"type": "template", "text": None, "template": {**TEMPLATE, "x": 2**70}}, id="number"
        ),
    ],
)
async def test_wrong_send_stores_nothing(shared_office: Office, body: dict[str, Any]):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    before = await office.ana.get(conversation)
    refused = await office.ana.send(conversation, **body)
    assert (refused.status, refused.code) == (422, "validation")
    assert refused.body["errors"]
    assert await office.ana.get(conversation) == before


# -- what failed, what is unknown


async def _settled(office: Office, outcome: MessageStatus) -> tuple[str, str]:
    conversation = await office.opened_by(office.ana)
    message = (await office.ana.send(conversation)).body["id"]
    await office.outcome(conversation, message, outcome)
    return conversation, message


async def _post(who: Member, conversation: str, message: str, what: str) -> Any:
    return await who("POST", f"/conversations/{conversation}/messages/{message}/{what}")


@pytest.mark.parametrize("outcome", [MessageStatus.UNKNOWN, MessageStatus.FAILED])
async def test_resend_queues_once_more(shared_office: Office, outcome: MessageStatus):
    office = shared_office
    conversation, message = await _settled(office, outcome)
    hidden = await _post(office.bea, conversation, message, "resend")
    assert hidden.status == 404
    unheld = await _post(office.sue, conversation, message, "resend")
    assert (unheld.status, unheld.code) == (409, "not_holder")

    first = await _post(office.ana, conversation, message, "resend")
    assert (first.status, first.body["status"], first.body["error"]) == (202, "queued", None)
    again = await _post(office.ana, conversation, message, "resend")
    assert (again.status, again.body) == (202, first.body)

    commands = await commands_of(office, conversation, 2)
    assert [command.get("attempt_base", 0) for command in commands] == [0, 1]
    assert commands[1]["seq"] > commands[0]["seq"]
    # What is still told of the first attempt is older now.
    await office.outcome(conversation, message, MessageStatus.UNKNOWN)
    thread = await office.ana("GET", f"/conversations/{conversation}/messages")
    assert thread.body["items"][0]["status"] == "queued"
    assert await _logged(office, conversation) == ("resent", message, office.ana.id)


async def test_discard_ends_a_message(shared_office: Office):
    office = shared_office
    conversation, message = await _settled(office, MessageStatus.UNKNOWN)
    first = await _post(office.ana, conversation, message, "discard")
    assert (first.status, first.body["status"]) == (200, "failed")
    assert first.body["error"]["code"] == "discarded"
    again = await _post(office.ana, conversation, message, "discard")
    assert (again.status, again.body) == (200, first.body)
    shown = await office.ana.get(conversation)
    assert shown["last_message"]["status"] == "failed"
    assert await _logged(office, conversation) == ("discarded", message, office.ana.id)


async def _logged(office: Office, conversation: str) -> tuple[str, str, str]:
    """The last line of the internal log."""
    log = await office.ana("GET", f"/conversations/{conversation}/activities?limit=1")
    (line,) = log.body["items"]
    return line["data"]["kind"], line["data"]["message_id"], line["actor"]["id"]


@pytest.mark.parametrize("what", ["resend", "discard"])
async def test_settled_messages_stay(shared_office: Office, what: str):
    office = shared_office
    conversation, message = await _settled(office, MessageStatus.ACCEPTED)
    refused = await _post(office.ana, conversation, message, what)
    assert refused.status == 409
    assert refused.body["code"] == "invalid_transition"
    assert refused.body["status"] == "accepted"
    incoming = (await office.ana("GET", f"/conversations/{conversation}/messages")).body["items"][1]
    assert (await _post(office.ana, conversation, incoming["id"], what)).status == 409
    assert (await _post(office.ana, conversation, "nothing", what)).status == 404
