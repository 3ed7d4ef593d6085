"""What a run found: one table on the screen, in docs/benchmarks.md, as JSON and as a plot."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from deploy.local.home import ROOT

DOCS = ROOT / "docs"
COLUMNS = ("what", "floor", "ours", "ours / floor", "hold", "")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `held` None: nothing is promised of it, or it was not measured."""

    part: str
    what: str
    unit: str
    floor: float
    ours: float
    hold: str = ""
    held: bool | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.floor if self.floor else math.nan

    def cells(self) -> tuple[str, ...]:
        verdict = "" if self.held is None else "holds" if self.held else "DOES NOT HOLD"
        return (
            self.what,
            number(self.floor, self.unit),
            number(self.ours, self.unit),
            "" if math.isnan(self.ratio) else f"{self.ratio:.2f}",
            self.hold,
            verdict,
        )


def number(value: float, unit: str) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f} {unit}" if value >= 200 else f"{value:,.1f} {unit}"


# --- the parts as rows ---------------------------------------------------------------------------


def ingest_rows(found: dict[str, float]) -> list[Row]:
    return [
        Row(
            "ingest",
            "ingest, one process: one-message webhooks answered after acks=all",
            "/s",
            found["floor_per_s"],
            found["ours_per_s"],
            "at least half the floor",
            found["ratio"] >= 0.5,
        )
    ]


def inbox_rows(found: dict[str, float]) -> list[Row]:
    return [
        Row(
            "inbox",
            "inbox, one process, batches of 500: messages stored and told",
            "/s",
            found["floor_per_second"],
            found["ours_per_second"],
            "at least a third of the floor",
            found["ratio"] >= 1 / 3,
        ),
        Row(
            "inbox",
            "inbox: its CPU for a message",
            "us",
            found["floor_cpu_us"],
            found["ours_cpu_us"],
        ),
    ]


def wrapper_rows(found: dict[str, float]) -> list[Row]:
    return [
        Row(
            "wrapper",
            "subscribe() beside bare aiokafka: records handled",
            "/s",
            found["floor_per_s"],
            found["ours_per_s"],
            "no cost: at least 0.95",
            found["ratio"] >= 0.95,
        )
    ]


LIMITS = {300: (50, 100), 1000: (60, 140)}


def chain_rows(found: Sequence[dict[str, Any]]) -> list[Row]:
    rows = []
    for each in found:
        limits = LIMITS.get(round(each["rate"]))
        for place, name in enumerate(("p50_ms", "p99_ms")):
            ours = each["ours"][name]
            limit = limits[place] if limits else None
            rows.append(
                Row(
                    "chain",
                    f"webhook due to agent's socket, {each['rate']:g} msg/s: {name[:3]}",
                    "ms",
                    each["floor"][name],
                    ours,
                    f"at most {limit} ms" if limit else "",
                    ours <= limit if limit else None,
                )
            )
    return rows


def socket_rows(floor: int, ours: int) -> list[Row]:
    """From bytes for each socket."""
    kilobytes = ours / 1000
    what = "memory of an idle socket"
    held = kilobytes < 27
    return [Row("sockets", what, "KB", floor / 1000, kilobytes, "below 27 KB", held)]


# --- the machine ---------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """What the numbers were measured on; no name of it."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": f"{os.cpu_count()} cores of {model}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{psutil.getloadavg()[0]:.1f}",
    }


# --- out -----------------------------------------------------------------------------------------


def show(rows: Sequence[Row]) -> None:
    table = Table(title="Ours beside the same calls with bare clients, in one run")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("what", "hold", "") else "right")
    for row in rows:
        style = "red" if row.held is False else "green" if row.held else None
        table.add_row(*row.cells(), style=style)
    Console().print(table)


