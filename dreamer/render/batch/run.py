"""The driver of a batch: hands out the items, and alone writes what comes back.

One order holds for every item: previews, then the journal's line, then the result under its name.
So whatever is missing after a kill is what the next run makes again, and makes the same.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from dreamer.errors import DeviceError, DreamerError, OutputError, UsageError, of_code
from dreamer.media import files
from dreamer.media.gathering import natural
from dreamer.recipe import Recipe
from dreamer.render import memory
from dreamer.render.batch import names, page
from dreamer.render.batch.journal import Journal, Record, Stat
from dreamer.render.batch.plan import Item, Refused, Todo, Verdict, file_stat, record_of
from dreamer.render.batch.tasks import Dropped, Event, Failed, Lost, Made, Progress, Runner, Task

PREVIEWS = "index_files"
POLL = 0.25  # seconds between two looks at whether to stop
PAGE_EVERY = 3.0  # seconds between two pages, at least
PAGE_SHARE = 0.02  # of the time that may go into pages
FINAL_CODES = {UsageError.exit_code, 70}  # the same again, however often it is tried

Status = Literal["done", "skipped", "failed", "waiting"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item in this run.

    Attributes:
        input: the photo's path, or "sky" or "noise".
        output: the result's path below the batch's folder; empty if none was planned.
        status: done, skipped (it was done before), failed, or waiting (the run was stopped).
        seconds: of computing.
        error: of what failed.
        notes: what the user should know.
    """

    input: str
    output: str
    status: Status
    seconds: float = 0.0
    error: DreamerError | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Begun:
    """An item was handed to a worker."""

    item: Item
    work: int


@dataclass(frozen=True)
class Ended:
    """An item is over; `work` is how much of the whole that was."""

    item: Item
    result: Result
    work: int


@dataclass(frozen=True)
class Moved:
    """How far an item is: a share from 0 to 1."""

    item: Item
    share: float


OnEvent: TypeAlias = Callable[[Begun | Ended | Moved], None]


@dataclass(frozen=True)
class Options:
    """How a batch is run.

    Attributes:
        folder: where the results, the journal and the page go.
        long_edge: the longer side of the results, px; None for the photos' own.
        metadata: whether results carry their recipe.
        retries: how often a failed item is tried again.
        fail_fast: whether the first failure ends the run.
        title: of the page.
        shared: whether others are at work in the same folder.
    """

    folder: Path
    long_edge: int | None = None
    metadata: bool = True
    retries: int = 2
    fail_fast: bool = False
    title: str = "dreams"
    shared: bool = False


@dataclass(frozen=True, slots=True)
class _Try:
    """An item that waits or runs, and how often it has been begun."""

    todo: Todo
    attempts: int = 0
    alone: bool = False
    stat: Stat | None = None


