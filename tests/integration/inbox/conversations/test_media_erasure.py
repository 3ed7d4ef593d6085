"""The files and drafts of what was deleted go, those of other chats stay."""

import asyncio
import io
import itertools
import uuid
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.model.conversation import Media
from services.inbox.model.items import Body
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.drafts import DRAFTS, DraftStore
from services.inbox.storage.erasures import ErasureStore
from services.inbox.storage.media import MediaStore
from services.inbox.storage.tallies import REFUSALS, TALLIES
from services.inbox.workflows.erasing import Erasing
from services.inbox.workflows.expiring import Expiring
from shared.blobs.store import BlobStore
from shared.contracts.inbound import InboundType
from shared.contracts.records import InRecord
from shared.mongo.parking import MongoParking
from tests.integration.inbox.conversations.office import Member, Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS
from tests.support.files import FORM_TYPE, form, picture

pytestmark = pytest.mark.integration


def blobs(office: Office) -> BlobStore:
    return BlobStore("", office.tenant.inbox.settings.media_folder)


async def kept(office: Office, digest: str) -> bool:
    return await blobs(office).size(office.tenant.id, digest) is not None


async def until_gone(office: Office, digest: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await kept(office, digest):  # noqa: ASYNC110 - another loop erases
            await asyncio.sleep(0.05)


async def uploaded(member: Member, color: str) -> dict[str, Any]:
    body = form(picture("PNG", (60, 40), color))
    made = await member("POST", "/media", body, content_type=FORM_TYPE)
    assert made.status == 201, made.raw
    return dict(made.body)


async def received(office: Office, conversation: str, digest: str) -> None:
    item = office.incoming((await office.document(conversation))["number"], "")
    media = Media("ready", office.base.ids.of("m", item.id), size=9, sha256=digest)
    await office.fold(conversation, [replace(item, body=Body("image", None, media, {}))])


async def rounds_later(office: Office, **span: float) -> None:
    """What a pod does whose clock is that much further."""
    database = office.base.database

    def clock() -> datetime:
        return now() + timedelta(**span)

    erasing = Erasing(
        ErasureStore(database),
        MediaStore(database),
        DraftStore(database),
        ConversationStore(database),
        blobs(office),
        clock,
    )
    await erasing.erase_due()


async def test_a_deleted_chat_takes_its_files_along(shared_office: Office):
    office = shared_office
    gone, stays = await office.opened_by(office.ana), await office.opened_by(office.ana)
    file, both = await uploaded(office.ana, "red"), await uploaded(office.ana, "green")
    unsent = await uploaded(office.ana, "blue")
    for chat, media in ((gone, file), (gone, both), (stays, both)):
        sent = await office.ana.send(chat, type="image", text=None, media={"id": media["id"]})
        assert sent.status == 202, sent.raw
    incoming = "ab" * 32
    await received(office, gone, incoming)
    await blobs(office).put(office.tenant.id, incoming, io.BytesIO(b"incoming"))

    assert (await office.ana("DELETE", f"/conversations/{gone}")).status == 204
    await until_gone(office, incoming)
    assert await kept(office, file["sha256"]), "it could be on its way into another chat"
    await rounds_later(office, minutes=3)
    assert not await kept(office, file["sha256"])
    erasures = office.base.database["erasures"]
    async with asyncio.timeout(DEADLINE_SECONDS):
        # The service's own rounds may hold it for a moment, and put the next one off.
        for days in itertools.count(2, step=2):
            if not await erasures.count_documents({"conversation": gone}, hint="due"):
                break
            await rounds_later(office, days=days)
    assert await kept(office, both["sha256"])
    assert await kept(office, unsent["sha256"])
    assert (await office.ana("GET", f"/media/{both['id']}")).status == 200
    assert (await office.ana("GET", f"/media/{file['id']}")).code == "not_found"


async def test_regression_a_deleted_file_does_not_come_back_to_its_uploader(shared_office: Office):
    office = shared_office
    gone, stays = await office.opened_by(office.ana), await office.opened_by(office.ana)
    file = await uploaded(office.ana, "navy")
    sent = await office.ana.send(gone, type="image", text=None, media={"id": file["id"]})
    assert sent.status == 202, sent.raw
    await office.ana.act(gone, "transfer", agent_id=office.bea.id)
    assert (await office.bea("DELETE", f"/conversations/{gone}")).status == 204
    messages = office.base.database["messages"]
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await messages.count_documents({"_id": sent.body["id"], "deleted": True}):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.05)

    assert (await office.ana("GET", f"/media/{file['id']}")).code == "not_found"
    again = await office.ana.send(stays, type="image", text=None, media={"id": file["id"]})
    assert (again.status, again.code) == (422, "unknown_media")