def write(
    rows: Sequence[Row], raw: dict[str, Any], about: dict[str, str], folder: Path = DOCS
) -> list[Path]:
    """The three files; a run of some parts keeps what the file had of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "bench.json"
    kept = json.loads(target.read_text()) if target.exists() else {"rows": [], "raw": {}}
    fresh = {row.part for row in rows}
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    told = [one for one in kept["rows"] if one["part"] not in fresh]
    told += [asdict(row) | {"date": date} for row in rows]
    told.sort(key=lambda one: PARTS.index(one["part"]))
    document = {
        "date": date,
        "machine": about,
        "rows": told,
        "raw": {**kept["raw"], **raw},
    }
    target.write_text(json.dumps(document, indent=1) + "\n")
    page = folder / "benchmarks.md"
    page.write_text(markdown(document))
    plot = folder / "bench.svg"
    draw(document, plot)
    return [target, page, plot]


PARTS = ("ingest", "inbox", "wrapper", "chain", "sockets")


def markdown(document: dict[str, Any]) -> str:
    about = "; ".join(f"{name}: {what}" for name, what in document["machine"].items())
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {document['date']}. {about}.",
        "Everything runs on it at once: Kafka, MongoDB, Redis, the services and the load.",
        "",
        "![latency and throughput beside the floor](bench.svg)",
        "",
        f"| {' | '.join(COLUMNS)} | measured |",
        "| --- | --: | --: | --: | --- | --- | --- |",
    ]
    for one in document["rows"]:
        members = {name: value for name, value in one.items() if name != "date"}
        lines.append(f"| {' | '.join((*Row(**members).cells(), one['date']))} |")
    chain = document["raw"].get("chain", [])
    if chain:
        lines += ["", *_chain_page(chain)]
    return "\n".join([*lines, "", _HOW_TO_READ])


def _chain_page(chain: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Where a message's time goes",
        "",
        "Milliseconds, p50 / p99, by the wall clock, read off the topics after the run.",
        "",
        f"| rate | {' | '.join(chain[0]['ours'].get('stages', {}))} | whole |",
        f"| --- |{' --- |' * (len(chain[0]['ours'].get('stages', {})) + 1)}",
    ]
    for one in chain:
        ours = one["ours"]
        spans = [f"{p50:.0f} / {p99:.0f}" for p50, p99 in ours.get("stages", {}).values()]
        whole = f"{ours['p50_ms']:.0f} / {ours['p99_ms']:.0f}"
        lines.append(f"| {one['rate']:g}/s | {' | '.join([*spans, whole])} |")
    lines += [
        "",
        "Lost, refused, delivered twice, out of order within a chat: "
        + "; ".join(
            f"{one['rate']:g}/s: "
            + ", ".join(str(one["ours"][n]) for n in ("lost", "refused", "twice", "out_of_order"))
            for one in chain
        )
        + ".",
        "",
        "Share of a core: "
        + "; ".join(
            f"{one['rate']:g}/s: "
            + ", ".join(f"{name} {share:.2f}" for name, share in one["ours"]["cpu"].items())
            for one in chain
        )
        + ".",
    ]
    return lines


_HOW_TO_READ = """\
## How to read it

- *floor* is the same calls with bare clients and nothing else, measured in the same run, in turns
  with ours. Absolute numbers move with the machine and its neighbours; ratios hardly do. Compare
  *ours / floor* between runs, and milliseconds only within one.
- Each part has servers of its own. Processes wait for their turn on a processor instead of
  interrupting one another (`SCHED_BATCH`), the floors of ingest and of the chain like ours.
- ingest: 128 connections, each posts the next webhook when the last one is answered. The floor
  produces the body as it is, without a signature or a look into it.
- inbox: a backlog is drained. The floor reads the conversations, writes one `bulk_write` and one
  `insert_many`, produces and commits; it does without contacts, duplicates, versions, an outbox.
- webhook due to socket: an open loop. Arrivals are Poisson; a message counts from the moment it
  was due, so waiting for a free connection counts too. Every customer has written before. The
  clock stops when the supervisor's WebSocket has the frame; other agents' sockets get the same
  events. The floor has no socket: ASGI, Kafka, MongoDB, Kafka, a consumer.
- memory: many idle sockets, growth of the process divided by their number; the floor is the
  same server without an application.

`make bench ARGS="--only chain --seconds 20"` runs a part; `--help` tells the rest.
What goes out: [sending.md](sending.md).
"""


def draw(document: dict[str, Any], target: Path) -> None:
    """Latency by percentile for each rate, and the throughput ratios beside their limits."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same input gives the same bytes.
    mpl.rcParams["svg.hashsalt"] = "atrio"
    chain = document["raw"].get("chain", [])
    rates = [one for one in document["rows"] if one["unit"] == "/s"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for place, one in enumerate(chain):
        for side, style in (("floor", "--"), ("ours", "-")):
            spread = one[side]["histogram_ms"]
            shares = [100 * step / (len(spread) - 1) for step in range(len(spread))]
            left.plot(
                shares,
                spread,
                style,
                color=f"C{place}",
                label=f"{one['rate']:g} msg/s, {'ours' if side == 'ours' else 'bare chain'}",
            )
    left.set_yscale("log")
    left.set_xlabel("percentile of messages")
    left.set_ylabel("webhook due to socket, ms")
    left.grid(visible=True, alpha=0.3)
    if chain:
        left.legend(fontsize=8)
    limits = {"ingest": 0.5, "inbox": 1 / 3, "wrapper": 0.95}
    for place, one in enumerate(rates):
        ratio = one["ours"] / one["floor"]
        right.barh(place, ratio, color="C0" if ratio >= limits[one["part"]] else "C3")
        right.plot([limits[one["part"]]] * 2, [place - 0.4, place + 0.4], "k-")
    right.set_yticks(range(len(rates)), [one["part"] for one in rates])
    right.set_xlabel("throughput, ours / floor (line: what must hold)")
    right.set_xlim(0, 1.2)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
