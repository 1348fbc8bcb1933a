"""A row of the table."""

from __future__ import annotations

from collections.abc import Sequence
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


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    lines = ["| row | measured | required | | detail |", "|---|---|---|---|---|"]
    for row in rows:
        required = f">= {row.at_least:g}" if row.at_least is not None else ""
        required = f"<= {row.at_most:g}" if row.at_most is not None else required
        mark = {True: "ok", False: "MISSED", None: ""}[row.passed]
        value = f"{row.value:.3g} {row.unit}"
        lines.append(f"| {row.name} | {value} | {required} | {mark} | {row.detail} |")
    return "\n".join(lines)
