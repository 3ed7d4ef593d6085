import struct
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.inbox.decisions.links import LINK_LIFE, holds, link_key, sign
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
from services.inbox.decisions.sniffing import Sniffed, directory_at, settle, sniff
from services.inbox.model.media import Kind

OFFICE = "application/vnd.openxmlformats-officedocument."
RIFF = b"RIFF\x00\x00\x00\x00WEBP"


def ftyp(brand: bytes) -> bytes:
    return b"\x00\x00\x00\x18ftyp" + brand + bytes(12)


@pytest.mark.parametrize(
    ("head", "mime", "kind"),
    [
        pytest.param(b"\xff\xd8\xff\xe0JFIF", "image/jpeg", Kind.IMAGE, id="jpeg"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "image/png", Kind.IMAGE, id="png"),
        pytest.param(RIFF + b"VP8 ", "image/webp", Kind.STICKER, id="webp"),
        pytest.param(ftyp(b"isom"), "video/mp4", Kind.VIDEO, id="mp4"),
        pytest.param(ftyp(b"3gp4"), "video/3gpp", Kind.VIDEO, id="3gpp"),
        pytest.param(ftyp(b"M4A "), "audio/mp4", Kind.AUDIO, id="m4a"),
        pytest.param(b"OggS" + bytes(24) + b"OpusHead", "audio/ogg", Kind.AUDIO, id="opus"),
        pytest.param(b"#!AMR\n\x3c", "audio/amr", Kind.AUDIO, id="amr"),
        pytest.param(b"ID3\x04\x00", "audio/mpeg", Kind.AUDIO, id="mp3 with a tag"),
        pytest.param(b"\xff\xfb\x90\x64", "audio/mpeg", Kind.AUDIO, id="mp3"),
        pytest.param(b"\xff\xf1\x50\x80", "audio/aac", Kind.AUDIO, id="aac"),
        pytest.param(b"%PDF-1.7\n", "application/pdf", Kind.DOCUMENT, id="pdf"),
        pytest.param("código;año\n".encode(), "text/plain", Kind.DOCUMENT, id="utf-8"),
        pytest.param("código;año\n".encode("latin-1"), "text/plain", Kind.DOCUMENT, id="latin-1"),
    ],
)
def test_types_are_told_from_the_first_bytes(head: bytes, mime: str, kind: Kind):
    found = sniff(head)
    assert found is not None
    assert (found.mime_type, found.kind, found.settled) == (mime, kind, True)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \r\n<!doctype html>", id="html"),
        pytest.param(b"\xef\xbb\xbf<svg xmlns=", id="svg behind a mark"),
        pytest.param(b"#!/bin/sh\n", id="script"),
        pytest.param(b"MZ\x90\x00\x03", id="windows program"),
        pytest.param(b"\x7fELF\x02\x01", id="linux program"),
        pytest.param(b"GIF89a\x01\x00", id="gif"),
        pytest.param(ftyp(b"qt  "), id="quicktime"),
        pytest.param(ftyp(b"heic"), id="heic"),
        pytest.param(b"OggS" + bytes(24) + b"\x01vorbis", id="vorbis"),
        pytest.param(b"text\x00with a nul", id="nul"),
    ],
)
def test_what_whatsapp_does_not_take_is_unknown(head: bytes):
    assert sniff(head) is None


@pytest.mark.parametrize("flags", [0b10, 0b00])
def test_a_sticker_says_whether_it_moves(flags: int):
    found = sniff(RIFF + b"VP8X" + struct.pack("<I", 10) + bytes([flags]) + bytes(9))
    assert found is not None
    assert found.animated is bool(flags)


@pytest.mark.parametrize(
    ("tail", "mime"),
    [
        pytest.param(b"PK..word/document.xml", OFFICE + "wordprocessingml.document", id="docx"),
        pytest.param(b"PK..xl/workbook.xml", OFFICE + "spreadsheetml.sheet", id="xlsx"),
        pytest.param(b"ppt/presentation.xml", OFFICE + "presentationml.presentation", id="pptx"),
        pytest.param(b"xl/workbook.xml xl/vbaProject.bin", None, id="macros"),
        pytest.param(b"AndroidManifest.xml classes.dex", None, id="program"),
    ],
)
def test_an_archive_is_the_document_that_its_members_make(tail: bytes, mime: str | None):
    archive = sniff(b"PK\x03\x04" + bytes(30))
    assert archive is not None
    assert not archive.settled
    found = settle(archive, tail=tail, directory=b"")
    assert (found and found.mime_type) == mime


