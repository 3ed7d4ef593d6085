"""The clients of one tenant on this pod, found by tag."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from services.notifier.model import Activity, Change, Page, Position, Tags
from services.notifier.workflows.client import Client


class Hub:
    """Follows `all` of one tenant at `position` and hands each entry to those whom it concerns.

    Nothing here waits: between two reads the hub's position, its clients' tags and their queues
    change together.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.position = Position("", 0)
        self.started = False
        self.stopped = False
        self.clients: set[Client] = set()
        self.wake = asyncio.Event()
        self.users = 0
        self._by_tag: dict[str, set[Client]] = {}

    def stop(self) -> None:
        """Let the follower end after what it is at."""
        self.stopped = True
        self.wake.set()

    def add(self, client: Client) -> None:
        """Let a client hear what comes above its own `seq`."""
        client.live = True
        self.clients.add(client)
        for tag in client.tags:
            self._by_tag.setdefault(tag, set()).add(client)

    def remove(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)
        for tag in client.tags:
            followers = self._by_tag.get(tag)
            if followers is not None:
                followers.discard(client)
                if not followers:
                    del self._by_tag[tag]

    def retag(self, client: Client) -> None:
        """Follow the client's new tags from here on: it fetches everything anew."""
        self.remove(client)
        client.retag()
        self.add(client)
        seq = max(client.seq, self.position.seq)
        client.resync(Position(client.epoch, seq))
        client.flush()

    def followers(self, tags: Tags) -> set[Client]:
        """The clients with any of these tags."""
        return set().union(*(self._by_tag.get(tag, ()) for tag in tags))

    def take(self, page: Page) -> Counter[Change]:
        """Hand a page of `all` over; what it counted.

        A new epoch, or a place that the ring no longer holds, sends everybody to REST.
        """
        counted: Counter[Change] = Counter()
        dirty: set[Client] = set()
        entries = page.streams[0]
        if page.floor > self.position.seq:
            self._start_over(page.position)
            return counted
        for entry in entries:
            if entry.epoch != self.position.epoch:
                self._start_over(Position(entry.epoch, entry.seq - 1))
            self.position = Position(self.position.epoch, entry.seq)
            for client in self.followers(entry.before | entry.after):
                change = client.push(entry)
                if change is not None:
                    counted[change] += 1
                    dirty.add(client)
        if len(entries) < page.limit and page.position.epoch != self.position.epoch:
            self._start_over(page.position)
        _flush(dirty)
        return counted

    def _start_over(self, position: Position) -> None:
        self.position = position
        lost = [client for client in self.clients if _is_behind(client, position)]
        for client in lost:
            client.resync(position)
        _flush(lost)

    def hears(self, told: Activity) -> Iterable[Client]:
        """Who is told what somebody does in a chat: others who see the same chat."""
        heard = self.followers(told.audience)
        # A supervisor who follows own chats only may still have this one before the eyes.
        heard.update(
            client
            for client in self.clients
            if client.viewing == told.conversation and client.agent.supervises
        )
        return [client for client in heard if client.agent.id != told.agent]


def _is_behind(client: Client, position: Position) -> bool:
    # Who joined with a newer read than the hub's knows the new epoch already.
    return client.epoch != position.epoch or client.seq < position.seq


def _flush(clients: Iterable[Client]) -> None:
    for client in clients:
        client.flush()
