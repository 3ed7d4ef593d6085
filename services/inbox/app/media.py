"""Builds the files' part of the service."""

from __future__ import annotations

from services.inbox.api.media import media_router
from services.inbox.app.conversations import Conversations
from services.inbox.app.foundation import Foundation, Part, now
from services.inbox.decisions.limits import media_limit
from services.inbox.gateways.pictures import Pictures
from services.inbox.gateways.sounds import Sounds
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.drafts import DraftStore
from services.inbox.storage.erasures import ErasureStore
from services.inbox.storage.media import MediaStore
from services.inbox.workflows.erasing import Erasing
from services.inbox.workflows.expiring import Expiring
from services.inbox.workflows.library import Library
from services.inbox.workflows.uploads import Uploads
from shared.blobs.store import BlobStore

UPLOAD_LIMIT = media_limit("document", animated=False) + 64 * 1024
"""Of a whole request: the largest file and what surrounds it."""


def build_media(base: Foundation, conversations: Conversations) -> tuple[Library, Part]:
    """Uploads, downloads, and what the desk sends."""
    settings = base.settings
    store = MediaStore(base.database)
    blobs = BlobStore(settings.media_url, settings.media_folder)
    pictures = Pictures()
    sounds = Sounds()
    library = Library(
        conversations.log,
        store,
        blobs,
        pictures,
        sounds,
        secret=settings.key_secret.get_secret_value(),
        clock=now,
    )
    uploads = Uploads(store, blobs, pictures, sounds, now)
    expiring = Expiring(store, blobs, now, settings.upload_life, base.metrics.uploads_expired.inc)
    erasures = ErasureStore(base.database)
    erasing = Erasing(
        erasures,
        store,
        DraftStore(base.database),
        ConversationStore(base.database),
        blobs,
        now,
    )
    return library, Part(
        routers=(media_router(uploads, library),),
        prepare=(store.ensure_indexes, erasures.ensure_indexes),
        run=(erasing.run, expiring.run),
    )
