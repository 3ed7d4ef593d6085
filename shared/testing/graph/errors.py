"""Graph's errors: every code of Meta's error page that Atrio classifies, and their bodies.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
(HTTP statuses that the page does not print are 400 here).
"""

import itertools
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class ErrorKind:
    code: int
    http_status: int
    title: str
    details: str | None = None


_RATE = "Message failed to send because there were too many messages sent from this phone number"

_KINDS = (
    ErrorKind(0, 401, "AuthException"),
    ErrorKind(1, 400, "An unknown error occurred"),
    ErrorKind(2, 503, "Service temporarily unavailable"),
    ErrorKind(3, 500, "Application does not have the capability to make this API call"),
    ErrorKind(4, 400, "Application request limit reached"),
    ErrorKind(10, 403, "Application does not have permission for this action"),
    ErrorKind(33, 400, "Parameter value is not valid", "The business phone number was deleted."),
    ErrorKind(100, 400, "Invalid parameter", "Invalid parameter"),
    ErrorKind(190, 401, "Error validating access token: Session has expired"),
    ErrorKind(200, 403, "Permissions error"),
    ErrorKind(368, 403, "Temporarily blocked for policies violations"),
    ErrorKind(
        80007,
        400,
        "Rate limit issues",
        "The WhatsApp Business Account has reached its rate limit.",
    ),
    ErrorKind(130403, 400, "Recipient is blocked", "The recipient is on your block list."),
    ErrorKind(130429, 400, "Rate limit hit", "Cloud API message throughput has been reached."),
    ErrorKind(
        130472,
        400,
        "User's number is part of an experiment",
        "Failed to send message because this user's phone number is part of an experiment.",
    ),
    ErrorKind(
        130497,
        403,
        "Business account is restricted from messaging users in this country.",
        "Business account is restricted from messaging users in this country.",
    ),
    ErrorKind(
        131000,
        500,
        "Something went wrong",
        "Message failed to send due to an unknown error.",
    ),
    ErrorKind(131005, 403, "Access denied", "Permission is either not granted or removed."),
    ErrorKind(131008, 400, "Required parameter is missing", "Required parameter is missing"),
    ErrorKind(131009, 400, "Parameter value is not valid", "Parameter value is not valid"),
    ErrorKind(131016, 500, "Service unavailable", "A service is temporarily unavailable."),
    ErrorKind(
        131021, 400, "Recipient cannot be sender", "Sender and recipient phone number is the same."
    ),
    ErrorKind(131026, 400, "Message undeliverable", "Message Undeliverable."),
    ErrorKind(
        131030,
        400,
        "Recipient phone number not in allowed list",
        "Recipient phone number not in allowed list",
    ),
    ErrorKind(131031, 403, "Account has been locked"),
    ErrorKind(
        131037,
        400,
        "Display name approval needed",
        "The business phone number needs display name approval before it can send messages.",
    ),
    ErrorKind(
        131042,
        400,
        "Business eligibility payment issue",
        "Message failed to send because there were one or more errors related to your payment "
        "method.",
    ),
    ErrorKind(131045, 500, "Incorrect certificate", "Phone number registration certificate error."),
    ErrorKind(
        131047,
        400,
        "Re-engagement message",
        "Message failed to send because more than 24 hours have passed since the customer last "
        "replied to this number.",
    ),
    ErrorKind(
        131048,
        400,
        "Spam rate limit hit",
        "Message failed to send because there are restrictions on how many messages can be sent "
        "from this phone number.",
    ),
    ErrorKind(
        131049,
        400,
        "Message not delivered",
        "This message was not delivered to maintain healthy ecosystem engagement.",
    ),
    ErrorKind(
        131050,
        400,
        "User stopped marketing messages",
        "The recipient has chosen to stop receiving marketing messages.",
    ),
    ErrorKind(131051, 400, "Unsupported message type", "Unsupported message type."),
    ErrorKind(
        131052, 400, "Media download error", "Unable to download the media sent by the user."
    ),
    ErrorKind(131053, 400, "Media upload error", "Media upload error"),
    ErrorKind(131055, 400, "Method not allowed", "This template cannot be sent with this API."),
    ErrorKind(
        131056,
        400,
        "(Business Account, Consumer Account) pair rate limit hit",
        f"{_RATE} to the same phone number in a short period of time.",
    ),
    ErrorKind(
        131057, 500, "Account in maintenance mode", "Business Account is in maintenance mode"
    ),
    ErrorKind(
        131062,
        400,
        "Recipient not supported",
        "Business-scoped User ID (BSUID) recipients are not supported for this message.",
    ),
    ErrorKind(
        131063, 400, "Marketing messages disabled", "Marketing messages are disabled on Cloud API."
    ),
    ErrorKind(
        131064,
        400,
        "Template classification limit",
        "The limit of messages of templates under classification has been reached.",
    ),
    ErrorKind(
        132000,
        400,
        "Number of parameters does not match the expected number of params",
        "The number of variable values included did not match the template.",
    ),
    ErrorKind(
        132001,
        404,
        "Template name does not exist in the translation",
        "template name does not exist in the translation",
    ),
    ErrorKind(132005, 400, "Translated text too long", "Translated text too long"),
    ErrorKind(132007, 400, "Template format character policy violated", "Policy violated"),
    ErrorKind(132012, 400, "Template parameter format does not match", "Format mismatch"),
    ErrorKind(132015, 400, "Template is paused", "Template is paused due to low quality."),
    ErrorKind(132016, 400, "Template is disabled", "Template is permanently disabled."),
    ErrorKind(132068, 400, "Flow is blocked", "Flow is in blocked state."),
    ErrorKind(132069, 400, "Flow is throttled", "Flow is in throttled state."),
    ErrorKind(133000, 500, "Incomplete deregistration", "A previous deregistration failed."),
    ErrorKind(133004, 503, "Server Temporarily Unavailable", "Server is temporarily unavailable."),
    ErrorKind(133005, 400, "Two step verification PIN mismatch", "The PIN is incorrect."),
    ErrorKind(133006, 400, "Phone number re-verification needed", "Verify the phone number."),
    ErrorKind(133008, 400, "Too many two step verification PIN guesses", "Too many guesses."),
    ErrorKind(133009, 400, "Two step verification PIN guessed too fast", "Guessed too fast."),
    ErrorKind(133010, 400, "Account not registered", "The account is not registered"),
    ErrorKind(133015, 400, "Please wait a few minutes before attempting to register", "Wait."),
    ErrorKind(133016, 400, "Account register deregister rate limit exceeded"),
    ErrorKind(134011, 400, "Payments terms of service not accepted", "Accept the terms."),
    ErrorKind(134100, 400, "Only marketing messages supported", "Not a marketing template."),
    ErrorKind(134101, 400, "Template is syncing", "Wait up to 10 minutes."),
    ErrorKind(134102, 400, "Template unavailable for use", "Template unavailable for use."),
    ErrorKind(135000, 400, "Generic user error", "Generic user error"),
    ErrorKind(137000, 400, "Identity key hash mismatch", "The identity key hash has changed."),
    ErrorKind(
        139100,
        400,
        "Failed to block/unblock users",
        "Failed to block some users, see the block_users response list for details",
    ),
    ErrorKind(139101, 400, "Blocklist limit reached", "The block list holds 64,000 users."),
    ErrorKind(139102, 400, "Blocklist concurrent update", "The block list changed; start again."),
    ErrorKind(139103, 400, "Internal error", "Internal error, try again."),
    ErrorKind(2388019, 400, "Message template limit exceeded", "Message template limit."),
    ErrorKind(2494100, 500, "Throughput upgrade", "The number is being upgraded, try again."),
)

