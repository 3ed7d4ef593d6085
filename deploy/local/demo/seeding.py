"""Fills the demo tenant: what is missing is created, what somebody has touched is left alone."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import aiohttp

from deploy.local.demo.people import ORDER, SALES, Cast, ensure_people
from deploy.local.demo.picture import shoe_box
from deploy.local.demo.places import Places
from deploy.local.demo.rest import PAGE, Json, RefusedError, Rest
from deploy.local.demo.samples import EMMA, JAMES, LUCIA, NOAH, PICTURE_ID, SAMPLES, Sample
from deploy.local.errors import LocalStackError
from shared.testing.webhooks import Customer, Delivery, WebhookDriver

VIEWS: Final = ("on_hold", "open", "closed", "bot")
POLL_SECONDS: Final = 0.1
FIRST_TIME: Final = timedelta(seconds=20)
"""A new number is known to ingest within 5 s; until then its messages wait in quarantine."""
FRESH_EPOCH: Final = 1
"""Of a conversation that has been opened and nothing else."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """What there is, and how many sample conversations this call brought."""

    cast: Cast
    new: int
    note: str | None = None


async def seed(session: aiohttp.ClientSession, places: Places) -> Seeded:
    """Create the tenant and deliver the sample conversations; safe to repeat.

    Raises `LocalStackError` with a message for people.
    """
    cast = await ensure_people(session, places)
    customers = [one.customer for one in SAMPLES]
    there = await conversations(cast.admin, customers)
    missing = [one for one in SAMPLES if one.customer.user_id not in there]
    if not missing:
        await _tell_them_apart(cast, there)
        return Seeded(cast, 0)
    if not await _answers(session, places.ingest):
        return Seeded(cast, 0, "ingest does not run: no sample conversations")
    await register_picture(session, places)
    await _deliver(places, missing)
    # Who deleted a sample conversation does not get its messages back for days: they are known.
    patience = timedelta(seconds=2) if there else FIRST_TIME
    found = await _await_all(cast.admin, missing, patience)
    if not found and not there:
        raise LocalStackError(
            f"the sample conversations do not appear {patience.total_seconds():g} s after ingest "
            "took them: see the logs of ingest and inbox (make logs)"
        )
    await _tell_them_apart(cast, {**there, **found})
    return Seeded(cast, len(found))


async def conversations(admin: Rest, customers: Sequence[Customer]) -> dict[str, Json]:
    """The tenant's conversations by the customer's BSUID: these customers' and some others'."""
    lists = [admin.items("/v1/conversations", view=view, scope="all") for view in VIEWS]
    pages = await asyncio.gather(*lists)
    found = _by_customer(pages)
    full = [view for view, page in zip(VIEWS, pages, strict=True) if len(page) == PAGE]
    missing = [one for one in customers if one.user_id not in found]
    searches = [
        admin.items("/v1/conversations", view=view, scope="all", q=one.name or "")
        for view in full
        for one in missing
    ]
    return found | _by_customer(await asyncio.gather(*searches))


def _by_customer(pages: Sequence[Sequence[Json]]) -> dict[str, Json]:
    return {
        item["contact"]["user_id"]: item
        for page in pages
        for item in page
        if item["contact"]["user_id"]
    }


async def register_picture(session: aiohttp.ClientSession, places: Places) -> None:
    """Let the fake Graph hold the customers' picture; without it the picture cannot be fetched."""
    body = {
        "id": PICTURE_ID,
        "mime_type": "image/png",
        "data_base64": base64.b64encode(shoe_box()).decode(),
    }
    try:
        async with session.post(f"{places.graph}/_control/media", json=body) as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError):
        print("  demo      the fake Graph does not run: the sample picture will not be fetched")


