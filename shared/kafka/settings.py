from __future__ import annotations

import ssl
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.topics import Topic

MAX_RECORD_BYTES = 5 * 1024 * 1024


class KafkaSettings(BaseSettings):
    """How to reach Kafka and how its clients behave; read from `ATRIO_*`.

    Unknown variables are ignored: every service reads its own of the same prefix.
    """

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    kafka_servers: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    lane: str = ""
    kafka_replication: int = Field(default=1, ge=1)
    kafka_partitions: int | None = Field(default=None, ge=1)

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: str | None = None
    kafka_compression: Literal["gzip", "lz4", "zstd", "snappy"] | None = None

    kafka_session_timeout: timedelta = timedelta(seconds=10)
    kafka_max_poll_interval: timedelta = timedelta(minutes=5)
    kafka_fetch_max_wait: timedelta = timedelta(milliseconds=250)
    # Longer than the slowest batch, shorter than the poll interval.
    kafka_progress_limit: timedelta = timedelta(seconds=60)
    kafka_stop_deadline: timedelta = timedelta(seconds=20)

    def topic_name(self, topic: Topic) -> str:
        """The name of a declared topic on this broker and lane."""
        return topic.name(self.topic_prefix, self.lane)

    def dead_name(self, topic: Topic) -> str:
        """The name of its dead-letter topic."""
        return topic.dead_name(self.topic_prefix, self.lane)

    def client_options(self) -> dict[str, Any]:
        """The arguments that every aiokafka client takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_servers,
            "security_protocol": self.kafka_security_protocol,
            "retry_backoff_ms": 100,
            "metadata_max_age_ms": 60_000,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        if self.kafka_security_protocol.startswith("SASL"):
            password = self.kafka_sasl_password
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_sasl_username
            options["sasl_plain_password"] = password.get_secret_value() if password else None
        return options
