import os
import uuid
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from deploy.local.errors import LocalStackError
from tests.support.stack import Addresses, addresses


@pytest.fixture(scope="session")
def unavailable() -> Callable[[str], NoReturn]:
    """What to call when something real is missing: skips, or fails where REQUIRE_REAL=1."""

    def give_up(reason: str) -> NoReturn:
        if os.environ.get("REQUIRE_REAL") == "1":
            pytest.fail(f"REQUIRE_REAL=1, but {reason}", pytrace=False)
        pytest.skip(reason)

    return give_up


@pytest.fixture(scope="session")
def stack(unavailable: Callable[[str], NoReturn]) -> Iterator[Addresses]:
    """Real Kafka, MongoDB and Redis, apart from the ones that `make up` runs."""
    running = addresses()
    try:
        found = running.__enter__()
    except LocalStackError as error:
        unavailable(f"the stack did not start: {error}")
    try:
        yield found
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def topic_prefix() -> str:
    """In front of topic names (and fit for group names): nobody else's records are in sight."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture
def mongo_db() -> str:
    """The name of a database that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
