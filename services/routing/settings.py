from __future__ import annotations

from datetime import timedelta

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.kafka.settings import KafkaSettings
from shared.redis.settings import RedisSettings


class RoutingSettings(KafkaSettings, RedisSettings):
    """Read from `ATRIO_*`. The internal token has no default."""

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    routing_port: int = Field(default=8084, ge=0, le=65_535)
    inbox_url: str = "http://127.0.0.1:8082"
    internal_token: SecretStr = Field(min_length=1)

    routing_timer: timedelta = timedelta(seconds=1)
    # Longer than inbox takes on a bad day; then the slot is given to somebody else.
    routing_reservation: timedelta = timedelta(seconds=30)
    # A record that was not confirmed by then is sent again.
    routing_repeat_after: timedelta = timedelta(seconds=2)
    # How often the projections are compared with inbox's list.
    routing_check_every: timedelta = timedelta(minutes=15)
    routing_list_timeout: timedelta = timedelta(seconds=10)
    # Records a timer's turn writes for one tenant at most: a changed policy of a tenant with
    # 10,000 waiting is recorded within 10 s.
    routing_parks_per_turn: int = Field(default=1000, ge=1)
