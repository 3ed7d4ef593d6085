"""Settings of delivery, from the environment."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ByteSize, Field, SecretStr
from pydantic_settings import SettingsConfigDict
from typing_extensions import override

from shared.blobs.settings import BlobSettings


class DeliverySettings(BlobSettings):
    """`ATRIO_*`; Kafka's and MongoDB's own settings are in `shared`.

    `ATRIO_DELIVERY_DEADLINE` + connect (5 s) + total (30 s) must stay below
    `ATRIO_DELIVERY_LEASE`: it is what keeps a message from being sent twice.
    """

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    delivery_port: int = 8085
    delivery_db: str = "atrio_delivery"
    graph_url: str = "https://graph.facebook.com"
    graph_version: str = Field(default="v25.0", pattern=r"^v\d+\.\d+$")
    graph_connect: timedelta = timedelta(seconds=5)
    graph_total: timedelta = timedelta(seconds=30)
    master_key: SecretStr
    key_secret: SecretStr
    internal_token: SecretStr | None = None
    media_largest: ByteSize = ByteSize(100 * 1024 * 1024)
    media_hosts: tuple[str, ...] = ("lookaside.fbsbx.com",)
    bot_timeout: timedelta = timedelta(seconds=10)
    # Bots inside the network: only where the admins of tenants are one's own people.
    bot_private_addresses: bool = False
    delivery_rate: float = Field(default=80, gt=0)
    delivery_in_flight: int = Field(default=2048, ge=1)
    delivery_deadline: timedelta = timedelta(seconds=5)
    delivery_lease: timedelta = timedelta(seconds=45)
    delivery_stop_limit: timedelta = timedelta(seconds=15)
    delivery_templates_every: timedelta = timedelta(hours=1)
    delivery_subscriptions_every: timedelta = timedelta(hours=1)

    @override
    def model_post_init(self, _context: object, /) -> None:
        """Refuse a lease that a slow answer could outlive. Raises ValueError."""
        if self.delivery_deadline + self.graph_connect + self.graph_total >= self.delivery_lease:
            raise ValueError("the lease must be longer than deadline, connect and total together")
