"""A film to make, of whatever kind: where it goes, and the pictures that it is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dreamer.errors import UsageError
from dreamer.film.base import Encoding, FilmRecipe
from dreamer.film.reading import recipe_in
from dreamer.media import files, films, formats
from dreamer.media.filmmaking import RECIPE_BYTES
from dreamer.media.films import Pace
from dreamer.render import film_output, memory
from dreamer.render.look import Look

if TYPE_CHECKING:
    from dreamer.networks.network import Network

Stop = Callable[[], bool]


@dataclass(frozen=True)
class Progress:
    """How far the pictures of a film are.

    Attributes:
        picture: the one that is dreamed.
        of: how many there are.
        work: pixels x steps done of it.
        whole: pixels x steps it takes.
        notes: what was not as it should be, see `dreamer.core.ascent.Step`.
        last: where the picture before it is kept; None if there is none.
    """

    picture: int
    of: int
    work: int
    whole: int
    notes: tuple[str, ...] = ()
    last: Path | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Delivery:
    """Where a film goes, and how it is written.

    Attributes:
        output: the film's file, or a folder of frames.
        folder: whether it is a folder whatever its suffix.
        codec: see `dreamer.media.films`; None for the format's own.
        crf: quality, see `dreamer.media.films`.
        audio: a file whose sound goes into the film.
        strip: where to write a contact strip.
        keep_frames: whether what was dreamed is kept.
        overwrite: whether a film that exists is replaced.
        metadata: whether the film is to carry its recipe.
        numbered: whether it gets a number if another film has its name, which nobody asked for.
    """

    output: Path
    folder: bool = False
    codec: str | None = None
    crf: int | None = None
    audio: Path | None = None
    strip: Path | None = None
    keep_frames: bool = False
    overwrite: bool = False
    metadata: bool = True
    numbered: bool = False

    @property
    def target(self) -> str:
        """The output as `dreamer.media.films` takes it."""
        return os.path.join(self.output, "") if self.folder else os.fspath(self.output)

    def encoding(self) -> Encoding:
        """Return how it is to be written, with what its format does unless told otherwise.

        Raises:
            UsageError: its suffix is none of a film's.
            InputError: the file of the sound has none, or cannot be read.
        """
        return film_output.encoding(self.target, self.codec, self.crf, self.audio)

    @property
    def work(self) -> Path:
        """The hidden folder of what is dreamed, beside the film."""
        name = files.fitting_name(f".{self.output.name}", ".dreamer")
        return self.output.with_name(name)


class Pictures(Protocol):
    """The pictures that a film is made of: dreamed one after the other, and kept in a folder.

    Each is kept with 8 bits, and what was read back is what the next one is made of: a film that
    is continued is the same as one that was never interrupted.
    """

    def kept(self) -> int:
        """Return how many are there, from the first on."""

    def dream(
        self, first: int, *, on_progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Iterator[int]:
        """Dream them from one on, those before it being there; yields each that is whole.

        It ends before all are there if it is to stop.

        Raises:
            InputError: what is dreamed on has changed, or cannot be read any more.
            OutputError: one cannot be kept.
            DreamerError: as `dreamer.render.still.dream`.
        """

    def ready(self, kept: int) -> int:
        """Return how many frames, from the first, can be shown when so many pictures are there."""

    def frames(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames from `first` to before `last` as RGB bytes, rows from the top."""


@dataclass(frozen=True)
class Film:
    """A film to make, all checks passed.

    Attributes:
        delivery: where it goes.
        recipe: every number.
        look: the network's.
        fps: frames a second, or None if there is a pace.
        pace: when each frame is shown, or None if that is at regular times.
        open: opens its pictures in a folder, with the network.
        pictures: how many they are.
        works: tells how much work each of them is, in pixels x steps.
        picture: what they are called.
        kept: whether the file holds this very film already.
        notes: what the user should know.
    """

    delivery: Delivery
    recipe: FilmRecipe
    look: Look
    fps: float | None
    pace: Pace | None
    open: Callable[[Path, Network], Pictures]
    pictures: int
    works: Callable[[], Sequence[int]]
    picture: str
    kept: bool
    notes: tuple[str, ...]

    def time(self, frame: int) -> float:
        """Return when a frame is first shown, or the film ends, seconds."""
        if self.pace is not None:
            return float(self.pace.times[frame])
        assert self.fps is not None
        return frame / self.fps


def preview(delivery: Delivery) -> Delivery:
    """Return where the preview of a film goes: beside it, over the one before."""
    output = delivery.output
    name = files.fitting_name(output.stem, f"-preview{output.suffix}")
    beside = output.with_name(name)
    again = delivery.overwrite or recipe_in(beside) is not None
    return replace(delivery, output=beside, audio=None, strip=None, overwrite=again)


def check(
    delivery: Delivery, recipe: FilmRecipe, fps: float | None, pace: Pace | None = None
) -> tuple[Delivery, bool, tuple[str, ...]]:
    """Refuse a film that could not be written; return where it goes, if it is there, and notes.

    Raises:
        UsageError: a value that is not valid for its format, or a recipe that is too long.
        OutputError: it exists with another recipe or encoding, or cannot be written.
        InputError: the sound.
        DeviceError: one of its pictures takes more memory than there is.
    """
    delivery = _settled(delivery, recipe)
    found = recipe_in(delivery.output) if not delivery.overwrite else None
    kept = _same(found, recipe)
    notes: tuple[str, ...] = ()
    if not kept:
        for picture in recipe.pictures():
            memory.check(picture, "A picture of {}x{} pixels".format(*picture.size))
        notes = films.check(
            delivery.target,
            recipe.size,
            fps,
            pace=pace,
            codec=delivery.codec,
            crf=delivery.crf,
            audio=delivery.audio,
            overwrite=delivery.overwrite or found is not None,
        )
        if found is not None:
            raise film_output.taken(delivery.output, found, recipe)
        if delivery.metadata and len(recipe.to_json()) > RECIPE_BYTES:
            raise UsageError(
                "The recipe is too long to fit into the film.",
                "Give a journey fewer parts, or leave the recipe out with --no-metadata.",
            )
    if delivery.strip is not None and not (kept and os.path.lexists(delivery.strip)):
        if os.path.realpath(delivery.strip) == os.path.realpath(delivery.output):
            raise UsageError("The film and its strip would be one file.", "Name two.")
        formats.check_target(delivery.strip, overwrite=delivery.overwrite)
    return delivery, kept, notes


def _settled(delivery: Delivery, recipe: FilmRecipe) -> Delivery:
    """Return where a film goes that may get a number."""
    output, count = delivery.output, 1
    numbered = delivery.numbered and not delivery.overwrite
    while numbered and os.path.lexists(output) and not _same(recipe_in(output), recipe):
        count += 1
        ending = f"-{count}{output.suffix}"
        output = output.with_name(files.fitting_name(delivery.output.stem, ending))
    return replace(delivery, output=output)


def _same(found: FilmRecipe | None, wanted: FilmRecipe) -> bool:
    """Whether a film that was found is the very one that is wanted."""
    return found is not None and (found.hash, found.encoding) == (wanted.hash, wanted.encoding)
