"""The benchmark of lists runs, with a tiny tenant: no timing is looked at."""

from pathlib import Path

import pytest

from tests.bench.crowd_home import settings_for
from tests.bench.lists import arguments, run, written
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def test_each_list_and_search_is_timed(
    stack: Addresses, topic_prefix: str, mongo_db: str, tmp_path: Path
):
    given = arguments(
        ["--conversations", "600", "--messages", "1800", "--calls", "2", "--seconds", "0"]
    )
    own = {"topic_prefix": topic_prefix, "inbox_db": mongo_db}
    settings = settings_for(stack).model_copy(update=own)
    timings, seconds = await run(settings, given, tmp_path)
    rows = {each.name: each.rows for each in timings}
    assert len(rows) > 40
    assert rows["closed, newest, all"] == 50
    assert rows["search, common word, all"] == 20
    assert rows["search, rare word, all"] == 1
    assert rows["counts, all"] >= 600
    page = written(timings, given, seconds)
    assert all(f"| {name} |" in page for name in rows)
