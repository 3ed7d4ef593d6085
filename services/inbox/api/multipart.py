"""One file out of a multipart body, as a stream: nothing of it is collected (RFC 7578)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from services.inbox.model.errors import RefusedError, invalid

_HEADERS = 8 * 1024


class FilePart:
    """The first part of the name that has a file; other parts are read over.

    `open` reads up to its first bytes; then `filename` is known and `pieces` has the content.
    """

    def __init__(self, request: Request, member: str) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary or len(boundary) > 256:
            raise invalid("", "not_multipart")
        self.filename: str | None = None
        self._member = member.encode()
        self._pieces: deque[bytes] = deque()
        self._field = b""
        self._value = b""
        self._disposition = b""
        self._inside = False
        self._found = False
        self._ended = False
        self._header_bytes = 0
        self._source = request.stream().__aiter__()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def open(self) -> None:
        """Read up to the file. Refuses with `validation` where there is none."""
        while not self._found:
            if not await self._feed():
                raise invalid(self._member.decode(), "required")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The content; a body that breaks off is refused, and never taken for a short file."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if not await self._feed():
                break
        if not self._ended:
            raise invalid("", "invalid_multipart")

    async def _feed(self) -> bool:
        """One more piece of the body; False at its end."""
        try:
            data = await anext(self._source, None)
            if data is None:
                return False
            self._parser.write(data)
        except MultipartParseError as bad:
            raise invalid("", "invalid_multipart") from bad
        except ClientDisconnect as gone:
            raise RefusedError("bad_request") from gone
        return True

    # -- what the parser finds

    def _on_part(self) -> None:
        self._disposition = b""
        self._inside = False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._counted(data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._header_bytes += len(data)
        if self._header_bytes > _HEADERS:
            raise MultipartParseError("the parts' headers are too long")
        return data

    def _on_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if self._found or options.get(b"name") != self._member or b"filename" not in options:
            return
        self._found = self._inside = True
        self.filename = options[b"filename"].decode(errors="replace")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data[start:end])

    def _on_part_end(self) -> None:
        self._inside = False

    def _on_end(self) -> None:
        self._ended = True
