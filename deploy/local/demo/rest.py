"""Inbox's REST API as one signed-in person (or the platform) calls it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

import aiohttp

from deploy.local.demo.places import PASSWORD
from deploy.local.errors import LocalStackError

Json = dict[str, Any]
ATTEMPTS: Final = 10
PAUSE_SECONDS: Final = 0.5
PAGE: Final = 100


class RefusedError(LocalStackError):
    """The API said no: a status from 400 to 499 with a stable code."""

    def __init__(self, call: str, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code"))
        self.problem = dict(problem)
        details = {name: value for name, value in problem.items() if name not in {"type", "code"}}
        super().__init__(f"{call} was refused: {self.code} {details}")


class Rest:
    """Calls with one token. 503 and a refused connection are tried again for five seconds.

    That makes every call one that may arrive twice: creations carry a key, sends a client id,
    actions are idempotent or carry the epoch.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None) -> None:
        self._session = session
        self._url = url
        self.token = token

    @classmethod
    async def sign_in(cls, session: aiohttp.ClientSession, url: str, email: str) -> Self:
        """Sign in with the demo's password. Raises RefusedError (`invalid_credentials`)."""
        body = {"email": email, "password": PASSWORD}
        answer = await cls(session, url, None).post("/v1/auth/token", body)
        return cls(session, url, answer["access_token"])

    async def get(self, path: str, **query: str) -> Json:
        return await self._call("GET", path, query=query)

    async def items(self, path: str, **query: str) -> list[Json]:
        """The first page of a list: more than the demo makes of anything."""
        return list((await self.get(path, limit=str(PAGE), **query))["items"])

    async def post(self, path: str, body: Json | None = None, key: str | None = None) -> Json:
        return await self._call("POST", path, body=body, key=key)

    async def put(self, path: str, body: Json) -> Json:
        return await self._call("PUT", path, body=body)

    async def patch(self, path: str, body: Json) -> Json:
        return await self._call("PATCH", path, body=body)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        key: str | None = None,
    ) -> Json:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with self._session.request(
                    method, self._url + path, params=query, json=body, headers=headers
                ) as answer:
                    if answer.status < 300:
                        return dict(await answer.json()) if answer.content_length else {}
                    text = await answer.text()
                    if answer.status < 500 and "json" in answer.content_type:
                        raise RefusedError(f"{method} {path}", answer.status, await answer.json())
                    why = f"answered {answer.status}: {text[:200]}"
                    if answer.status != 503:
                        break
            except (aiohttp.ClientConnectionError, TimeoutError) as error:
                why = f"does not answer ({type(error).__name__})"
        raise LocalStackError(f"{method} {self._url}{path} {why}. See its log (make logs).")
