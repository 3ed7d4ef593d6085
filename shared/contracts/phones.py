"""Phones as WhatsApp spells them: one may have several spellings. Pure.

A spelling is stored as it came and only compared: with a digit added, a landline of Brazil is
somebody's mobile.
"""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"\+?[0-9][0-9 ().-]*", re.ASCII)


def digits_of(wa_id: str) -> str:
    """A phone without a leading plus and what people write between its digits.

    What is no phone (a group, an invented id) is left as it is.
    """
    if wa_id.isascii() and wa_id.isdigit():
        return wa_id
    return re.sub(r"[^0-9]", "", wa_id) if _WRITTEN.fullmatch(wa_id) else wa_id


def other_spellings(wa_id: str) -> tuple[str, ...]:
    """Other spellings of the same phone: Brazil's ninth digit, Mexico's 1, Argentina's 9."""
    match wa_id[:2], len(wa_id):
        case "55", 13 if wa_id[4] == "9":
            return (wa_id[:4] + wa_id[5:],)
        case "55", 12:
            return (f"{wa_id[:4]}9{wa_id[4:]}",)
        case "52", 13 if wa_id[2] == "1":
            return ("52" + wa_id[3:],)
        case "52", 12:
            return ("521" + wa_id[2:],)
        case "54", 13 if wa_id[2] == "9":
            return ("54" + wa_id[3:],)
        case "54", 12:
            return ("549" + wa_id[2:],)
        case _:
            return ()


def spelling_of(wa_id: str) -> str:
    """The one spelling that stands for all of a phone's."""
    digits = digits_of(wa_id)
    return min((digits, *other_spellings(digits)), key=len)


def is_same_phone(one: str, other: str) -> bool:
    return spelling_of(one) == spelling_of(other)
