"""What a batch shows while it runs: a bar on a terminal, a line an item elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dreamer.cli.console import console
from dreamer.media.files import shown
from dreamer.render.batch.plan import Todo, Verdict
from dreamer.render.batch.run import Begun, Ended, Moved, Result

if TYPE_CHECKING:
    from dreamer.render.batch.films import At

LISTED = 20  # failures named at the end; the page has them all
NAMED = 3  # pictures at hand that the line under the bar names


class Display:
    """Follows one run; used as a context.

    Args:
        verdicts: what the run is about.
        folder: where the results go.
        lines: whether every picture has a line on a terminal as well.
    """

    def __init__(self, verdicts: Sequence[Verdict], folder: Path, *, lines: bool = False) -> None:
        self.folder = folder
        self.lines = lines
        self.whole = len(verdicts)
        self.counts: Counter[str] = Counter()
        self._work = sum(each.recipe.work for each in verdicts if isinstance(each, Todo)) / 1e6
        self._over = 0.0
        self._at_hand: dict[str, tuple[str, float, float]] = {}
        self._terminal = sys.stderr.isatty() and not console.quiet and not console.as_json
        self._bar: Any = None
        self._line: Any = None

    def __enter__(self) -> Display:
        from tqdm import tqdm

        if self._terminal and self._work:
            self._bar = tqdm(
                total=self._work,
                leave=False,
                dynamic_ncols=True,
                smoothing=0.1,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            )
            self._line = tqdm(total=0, leave=False, position=1, bar_format="{desc}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in (self._line, self._bar):
            if bar is not None:
                bar.close()

    def __call__(self, event: Begun | Ended | Moved) -> None:
        """Show what happened."""
        key = event.item.key
        if isinstance(event, Begun):
            self._at_hand[key] = (event.item.output, event.work / 1e6, 0.0)
        elif isinstance(event, Moved):
            if key in self._at_hand:
                name, work, _ = self._at_hand[key]
                self._at_hand[key] = (name, work, event.share)
        else:
            self._at_hand.pop(key, None)
            self._over += event.work / 1e6
            self.counts[event.result.status] += 1
            self._tell(event.result)
        self._draw()

    def _tell(self, result: Result) -> None:
        """Print the line of an item, unless there is a bar: failures are then listed at the end."""
        if self._bar is not None and not self.lines:
            return
        if result.status == "failed":
            self._print(f"failed: {shown(result.input)}: {result.error}")
        elif result.status == "done":
            place = shown(self.folder / result.output)
            self._print(f"done: {shown(result.input)} -> {place} ({result.seconds:.1f} s)")
        if result.status == "done":
            for note in result.notes:
                self._print(f"Note: {shown(result.input)}: {note}.")

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
            return
        over = sum(self.counts.values())
        console.say(f"[{over:{len(str(self.whole))}}/{self.whole}] {text}")

    def _draw(self) -> None:
        if self._bar is None:
            return
        counts = self.counts
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        over = counts["done"] + counts["skipped"]
        self._bar.set_description_str(f"{over}/{self.whole} done{failed}", refresh=False)
        moving = sum(work * share for _, work, share in self._at_hand.values())
        self._bar.n = min(self._over + moving, self._work)
        self._bar.refresh()
        names = [
            f"{shown(name)} {share:.0%}"
            for name, _, share in list(self._at_hand.values())
            if share > 0
        ]
        self._line.set_description_str("  " + "   ".join(names[:NAMED]))


class Films:
    """Follows the making of a batch's films; used as a context.

    Args:
        folder: where they go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._terminal = sys.stderr.isatty() and not console.quiet and not console.as_json
        self._bar: Any = None

    def __enter__(self) -> Films:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, at: At) -> None:
        """Show how far they are: a bar on a terminal, a line a film elsewhere."""
        if self._terminal:
            self._draw(at)
        if at.result is not None:
            self._tell(f"film {at.number}/{at.of}", at.result)

    def _draw(self, at: At) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=at.of,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            )
        self._bar.set_description_str(f"film {at.number}/{at.of}", refresh=False)
        self._bar.n = at.number - 1 + (at.share if at.result is None else 1)
        self._bar.refresh()

    def _tell(self, what: str, result: Result) -> None:
        if self._terminal:
            return
        if result.status == "failed":
            console.say(f"{what} failed: {shown(result.input)}: {result.error}")
        elif result.status == "done":
            place = shown(self.folder / result.output)
            console.say(f"{what} done: {shown(result.input)} -> {place} ({result.seconds:.1f} s)")
            for note in result.notes:
                console.say(f"Note: {shown(result.input)}: {note}.")


def summary(results: Iterable[Result], seconds: float) -> str:
    """Say in a line what became of the items."""
    return f"{counted(results)}, in {duration(seconds)}."


def counted(results: Iterable[Result]) -> str:
    """Say how many there are of each kind of result."""
    counts: Counter[str] = Counter(result.status for result in results)
    said = [
        f"{counts[status]} {word}"
        for status, word in (
            ("done", "made"),
            ("skipped", "there already"),
            ("failed", "failed"),
            ("waiting", "left to do"),
        )
        if counts[status]
    ]
    return ", ".join(said) or "nothing to do"


def failures(results: Iterable[Result], page: Path) -> str:
    """List what failed, with the reasons."""
    failed = [result for result in results if result.status == "failed"]
    # What a photo's film fails of may well be what the photo failed of.
    said = list(dict.fromkeys(f"Failed: {shown(each.input)}: {each.error}" for each in failed))
    lines = said[:LISTED]
    if len(said) > LISTED:
        lines.append(f"... and {len(said) - LISTED} more: see {shown(page)}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def report(folder: Path, result: Result) -> dict[str, Any]:
    """Return what the envelope says of an item."""
    error = result.error
    said = None
    if error is not None:
        said = {"code": error.exit_code, "message": error.message, "advice": error.advice}
    return {
        "input": result.input,
        "output": str(folder / result.output) if result.output else None,
        "status": result.status,
        "seconds": result.seconds,
        "notes": list(result.notes),
        "error": said,
    }
