"""What the service refuses to do, by a stable code."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """A request that cannot be done. `code` is in the table of `api/problems.py`.

    `members` are the parameters of the code, as the answer shows them; never prose.
    """

    def __init__(self, code: str, **members: Any) -> None:
        super().__init__(code)
        self.code = code
        self.members = members


def not_found() -> RefusedError:
    """There is no such thing, or it is out of the asker's sight: the two must look the same."""
    return RefusedError("not_found")


def invalid(field: str, code: str) -> RefusedError:
    """One member of the request is wrong in a way that only the data tells."""
    return RefusedError("validation", errors=[{"field": field, "code": code}])
