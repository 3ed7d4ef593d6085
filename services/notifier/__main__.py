from services.notifier.api.protocol import StreamHttpProtocol, StreamProtocol
from services.notifier.app import create_app
from services.notifier.settings import NotifierSettings
from shared.observability.service import run_service


def main() -> None:
    """Run the notifier as the environment says."""
    settings = NotifierSettings()
    run_service(
        "notifier",
        lambda: create_app(settings),
        host=settings.host,
        port=settings.notifier_port,
        websockets=StreamProtocol,
        websocket_max_bytes=int(settings.notifier_frame_limit),
        http=StreamHttpProtocol,
    )


if __name__ == "__main__":
    main()
