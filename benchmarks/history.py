"""Saved runs: written, read again, set beside a new one, and told over time. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, amount, count, line

# What changes the numbers without a change of the program.
MACHINE = ("cpu", "cores", "threads", "python", "torch", "torchvision")


@dataclass(frozen=True)
class Run:
    """One run of the benchmarks, as it was saved.

    Attributes:
        machine: what it ran on, from `machine.describe`.
        rows: the saved rows; each with its "part", where that was written down.
    """

    machine: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]

    @property
    def values(self) -> dict[str, float]:
        """The numbers, by the names of their rows."""
        return {row["name"]: row["value"] for row in self.rows}


def save(path: Path, machine: Mapping[str, object], parts: Mapping[str, Sequence[Row]]) -> None:
    """Write a run, by its parts, as JSON."""
    rows = [{"part": part, **row.to_dict()} for part, rows in parts.items() for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1, "machine": machine, "rows": rows}, indent=1) + "\n")


def read(path: Path) -> Run:
    """Read what `save` wrote; `ValueError` if the file is something else, or cannot be read."""
    try:
        run = json.loads(path.read_text())
        found = Run(run["machine"], tuple(run["rows"]))
        found.values  # noqa: B018 - that every row has a name and a number
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is not a saved run: {type(error).__name__}: {error}") from error
    return found


def runs(folder: Path) -> list[Run]:
    """Read all runs of a folder, the oldest first; say on stderr which files are none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(read(path))
        except ValueError as reason:
            print(f"left out: {reason}", file=sys.stderr)
    return sorted(found, key=lambda run: str(run.machine.get("time", "")))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in what two machines differ: with another one only the ratios can be compared."""
    pairs = ((key, _about(before, key), _about(now, key)) for key in MACHINE)
    return [f"{key}: {old} before, {new} now" for key, old, new in pairs if old != new]


def vanished(before: Run, rows: Collection[str], parts: Collection[str]) -> list[str]:
    """Name the rows that a run has and another lacks.

    Args:
        before: the run that has them.
        rows: the names of those that there are now.
        parts: what was measured now; the rows of other parts are not missed.
    """
    return [
        row["name"]
        for row in before.rows
        if row["name"] not in rows and row.get("part") in (None, *parts)
    ]


def table(found: Sequence[Run], wanted: str = "") -> str:
    """Lay out as a Markdown table what rows came to, run by run.

    Args:
        found: the runs, the oldest first.
        wanted: what the row's name has to contain, in capitals or not; nothing names them all.
    """
    names = dict.fromkeys(name for run in found for name in run.values)
    lines = [line(["row", "measured", "date", "commit", "machine"]), line(["---"] * 5)]
    for name in names:
        if wanted.casefold() not in name.casefold():
            continue
        for run in found:
            lines += [
                line([name, amount(row["value"], row["unit"]), *_where(run.machine)])
                for row in run.rows
                if row["name"] == name
            ]
    return "\n".join(lines)


def _where(machine: Mapping[str, Any]) -> list[str]:
    commit, _, dirty = (machine.get("commit") or "").partition("-")
    date = str(machine.get("time", ""))[:16].replace("T", " ")
    threads = count(machine.get("threads", 0), "thread")
    about = f"{machine.get('cpu')}, {threads}, torch {_about(machine, 'torch')}"
    return [date, commit[:9] + (dirty and f"-{dirty}"), about]


def _about(machine: Mapping[str, Any], key: str) -> Any:
    versions = machine.get("versions", {})
    return versions.get(key) if key in versions else machine.get(key)
