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


def say(message: str, *filled: str, at: float) -> None:
    logger = logging.getLogger("some.library")
    record = logger.makeRecord(logger.name, logging.ERROR, "", 0, message, filled, None)
    record.created = at
    logger.handle(record)


def test_regression_a_library_that_repeats_itself_does_not_fill_the_disk(
    out: io.StringIO,
) -> None:
    for second in range(25):
        say("no connection to %s", f"n{second}", at=1000.0 + second)
    say("something else", at=1025.0)
    say("no connection to %s", "n99", at=1031.0)
    assert [(line["event"], line.get("left_out")) for line in lines(out)] == [
        ("no connection to n0", None),
        ("no connection to n1", None),
        ("no connection to n2", None),
        ("something else", None),
        ("no connection to n99", 22),
    ]


def test_a_library_is_heard_although_the_clock_was_set_back(out: io.StringIO) -> None:
    for _ in range(5):
        say("no connection", at=1000.0)
    say("no connection", at=400.0)
    assert len(lines(out)) == 4


def test_our_own_lines_are_never_left_out(out: io.StringIO) -> None:
    for number in range(9):
        structlog.get_logger().info("batch.handled", records=number)
    assert [line["records"] for line in lines(out)] == list(range(9))
