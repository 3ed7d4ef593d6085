"""WhatsApp's limits on what is sent, each with the member and the limit that is told."""

from typing import Any

import pytest

from services.inbox.decisions.limits import check, check_media
from services.inbox.model.outgoing import (
    MediaChoice,
    OutgoingRequest,
    ReactionChoice,
    StoredMedia,
)

MB = 1024 * 1024


def request(type_: str = "text", **members: Any) -> OutgoingRequest:
    return OutgoingRequest(client_id="c1", type=type_, **members)  # type: ignore[arg-type]


def reply(number: int = 1, **members: str) -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": f"id{number}", "title": f"T{number}", **members}}


def buttons(*replies: dict[str, Any], **members: Any) -> OutgoingRequest:
    held = {"type": "button", "body": {"text": "Go?"}, "action": {"buttons": list(replies)}}
    return request("interactive", interactive={**held, **members})


def row(number: int = 1, **members: str) -> dict[str, Any]:
    return {"id": f"id{number}", "title": f"T{number}", **members}


def listed(*sections: dict[str, Any], button: str = "Open", body: str = "Pick") -> OutgoingRequest:
    action = {"button": button, "sections": list(sections)}
    held = {"type": "list", "body": {"text": body}, "action": action}
    return request("interactive", interactive=held)


def link(**parameters: str) -> OutgoingRequest:
    action = {"name": "cta_url", "parameters": parameters}
    held = {"type": "cta_url", "body": {"text": "b"}, "action": action}
    return request("interactive", interactive=held)


def where(body: str) -> OutgoingRequest:
    held = {
        "type": "location_request_message",
        "body": {"text": body},
        "action": {"name": "send_location"},
    }
    return request("interactive", interactive=held)


def section(*rows: dict[str, Any], **members: str) -> dict[str, Any]:
    return {"rows": list(rows or [row()]), **members}


SOUND = [
    request(text="x" * 4096),
    request("image", media=MediaChoice("m1"), text="x" * 1024),
    request("document", media=MediaChoice("m1", "a.pdf")),
    request("audio", media=MediaChoice("m1", voice=True)),
    request("sticker", media=MediaChoice("m1")),
    request("location", location={"latitude": "19.4", "longitude": -99, "name": "Here"}),
    request("contacts", contacts=[{"name": {"formatted_name": "Luz"}}]),
    request("template", template={"name": "hi", "language": {"code": "es"}, "components": []}),
    request("reaction", reaction=ReactionChoice("m1", "👩🏽‍❤️‍💋‍👨🏿")),
    request("reaction", reaction=ReactionChoice("m1", "")),
    buttons(reply(1), reply(2), reply(3)),
    listed(section(), button="x" * 20, body="x" * 4096),
    listed(section(row(1), title="A"), section(row(2), title="B")),
    link(url="https://example.test", display_text="x" * 20),
    where("x" * 1024),
    request("interactive", interactive={"type": "flow", "action": {"name": "flow"}}),
]


@pytest.mark.parametrize("sound", SOUND, ids=lambda it: it.type)
def test_sound_request_has_no_errors(sound: OutgoingRequest):
    assert check(sound) == []