class Run:
    """One run of a batch.

    Args:
        options: how.
        journal: open.
        start: starts what makes the pictures, once there are any to make.

    Attributes:
        on_event: told what happens.
        stop: asked now and then; what is begun is then finished, and nothing else begun.
        results: what became of the items so far, by their keys.
        page_error: why the page could not be written, or None.
    """

    def __init__(
        self,
        options: Options,
        journal: Journal,
        start: Callable[[], Runner],
    ) -> None:
        self.options = options
        self.folder = options.folder
        self.journal = journal
        self.on_event: OnEvent = lambda _: None
        self.stop: Callable[[], bool] = lambda: False
        self.results: dict[str, Result] = {}
        self.page_error: OutputError | None = None
        self._start = start
        self._runner: Runner | None = None
        self._problems: list[str] = []
        self._waiting: deque[_Try] = deque()
        self._running: dict[int, _Try] = {}
        self._number = 0
        self._page_due = 0.0
        self._halted = False
        # Bytes a pixel that there was no room for: what would not fit either is not computed.
        self._short: float | None = None
        self._shown = {key for key, record in journal.records.items() if self._stands(record)}

    def __call__(self, verdicts: Sequence[Verdict]) -> list[Result]:
        """Carry out what was decided, and return what became of each item, in their order."""
        try:
            self._carry_out(verdicts)
        finally:
            self._waiting.clear()  # what an error kept from being begun is planned anew
        return [self.results[verdict.item.key] for verdict in verdicts]

    def _carry_out(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._shown.add(verdict.item.key)
            self._sort(verdict)
        self.refresh()
        if self._waiting and self._runner is None and not self._stopping():
            self._runner = self._start()
        while self._runner is not None:
            self._hand_out(self._runner)
            if self._stopping():
                self._runner.halt()
            if not self._running:
                break
            for event in self._runner.wait(POLL):
                self._hear(event)
            self.refresh()
        for each in self._waiting:
            item = each.todo.item
            self.results[item.key] = Result(item.path, item.output, "waiting")
        self.refresh(now=True)

    def refresh(self, *, now: bool = False) -> None:
        """Write the page anew if it is time to; failing to is no reason to end."""
        began = time.monotonic()
        if began < self._page_due and not now:
            return
        try:
            if now or self.options.shared:  # others are at work on other parts of the batch
                new = self.journal.catch_up()
                self._shown |= {key for key in new if self._stands(self.journal.records[key])}
            page.write(self.folder, self._entries(), title=self.options.title)
            self.page_error = None
        except OutputError as error:
            self.page_error = error
        cost = time.monotonic() - began
        self._page_due = began + max(PAGE_EVERY, cost / PAGE_SHARE)

    def _stopping(self) -> bool:
        return self._halted or self.stop()

    def _sort(self, verdict: Verdict) -> None:
        """Take what is to be made, and report what is not."""
        item = verdict.item
        if isinstance(verdict, Todo):
            self._waiting.append(_Try(verdict))
        elif isinstance(verdict, Refused):
            self._fail(item, verdict.error, 1)
        else:
            if self.journal.records.get(item.key) != verdict.record:
                self.journal.append(verdict.record)
            self._end(item, Result(item.path, item.output, "skipped"), 0)

    def close(self) -> None:
        """End what makes the pictures."""
        if self._runner is not None:
            self._runner.close()
            self._problems += self._runner.problems
            self._runner = None

    @property
    def problems(self) -> list[str]:
        """What the user should know of what made the pictures."""
        return self._problems + ([] if self._runner is None else self._runner.problems)

    def _hand_out(self, runner: Runner) -> None:
        """Give the runner as much as it takes."""
        while self._waiting and not self._stopping():
            each = self._waiting[0]
            need = math.inf if each.alone else memory.needed(each.todo.recipe, each.todo.own)
            if not runner.ready(len(self._waiting), need):
                return
            self._waiting.popleft()
            item = each.todo.item
            short = self._no_room(each.todo)
            if short is not None:
                self._fail(item, short, each.attempts, each.todo.recipe)
                continue
            self._number += 1
            stat = file_stat(item.path) if item.start == "photo" else None
            self._running[self._number] = replace(each, attempts=each.attempts + 1, stat=stat)
            self.on_event(Begun(item, each.todo.recipe.work))
            task = Task(
                number=self._number,
                look=item.look,
                start=item.start,
                path=item.path,
                long_edge=self.options.long_edge,
                suffix=os.path.splitext(item.output)[1],
                metadata=self.options.metadata,
            )
            runner.submit(task, need)

    def _hear(self, event: Event) -> None:
        """Deal with what a worker says."""
        if isinstance(event, Progress):
            if event.number in self._running:
                self.on_event(Moved(self._running[event.number].todo.item, event.share))
            return
        each = self._running.pop(event.number)
        item = each.todo.item
        if isinstance(event, Dropped):
            self._waiting.appendleft(replace(each, attempts=each.attempts - 1))
            return
        final = False  # whether it would fail again, however often it was tried
        if isinstance(event, Lost):
            error: DreamerError = DeviceError(
                f"'{files.shown(item.path)}' could not be made: {event.reason}.",
                "If memory was short, make smaller pictures with --size, or use fewer --workers.",
            )
        elif isinstance(event, Failed):
            error = of_code(event.code, event.message, event.advice)
            final = error.exit_code in FINAL_CODES
        else:
            try:
                self._keep(each, event)
                return
            except OutputError as failure:
                if self._is_there(item, event):
                    return
                # Without its traceback, which would keep the picture.
                error = of_code(failure.exit_code, failure.message, failure.advice)
                final = True  # it would be computed again, and not be written again
                if files.no_room(failure):
                    width, height = event.recipe.size
                    self._short = len(event.data) / (width * height)
        if final or each.attempts > self.options.retries:
            self._fail(item, error, each.attempts, each.todo.recipe)
        else:
            # What took more than there was may well fit when nothing runs beside it.
            alone = each.alone or isinstance(error, DeviceError)
            self._waiting.append(replace(each, alone=alone))

    def _keep(self, each: _Try, made: Made) -> None:
        """Write what was made.

        Raises:
            OutputError: it cannot be written, or something of that name appeared meanwhile.
        """
        item = each.todo.item
        thumbnail, before, after = self._keep_previews(item.output, made)
        record = replace(
            record_of(item, made.recipe, status="done", input_stat=each.stat),
            input_size=made.photo_size,
            metadata=self.options.metadata,
            output_sha256=hashlib.sha256(made.data).hexdigest(),
            thumbnail=thumbnail,
            before=before,
            after=after,
            seconds=round(made.seconds, 3),
            attempts=each.attempts,
            notes=made.notes,
        )
        with files.replacing(self.folder / item.output, overwrite=each.todo.replaces) as stream:
            stream.write(made.data)
            stream.flush()
            there = os.fstat(stream.fileno())
            stat = (there.st_size, there.st_mtime_ns)
            self.journal.append(replace(record, output_stat=stat))
            if self.journal.unwritten:  # no result gets its name before its line is written
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        result = Result(item.path, item.output, "done", record.seconds, notes=made.notes)
        self._end(item, result, each.todo.recipe.work)

    def _is_there(self, item: Item, made: Made) -> bool:
        """Whether somebody else wrote this very result meanwhile, which is as good as ours."""
        path = self.folder / item.output
        try:
            same = path.is_file() and path.read_bytes() == made.data  # a pipe has no end
        except OSError:
            return False
        if same:
            self._end(item, Result(item.path, item.output, "skipped"), 0)
        return same

    def _keep_previews(self, output: str, made: Made) -> list[str]:
        """Write the small pictures; returns their paths below the folder, empty for none."""
        stem = f"{PREVIEWS}/{hashlib.sha256(os.fsencode(output)).hexdigest()[:20]}"
        kept = []
        for kind, data in (
            ("small", made.thumbnail),
            ("before", made.before),
            ("after", made.after),
        ):
            kept.append(f"{stem}-{kind}.jpg" if data else "")
            if data:
                with files.replacing(self.folder / kept[-1]) as stream:
                    stream.write(data)
        return kept

    def _fail(
        self, item: Item, error: DreamerError, attempts: int, recipe: Recipe | None = None
    ) -> None:
        record, of_record = self.journal.records.get(item.key), item
        if record is not None and self._is_as_told(record):
            of_record = replace(item, output="")  # what stands under that name stays known
            record = None
        if record is None or not record.recipe:  # else there is a result, which stays known
            record = record_of(of_record, recipe, status="failed")
        record = replace(
            record,
            name=item.name,
            preset=item.look.preset,
            seed=item.look.seed,
            status="failed",
            attempts=attempts,
            code=error.exit_code,
            error=error.message,
            advice=error.advice,
        )
        self.journal.append(record)
        self._shown.add(record.key)
        self._halted = self._halted or self.options.fail_fast
        result = Result(item.path, item.output, "failed", error=error)
        self._end(item, result, 0 if recipe is None else recipe.work)

    def _end(self, item: Item, result: Result, work: int) -> None:
        self.results[item.key] = result
        self.on_event(Ended(item, result, work))

    def _no_room(self, todo: Todo) -> OutputError | None:
        """Return the error for a picture that would find no room, after another found none."""
        if self._short is None:
            return None
        width, height = todo.recipe.size
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:  # the folder is away, which writing to it will say
            return None
        if free >= width * height * self._short:
            return None
        return OutputError(
            f"There is no room left to write '{files.shown(self.folder / todo.item.output)}'.",
            "Free some space, then run the command again.",
        )

    def _is_as_told(self, record: Record) -> bool:
        """Whether a result is there, as it was written."""
        there = file_stat(self.folder / record.output) if record.output else None
        return record.status == "done" and there is not None and there == record.output_stat

    def _stands(self, record: Record) -> bool:
        """Whether an older record is still worth showing: what it tells of is still there."""
        if record.status == "done":
            return os.path.lexists(self.folder / record.output)
        return bool(record.output) and os.path.lexists(record.input)

    def _entries(self) -> list[page.Entry]:
        """Return what the page shows, in natural order."""
        entries = {
            key: _entry(record, self.folder)
            for key, record in self.journal.records.items()
            if key in self._shown
        }
        for each in (*self._waiting, *self._running.values()):
            item = each.todo.item
            entries[item.key] = page.Entry(item.name, item.look.preset, "waiting", item.output)
        return [entries[key] for key in sorted(entries, key=natural)]


def clean(folder: Path, planned: Sequence[Item]) -> None:
    """Remove what a run that was killed left half-written, in every folder it may have been in."""
    places = {os.path.dirname(item.output) for item in planned} | {"", PREVIEWS}
    for place in places:
        files.remove_unfinished(folder / place)


def _entry(record: Record, folder: Path) -> page.Entry:
    def there(path: str) -> str:
        """Return the path of what stands beside a result, or nothing if it is not there."""
        return path if path and (folder / path).exists() else ""

    source = record.input
    if record.input_stat is not None:  # as it is found from the page's folder
        source = os.path.relpath(source, folder)
    return page.Entry(
        name=record.name,
        preset=record.preset,
        status=record.status,
        output=record.output,
        size=record.size,
        facts=record.facts or {},
        error=f"{record.error}\n{record.advice}".strip(),
        notes=record.notes,
        source=source,
        thumbnail=there(record.thumbnail),
        before=there(record.before),
        after=there(record.after),
        film=there(names.film(record.output)) if record.output else "",
    )