async def deliver(places: Places, webhooks: Sequence[Json]) -> None:
    """Post signed webhooks as Meta does. Raises `LocalStackError` if one is not taken."""
    delivery = Delivery(concurrency=4, attempts=8)
    async with WebhookDriver(places.webhook, places.app_secret, delivery=delivery) as driver:
        tally = await driver.deliver(webhooks)
    if tally.given_up:
        answers = ", ".join(f"{count} x {code or 'none'}" for code, count in tally.answers.items())
        raise LocalStackError(
            f"{places.webhook} did not take {tally.given_up} webhooks (answers: {answers})"
            + ("; ATRIO_APP_SECRETS is not what ingest has" if tally.answers[401] else "")
        )


async def _deliver(places: Places, samples: Sequence[Sample]) -> None:
    now = time.time()
    await deliver(places, [one.webhook(now) for one in samples])


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/livez") as answer:
            return answer.status == 200
    except (aiohttp.ClientConnectionError, TimeoutError):
        return False


async def _await_all(
    admin: Rest, samples: Sequence[Sample], patience: timedelta
) -> dict[str, Json]:
    """Those of the conversations that appear in time."""
    customers = [one.customer for one in samples]
    wanted = {one.user_id for one in customers}
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        found = {
            user_id: item
            for user_id, item in (await conversations(admin, customers)).items()
            if user_id in wanted
        }
        if len(found) == len(wanted) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)


async def _tell_them_apart(cast: Cast, found: dict[str, Json]) -> None:
    """Bring new conversations into different states, so that every list shows something."""
    await _unless_touched(found, LUCIA, lambda chat: _lucia(cast, chat))
    await _unless_touched(found, JAMES, lambda chat: _james(cast, chat))
    await _unless_touched(found, NOAH, lambda chat: _noah(cast, chat))
    await _unless_touched(found, EMMA, lambda chat: _emma(cast, chat))


async def _unless_touched(
    found: dict[str, Json], customer: Customer, act: Callable[[Json], Awaitable[None]]
) -> None:
    chat = found.get(customer.user_id or "")
    if chat is None or chat["epoch"] != FRESH_EPOCH:
        return
    try:
        await act(chat)
    except RefusedError as refused:
        if refused.status != 409:  # somebody was faster: theirs stands
            raise


async def _lucia(cast: Cast, chat: Json) -> None:
    await accept(cast.ana, chat, epoch=FRESH_EPOCH)
    await say(cast.ana, chat, "¡Buenos días, Lucía! Sí, nos queda un par de la talla 38.", "seed-1")


async def _james(cast: Cast, chat: Json) -> None:
    await cast.luis.put(f"/v1/contacts/{chat['contact']['id']}/labels", {"labels": [_order(cast)]})
    await accept(cast.luis, chat, epoch=FRESH_EPOCH)
    await say(cast.luis, chat, "Hi James, let me look into it.", "seed-1")


async def _noah(cast: Cast, chat: Json) -> None:
    await accept(cast.luis, chat, epoch=FRESH_EPOCH)
    await say(cast.luis, chat, "Done, Grace has it. Have a nice day!", "seed-1")
    await cast.luis.post(f"/v1/conversations/{chat['id']}/close")


async def _emma(cast: Cast, chat: Json) -> None:
    body = {"team_id": cast.teams[SALES], "epoch": FRESH_EPOCH}
    await cast.admin.post(f"/v1/conversations/{chat['id']}/transfer", body)


def _order(cast: Cast) -> str:
    return cast.labels[ORDER]


async def accept(agent: Rest, chat: Json, *, epoch: int | None = None) -> Json:
    body = {} if epoch is None else {"epoch": epoch}
    return await agent.post(f"/v1/conversations/{chat['id']}/accept", body)


async def say(agent: Rest, chat: Json, text: str, client_id: str) -> Json:
    """Send a text; the same client id in the same conversation is the same message."""
    body = {"client_id": f"demo-{client_id}", "type": "text", "text": text}
    return await agent.post(f"/v1/conversations/{chat['id']}/messages", body)
