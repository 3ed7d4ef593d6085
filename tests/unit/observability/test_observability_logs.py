import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shared.observability.logs import REDACTED, configure_logging


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging(service="test", stream=stream)
    yield stream
    root.handlers, root.level = before, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_service_level_and_time(out: io.StringIO) -> None:
    structlog.get_logger("a").info("batch.handled", records=3)
    [line] = lines(out)
    assert line["event"] == "batch.handled"
    assert line["records"] == 3
    assert (line["service"], line["level"]) == ("test", "info")
    assert "timestamp" in line


def test_bound_ids_are_in_every_line(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(tenant="t1"):
        structlog.get_logger().info("a.done")
    assert lines(out)[0]["tenant"] == "t1"


@pytest.mark.parametrize(
    "key", ["text", "body", "name", "phone", "wa_id", "token", "wamid", "password", "key"]
)
def test_forbidden_keys_are_marked(out: io.StringIO, key: str) -> None:
    structlog.get_logger().info("a.done", **{key: "Maria 34600", "nested": {key: "Maria"}})
    assert "Maria" not in out.getvalue()
    assert lines(out)[0][key] == REDACTED


def test_bytes_and_lists_are_guarded(out: io.StringIO) -> None:
    structlog.get_logger().info("a.done", raw=b"Maria", many=[{"name": "Maria"}])
    assert "Maria" not in out.getvalue()


def test_an_exception_is_logged_by_type_and_place_without_its_message(out: io.StringIO) -> None:
    try:
        try:
            int("Maria")
        except ValueError as cause:
            raise KeyError("Maria") from cause
    except KeyError:
        structlog.get_logger().exception("a.failed")
    assert "Maria" not in out.getvalue()
    [line] = lines(out)
    types = [each["type"] for each in line["exception"]]  # type: ignore[attr-defined]
    assert types == ["KeyError", "ValueError"]


def test_the_standard_librarys_loggers_go_the_same_way(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("careful")
    try:
        int("Maria")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    assert [line["event"] for line in lines(out)] == ["careful", "it failed"]
    assert "Maria" not in out.getvalue()
