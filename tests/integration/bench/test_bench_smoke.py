"""The benchmarks run, with tiny numbers: no timing is looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.home import ROOT
from tests.bench import report
from tests.bench.__main__ import arguments
from tests.bench.delivery import Load, measure
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CODE = """
import sys
from contextlib import nullcontext
from pathlib import Path
from tests.bench.__main__ import arguments, run
from tests.support.stack import Addresses
stack = Addresses(*sys.argv[1:4])
run(arguments(sys.argv[5:]), Path(sys.argv[4]), lambda: nullcontext(stack))
"""


def bench(stack: Addresses, folder: Path, *given: str) -> dict[str, list[dict[str, object]]]:
    """A process of its own: benchmarks set the environment, and run event loops."""
    out = ["--out", str(folder / "docs")]
    where = [stack.kafka_servers, stack.mongo_url, stack.redis_url, str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *where, *out, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, object]]] = json.loads(
        (folder / "docs" / "bench.json").read_text()
    )
    return found


@pytest.mark.parametrize(
    ("part", "given"),
    [
        pytest.param("ingest", ["--seconds", "0.3", "--rounds", "1"], id="ingest"),
        pytest.param("inbox", ["--messages", "3000", "--rounds", "1"], id="inbox"),
        pytest.param("wrapper", ["--messages", "500", "--rounds", "1"], id="wrapper"),
        pytest.param("sockets", ["--sockets", "20"], id="sockets"),
    ],
)
def test_part_of_the_bench_runs(stack: Addresses, tmp_path: Path, part: str, given: list[str]):
    found = bench(stack, tmp_path, "--only", part, *given)

    assert {row["part"] for row in found["rows"]} == {part}
    assert all(row["ours"] for row in found["rows"])


def test_chain_loses_nothing_and_tells_its_stages(stack: Addresses, tmp_path: Path):
    given = ["--rates", "40", "--seconds", "1", "--customers", "20"]

    found = bench(stack, tmp_path, "--only", "chain", *given)

    (chain,) = found["raw"]["chain"]  # type: ignore[call-overload]
    assert chain["floor"]["lost"] == chain["ours"]["lost"] == 0
    assert chain["ours"]["out_of_order"] == chain["ours"]["refused"] == 0
    assert len(chain["ours"]["stages"]) == 4
    assert (tmp_path / "docs" / "bench.svg").read_text().startswith("<?xml")
    assert "40/s" in (tmp_path / "docs" / "benchmarks.md").read_text()


def test_report_keeps_what_other_parts_found(tmp_path: Path):
    about = {"processor": "2 cores"}
    first = report.ingest_rows(
        {"floor_per_s": 100, "ours_per_s": 60, "ratio": 0.6, "ours_p99_ms": 5}
    )
    second = report.socket_rows(19_500, 28_000)

    report.write(first, {"ingest": {}}, about, tmp_path)
    report.write(second, {"sockets": {}}, about, tmp_path)

    found = json.loads((tmp_path / "bench.json").read_text())
    assert [row["part"] for row in found["rows"]] == ["ingest", "sockets"]
    assert [row["held"] for row in found["rows"]] == [True, False]
    assert "DOES NOT HOLD" in (tmp_path / "benchmarks.md").read_text()


def test_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        arguments(["--only", "chain,speed"])

    assert "speed" in capsys.readouterr().err


def test_parts_are_all_unless_asked():
    assert arguments([]).only.split(",") == list(report.PARTS)


async def test_delivery_answers_what_it_is_given(stack: Addresses, tmp_path: Path):
    result = await measure(Load(rate=60, seconds=1), stack, tmp_path)

    assert (result.sent, result.told, result.unknown) == (60, 60, 0)
    assert result.statuses == 180
