from __future__ import annotations

from datetime import timedelta

from pydantic import ByteSize, Field
from pydantic_settings import SettingsConfigDict

from shared.kafka.settings import KafkaSettings
from shared.redis.settings import RedisSettings


class NotifierSettings(KafkaSettings, RedisSettings):
    """What the notifier is told by its environment (`ATRIO_*`)."""

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    notifier_port: int = Field(default=8083, ge=0, le=65535)
    # Comma-separated; a browser's page of another origin is refused. Others send none.
    allowed_origins: str = ""

    notifier_hello_timeout: timedelta = timedelta(seconds=5)
    notifier_frame_limit: ByteSize = ByteSize(64 * 1024)
    # What may wait for one slow client before it is cut.
    notifier_queue_limit: ByteSize = ByteSize(2 * 1024 * 1024)
    notifier_connections_per_agent: int = Field(default=20, ge=1)
    # A ticket is only good for opening; this is how long its stream may stay.
    notifier_ticket_session: timedelta = timedelta(hours=12)

    notifier_ring_events: int = Field(default=10_000, ge=1)
    # Older entries of a ring go, and with 15 minutes or more a client that long away resumes.
    notifier_ring_age: timedelta = timedelta(hours=1)
    # Without pub/sub's wake-up the tail looks this often.
    notifier_poll: timedelta = timedelta(seconds=1)

    notifier_heartbeat: timedelta = timedelta(seconds=18)
    notifier_presence_repeat: timedelta = timedelta(seconds=60)

    @property
    def origins(self) -> frozenset[str]:
        """The allowed values of `Origin`."""
        return frozenset(
            origin.strip().rstrip("/")
            for origin in self.allowed_origins.split(",")
            if origin.strip()
        )
