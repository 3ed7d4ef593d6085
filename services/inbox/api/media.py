"""Files: handed in by agents, handed out to who sees them."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from services.inbox.api.bodies import Body
from services.inbox.api.conversations import as_json
from services.inbox.api.multipart import FilePart
from services.inbox.api.problems import problem, responses
from services.inbox.api.security import (
    BOT,
    AnyPerson,
    OptionalCredentials,
    PersonOrBot,
    current_person,
    person_of_link,
)
from services.inbox.decisions.links import LINK_LIFE, Link
from services.inbox.decisions.serving import (
    OPAQUE,
    Part,
    UnsatisfiableError,
    disposition,
    is_inline,
    part_of,
    safe_filename,
    served_type,
)
from services.inbox.model.media import Asked, Upload
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.library import HeldFile, Library
from services.inbox.workflows.uploads import Uploads

MediaId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-f]+$")]
_SIGNED = ("tenant", "agent", "session", "expires", "signature")
_CONTENT = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_HARMLESS = "default-src 'none'; sandbox"


class UploadView(BaseModel):
    """A stored file; sizes and length where its content tells them."""

    id: str
    mime_type: str
    size: int
    sha256: str
    kind: Literal["audio", "document", "image", "sticker", "video"]
    filename: str | None
    width: int | None
    height: int | None
    duration_ms: int | None


class LinkView(Body):
    """`url` is relative to this API's own address, and opaque.

    Anybody who has it can fetch the file for `expires_in` seconds, while the session that asked
    for it lasts and its agent sees the file.
    """

    url: str
    expires_in: int


def media_router(uploads: Uploads, library: Library) -> APIRouter:
    """`/v1/media`."""
    routes = APIRouter(
        prefix="/v1/media",
        tags=["media"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )
    _add_upload(routes, uploads)
    _add_reads(routes, library)
    return routes


def _add_upload(routes: APIRouter, uploads: Uploads) -> None:
    @routes.post(
        "",
        status_code=201,
        response_model=UploadView,
        responses=responses("too_large", "unsupported_media_type"),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["file"],
                            "properties": {"file": {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
    )
    async def upload_media(
        person: PersonOrBot,
        request: Request,
        kind: Annotated[Literal["document", "voice"] | None, Query()] = None,
    ) -> Response:
        part = FilePart(request, "file")
        await part.open()
        asked = Asked(kind) if kind else None
        made = await uploads.take(person, part.filename, part.pieces(), asked=asked)
        return as_json(_view(made), 201)


def _view(upload: Upload) -> dict[str, object]:
    file = upload.file
    return {
        "id": file.id,
        "mime_type": file.mime_type,
        "size": file.size,
        "sha256": file.sha256,
        "kind": upload.kind.value,
        "filename": file.filename,
        "width": file.width,
        "height": file.height,
        "duration_ms": file.duration_ms,
    }


def _add_reads(routes: APIRouter, library: Library) -> None:
    @routes.post(
        "/{media_id}/url",
        response_model=LinkView,
        responses=responses("not_found", "media_pending", "media_failed"),
    )
    async def sign_media(person: AnyPerson, media_id: MediaId) -> Response:
        await library.look(viewer_of(person), media_id)
        made = library.link(person, media_id)
        query = urlencode({name: getattr(made, name) for name in _SIGNED})
        seconds = int(LINK_LIFE.total_seconds())
        answer = as_json({"url": f"/v1/media/{media_id}?{query}", "expires_in": seconds})
        answer.headers["cache-control"] = "no-store"
        return answer

    @routes.get(
        "/{media_id}",
        response_class=StreamingResponse,
        responses={
            200: {"description": "The file.", "content": _CONTENT},
            206: {"description": "The part that Range asks for.", "content": _CONTENT},
            304: {"description": "It is what If-None-Match says."},
            **responses("not_found", "media_pending", "media_failed", "range_not_satisfiable"),
        },
    )
    async def media(
        request: Request,
        credentials: OptionalCredentials,
        media_id: MediaId,
        size: Literal["thumb"] | None = None,
        form: Annotated[Literal["m4a"] | None, Query(alias="format")] = None,
        tenant: Annotated[str | None, Query(max_length=64)] = None,
        agent: Annotated[str | None, Query(max_length=64)] = None,
        session: Annotated[str, Query(max_length=64)] = "",
        expires: Annotated[int | None, Query(ge=0, le=2**43)] = None,
        signature: Annotated[str | None, Query(max_length=128)] = None,
        asked: Annotated[str | None, Header(alias="range")] = None,
        if_range: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        if tenant and agent and expires is not None and signature is not None:
            link = Link(tenant, agent, session, expires, signature)
            person = await person_of_link(request, library.claims(link, media_id))
        else:
            person = await current_person(request, SecurityScopes([BOT]), credentials)
        file = await library.look(viewer_of(person), media_id)
        if form is not None:
            file = await library.m4a(file)
        if size is not None:
            file = await library.thumb(file)
        if if_none_match is not None and file.tag in if_none_match.split(", "):
            return Response(status_code=304, headers=_headers(file))
        if if_range is not None and if_range != file.tag:
            asked = None
        return await _answer(library, file, asked)


async def _answer(library: Library, file: HeldFile, asked: str | None) -> Response:
    headers = _headers(file)
    try:
        part = part_of(asked, file.size)
    except UnsatisfiableError:
        refused = problem("range_not_satisfiable")
        refused.headers["content-range"] = f"bytes */{file.size}"
        return refused
    where = part or Part(0, file.size)
    headers["content-length"] = str(where.end - where.start)
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{file.size}"
    content = await library.content(file, where.start, where.end)
    return StreamingResponse(content, 206 if part else 200, headers=headers)


def _headers(file: HeldFile) -> dict[str, str]:
    served = served_type(file.mime_type)
    headers = {
        "content-type": "text/plain; charset=utf-8" if served == "text/plain" else served,
        "content-disposition": disposition(safe_filename(file.filename, served), served),
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        "etag": file.tag,
        # Whether one may still see it is asked anew each time; unchanged, it is not sent again.
        "cache-control": "private, no-cache",
    }
    if served == OPAQUE or not is_inline(served):
        headers["content-security-policy"] = _HARMLESS
    return headers