KINDS = {kind.code: kind for kind in _KINDS}

_traces = itertools.count(1)


class GraphError(Exception):
    """An error of the Graph API, to be answered as Graph answers it."""

    def __init__(self, code: int, details: str | None = None, **extra: Any) -> None:
        super().__init__(f"(#{code})")
        self.code = code
        self.details = details
        self.extra = extra


def kind_of(code: int) -> ErrorKind:
    """Return the entry of `code`; permissions (201-299) and template codes share one each."""
    if kind := KINDS.get(code):
        return kind
    if 200 <= code <= 299:
        return ErrorKind(code, 403, "Permissions error")
    return ErrorKind(code, 400, "Unknown error", "Unknown error")


def error_body(
    code: int,
    details: str | None = None,
    *,
    message: str | None = None,
    is_transient: bool | None = None,
) -> dict[str, Any]:
    """Return `{"error": ...}` as Graph prints it."""
    kind = kind_of(code)
    error: dict[str, Any] = {
        "message": message or f"(#{code}) {kind.title}",
        "type": "OAuthException",
        "code": code,
    }
    if is_transient is not None:
        error["is_transient"] = is_transient
    if found := details or kind.details:
        error["error_data"] = {"messaging_product": "whatsapp", "details": found}
    error["fbtrace_id"] = f"AFakeTraceId{next(_traces):010d}"
    return {"error": error}


def error_answer(error: GraphError) -> tuple[int, bytes]:
    """Return the HTTP status and the body of an error."""
    status = error.extra.get("http_status") or kind_of(error.code).http_status
    body = error_body(
        error.code,
        error.details,
        message=error.extra.get("message"),
        is_transient=error.extra.get("is_transient"),
    )
    return status, orjson.dumps(body | error.extra.get("beside", {}))