async def test_regression_a_deleted_chat_takes_its_drafts_along(shared_office: Office):
    office = shared_office
    gone, stays = await office.opened_by(office.ana), await office.opened_by(office.ana)
    for chat in (gone, stays):
        for writer in (office.ana, office.sue):
            kept = await writer("PUT", f"/conversations/{chat}/draft", {"text": "Dear Luz"})
            assert kept.status == 200, kept.raw
    drafts = office.base.database[DRAFTS]

    async def left(chat: str) -> int:
        return int(await drafts.count_documents({"_id": {"$regex": f"^{chat}:"}}))

    assert (await office.ana("DELETE", f"/conversations/{gone}")).status == 204
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await left(gone):  # noqa: ASYNC110 - another loop erases
            await asyncio.sleep(0.05)
    assert await left(stays) == 2


async def test_an_upload_that_no_message_used_expires(shared_office: Office):
    office = shared_office
    chat = await office.opened_by(office.ana)
    sent, twin = [await uploaded(office.ana, "teal") for _ in range(2)]
    unsent, alike = [await uploaded(office.ana, "plum") for _ in range(2)]
    begun, touched = [await uploaded(office.ana, color) for color in ("olive", "gray")]
    answer = await office.ana.send(chat, type="image", text=None, media={"id": sent["id"]})
    assert answer.status == 202, answer.raw
    media = MediaStore(office.base.database)
    catalogue = office.base.database["media"]
    await catalogue.update_one({"_id": begun["id"]}, {"$set": {"stored": False}})
    assert await media.touch(office.tenant.id, touched["id"], now() + timedelta(hours=2))
    ended: list[int] = []

    async def expire(**later: float) -> None:
        expiring = Expiring(
            media,
            blobs(office),
            lambda: now() + timedelta(**later),
            timedelta(hours=24),
            lambda: ended.append(1),
        )
        while await expiring.expire_due():
            pass

    await expire(hours=23)
    assert ended == []
    await asyncio.gather(expire(hours=25), expire(hours=25))
    left = {doc["_id"] async for doc in catalogue.find({"tenant": office.tenant.id})}
    mine = {each["id"] for each in (sent, twin, unsent, alike, begun, touched)}
    assert left & mine == {sent["id"], touched["id"]}
    assert len(ended) >= 4
    assert await kept(office, sent["sha256"]), "a message has the same content"
    assert await kept(office, touched["sha256"]), "it is about to be sent"
    assert not await kept(office, unsent["sha256"])
    assert not await kept(office, begun["sha256"])
    assert (await office.ana("GET", f"/media/{sent['id']}")).status == 200
    assert (await office.ana("GET", f"/media/{unsent['id']}")).code == "not_found"
    refused = await office.ana.send(chat, type="image", text=None, media={"id": twin["id"]})
    assert refused.code == "unknown_media"


async def test_an_erased_tenant_has_no_files(office: Office):
    file = await uploaded(office.ana, "red")
    assert await kept(office, file["sha256"])
    answer = await office.tenant.inbox.platform(
        "DELETE", f"/v1/platform/tenants/{office.tenant.id}"
    )
    assert answer.status == 204, answer.raw
    await until_gone(office, file["sha256"])
    catalogue = office.base.database["media"]
    assert await catalogue.count_documents({"tenant": office.tenant.id}) == 0


async def left_of(office: Office) -> Counter[str]:
    """How many documents each collection has of the tenant."""
    database, tenant = office.base.database, office.tenant.id
    of_it = {"$or": [{"tenant": tenant}, {"headers": ["ce_tenantid", tenant.encode()]}]}
    names = set(await database.list_collection_names()) - {"directory", "erasures"}
    return +Counter({name: await database[name].count_documents(of_it) for name in names})


async def test_an_erased_tenant_stays_erased(office: Office):
    database = office.base.database
    await office.opened_by(office.ana)
    await office.tenant.inbox.platform("DELETE", f"/v1/platform/tenants/{office.tenant.id}")
    # WhatsApp was told that these are safe, before.
    phone = "5215512345678"
    text = {"id": f"wamid.{uuid.uuid4().hex}", "from": phone, "type": "text", "text": {"body": "a"}}
    late = [
        office.came(InboundType.MESSAGE, phone, text),
        office.came(InboundType.STATUS, phone, {"id": "wamid.x", "status": "read"}),
        office.came(InboundType.CHANGE, phone, {}),
    ]
    await office.base.publisher.publish(late)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await left_of(office))[TALLIES] == 0:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.05)
    assert set(await left_of(office)) <= {TALLIES, REFUSALS}

    # What was on its way into the database.
    await office.arrive()
    record = late[0]
    parked = InRecord(record.topic.base, 0, 1, record.key, record.value, tuple(record.headers), 0)
    await MongoParking(database).park("lot", [parked], reason="unreadable")
    assert {"conversations", "contacts", "messages", "parked"} <= set(await left_of(office))
    await rounds_later(office, minutes=3)
    assert await left_of(office) == Counter()
