"""Calls made from the OpenAPI document, right and wrong ones: every answer is one it describes.

`SEED=4711` repeats the choices of a run, `FUZZ_SECONDS=60` makes it longer; what is found is shown
with its `curl`.
"""

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.inbox.conversations.office import Office, open_office
from tests.integration.inbox.inbox_rig import INTERNAL_TOKEN, PLATFORM_TOKEN, Inbox, eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    # The service rolls dice in its own thread while a case is made in another.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
]

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "10"))
ROUND: Final = 4
"""Calls of one route before the next one has its turn."""
NOT_DONE: Final = frozenset(
    {
        # They take away what the other calls are made with.
        ("DELETE", "/v1/admin/agents/{agent_id}"),
        ("PATCH", "/v1/admin/agents/{agent_id}"),
        ("DELETE", "/v1/me/sessions/{session_id}"),
        ("PUT", "/v1/me/password"),
        ("PATCH", "/v1/platform/tenants/{tenant_id}"),
        ("DELETE", "/v1/platform/tenants/{tenant_id}"),
    }
)
"""Of these only ids that there are not."""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
async def url(inbox: Inbox) -> AsyncIterator[str]:
    """The shared inbox on a port: the calls come from another thread."""
    config = uvicorn.Config(
        inbox.service.asgi,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await eventually(lambda: server.started or serving.done())
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


class Fuzz:
    """Goes round the routes, once at least, until the time is over; runs in its own thread."""

    def __init__(
        self,
        document: Mapping[str, Any],
        url: str,
        tokens: Mapping[str, str],
        ids: Mapping[str, list[str]],
        seed: int,
    ) -> None:
        schema = schemathesis.openapi.from_dict(dict(document))
        self._operations = [found.ok() for found in schema.get_all_operations()]
        self._url = url
        self._tokens = tokens
        self._ids = ids
        self._random = random.Random(seed)
        self._session = requests.Session()
        self.answers: Counter[str] = Counter()
        self.uncalled = {(each.method.upper(), each.path) for each in self._operations}
        self.found: dict[str, str] = {}

    def run(self) -> None:
        end = time.monotonic() + SECONDS
        for turn in itertools.count():
            mode = GenerationMode.NEGATIVE if turn % 3 == 1 else GenerationMode.POSITIVE
            for operation in self._operations:
                if turn > 0 and time.monotonic() > end:
                    return
                self._some(operation, mode)

    def _some(self, operation: Any, mode: GenerationMode) -> None:
        @seeded(self._random.getrandbits(32))
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def calls(case: Any) -> None:
            self._call(operation, case)

        with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
            calls()

    def _call(self, operation: Any, case: Any) -> None:
        key = (operation.method.upper(), operation.path)
        for name in case.path_parameters or {}:
            known = self._ids.get(name)
            if known and key not in NOT_DONE and self._random.random() < 0.8:
                case.path_parameters[name] = self._random.choice(known)
        token = next(t for prefix, t in self._tokens.items() if operation.path.startswith(prefix))
        headers = {"authorization": f"Bearer {token}"}
        response = case.call(base_url=self._url, session=self._session, headers=headers)
        self.uncalled.discard(key)
        self.answers[f"{response.status_code // 100}xx"] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as failures:
            for failure in failures.exceptions:
                what = f"{key[0]} {key[1]}: {response.status_code} {failure.title}"
                self.found.setdefault(
                    what,
                    f"{what}\n{failure.message}\n{response.content[:500]!r}\n"
                    f"{case.as_curl_command()}",
                )


async def _ids(office: Office) -> dict[str, list[str]]:
    """Things that there are, by the names of path parameters."""
    admin = office.tenant.admin
    open_chats = [await office.opened_by(office.ana) for _ in range(3)]
    held = [await office.arrive() for _ in range(3)]
    messages = [(await office.ana.send(chat)).body["id"] for chat in open_chats]
    documents = [await office.document(chat) for chat in open_chats + held]
    labels = [await admin("POST", "/v1/admin/labels", {"name": each}) for each in "xyz"]
    return {
        "conversation_id": open_chats + held,
        "message_id": messages,
        "contact_id": [document["contact"]["id"] for document in documents],
        "agent_id": [office.ana.id],
        "team_id": [office.support],
        "label_id": [label.body["id"] for label in labels],
        "number_id": [office.plain],
        "tenant_id": [office.tenant.id],
    }


async def test_every_answer_is_one_that_the_document_describes(inbox: Inbox, url: str) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**31))
    print(f"seed {seed}")
    office = await open_office(await inbox.tenant())
    boss = str(office.tenant.admin.token)
    tokens = {
        "/internal/": INTERNAL_TOKEN,
        "/v1/platform/": PLATFORM_TOKEN,
        "/v1/admin/": boss,
        "/v1/conversations": str(office.ana.http.token),
        "/": boss,
    }
    fuzz = Fuzz(inbox.service.asgi.openapi(), url, tokens, await _ids(office), seed)
    await asyncio.to_thread(fuzz.run)
    print(dict(fuzz.answers))
    for each in fuzz.found.values():
        print(each, end="\n\n")
    assert list(fuzz.found) == []
    assert fuzz.uncalled == set()
    assert fuzz.answers["2xx"] > 20
