"""The texts and pages that bodies are made of."""

import base64
import binascii
import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from services.inbox.model.errors import invalid

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EMAIL: Final = re.compile(r"^[^@\s,;<>\"]+@[^@\s,;<>\"]+$")
T = TypeVar("T")


def _no_controls(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("a control character")
    return text


def _folded_email(text: str) -> str:
    folded = unicodedata.normalize("NFC", _no_controls(text).strip()).casefold()
    if not _EMAIL.match(folded):
        raise ValueError("not an e-mail address")
    return folded


def _a_number(given: object) -> object:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError("not a number")  # noqa: TRY004 - what pydantic turns into a problem
    return given


def _written_out(given: object) -> object:
    if not isinstance(given, str) or given[4:5] != "-":
        raise ValueError("not a date")
    return given


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as far:
        raise ValueError("not within the years 1 to 9999") from far


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_no_controls),
]
"""One line that people read: a name."""
Email = Annotated[str, Field(min_length=3, max_length=254), AfterValidator(_folded_email)]
Password = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_controls)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")]
"""A secret or an id of somebody else's: visible ASCII."""
YesNo = Annotated[bool, Field(strict=True)]
"""true or false: "yes" and 1 are neither."""
Whole = Annotated[int, BeforeValidator(_a_number)]
"""A number of JSON that is whole: not its digits in a text, not true."""
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""A time with its offset, in UTC."""
Day = Annotated[date, BeforeValidator(_written_out)]
EntityId = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$")]


class Body(BaseModel):
    """A request body: members that are not known are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def require_one(body: BaseModel, first: str, second: str) -> None:
    """For validators: exactly one of two members. The error names the one that is wrong."""
    given = [getattr(body, name) is not None for name in (first, second)]
    if not any(given):
        raise PydanticCustomError("missing", "one of both", {"member": first})
    if all(given):
        raise PydanticCustomError("one_of_both", "one of both", {"member": second})


class Items(BaseModel, Generic[T]):
    """A page of a list; `next_cursor` is null at the end."""

    items: list[T]
    next_cursor: str | None = None


Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=1000)]


def to_cursor(position: str | None) -> str | None:
    """An opaque cursor of a position in a list."""
    return None if position is None else base64.urlsafe_b64encode(position.encode()).decode()


def from_cursor(cursor: str | None) -> str | None:
    """The position in a cursor. Refuses with `validation`."""
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as bad:
        raise invalid("cursor", "invalid") from bad


def of_moment(at: datetime, record_id: str) -> str | None:
    """The cursor behind a record of a list in the order of time."""
    return to_cursor(f"{at.astimezone(UTC).isoformat()} {record_id}")


def to_moment(cursor: str | None) -> tuple[datetime, str] | None:
    """The time and the record of such a cursor. Refuses with `validation`."""
    position = from_cursor(cursor)
    if position is None:
        return None
    at, _, record_id = position.partition(" ")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as bad:
        raise invalid("cursor", "invalid") from bad
    if moment.tzinfo is None:
        raise invalid("cursor", "invalid")
    return moment, record_id


def patch_of(body: BaseModel) -> dict[str, Any]:
    """The members that were sent, with their validated values (models stay models)."""
    return {name: getattr(body, name) for name in body.model_fields_set}
