from typing import Any

import pytest

from services.inbox.decisions.templates import check_parameters, slots, template_of
from services.inbox.model.channels import Template


def made(*components: dict[str, Any], **members: Any) -> Template:
    raw = {"id": "1", "name": "t", "language": "es", "components": list(components), **members}
    template = template_of(raw)
    assert template is not None
    return template


ORDER = made(
    {"type": "HEADER", "format": "IMAGE"},
    {"type": "BODY", "text": "Hola {{1}}, tu pedido {{2}} sale hoy. {{1}}!"},
    {"type": "FOOTER", "text": "Tienda"},
    {
        "type": "BUTTONS",
        "buttons": [
            {"type": "QUICK_REPLY", "text": "Gracias"},
            {"type": "URL", "text": "Ver", "url": "https://shop.test/{{1}}"},
            {"type": "COPY_CODE"},
        ],
    },
)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def whole() -> dict[str, Any]:
    return {
        "header": {"type": "header", "parameters": [{"type": "image", "image": {"id": "9"}}]},
        "body": {"type": "body", "parameters": [text("Ana"), text("7")]},
        "url": {"type": "button", "sub_type": "url", "index": "1", "parameters": [text("7")]},
        "code": {
            "type": "button",
            "sub_type": "copy_code",
            "index": 2,
            "parameters": [{"type": "coupon_code", "coupon_code": "X"}],
        },
    }


def found(template: Template, *components: Any) -> list[tuple[Any, ...]]:
    errors = check_parameters(template, {"components": list(components)})
    return [(e["field"].removeprefix("template.components."), e["code"]) for e in errors]


def test_slots_are_what_the_template_wants():
    assert [(slot.place, slot.kind, slot.names) for slot in slots(ORDER)] == [
        ("header", "image", ("1",)),
        ("body", "text", ("1", "2")),
        ("button.1", "text", ("1",)),
        ("button.2", "coupon_code", ("1",)),
    ]


def test_whole_request_is_right_and_needs_no_quick_reply():
    assert found(ORDER, *whole().values()) == []
    quick = {"type": "button", "sub_type": "quick_reply", "index": "0", "parameters": []}
    assert found(ORDER, *whole().values(), quick) == []


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        pytest.param("body", None, ("body", "required"), id="component is missing"),
        pytest.param("url", None, ("button.1", "required"), id="button is missing"),
        pytest.param("body", [text("Ana")], ("body.parameters", "too_few"), id="too few"),
        pytest.param("body", [text("a")] * 3, ("body.parameters", "too_many"), id="too many"),
        pytest.param(
            "body", [text("a"), text("")], ("body.parameters.1.text", "required"), id="empty"
        ),
        pytest.param("body", [text("a"), "b"], ("body.parameters.1", "invalid"), id="no parameter"),
        pytest.param("header", [text("a")], ("header.parameters.0.type", "not_allowed"), id="type"),
    ],
)
def test_what_is_wrong_is_named(name: str, change: Any, error: tuple[str, str]):
    components = whole()
    if change is None:
        del components[name]
    else:
        components[name]["parameters"] = change
    assert found(ORDER, *components.values()) == [error]


def test_named_parameters_are_asked_for_by_name():
    template = made({"type": "BODY", "text": "Hola {{first_name}}"}, parameter_format="NAMED")
    given = {**text("Ana"), "parameter_name": "first_name"}
    assert found(template, {"type": "body", "parameters": [given]}) == []
    other = {**text("Ana"), "parameter_name": "surname"}
    assert found(template, {"type": "body", "parameters": [other]}) == [
        ("body.parameters.first_name", "required"),
        ("body.parameters.surname", "unknown_member"),
    ]


def test_parameters_for_a_component_without_variables_are_refused():
    plain = made({"type": "BODY", "text": "Hola"})
    assert found(plain) == []
    assert found(plain, {"type": "body", "parameters": []}) == []
    assert found(plain, {"type": "body", "parameters": [text("a")]}) == [("body", "not_allowed")]
    assert found(plain, "no component", {"type": "carousel", "cards": []}) == [("0", "invalid")]


@pytest.mark.parametrize(
    "raw", [{}, {"id": 1, "name": "t", "language": "es"}, {"id": "1", "name": "", "language": "x"}]
)
def test_what_is_no_template_is_none(raw: dict[str, Any]):
    assert template_of(raw) is None


def test_odd_members_of_meta_are_survived():
    template = made(7, {"type": "BODY", "text": None}, {"type": "BUTTONS", "buttons": [None]})  # type: ignore[arg-type]
    assert slots(template) == []
