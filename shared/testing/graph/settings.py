from pydantic import Field, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GraphSettings(BaseSettings):
    """Where the fake listens and whom it tells; everything else is set through `/_control/`."""

    model_config = SettingsConfigDict(
        env_prefix="ATRIO_GRAPH_", extra="forbid", populate_by_name=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65535)
    public_url: str | None = None
    """Base of media URLs in webhooks; by default the address the fake listens on."""
    ingest_url: str = Field(default="http://127.0.0.1:8081", validation_alias="ATRIO_INGEST_URL")
    app_secrets: str = Field(default="app-secret", validation_alias="ATRIO_APP_SECRETS")
    """Comma-separated, as ingest takes them; webhooks are signed with the first."""
    seed: int | None = None
    """Makes ids and every random choice repeat; by default each process has its own ids."""
    kept_requests: int = Field(default=10_000, ge=1)
    kept_messages: int = Field(default=20_000, ge=1)
    kept_media_bytes: int = Field(default=256 * 2**20, ge=2**20)
    max_pending: int = Field(default=200_000, ge=1)
    """Updates that may wait for delivery; past it new ones are counted and dropped."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def webhook_url(self) -> str:
        return self.ingest_url.rstrip("/") + "/webhooks/whatsapp"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def app_secret(self) -> str:
        return self.app_secrets.strip("[]").split(",")[0].strip().strip("\"'")

    @property
    def base_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
