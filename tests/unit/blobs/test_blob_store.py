import io
from pathlib import Path

import pytest

from shared.blobs.store import THUMB, BlobMissingError, BlobStore

DIGEST = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore("", tmp_path / "media")


async def read(store: BlobStore, **options: int | str) -> bytes:
    pieces = [piece async for piece in await store.stream("acme", DIGEST, **options)]  # type: ignore[arg-type]
    return b"".join(pieces)


async def test_a_file_comes_back_whole_and_in_parts(store: BlobStore):
    content = bytes(range(256)) * 4096
    await store.put("acme", DIGEST, io.BytesIO(content))
    await store.put("acme", DIGEST, io.BytesIO(content))
    assert await read(store) == content
    assert await read(store, start=1000, end=300_000) == content[1000:300_000]
    assert await read(store, start=len(content) - 3) == content[-3:]
    assert await store.size("acme", DIGEST) == len(content)


async def test_a_missing_file_is_told_before_the_first_byte(store: BlobStore):
    with pytest.raises(BlobMissingError):
        await store.stream("acme", DIGEST)
    assert await store.size("acme", DIGEST) is None


async def test_deleting_takes_what_was_derived_and_nothing_else(store: BlobStore):
    for digest in (DIGEST, OTHER):
        await store.put("acme", digest, io.BytesIO(b"file"))
        await store.put("acme", digest, io.BytesIO(b"thumb"), variant=THUMB)
    await store.delete("acme", DIGEST)
    await store.delete("acme", DIGEST)
    assert await store.size("acme", DIGEST) is None
    assert await store.size("acme", DIGEST, variant=THUMB) is None
    assert await store.size("acme", OTHER, variant=THUMB) == 5


async def test_a_tenant_is_deleted_alone(store: BlobStore):
    for tenant in ("acme", "acme2"):
        await store.put(tenant, DIGEST, io.BytesIO(b"file"))
    await store.delete_tenant("acme")
    await store.delete_tenant("acme")
    assert await store.size("acme", DIGEST) is None
    assert await store.size("acme2", DIGEST) == 4


@pytest.mark.parametrize(
    ("tenant", "digest"),
    [
        pytest.param("../acme", DIGEST, id="tenant that leads elsewhere"),
        pytest.param("acme/other", DIGEST, id="tenant with a folder"),
        pytest.param("acme", "../" + DIGEST, id="digest that leads elsewhere"),
        pytest.param("acme", DIGEST.upper(), id="another spelling"),
    ],
)
async def test_names_that_are_none_are_refused(store: BlobStore, tenant: str, digest: str):
    with pytest.raises(ValueError):
        await store.put(tenant, digest, io.BytesIO(b""))