@pytest.mark.parametrize(
    ("stream", "mime"),
    [
        pytest.param("WordDocument", "application/msword", id="doc"),
        pytest.param("Workbook", "application/vnd.ms-excel", id="xls"),
        pytest.param("PowerPoint Document", "application/vnd.ms-powerpoint", id="ppt"),
        pytest.param("\u4840\u3f7f\u4164", None, id="installer"),
    ],
)
def test_an_old_document_is_told_by_its_streams(stream: str, mime: str | None):
    head = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    head[30:32] = struct.pack("<H", 9)
    head[48:52] = struct.pack("<I", 3)
    assert directory_at(bytes(head)) == 4 * 512
    name = stream.encode("utf-16-le") + b"\0\0"
    entry = name.ljust(64, b"\0") + struct.pack("<H", len(name)) + bytes(62)
    sniffed = sniff(bytes(head))
    assert sniffed is not None
    found = settle(sniffed, tail=b"", directory=bytes(128) + entry)
    assert (found and found.mime_type) == mime


def test_what_is_settled_stays():
    pdf = Sniffed("application/pdf", Kind.DOCUMENT)
    assert settle(pdf, tail=b"", directory=b"") is pdf


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("bytes=0-", Part(0, 100), id="all"),
        pytest.param("bytes=10-19", Part(10, 20), id="middle"),
        pytest.param("bytes=90-500", Part(90, 100), id="past the end"),
        pytest.param("bytes=-10", Part(90, 100), id="last"),
        pytest.param("bytes=-500", Part(0, 100), id="more than there is"),
        pytest.param("bytes=99-99", Part(99, 100), id="one byte"),
        pytest.param("bytes=20-10", None, id="backwards"),
        pytest.param("bytes=0-1,5-6", None, id="several"),
        pytest.param("bytes=-", None, id="empty"),
        pytest.param("items=0-1", None, id="another unit"),
        pytest.param("bytes=" + "9" * 40 + "-", None, id="very large"),
    ],
)
def test_a_range_is_a_part_or_the_whole(header: str | None, expected: Part | None):
    assert part_of(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_without_a_byte_is_told(header: str, size: int):
    with pytest.raises(UnsatisfiableError):
        part_of(header, size)


@pytest.mark.parametrize(
    ("name", "mime", "expected"),
    [
        pytest.param("../../etc/passwd", "text/plain", "passwd.txt", id="folders"),
        pytest.param("C:\\x\\a.pdf", "application/pdf", "a.pdf", id="windows folders"),
        pytest.param("invoice.exe", "application/pdf", "invoice.exe.pdf", id="foreign ending"),
        pytest.param("fdp\u202efdp.exe", "image/png", "fdpfdp.exe.png", id="turned around"),
        pytest.param("a\r\nSet-Cookie: x.txt", "text/plain", "aSet-Cookie x.txt", id="header"),
        pytest.param("Año 2026.PDF", "application/pdf", "Año 2026.PDF", id="accents"),
        pytest.param("..", "application/pdf", None, id="only dots"),
        pytest.param("", "application/pdf", None, id="empty"),
        pytest.param("x" * 500 + ".png", "image/png", "x" * 236 + ".png", id="long"),
        pytest.param("data.bin", OPAQUE, "data.bin", id="unknown type"),
    ],
)
def test_a_filename_is_made_safe(name: str, mime: str, expected: str | None):
    assert safe_filename(name, mime) == expected


@pytest.mark.parametrize(
    ("mime", "served", "inline"),
    [
        pytest.param("image/png", "image/png", True, id="picture"),
        pytest.param("audio/ogg; codecs=opus", "audio/ogg", True, id="voice"),
        pytest.param("application/pdf", "application/pdf", True, id="pdf"),
        pytest.param("text/html", OPAQUE, False, id="page"),
        pytest.param("image/svg+xml", OPAQUE, False, id="drawing with scripts"),
        pytest.param("text/plain", "text/plain", False, id="text"),
        pytest.param("a/b\r\nx: y", OPAQUE, False, id="header"),
        pytest.param(None, OPAQUE, False, id="none"),
    ],
)
def test_only_harmless_types_are_named(mime: str | None, served: str, inline: bool):
    assert served_type(mime) == served
    assert is_inline(served) is inline


def test_a_name_is_given_in_both_forms():
    assert disposition("año.pdf", "application/pdf") == (
        "inline; filename=\"a_o.pdf\"; filename*=UTF-8''a%C3%B1o.pdf"
    )
    assert disposition(None, OPAQUE) == "attachment; filename=\"file\"; filename*=UTF-8''file"


def test_a_link_holds_for_its_file_its_person_and_its_time_alone():
    key = link_key("secret")
    now = datetime(2026, 1, 1, 12, 0, 0, 1000, tzinfo=UTC)
    made = sign(key, "m1", "acme", "ana", "s1", now)
    assert made.issued_at == now
    assert holds(key, "m1", made, now)
    assert not holds(key, "m1", made, now + LINK_LIFE)
    assert not holds(key, "m2", made, now)
    assert not holds(link_key("other"), "m1", made, now)
    for forged in (
        {"tenant": "acm"},
        {"tenant": "acmea", "agent": "na"},
        {"agent": "bea"},
        {"session": ""},
        {"session": "s2"},
        {"expires": made.expires + 1},
        {"signature": ""},
        {"signature": "é"},
    ):
        assert not holds(key, "m1", replace(made, **forged), now)
