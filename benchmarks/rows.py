"""A row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


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


def table(rows: Sequence[Row], before: Mapping[str, float] | None = None) -> str:
    """Lay the rows out as a Markdown table.

    Args:
        rows: what was measured.
        before: the numbers of an earlier run by the names of their rows, to be shown beside, with
            how many times as much it is now.
    """
    beside = [] if before is None else ["before", "now / before"]
    heads = ["row", "measured", *beside, "required", "", "detail"]
    lines = [line(heads), line(["---"] * len(heads))]
    for row in rows:
        required = f">= {row.at_least:g}" if row.at_least is not None else ""
        required = f"<= {row.at_most:g}" if row.at_most is not None else required
        mark = {True: "ok", False: "MISSED", None: ""}[row.passed]
        cells = [row.name, amount(row.value, row.unit)]
        if before is not None:
            old = before.get(row.name)
            cells.append("" if old is None else amount(old, row.unit))
            cells.append(f"{row.value / old:.2f}" if old else "")
        lines.append(line([*cells, required, mark, row.detail]))
    return "\n".join(lines)


def amount(value: float, unit: str) -> str:
    """Write a number with its unit."""
    return f"{value:.3g} {unit}".rstrip()


def count(number: int, what: str) -> str:
    """Say how many there are of something: "1 view", "2 views"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def line(cells: Sequence[str]) -> str:
    """Write a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
