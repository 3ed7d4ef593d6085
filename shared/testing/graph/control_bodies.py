"""The bodies that the control API takes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ControlBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TargetBody(ControlBody):
    """Where webhooks go: a URL, or the path of a Meta app at ingest."""

    url: str | None = None
    app_id: str | None = None
    secret: str | None = None


class NumberBody(ControlBody):
    display_phone_number: str | None = None
    waba_id: str | None = None
    country_code: str | None = None
    throughput: Literal["STANDARD", "HIGH", "NOT_APPLICABLE"] | None = None
    fields: dict[str, Any] = {}
    webhook: TargetBody | None = None


class TokensBody(ControlBody):
    allow: list[str] = []
    revoke: list[str] = []


class MediaBody(ControlBody):
    id: str | None = None
    phone_number_id: str | None = None
    mime_type: str = "image/jpeg"
    data_base64: str | None = None
    size: int = Field(default=16, ge=0, le=100 * 2**20)


class RecipientBody(ControlBody):
    """What the digits of a `to` turn out to be."""

    wa_id: str | None = None
    user_id: str | None = None
    name: str | None = None
    username: str | None = None
