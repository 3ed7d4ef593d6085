from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from deploy.local.errors import LocalStackError
from tests.support.services import Deployment, deployed
from tests.support.stack import Addresses


@pytest.fixture(scope="session")
def deployment(
    stack: Addresses,
    tmp_path_factory: pytest.TempPathFactory,
    unavailable: Callable[[str], NoReturn],
) -> Iterator[Deployment]:
    """Every service as a process, on topics and databases of their own."""
    running = deployed(stack, tmp_path_factory.mktemp("deployment"))
    try:
        found = running.__enter__()
    except LocalStackError as error:
        unavailable(f"the services did not start: {error}")
    try:
        yield found
    finally:
        running.__exit__(None, None, None)
