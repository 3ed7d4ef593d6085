"""The benchmark of lists runs, with a tiny tenant: no timing is looked at."""

from pathlib import Path

import pytest

from tests.bench.lists import arguments, run
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def test_each_list_and_search_is_timed(stack: Addresses, tmp_path: Path):
    given = arguments(["--conversations", "600", "--messages", "1800", "--calls", "2"])
    page = await run(stack, tmp_path, given)
    rows = {
        cells[1].strip(): int(cells[4].replace(",", ""))
        for line in page.splitlines()
        if len(cells := line.split("|")) == 6 and cells[4].strip().replace(",", "").isdigit()
    }
    assert len(rows) > 40
    assert rows["closed, newest, all"] == 50
    assert rows["search, common word, all"] == 20
    assert rows["search, rare word, all"] == 1
    assert rows["counts, all"] >= 600
