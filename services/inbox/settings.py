from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import ByteSize, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.blobs.settings import BlobSettings
from shared.kafka.settings import KafkaSettings
from shared.mongo.client import MongoSettings

Secret = Annotated[SecretStr, Field(min_length=1)]


class InboxSettings(KafkaSettings, MongoSettings, BlobSettings):
    """Read from `ATRIO_*`. Secrets have no default.

    Without `internal_token` the internal routes are closed. `allowed_origins` is a list with
    commas, for CORS.
    """

    model_config = SettingsConfigDict(
        env_prefix="ATRIO_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    inbox_port: int = Field(default=8082, ge=0, le=65_535)
    inbox_db: str = "atrio_inbox"

    key_secret: Secret
    master_key: Secret
    platform_token: Secret
    internal_token: Secret | None = None

    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    upload_life: timedelta = Field(default=timedelta(hours=24), ge=timedelta(minutes=10))
    """How long a file may wait to be sent; after that it is erased."""
    unknown_grace: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(seconds=1))
    """How long after a send of unknown outcome an agent is asked about it."""
    inbox_search: bool = True
    """Whether this process keeps the words of messages for search; any of them may."""
    token_issuer: str = "atrio"  # noqa: S105 - a name
    token_life: timedelta = timedelta(minutes=15)
    session_idle: timedelta = timedelta(days=14)
    session_life: timedelta = timedelta(days=90)
    # An answer that got lost on the way can be asked for again, with the token that is spent.
    refresh_grace: timedelta = timedelta(seconds=10)
    # Failures in a row that cost nothing; many people share an address.
    sign_in_failures: int = Field(default=5, ge=1)
    sign_in_failures_per_address: int = Field(default=100, ge=1)
    audit_retention: timedelta = timedelta(days=365)
    signing_key_life: timedelta = timedelta(days=90)
    # Shown before it signs: longer than anybody keeps the JWKS (5 minutes) or reads directory.v1.
    signing_key_announced: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(minutes=2))
    # For each pod; 0 is no limit.
    calls_per_second: int = Field(default=200, ge=0)
    calls_per_second_of_tenant: int = Field(default=2000, ge=0)
    ticket_life: timedelta = timedelta(seconds=30)
    # Bots inside the network: only where the admins of tenants are one's own people.
    bot_private_addresses: bool = False
    inbox_body_limit: ByteSize = ByteSize(1024 * 1024)

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("internal_token", mode="before")
    @classmethod
    def _none_when_empty(cls, value: object) -> object:
        return value or None
