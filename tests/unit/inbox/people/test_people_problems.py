import ast
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.inbox.api.bodies import from_cursor, to_cursor
from services.inbox.api.conversations import Transfer
from services.inbox.api.problems import CODES, field_problems, problem, responses
from services.inbox.model.errors import RefusedError

INBOX = Path(__file__).parents[4] / "services" / "inbox"


def _raised_codes() -> set[str]:
    """Every code that the service's source refuses with."""
    found = set()
    for file in INBOX.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"RefusedError", "Refusal"}
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                found.add(node.args[0].value)
    return found


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised = _raised_codes()
    assert {"not_found", "email_taken", "number_taken", "window_closed"} <= raised
    assert raised <= CODES.keys()


@pytest.mark.parametrize("code", CODES)
def test_a_problem_has_its_members_and_no_prose(code: str) -> None:
    answer = problem(code, limit=3)
    assert answer.status_code == CODES[code]
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": f"urn:atrio:problem:{code}",
        "status": CODES[code],
        "code": code,
        "limit": 3,
    }


def test_the_page_of_problems_is_the_table() -> None:
    page = (INBOX.parents[1] / "docs" / "contracts" / "problems.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| \S", page, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == CODES


def test_a_routes_own_422_is_also_that_of_every_route() -> None:
    described = responses("unknown_team")[422]["description"]
    assert described.endswith(": `validation`, `unknown_team`")


def test_codes_of_one_status_share_its_description() -> None:
    described = responses("email_taken", "number_taken")
    assert list(described) == [409]
    assert described[409]["description"] == "Conflict: `email_taken`, `number_taken`"


def test_a_cursor_comes_back_as_it_went_out() -> None:
    for position in ("ventas\x1fabc", "ñandú\x1f0", ""):
        assert from_cursor(to_cursor(position)) == position


@pytest.mark.parametrize("cursor", ["\x00", "ñ", "a", "_w=="])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(RefusedError, match="validation"):
        from_cursor(cursor)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, {"field": "agent_id", "code": "required"}, id="neither"),
        pytest.param(
            {"agent_id": "a1", "team_id": "b2"},
            {"field": "team_id", "code": "not_allowed"},
            id="both",
        ),
    ],
)
def test_regression_one_of_two_members_is_named(body: dict[str, str], expected: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Transfer.model_validate(body)

    assert field_problems(refused.value.errors()) == [expected]
