"""The kinds of failure that a consumer tells apart: the type says what to do."""

from __future__ import annotations


class PermanentError(Exception):
    """This record can never be handled: dead letter now, and its key is parked.

    `reason` is a stable code without personal data.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TransientError(Exception):
    """A dependency is down or slow: retry with backoff, pause, never dead-letter."""


class EnvelopeError(PermanentError):
    """The headers are not a CloudEvent of ours."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_envelope", detail)
