"""Where the tool finds what services set aside."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from shared.kafka.settings import KafkaSettings
from shared.mongo.client import MongoSettings


class ReplaySettings(KafkaSettings, MongoSettings):
    """Read from `ATRIO_*`, as the services read theirs."""

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    inbox_db: str = "atrio_inbox"
    delivery_db: str = "atrio_delivery"
