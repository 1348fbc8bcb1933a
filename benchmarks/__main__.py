"""Measure, print the table, save it as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import batch, films, machine, processes, steer, steps, strength, video, visualize
from benchmarks.rows import Row, saved, table

PARTS = {
    "steps": steps.measure,
    "processes": processes.measure,
    "strength": strength.measure,
    "steer": steer.measure,
    "batch": batch.measure,
    "films": films.measure,
    "video": video.measure,
    "visualize": visualize.measure,
}


def main() -> int:
    """Run the chosen parts; exit 1 if a required number is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; all by default")
    parser.add_argument(
        "--repeats", type=int, default=5, help="measurements a number is the median of"
    )
    parser.add_argument("--quick", action="store_true", help="3 repeats, 1 photo a preset")
    parser.add_argument("--json", type=Path, help="where to save; benchmarks/results by default")
    parser.add_argument("--compare", type=Path, help="an earlier run's JSON, to show beside")
    chosen = parser.parse_args()
    before = None if chosen.compare is None else saved(chosen.compare)
    repeats = 3 if chosen.quick else chosen.repeats
    rows: list[Row] = []
    for name in chosen.only or PARTS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += PARTS[name](repeats, chosen.quick)
    print(table(rows, before))
    folder = Path(__file__).parent / "results"
    path = chosen.json or folder / time.strftime("%Y-%m-%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {"schema": 1, "machine": machine.describe(), "rows": [row.to_dict() for row in rows]}
    path.write_text(json.dumps(run, indent=1) + "\n")
    print(f"saved {path}", file=sys.stderr)
    return int(any(row.passed is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
