"""Blocks and unblocks of one contact: whichever is asked for last at Meta is the newest wish.

Meta orders nothing, and a request may arrive late. So what has begun never ends by itself: it asks
for the newest wish as long as there is one above its own. What has not begun ends without a call.
"""

from __future__ import annotations

from dataclasses import replace

from services.delivery.model import CallRecord, Wish
from services.delivery.storage import CallRecords


class Wishes:
    """All methods raise TransientError when the store is away; other calls have no wish."""

    def __init__(self, records: CallRecords) -> None:
        self._records = records

    async def current(self, record: CallRecord) -> CallRecord | None:
        """The record with the newest wish; None when another one sees to that.

        The wish is taken over durably: the record that it came with may expire before this ends.
        """
        newer = await self._newer(record)
        if newer is None:
            return record
        if not record.begun:
            return None
        await self._records.begin(record, newer)
        return replace(record, wish=newer, retries=0)

    async def begin(self, record: CallRecord) -> CallRecord | None:
        """Before Meta is asked for the record's wish; None: another pod ended it meanwhile."""
        if record.wish is None or record.begun:
            return record
        if not await self._records.begin(record, record.wish):
            return None
        return replace(record, begun=True)

    async def is_outdated(self, record: CallRecord) -> bool:
        """After Meta was asked: whether a newer wish was stored meanwhile."""
        return await self._newer(record) is not None

    async def _newer(self, record: CallRecord) -> Wish | None:
        wish = record.wish
        if wish is None:
            return None
        newest = await self._records.newest_wish(record.tenant, record.number_id, wish.contact_id)
        return newest if newest is not None and newest.version > wish.version else None
