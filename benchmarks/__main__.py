"""Measure, print the table, save it as JSON."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks import history
from benchmarks.rows import Row, table

# The modules of this package that measure something, each by its function `measure`.
PARTS = (
    "steps",
    "processes",
    "profile",
    "sizes",
    "quality",
    "strength",
    "steer",
    "batch",
    "films",
    "video",
    "visualize",
    "studio",
    "against",
)
RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen parts; exit 1 if a required number is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; all by default")
    parser.add_argument(
        "--repeats", type=int, default=5, help="measurements a number is the median of"
    )
    parser.add_argument("--quick", action="store_true", help="3 repeats, 1 photo a preset")
    parser.add_argument("--json", type=Path, help="where to save; benchmarks/results by default")
    parser.add_argument("--compare", type=Path, help="an earlier run's JSON, to show beside")
    parser.add_argument(
        "--history",
        nargs="?",
        const=RESULTS,
        type=Path,
        metavar="FOLDER",
        help="measure nothing: print what earlier runs came to; benchmarks/results by default",
    )
    parser.add_argument("--row", metavar="TEXT", help="with --history: only rows named like this")
    chosen = parser.parse_args(arguments)
    if chosen.history is not None:
        return _tell(chosen.history, chosen.row or "")
    if chosen.row is not None:
        parser.error("--row goes with --history")
    try:
        before = None if chosen.compare is None else history.read(chosen.compare)
    except ValueError as reason:
        parser.error(str(reason))
    return _measure(chosen, before)


def _measure(chosen: argparse.Namespace, before: history.Run | None) -> int:
    from benchmarks import machine  # imports torch

    described = machine.describe()
    if before is not None:
        for difference in history.differences(before.machine, described):
            print(f"warning: not the same machine: {difference}", file=sys.stderr)
    parts: dict[str, list[Row]] = {}
    for name in chosen.only or PARTS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        part = import_module(f"benchmarks.{name}")
        parts[name] = part.measure(3 if chosen.quick else chosen.repeats, chosen.quick)
    rows = [row for found in parts.values() for row in found]
    print(table(rows, None if before is None else before.values))
    if before is not None:
        for name in history.vanished(before, [row.name for row in rows], parts):
            print(f"warning: not measured any more: {name}", file=sys.stderr)
    path = chosen.json or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
    history.save(path, described, parts)
    print(f"saved {path}", file=sys.stderr)
    return int(any(row.passed is False for row in rows))


def _tell(folder: Path, wanted: str) -> int:
    found = history.runs(folder)
    if not found:
        print(f"no saved runs in {folder}", file=sys.stderr)
    elif not any(wanted.casefold() in name.casefold() for run in found for name in run.values):
        print(f"no row of the {len(found)} saved runs is named like {wanted!r}", file=sys.stderr)
    else:
        print(history.table(found, wanted))
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
