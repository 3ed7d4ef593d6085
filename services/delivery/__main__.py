from services.delivery.app import create_app
from services.delivery.settings import DeliverySettings
from shared.observability.service import run_service


def main() -> None:
    """Run delivery until a signal; settings come from `ATRIO_*`."""
    settings = DeliverySettings()
    run_service(
        "delivery",
        lambda: create_app(settings),
        host=settings.host,
        port=settings.delivery_port,
    )


if __name__ == "__main__":
    main()
