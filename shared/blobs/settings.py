from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class BlobSettings(BaseSettings):
    """Where files are: an obstore URL (`s3://bucket/prefix`, `gs://...`), or a folder of `home`.

    All services that handle files name the same place.
    """

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore")

    home: Path = Path(".atrio")
    media_url: str = ""

    @property
    def media_folder(self) -> Path:
        return self.home / "data" / "media"
