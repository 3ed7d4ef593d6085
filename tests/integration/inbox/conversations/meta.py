"""WhatsApp beside the real inbox, and files for it."""

import asyncio
import hashlib
import io
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from services.inbox.model.conversation import Media
from services.inbox.model.items import Body
from shared.blobs.store import BlobStore
from tests.integration.inbox.conversations.office import Member, Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS, Answer
from tests.support.files import FORM_TYPE, form


async def upload(member: Member, content: bytes, filename: str = "file", query: str = "") -> Answer:
    headers = {"content_type": FORM_TYPE}
    return await member("POST", f"/media{query}", form(content, filename), **headers)


async def received(office: Office, conversation: str, content: bytes, mime: str) -> str:
    """A file of the customer that was downloaded; its id."""
    digest = hashlib.sha256(content).hexdigest()
    blobs = BlobStore("", office.tenant.inbox.settings.media_folder)
    await blobs.put(office.tenant.id, digest, io.BytesIO(content))
    item = office.incoming((await office.document(conversation))["number"], "")
    media_id = office.base.ids.of("m", item.id)
    media = Media("ready", media_id, mime_type=mime, size=len(content), sha256=digest)
    await office.fold(conversation, [replace(item, body=Body("audio", None, media, {}))])
    return str(media_id)


@dataclass
class Meta:
    """The fake's control API, and the process of delivery that talks to it."""

    url: str
    session: aiohttp.ClientSession

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        async with self.session.request(method, f"{self.url}/_control{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def sent(self, message_id: str) -> dict[str, Any]:
        """The body of the POST of one of our messages."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                for each in (await self("GET", "/requests?call=send&limit=1000"))["items"]:
                    if each["body"]["biz_opaque_callback_data"] == message_id:
                        return dict(each["body"])
                await asyncio.sleep(0.05)

    async def sent_to(self, to: str, count: int) -> list[dict[str, Any]]:
        """The bodies of the POSTs for this recipient once there are so many, in their order."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                posted = (await self("GET", "/requests?call=send&limit=1000"))["items"]
                bodies = [each["body"] for each in posted if each["body"].get("to") == to]
                if len(bodies) >= count:
                    return bodies
                await asyncio.sleep(0.05)

    async def typing(self, wamid: str, times: int) -> dict[str, Any]:
        """The newest body of a typing indicator below this message, once there are so many."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                shown = (await self("GET", "/requests?call=typing&limit=1000"))["items"]
                bodies = [each["body"] for each in shown if each["body"]["message_id"] == wamid]
                if len(bodies) >= times:
                    return dict(bodies[-1])
                await asyncio.sleep(0.05)

    async def content(self, media_id: str) -> tuple[str, str]:
        """Type and digest of a file that Meta has."""
        headers = {"authorization": "Bearer graph-token"}
        async with self.session.get(f"{self.url}/v25.0/{media_id}", headers=headers) as answer:
            found = await answer.json()
        return found["mime_type"], found["sha256"]
