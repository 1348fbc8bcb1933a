"""Batches without a network: real photos and files, and a runner that makes pictures of a pixel."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from dreamer.errors import DreamerError
from dreamer.media import files, gathering, metadata, reading
from dreamer.recipe import Origin
from dreamer.render.batch import journal, names, plan, run
from dreamer.render.batch.journal import Journal, Record
from dreamer.render.batch.plan import Item, Judge, Verdict
from dreamer.render.batch.run import Options, Result, Run
from dreamer.render.batch.tasks import Event, Failed, Made, Task
from dreamer.render.job import planned_size
from dreamer.render.look import Look, Request

ASKED = Request(device="cpu")


def photo(path: Path, size: tuple[int, int] = (64, 48), colour: str = "teal") -> Path:
    """A photo, of which the bytes depend on the size and the colour only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, path.suffix[1:].replace("jpg", "jpeg") or "png")
    return path


def looks(
    request: Request = ASKED, presets: Sequence[str] = (), seeds: int = 1
) -> tuple[Look, ...]:
    return plan.looks(request, presets, seeds, here=False)


def items_of(
    inputs: Iterable[Path], request: Request = ASKED, name: str = "{stem}-{preset}"
) -> tuple[Item, ...]:
    """Every photo of files and folders (with their subfolders), dreamed on in one way."""
    found = gathering.gather([str(path) for path in inputs], recursive=True)
    items, clashes = plan.items(found.photos, (), looks(request), names.template(name))
    assert not clashes
    return items


def make(task: Task) -> Made | Failed:
    """Make a picture of a pixel, of the bytes that the task decides."""
    origin, own = Origin(start=task.start), planned_size(None, task.long_edge)
    if task.start == "photo":
        try:
            data = reading.read(task.path)
        except DreamerError as error:
            return Failed(task.number, error.exit_code, error.message, error.advice)
        own = reading.probe(data)
        name = files.text(os.path.basename(task.path))
        origin = Origin(name=name, sha256=hashlib.sha256(data).hexdigest())
    recipe = task.look.recipe(origin, planned_size(own, task.long_edge))
    colour = "#" + recipe.hash[:6]
    stream = io.BytesIO()
    options = metadata.save_options("PNG", recipe.to_json()) if task.metadata else {}
    Image.new("RGB", (1, 1), colour).save(stream, "PNG", **options)
    made = stream.getvalue()
    small, before = b"small " + made[-40:], b"before " + origin.sha256.encode()
    return Made(task.number, recipe, made, own, small, before, b"", 0.125, ("made of a pixel",))


@dataclass
class Fake:
    """A runner in this process.

    Attributes:
        answer: what comes of a task; `make` by default.
        at_hand: how many tasks it takes at once.
        tasks: what was handed over, in that order.
        needs: the memory that each was said to need.
    """

    answer: Callable[[Task], Event | None] = make
    at_hand: int = 2
    tasks: list[Task] = field(default_factory=list)
    needs: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    halted: int = 0
    closed: int = 0
    _held: list[tuple[Task, float]] = field(default_factory=list)

    def ready(self, left: int, memory: float) -> bool:
        assert left > 0
        alone = any(need == float("inf") for _, need in self._held) or memory == float("inf")
        return not self._held or (len(self._held) < self.at_hand and not alone)

    def submit(self, task: Task, memory: float) -> None:
        self.tasks.append(task)
        self.needs.append(memory)
        self._held.append((task, memory))

    def wait(self, seconds: float) -> list[Event]:
        assert seconds > 0
        task, _ = self._held.pop(0)
        event = self.answer(task)
        return [] if event is None else [event]

    def halt(self) -> None:
        self.halted += 1

    def close(self) -> None:
        self.closed += 1

    @property
    def made(self) -> list[str]:
        """The names of the photos that it was to dream on, in turn."""
        return [os.path.basename(task.path) for task in self.tasks]


@dataclass
class Batch:
    """A folder of photos and what comes of it.

    Attributes:
        photos: the folder of photos.
        out: the folder of results.
        request: how to dream.
    """

    photos: Path
    out: Path
    request: Request = ASKED
    name: str = "{stem}-{preset}"
    options: dict[str, object] = field(default_factory=dict)

    def items(self) -> tuple[Item, ...]:
        return items_of([self.photos], self.request, self.name)

    def records(self) -> dict[str, Record]:
        return journal.read(self.out)

    def judge(self, *, renew: bool = False) -> list[Verdict]:
        judge = Judge(self.out, self.request, self.records(), renew=renew)
        return [judge(item) for item in self.items()]

    def run(
        self,
        runner: Fake | None = None,
        *,
        verdicts: Sequence[Verdict] | None = None,
        stop: Callable[[], bool] | None = None,
        on_event: run.OnEvent | None = None,
    ) -> list[Result]:
        """Run it once as a new process would."""
        self.runner = runner or Fake()
        verdicts = self.judge() if verdicts is None else verdicts
        options = Options(
            self.out,
            self.request.size,
            self.request.metadata,
            **self.options,  # type: ignore[arg-type]
        )
        with Journal(self.out) as opened:
            run.clean(self.out, [verdict.item for verdict in verdicts])
            self.going = Run(options, opened, lambda *_: self.runner)
            self.going.stop = stop or self.going.stop
            self.going.on_event = on_event or self.going.on_event
            return self.going(verdicts)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the journals, which tell of times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != journal.SUFFIX
    }
