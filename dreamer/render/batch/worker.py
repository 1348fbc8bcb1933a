"""Making one picture of a batch: the same code in a process beside this one and on a cluster.

A worker reads, dreams and encodes; it writes nothing. Several tasks may be handed to it at once:
while the network works on one of them, the next is decoded and the last one encoded.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from dreamer.core.ascent import Step
from dreamer.errors import DeviceError, DreamerError
from dreamer.media import files, images, reading
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.recipe import Origin, Recipe
from dreamer.render import devices, still
from dreamer.render.batch import page
from dreamer.render.batch.tasks import Dropped, Failed, Lost, Made, Task
from dreamer.render.job import planned_size
from dreamer.render.look import Look

THUMBNAIL = 320
PREVIEW = 1280
REPORT_EVERY = 0.3  # seconds between two reports of progress

OnProgress = Callable[[float], None]


class Worker:
    """Makes pictures with one network, which it loads when it is first needed.

    Attributes:
        halted: whether tasks that are not in the network yet are dropped.
    """

    def __init__(self) -> None:
        self.halted = False
        self._network: tuple[tuple[object, ...], Network] | None = None
        self._busy = threading.Lock()
        self._reading = threading.Lock()

    def make(
        self, task: Task, on_progress: OnProgress | None = None
    ) -> Made | Failed | Dropped | Lost:
        """Make one picture; never raises. Safe to call from several threads at once.

        After a `Lost` this process is of no more use: its device has failed.

        Args:
            task: what to make.
            on_progress: called now and then with the share that is done, 0 to 1.
        """
        try:
            return self._make(task, on_progress)
        except DreamerError as error:
            if devices.has_failed(error.__cause__):
                return Lost(task.number, error.message.rstrip("."))
            failed = Failed(task.number, error.exit_code, error.message, error.advice)
        except MemoryError:
            advice = "Make smaller pictures with --size."
            failed = Failed(
                task.number, DeviceError.exit_code, "There is not enough memory.", advice
            )
        except Exception as error:  # one picture's bug must not end the others
            said = " ".join(str(error).split())[:300]
            message = f"A bug: {type(error).__name__}: {said}"
            return Failed(task.number, 70, message, "Please report it, with the photo if you can.")
        if failed.code == DeviceError.exit_code and task.look.device != "cpu":
            devices.relieve()  # once no error holds on to what was computed
        return failed

    def _make(self, task: Task, on_progress: OnProgress | None) -> Made | Dropped:
        with self._reading:  # a large photo takes more memory decoded than its dream does
            photo, own, recipe = _read(task)
        loop = still.plan(recipe)
        due = 0.0

        def on_step(step: Step) -> None:
            nonlocal due
            if on_progress is not None and time.monotonic() >= due:
                on_progress(step.work / max(1, loop.work))
                due = time.monotonic() + REPORT_EVERY

        with contextlib.ExitStack() as busy:
            busy.enter_context(self._busy)
            if self.halted:
                return Dropped(task.number)
            if on_progress is not None:
                on_progress(0.0)
            network = self._loaded(task.look)
            made = still.dream(recipe, photo, network, on_step=on_step, on_free=busy.close)
        stream = io.BytesIO()
        made.write(stream, task.suffix, metadata=task.metadata)
        start = still.start(recipe, photo)
        before, after = images.to_image(start.pixels, start.alpha), made.image
        notes = dict.fromkeys([*(photo.notes if photo is not None else ()), *made.notes])
        return Made(
            number=task.number,
            recipe=made.recipe,
            data=stream.getvalue(),
            photo_size=own,
            thumbnail=_small(after, THUMBNAIL),
            before=_small(before, PREVIEW),
            after=_small(after, PREVIEW) if _needs_preview(after, task.suffix) else b"",
            seconds=made.seconds,
            notes=tuple(notes),
        )

    def _loaded(self, look: Look) -> Network:
        """Return the network, which is kept from task to task."""
        key = (look.row.name, look.chosen, look.device)
        if self._network is None or self._network[0] != key:
            self._network = None  # not two at once in the memory
            self._network = key, look.load_network()
        return self._network[1]


def _read(task: Task) -> tuple[Photo | None, tuple[int, int], Recipe]:
    """Return the photo at its final size, its own size, and the recipe."""
    if task.start != "photo":
        size = planned_size(None, task.long_edge)
        return None, size, task.look.recipe(Origin(start=task.start), size)
    # Read once, so that the hash is that of the very bytes which are dreamed on, even if the file
    # changes just now.
    data = reading.read(task.path) if task.data is None else task.data
    photo = images.load(data, name=Path(task.path).name)
    size = planned_size(photo.size, task.long_edge)
    origin = Origin(name=files.text(photo.name), sha256=photo.sha256)
    recipe = task.look.recipe(origin, size)
    with devices.threads(recipe.threads):
        return images.resize(photo, max(size)), photo.size, recipe


def _needs_preview(image: Image.Image, suffix: str) -> bool:
    """Whether a page had better not show the result itself: it is large, or no browser can."""
    return max(image.size) > PREVIEW or suffix.lower() not in page.BROWSER_SUFFIXES


def _small(image: Image.Image, longest: int) -> bytes:
    """Return a JPEG that is no larger than `longest` pixels a side, on white."""
    copy = image.copy()
    copy.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if copy.mode == "RGBA":
        paper = Image.new("RGB", copy.size, "white")
        paper.paste(copy, mask=copy.getchannel("A"))
        copy = paper
    stream = io.BytesIO()
    copy.save(stream, "JPEG", quality=85)
    return stream.getvalue()
