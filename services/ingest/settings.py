from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import ByteSize, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.kafka.settings import KafkaSettings


class IngestSettings(KafkaSettings):
    """Read from `ATRIO_*`. Secrets have no default.

    `app_secrets` holds the platform app's secret, or two with a comma while one is rotated.
    """

    model_config = SettingsConfigDict(
        env_prefix="ATRIO_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    ingest_port: int = Field(default=8081, ge=0, le=65_535)

    app_secrets: SecretStr
    verify_token: SecretStr
    key_secret: SecretStr
    master_key: SecretStr

    # Meta's own limit is 3 MB; proxies in front of us must allow as much as this.
    ingest_body_limit: ByteSize = ByteSize(4 * 1024 * 1024)
    ingest_in_flight_limit: ByteSize = ByteSize(64 * 1024 * 1024)
    ingest_body_timeout: timedelta = timedelta(seconds=10)
    ingest_publish_timeout: timedelta = timedelta(seconds=4)
    # Fewer requests to the broker for 8 ms of an answer that may take 250 (decision 0004).
    ingest_linger_ms: int = Field(default=8, ge=0, le=100)

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        if not 1 <= len(self.platform_secrets()) <= 2:
            raise ValueError("app_secrets must hold one secret, or two with a comma between")
        if not (self.verify_token.get_secret_value() and self.key_secret.get_secret_value()):
            raise ValueError("verify_token and key_secret must not be empty")
        return self

    def platform_secrets(self) -> tuple[str, ...]:
        """The accepted secrets of the platform's own Meta app."""
        parts = self.app_secrets.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())
