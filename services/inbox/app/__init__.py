"""The composition root: one module a part, `service` puts them together."""

from services.inbox.app.service import Service, create_app

__all__ = ["Service", "create_app"]
