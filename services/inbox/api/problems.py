"""The one table of problem codes, and how a failure becomes an answer (RFC 9457).

An answer has `type`, `status`, `code` and the code's parameters as members; never prose, and
never what was sent.
"""

import http
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.inbox.model.errors import RefusedError
from shared.contracts.errors import TransientError

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[Mapping[str, int]] = {
    "bad_request": 400,
    "unauthorized": 401,
    "invalid_credentials": 401,
    "session_over": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "email_taken": 409,
    "label_taken": 409,
    "last_admin": 409,
    "number_deleted": 409,
    "number_taken": 409,
    "number_has_open_chats": 409,
    "already_assigned": 409,
    "blocked": 409,
    "invalid_transition": 409,
    "no_bot": 409,
    "media_failed": 409,
    "media_pending": 409,
    "not_holder": 409,
    "stale_epoch": 409,
    "template_unavailable": 409,
    "window_closed": 409,
    "version_mismatch": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "unknown_agent": 422,
    "unknown_close_reason": 422,
    "unknown_label": 422,
    "unknown_media": 422,
    "unknown_team": 422,
    "unknown_template": 422,
    "validation": 422,
    "locked_out": 429,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
}
"""Every `code` and its status.

Parameters: `validation` has `errors: [{field, code, limit?}]`, the codes of 429 have `retry_after`
in whole seconds, which is also the header.
"""

_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "unauthorized": {"www-authenticate": "Bearer"},
    "invalid_credentials": {"www-authenticate": "Bearer"},
    "session_over": {"www-authenticate": "Bearer"},
    "unavailable": {"retry-after": "1"},
}
_BY_STATUS: Final = {
    400: "validation",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "validation",
}
_FIELD_CODES: Final = {
    "missing": "required",
    "extra_forbidden": "unknown_member",
    "json_invalid": "invalid_json",
    "string_too_short": "too_short",
    "too_short": "too_short",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "greater_than_equal": "too_small",
    "less_than_equal": "too_large",
    "enum": "not_allowed",
    "literal_error": "not_allowed",
    "one_of_both": "not_allowed",
}
_LIMITS: Final = ("min_length", "max_length", "ge", "le")


class FieldProblem(BaseModel):
    """One wrong member; `field` is its path with dots, empty for the whole body."""

    field: str
    code: str
    limit: int | float | None = None


class Problem(BaseModel):
    """A problem; its parameters are further members.

    `status` is the answer's, but of `invalid_transition` it is what the conversation or message is.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    status: int | str
    code: str


class ValidationProblem(Problem):
    """422: what is wrong with which member."""

    errors: list[FieldProblem]


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these codes, for a route or a router."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        # A route's own description of a status takes the place of its router's.
        known = by_status.setdefault(CODES[code], ["validation"] if CODES[code] == 422 else [])
        if code not in known:
            known.append(code)
    return {
        status: {
            "description": f"{http.HTTPStatus(status).phrase}: `{'`, `'.join(names)}`",
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_schema(status)}"}}
            },
        }
        for status, names in by_status.items()
    }


def _schema(status: int) -> str:
    return ValidationProblem.__name__ if status == 422 else Problem.__name__


def complete(document: dict[str, Any]) -> None:
    """Adds to an OpenAPI document what any route may answer, and the schemas."""
    for operations in document["paths"].values():
        for operation in operations.values():
            codes = ["internal"]
            if "requestBody" in operation:
                codes.append("too_large")
            if any("person" in scheme for scheme in operation.get("security", ())):
                codes.append("rate_limited")
            for status, described in responses(*codes).items():
                operation["responses"].setdefault(str(status), described)
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(schemas())
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)


def schemas() -> dict[str, Any]:
    """The schemas that `responses` refers to."""
    return {
        model.__name__: model.model_json_schema(ref_template="#/components/schemas/{model}")
        for model in (Problem, ValidationProblem, FieldProblem)
    }


def problem(code: str, /, **members: Any) -> Response:
    """The answer for a code of the table."""
    status = CODES[code]
    body = {"type": f"urn:atrio:problem:{code}", "status": status, "code": code, **members}
    headers = dict(_HEADERS.get(code, {}))
    if "retry_after" in members:
        headers["retry-after"] = str(members["retry_after"])
    return Response(orjson.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


def field_problems(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What pydantic found as `{field, code, limit?}`; their input and prose are left out."""
    found = []
    for error in errors:
        location = [str(part) for part in error["loc"]]
        if error["type"] == "json_invalid":
            location = []
        elif location and location[0] in {"body", "query", "path", "header"}:
            location = location[1:]
        if isinstance(member := error.get("ctx", {}).get("member"), str):
            location.append(member)
        one: dict[str, Any] = {
            "field": ".".join(location).encode(errors="replace").decode()[:200],
            "code": _FIELD_CODES.get(error["type"], "invalid"),
        }
        for name in _LIMITS:
            if isinstance(limit := error.get("ctx", {}).get(name), int | float):
                one["limit"] = limit
        found.append(one)
    return found[:100]


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 - how it is registered below
    return problem(error.code, **error.members)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the same
    return problem("validation", errors=field_problems(error.errors()))


async def _unavailable(_: Request, error: Exception) -> Response:
    log.warning("api.unavailable", error=type(error).__name__)
    return problem("unavailable")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the same
    code = _BY_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "")
    if not code:
        code = "bad_request"
    members = {"errors": [{"field": "", "code": "invalid"}]} if code == "validation" else {}
    answer = problem(code, **members)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    if code == "method_not_allowed":
        answer.headers["allow"] = ", ".join(_methods(request)) or answer.headers.get("allow", "")
    return answer


def _methods(request: Request) -> list[str]:
    """All that the path has: each method is a route of its own, and the failure names one."""
    template = getattr(request.scope.get("route"), "path_format", None)
    return sorted(method.upper() for method in request.app.openapi()["paths"].get(template, ()))


async def _bug(_: Request, error: Exception) -> Response:
    log.error("api.failed", exc_info=error)
    return problem("internal")


def install(app: FastAPI) -> None:
    """Turn every failure of the application into a problem."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RefusedError: _refused,
        RequestValidationError: _invalid,
        TransientError: _unavailable,
        HTTPException: _http,
        Exception: _bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
