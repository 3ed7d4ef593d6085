from services.routing.app import create_app
from services.routing.settings import RoutingSettings
from shared.observability.service import run_service


def main() -> None:
    """Run routing until a signal; settings come from `ATRIO_*`."""
    settings = RoutingSettings()
    run_service(
        "routing",
        lambda: create_app(settings),
        host=settings.host,
        port=settings.routing_port,
    )


if __name__ == "__main__":
    main()
