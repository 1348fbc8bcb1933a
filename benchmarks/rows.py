"""A row of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Row:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: such as "x" for a ratio.
        at_least: required, or None.
        at_most: required, or None.
        detail: how it came about.
    """

    name: str
    value: float
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the requirement is met; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def to_dict(self) -> dict[str, object]:
        """Return plain values with the verdict, as they are saved."""
        return {**asdict(self), "passed": self.passed}


def saved(path: Path) -> dict[str, float]:
    """Read the numbers of an earlier run, by the names of their rows."""
    return {row["name"]: row["value"] for row in json.loads(path.read_text())["rows"]}


def table(rows: Sequence[Row], before: Mapping[str, float] | None = None) -> str:
    """Lay the rows out as a Markdown table.

    Args:
        rows: what was measured.
        before: the numbers of an earlier run by the names of their rows, to be shown beside.
    """
    heads = ["row", "measured", *([] if before is None else ["before"]), "required", "", "detail"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in rows:
        required = f">= {row.at_least:g}" if row.at_least is not None else ""
        required = f"<= {row.at_most:g}" if row.at_most is not None else required
        mark = {True: "ok", False: "MISSED", None: ""}[row.passed]
        cells = [row.name, f"{row.value:.3g} {row.unit}"]
        if before is not None:
            old = before.get(row.name)
            cells.append("" if old is None else f"{old:.3g} {row.unit}")
        lines.append(_line([*cells, required, mark, row.detail]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