WRONG = [
    pytest.param(request(), "text", "required", None, id="text_missing"),
    pytest.param(request(text=" "), "text", "required", None, id="text_blank"),
    pytest.param(request(text="x" * 4097), "text", "too_long", 4096, id="text"),
    pytest.param(request("image"), "media", "required", None, id="media"),
    pytest.param(
        request("image", media=MediaChoice("m"), text="x" * 1025),
        "text",
        "too_long",
        1024,
        id="caption",
    ),
    pytest.param(
        request("audio", media=MediaChoice("m"), text="x"), "text", "not_allowed", None, id="audio"
    ),
    pytest.param(
        request("image", media=MediaChoice("m", "a.png")),
        "media.filename",
        "not_allowed",
        None,
        id="filename",
    ),
    pytest.param(
        request("document", media=MediaChoice("m", "x" * 241)),
        "media.filename",
        "too_long",
        240,
        id="long_filename",
    ),
    pytest.param(
        request("video", media=MediaChoice("m", voice=True)),
        "media.voice",
        "not_allowed",
        None,
        id="voice",
    ),
    pytest.param(
        request("location", location={"latitude": 91, "longitude": 0}),
        "location.latitude",
        "invalid",
        None,
        id="latitude",
    ),
    pytest.param(
        request("location", location={"latitude": 1, "longitude": "nan"}),
        "location.longitude",
        "invalid",
        None,
        id="longitude",
    ),
    pytest.param(request("contacts", contacts=[]), "contacts", "required", None, id="contacts"),
    pytest.param(
        request("contacts", contacts=[{"name": {}}]),
        "contacts.0.name.formatted_name",
        "required",
        None,
        id="contact_name",
    ),
    pytest.param(
        request("contacts", contacts=[{"name": {"formatted_name": "L"}}] * 258),
        "contacts",
        "too_long",
        257,
        id="many_contacts",
    ),
    pytest.param(
        request("template", template={"name": "hi"}),
        "template.language.code",
        "required",
        None,
        id="language",
    ),
    pytest.param(
        request(
            "template", template={"name": "hi", "language": {"code": "es"}, "x": "x" * 262_144}
        ),
        "template",
        "too_large",
        262_144,
        id="size",
    ),
    pytest.param(
        request("template", template={"name": "\ud800"}),
        "template",
        "invalid",
        None,
        id="surrogate",
    ),
    pytest.param(
        request("reaction", reaction=ReactionChoice("m", "x" * 33)),
        "reaction.emoji",
        "too_long",
        32,
        id="emoji",
    ),
    pytest.param(
        request("reaction", reaction=ReactionChoice("m", "x"), reply_to="m"),
        "reply_to",
        "not_allowed",
        None,
        id="reaction_reply",
    ),
    pytest.param(buttons(), "interactive.action.buttons", "required", None, id="no_buttons"),
    pytest.param(
        buttons(*map(reply, range(4))), "interactive.action.buttons", "too_long", 3, id="buttons"
    ),
    pytest.param(
        buttons(reply(title="x" * 21)),
        "interactive.action.buttons.0.reply.title",
        "too_long",
        20,
        id="title",
    ),
    pytest.param(
        buttons(reply(1), reply(2, title="T1")),
        "interactive.action.buttons.1.reply.title",
        "not_unique",
        None,
        id="same_title",
    ),
    pytest.param(
        buttons(reply(id="x" * 257)),
        "interactive.action.buttons.0.reply.id",
        "too_long",
        256,
        id="button_id",
    ),
    pytest.param(
        buttons(reply(), body={"text": "x" * 1025}),
        "interactive.body.text",
        "too_long",
        1024,
        id="body",
    ),
    pytest.param(
        buttons(reply(), footer={"text": "x" * 61}),
        "interactive.footer.text",
        "too_long",
        60,
        id="footer",
    ),
    pytest.param(
        buttons(reply(), header={"type": "text", "text": "x" * 61}),
        "interactive.header.text",
        "too_long",
        60,
        id="header",
    ),
    pytest.param(
        listed(section(*map(row, range(11)))),
        "interactive.action.sections.0.rows",
        "too_long",
        10,
        id="rows",
    ),
    pytest.param(
        listed(*(section(row(n), title="S") for n in range(11))),
        "interactive.action.sections",
        "too_long",
        10,
        id="sections",
    ),
    pytest.param(
        listed(section(row(1)), section(row(2), title="B")),
        "interactive.action.sections.0.title",
        "required",
        None,
        id="section_title",
    ),
    pytest.param(
        listed(section(row(1, description="x" * 73))),
        "interactive.action.sections.0.rows.0.description",
        "too_long",
        72,
        id="description",
    ),
    pytest.param(
        listed(section(row(1), row(1))),
        "interactive.action.sections.0.rows.1.id",
        "not_unique",
        None,
        id="row_id",
    ),
    pytest.param(
        listed(section(), button="x" * 21), "interactive.action.button", "too_long", 20, id="button"
    ),
    pytest.param(
        link(url="https://example.test"),
        "interactive.action.parameters.display_text",
        "required",
        None,
        id="cta_url",
    ),
    pytest.param(
        link(url="https://example.test", display_text="x" * 21),
        "interactive.action.parameters.display_text",
        "too_long",
        20,
        id="cta_url_label",
    ),
    pytest.param(
        link(display_text="Open"),
        "interactive.action.parameters.url",
        "required",
        None,
        id="cta_url_without_url",
    ),
    pytest.param(where(""), "interactive.body.text", "required", None, id="location_request_body"),
    pytest.param(
        where("x" * 1025), "interactive.body.text", "too_long", 1024, id="location_request_length"
    ),
    pytest.param(
        request("interactive", interactive={}), "interactive.type", "required", None, id="kind"
    ),
]


@pytest.mark.parametrize(("wrong", "field", "code", "limit"), WRONG)
def test_wrong_request_names_the_member_and_the_limit(
    wrong: OutgoingRequest, field: str, code: str, limit: int | None
):
    error: dict[str, Any] = {"field": field, "code": code}
    if limit is not None:
        error["limit"] = limit
    assert check(wrong) == [error]


@pytest.mark.parametrize(
    ("type_", "mime", "size", "voice", "code"),
    [
        pytest.param("image", "image/png", 5 * MB, False, None, id="image"),
        pytest.param("image", "image/png", 5 * MB + 1, False, "too_large", id="large_image"),
        pytest.param("image", "image/webp", 1, False, "not_allowed", id="webp_image"),
        pytest.param("sticker", "image/webp", 100 * 1024, False, None, id="sticker"),
        pytest.param("sticker", "image/webp", 100 * 1024 + 1, False, "too_large", id="sticker_max"),
        pytest.param("audio", "audio/ogg", 1, True, None, id="voice"),
        pytest.param("audio", "audio/mpeg", 1, True, "not_allowed", id="mp3_voice"),
        pytest.param("document", "application/x-any", 100 * MB, False, None, id="document"),
        pytest.param("video", "video/webm", 1, False, "not_allowed", id="webm"),
    ],
)
def test_stored_file_fits_its_type(type_: str, mime: str, size: int, voice: bool, code: str | None):
    errors = check_media(type_, StoredMedia("m", mime, size, "00"), voice=voice)
    assert [error["code"] for error in errors] == ([] if code is None else [code])
