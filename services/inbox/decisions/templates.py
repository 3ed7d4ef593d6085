"""What a message template wants, and whether a request gives it. Pure.

Source: the Cloud API reference, v25.0, "Message templates" and "Send message templates". What is
not known here (carousels, limited-time offers, ...) is left to WhatsApp's own judgement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inbox.decisions.limits import FieldError
from services.inbox.model.channels import Template

SENDABLE = frozenset({"APPROVED", "ACTIVE"})
_VARIABLE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_MEDIA = frozenset({"image", "video", "document", "location"})
_AT = "template.components"
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Slot:
    """A component that wants parameters: as many as `names`, all of one `kind`.

    `names` are those of named parameters, else the positions from 1.
    """

    place: str
    kind: str
    names: tuple[str, ...]
    named: bool = False


def template_of(raw: Raw) -> Template | None:
    """A template as Meta shows it; None for what is none."""
    id_, name, language = (raw.get(member) for member in ("id", "name", "language"))
    if not all(isinstance(each, str) and each for each in (id_, name, language)):
        return None
    quality = raw.get("quality_score")
    score = quality.get("score") if isinstance(quality, dict) else None
    reason = _text(raw.get("rejected_reason"))
    return Template(
        id=str(id_),
        name=str(name),
        language=str(language),
        category=_text(raw.get("category")) or "",
        status=_text(raw.get("status")) or "",
        quality=_text(score),
        reason=None if reason == "NONE" else reason,
        named=raw.get("parameter_format") == "NAMED",
        components=tuple(_dicts(raw.get("components"))),
    )


def slots(template: Template) -> list[Slot]:
    """What must be given to send it, in the template's order."""
    found: list[Slot] = []
    for component in template.components:
        match str(component.get("type", "")).upper():
            case "HEADER":
                form = str(component.get("format", "TEXT")).lower()
                if form in _MEDIA:
                    found.append(Slot("header", form, ("1",)))
                else:
                    found += _words("header", component.get("text"), named=template.named)
            case "BODY":
                found += _words("body", component.get("text"), named=template.named)
            case "BUTTONS":
                found += _buttons(_dicts(component.get("buttons")))
            case _:
                pass
    return found


def check_parameters(template: Template, request: Raw) -> list[FieldError]:
    """What is missing, too much or of the wrong type, named by component and parameter."""
    given: dict[str, list[Any]] = {}
    errors: list[FieldError] = []
    for index, component in enumerate(request.get("components") or ()):
        place = _place(component)
        if place is None:
            errors.append({"field": f"{_AT}.{index}", "code": "invalid"})
            continue
        parameters = component.get("parameters")
        given[place] = parameters if isinstance(parameters, list) else []
    for slot in slots(template):
        errors += _check(slot, given.pop(slot.place, None))
    known = {"header", "body"}
    errors += [
        {"field": f"{_AT}.{place}", "code": "not_allowed"}
        for place, parameters in given.items()
        if parameters and place in known
    ]
    return errors


def _check(slot: Slot, parameters: Sequence[Any] | None) -> Iterator[FieldError]:
    at = f"{_AT}.{slot.place}"
    if parameters is None:
        yield {"field": at, "code": "required"}
        return
    if slot.named:
        yield from _check_names(slot, parameters)
        return
    wanted = len(slot.names)
    if len(parameters) != wanted:
        code = "too_few" if len(parameters) < wanted else "too_many"
        yield {"field": f"{at}.parameters", "code": code, "limit": wanted}
        return
    for index, parameter in enumerate(parameters):
        yield from _check_one(f"{at}.parameters.{index}", slot.kind, parameter)


def _check_names(slot: Slot, parameters: Sequence[Any]) -> Iterator[FieldError]:
    at = f"{_AT}.{slot.place}.parameters"
    by_name = {
        str(each.get("parameter_name")): each for each in parameters if isinstance(each, dict)
    }
    for name in slot.names:
        if name not in by_name:
            yield {"field": f"{at}.{name}", "code": "required"}
        else:
            yield from _check_one(f"{at}.{name}", slot.kind, by_name[name])
    for name in by_name.keys() - set(slot.names):
        yield {"field": f"{at}.{name}", "code": "unknown_member"}


def _check_one(at: str, kind: str, parameter: Any) -> Iterator[FieldError]:
    if not isinstance(parameter, dict):
        yield {"field": at, "code": "invalid"}
        return
    allowed = {"text", "currency", "date_time"} if kind == "text" else {kind}
    type_ = str(parameter.get("type", "")).lower()
    if type_ not in allowed:
        yield {"field": f"{at}.type", "code": "not_allowed"}
    elif not parameter.get(type_):
        yield {"field": f"{at}.{type_}", "code": "required"}


def _words(place: str, text: Any, *, named: bool) -> list[Slot]:
    names = tuple(dict.fromkeys(_VARIABLE.findall(text))) if isinstance(text, str) else ()
    return [Slot(place, "text", names, named)] if names else []


def _buttons(buttons: Iterable[Raw]) -> Iterator[Slot]:
    for index, button in enumerate(buttons):
        match str(button.get("type", "")).upper():
            case "URL" if _VARIABLE.search(str(button.get("url", ""))):
                yield Slot(f"button.{index}", "text", ("1",))
            case "COPY_CODE":
                yield Slot(f"button.{index}", "coupon_code", ("1",))
            case "OTP":
                yield Slot(f"button.{index}", "text", ("1",))
            case _:
                pass


def _place(component: Any) -> str | None:
    """`header`, `body`, `button.<index>`, or another component's own name."""
    if not isinstance(component, dict) or not isinstance(component.get("type"), str):
        return None
    kind: str = component["type"].lower()
    if kind != "button":
        return kind
    index = str(component.get("index", ""))
    return f"button.{index}" if index.isdigit() else None


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _text(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None
