from __future__ import annotations

from datetime import timedelta

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RedisSettings(BaseSettings):
    """How to reach Redis; read from `ATRIO_*`. Every key starts with `redis_prefix`."""

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    redis_prefix: str = "atrio:"
    redis_timeout: timedelta = timedelta(seconds=2)
    redis_connections: int = Field(default=16, ge=2)
