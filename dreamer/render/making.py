"""A film from its recipe to its file, continued where it was interrupted.

What is dreamed is kept in a hidden folder beside the film until that is done: the frames follow
from it in little time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

from PIL import Image

from dreamer.errors import DreamerError, OutputError
from dreamer.media import files, films
from dreamer.render import devices, sheets
from dreamer.render.film_job import Film, OnProgress, Pictures, Stop

STRIP = 12
"""Frames on a contact strip."""
PICTURES, CLAIM = "keyframe-*.png", "recipe.json"
"""What is in the folder of what is dreamed; the second is locked while a film is made."""


def make(
    film: Film,
    *,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> bool:
    """Make a film; returns whether it is whole: otherwise the next time goes on from here.

    Args:
        film: all checks passed.
        on_progress: told of the pictures.
        stop: asked after every step.

    Raises:
        OutputError: it cannot be written, or another dreamer is making it.
        DreamerError: as dreaming a picture does.
    """
    if film.kept:
        _complete(film)
        return True
    network = film.look.load_network()
    work = film.delivery.work
    with _claimed(film):
        pictures = film.open(work, network)
        encoder = _Encoder(film, pictures)

        def ending() -> bool:
            return encoder.failed or (stop is not None and stop())

        try:
            kept = pictures.kept()
            encoder.upto(pictures.ready(kept))
            for number in pictures.dream(kept, on_progress=on_progress, stop=ending):
                encoder.upto(pictures.ready(number + 1))
                if ending():
                    break
            whole = encoder.finish(ending)
        except DreamerError:
            encoder.drop()
            # Ctrl-C reaches an ffmpeg that is being started just then as well, which then fails.
            if stop is None or not stop():
                raise
            whole = False
        except BaseException:
            encoder.drop()
            raise
        if whole and not film.delivery.keep_frames:
            _empty(work)
    return whole


class _Encoder:
    """Makes frames and writes them, beside the dreaming."""

    def __init__(self, film: Film, pictures: Pictures) -> None:
        self._film = film
        self._pictures = pictures
        self._ranges: Queue[int | None] = Queue()
        self._error: BaseException | None = None
        self._dropped = False
        self._whole = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error, which `finish` raises."""
        return self._error is not None

    def upto(self, frame: int) -> None:
        """Say that all frames before one can be made."""
        self._ranges.put(frame)

    def finish(self, ending: Callable[[], bool]) -> bool:
        """Wait until the film is there, or is not wanted any more; returns whether it is there.

        Raises:
            DreamerError: why it is not.
        """
        while self._thread.is_alive() and not ending():
            self._thread.join(0.1)
        self.drop()
        if self._error is not None:
            raise self._error
        return self._whole

    def drop(self) -> None:
        """Leave no film."""
        self._dropped = True
        self._ranges.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            # Beside the dreaming, which has most to do; more threads would wait for each other.
            with (
                devices.threads(max(1, devices.default_threads() // 2)),
                devices.memory_guard("{}x{} pixels".format(*self._film.recipe.size)),
            ):
                self._write()
            self._whole = True
        except _Dropped:
            pass
        except BaseException as error:
            self._error = error

    def _write(self) -> None:
        film, delivery = self._film, self._film.delivery
        strip = _Strip(film)
        done = 0
        with films.writing(
            delivery.target,
            film.recipe.size,
            film.fps,
            pace=film.pace,
            codec=delivery.codec,
            crf=delivery.crf,
            audio=delivery.audio,
            comment=film.recipe.to_json() if delivery.metadata else None,
            overwrite=delivery.overwrite,
        ) as writer:
            while done < film.recipe.frames:
                upto = self._ranges.get()
                if self._dropped or upto is None:
                    raise _Dropped
                for frame in self._pictures.frames(done, upto):
                    if self._dropped:
                        raise _Dropped
                    writer.add(frame)
                    strip.see(done, frame)
                    done += 1
        strip.save()


class _Dropped(Exception):  # noqa: N818 - a request, not an error
    """The film is not wanted any more."""


class _Strip:
    """A contact strip of a film, if it is wanted, from its frames as they pass."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._shown = set(strip_frames(film.recipe.frames)) if film.delivery.strip else set()
        self._tiles: list[tuple[str, Image.Image]] = []

    def see(self, number: int, frame: bytes) -> None:
        """Take a frame if it is to be shown."""
        if number in self._shown:
            tile = Image.frombytes("RGB", self._film.recipe.size, frame)
            tile.thumbnail((480, 480))
            self._tiles.append((f"{self._film.time(number):.1f} s", tile))

    def save(self) -> None:
        """Write the strip.

        Raises:
            OutputError: it cannot be written, or exists and is not to be replaced.
        """
        delivery = self._film.delivery
        if delivery.strip is not None:
            sheet = sheets.grid(self._tiles, columns=4)
            sheets.save(sheet, delivery.strip, overwrite=delivery.overwrite)


def strip_frames(count: int) -> list[int]:
    """Return the numbers of the frames on a contact strip, evenly from the first to the last."""
    shown = min(STRIP, count)
    return sorted({round(index * (count - 1) / max(1, shown - 1)) for index in range(shown)})


@contextlib.contextmanager
def _claimed(film: Film) -> Iterator[None]:
    """Have the folder of what is dreamed, emptied if it is of another film.

    Raises:
        OutputError: another dreamer has it.
    """
    work = film.delivery.work
    with files.writing(work):
        descriptor = _lock(work)
    if descriptor is None:
        raise OutputError(
            f"Another dreamer is making '{files.shown(film.delivery.output)}'.",
            "Wait until it is done, or choose another name with -o.",
        )
    try:
        with files.writing(work):
            files.remove_unfinished(work)
            files.remove_unfinished(work.parent)
            wanted = film.recipe.hash.encode()
            if os.read(descriptor, len(wanted) + 1) != wanted:
                _empty(work)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, wanted)
        yield
    finally:
        # While it is locked: once it is not, another dreamer may have begun in it.
        if os.name != "nt" and not any(work.glob(PICTURES)):
            shutil.rmtree(work, ignore_errors=True)
        os.close(descriptor)
        if os.name == "nt" and not any(work.glob(PICTURES)):
            shutil.rmtree(work, ignore_errors=True)


def _lock(work: Path) -> int | None:
    """Return the descriptor of the locked file in a work folder; None if another one has it."""
    path = work / CLAIM
    while True:
        work.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder has just been removed by who was done with it
            continue
        if not files.lock(descriptor, wait=False):
            os.close(descriptor)
            return None
        if os.name == "nt" or os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # removed before it was locked


def _empty(work: Path) -> None:
    for keyframe in work.glob(PICTURES):
        keyframe.unlink()


def _complete(film: Film) -> None:
    """Make what a film that is there lacks: its strip, and the end of a run that was killed."""
    delivery = film.delivery
    if delivery.strip is not None and not os.path.lexists(delivery.strip):
        strip = _Strip(film)
        for number, frame in enumerate(films.frames(delivery.output)):
            strip.see(number, frame)
        strip.save()
    with contextlib.suppress(OSError, OutputError):
        mine = (delivery.work / CLAIM).read_text() == film.recipe.hash
        if mine and not delivery.keep_frames:
            with _claimed(film):
                _empty(delivery.work)
