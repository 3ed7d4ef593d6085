"""The MongoDB client. The only module of the project that imports motor.

Motor is kept because the project's users named it; its bug fixes ended in May 2026. The swap to
pymongo's `AsyncMongoClient` happens here: the calls that the rest of the project uses (`find`,
`bulk_write`, `insert_many`, `find_one_and_update`, ...) have the same names there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeAlias

from bson.codec_options import CodecOptions
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shared.contracts.errors import TransientError

Document: TypeAlias = dict[str, Any]
Client: TypeAlias = "AsyncIOMotorClient[Document]"
Database: TypeAlias = "AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncIOMotorCollection[Document]"
Session: TypeAlias = "AsyncIOMotorClientSession"

DUPLICATE_KEY = 11000
_INDEX_NOT_FOUND = 27
# Codes of a server that is going away, stepping down, or was interrupted: try again.
_TRANSIENT_CODES = frozenset(
    {6, 7, 24, 50, 64, 89, 91, 112, 133, 134, 189, 202, 262, 9001, 10058, 10107, 11600, 11602}
    | {13388, 13435, 13436}
    # A document of 16 MB: an outbox that takes no more until Kafka is back.
    | {10334, 17419}
)


class MongoSettings(BaseSettings):
    """Where MongoDB is and how long to wait for it."""

    model_config = SettingsConfigDict(env_prefix="ATRIO_", extra="ignore")

    mongo_url: str = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    mongo_select_timeout: timedelta = timedelta(seconds=3)
    mongo_write_timeout: timedelta = timedelta(seconds=10)
    mongo_pool_size: int = Field(default=50, ge=1)
    mongo_min_pool_size: int = Field(default=4, ge=0)


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def create_client(settings: MongoSettings, *, app_name: str, retry_writes: bool = True) -> Client:
    """A client that writes journaled to the majority and reads what the majority has.

    It connects by itself in the background; nothing here waits for the server. `retry_writes`: the
    driver repeats a write once whose answer was lost; MongoDB keeps a note of each for that.
    """
    return AsyncIOMotorClient(
        settings.mongo_url,
        appname=app_name,
        tz_aware=True,
        w="majority",
        journal=True,
        wTimeoutMS=_ms(settings.mongo_write_timeout),
        readConcernLevel="majority",
        retryWrites=retry_writes,
        serverSelectionTimeoutMS=_ms(settings.mongo_select_timeout),
        connectTimeoutMS=3000,
        socketTimeoutMS=_ms(settings.mongo_write_timeout) + 5000,
        heartbeatFrequencyMS=2000,
        maxPoolSize=settings.mongo_pool_size,
        minPoolSize=settings.mongo_min_pool_size,
    )


def unacknowledged_by_majority(collection: Collection) -> Collection:
    """The same collection with w:1: only for writes whose loss is repaired by themselves."""
    return collection.with_options(
        codec_options=CodecOptions(tz_aware=True),
        write_concern=WriteConcern(w=1),
        read_concern=ReadConcern("majority"),
    )


_session: ContextVar[Session | None] = ContextVar("mongo_session", default=None)


class CausalReads:
    """Reads that see no less than the ones before them: for one kind of caller of a database.

    A new primary answers majority reads from the commit point that it knows, which may lie
    behind what its predecessor answered a moment ago; in a session it waits instead. Sessions are
    used again: each would cost two turns of motor's threads.
    """

    def __init__(self, database: Database) -> None:
        self._client = database.client
        self._idle: list[Session] = []

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Reads with `causal_session()` inside belong together; not those of the same time."""
        if self._idle:
            session = self._idle.pop()
        else:
            with transient_errors():
                session = await self._client.start_session(causal_consistency=True)
        token = _session.set(session)
        try:
            yield
        except BaseException:
            await session.end_session()
            raise
        else:
            self._idle.append(session)
        finally:
            _session.reset(token)


def causal_session() -> Session | None:
    """The session of the surrounding `CausalReads.session`, if any."""
    return _session.get()


def _is_transient(failure: OperationFailure) -> bool:
    return failure.code in _TRANSIENT_CODES or failure.has_error_label("RetryableWriteError")


@contextmanager
def transient_errors() -> Iterator[None]:
    """Turns "the server is away, slow or changing" into TransientError; bugs pass as they are.

    A bulk write whose write concern was not met is transient too: its outcome is not certain.
    """
    try:
        yield
    except BulkWriteError as bulk:
        details = bulk.details or {}
        if details.get("writeConcernErrors"):
            raise TransientError("mongo: write concern not met") from bulk
        if any(e.get("code") in _TRANSIENT_CODES for e in details.get("writeErrors", ())):
            raise TransientError("mongo: bulk write interrupted") from bulk
        raise
    except (
        AutoReconnect,
        ConnectionFailure,
        ServerSelectionTimeoutError,
        WaitQueueTimeoutError,
        ExecutionTimeout,
        WTimeoutError,
    ) as gone:
        raise TransientError(f"mongo: {type(gone).__name__}") from gone
    except OperationFailure as failure:
        if _is_transient(failure):
            raise TransientError(f"mongo: code {failure.code}") from failure
        raise


async def drop_index(collection: Collection, name: str) -> None:
    """Drops an index of before, if it is there still. Raises TransientError."""
    try:
        with transient_errors():
            await collection.drop_index(name)
    except OperationFailure as failure:
        if failure.code != _INDEX_NOT_FOUND:
            raise
