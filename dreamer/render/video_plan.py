"""What clip is to be dreamed, and how: all checks, and the recipe; no work but reading the clip."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from dreamer.core import octaves as pyramid
from dreamer.errors import UsageError
from dreamer.film.base import Encoding
from dreamer.film.video import MOST_KEPT, VideoRecipe
from dreamer.media import clips, files, films, reading
from dreamer.media.clips import Clip
from dreamer.media.films import Pace
from dreamer.networks.network import Network
from dreamer.recipe import Origin
from dreamer.render import film_job
from dreamer.render.film_job import Delivery, Film, Pictures
from dreamer.render.look import Look, Request, check_filmed, look

STEADINESS = 0.9
LEAST_OCTAVES = 3
# A frame that goes on from the one before, of which it keeps nine tenths, takes so many times the
# preset's steps at each octave; with less kept the steps grow by this power. Measured over presets
# and steadinesses (0.5 to 0.95): the dream stays about as strong as that of the first frame.
STEPS, POWER = 0.16, 0.78
BESIDE = 1
"""How many steps at full size take as long as the motion and the rest of a frame."""
PREVIEW, PREVIEW_EVERY = 320, 3
"""The longer side of a preview, px, and of how many frames it shows one."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        clip: the film to dream.
        delivery: where it goes; without sound of its own it has the clip's.
        request: how to dream; its size is the film's longer side, px.
        steadiness: how much of a frame's dream goes on into the next one, 0..1.
        start: where to begin in the clip, seconds; None for its beginning.
        end: where to end, seconds; None for its end.
        every: use one of so many frames.
        silent: whether to leave out the clip's sound.
    """

    clip: Path
    delivery: Delivery
    request: Request = field(default_factory=Request)
    steadiness: float = STEADINESS
    start: float | None = None
    end: float | None = None
    every: int = 1
    silent: bool = False


def prepare(wanted: Wanted) -> Film:
    """Resolve and check what was asked for.

    Raises:
        UsageError: names, values or their combination; or no OpenCV.
        InputError: the clip, or the sound.
        NetworkError: weights that cannot be had.
        OutputError: the film exists, or cannot be written.
        DeviceError: the device.
    """
    _check(wanted)
    how = look(wanted.request)
    check_filmed(how)
    films.by_suffix(wanted.delivery.target)
    clip = clips.survey(wanted.clip, start=wanted.start, end=wanted.end, every=wanted.every)
    size, notes = _size(clip, wanted)
    how.row.check_size(*size, f"A film of {size[0]}x{size[1]} pixels")
    how = how.placed()
    origin = Origin(name=files.text(wanted.clip.name), sha256=files.sha256(wanted.clip))
    delivery, pace, more = _sounding(wanted, clip)
    notes += more
    recipe = _recipe(wanted, clip, how, origin, size, delivery.encoding())
    delivery, kept, further = film_job.check(delivery, recipe, None, pace)

    again = recipe.again.work + BESIDE * size[0] * size[1] if recipe.keep else recipe.whole.work

    def opened(folder: Path, network: Network) -> Pictures:
        from dreamer.render.video import Frames

        return Frames(recipe, folder, clip, network)

    return Film(
        delivery=delivery,
        recipe=recipe,
        look=how,
        fps=None,
        pace=pace,
        open=opened,
        pictures=clip.frames,
        works=lambda: [recipe.whole.work] + [again] * (clip.frames - 1),
        picture="frame",
        kept=kept,
        notes=how.notes + clip.notes + notes + further,
    )


def preview(wanted: Wanted, film: Film) -> Wanted:
    """Return a small film at a low rate, in about a tenth of the time, of what was asked for.

    Args:
        wanted: what was asked for.
        film: what it came to.
    """
    longest = max(film.recipe.size)
    return replace(
        wanted,
        request=replace(wanted.request, size=min(longest, max(PREVIEW, longest // 3))),
        every=wanted.every * PREVIEW_EVERY,
        silent=wanted.silent or wanted.delivery.audio is not None,
        delivery=film_job.preview(wanted.delivery),
    )


def _check(wanted: Wanted) -> None:
    if not 0 <= wanted.steadiness <= 1:
        raise UsageError(
            f"{wanted.steadiness:g} is not valid for --steadiness.",
            "Give 0 (each frame by itself) to 1 (as steady as can be).",
        )
    try:
        import cv2  # noqa: F401 - a kind of it is often there that lacks the system's libraries
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        said = "which is not installed" if missing else f"which does not work here ({error})"
        raise UsageError(
            f"To dream a clip OpenCV is needed, {said}.",
            'Install it: pip install "dreamer[video]"',
        ) from error
    output, clip = os.path.realpath(wanted.delivery.output), os.path.realpath(wanted.clip)
    if output == clip:
        raise UsageError("The clip and the film would be one file.", "Name another with -o.")


def _size(clip: Clip, wanted: Wanted) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the film's width and height, px, and what the user should know of them."""
    width, height = clip.width, clip.height
    if wanted.request.size is not None:
        width, height = reading.fitted(width, height, wanted.request.size)
    if not films.by_suffix(wanted.delivery.target).even or not (width % 2 or height % 2):
        return (width, height), ()
    even = width - width % 2, height - height % 2
    return even, (f"the film is {even[0]}x{even[1]}: its sides have to be even",)


def _sounding(wanted: Wanted, clip: Clip) -> tuple[Delivery, Pace, tuple[str, ...]]:
    """Return where the film goes, with the clip's sound if it is to have that; its times; notes."""
    delivery = wanted.delivery
    if delivery.audio is not None or not clip.sound or wanted.silent:
        return delivery, Pace(clip.times), ()
    kind = films.by_suffix(delivery.target)
    if not kind.sound_name:
        return delivery, Pace(clip.times), (f"{kind.label} has no sound: the clip's is left out",)
    return replace(delivery, audio=wanted.clip), clip.pace, ()


def _recipe(
    wanted: Wanted,
    clip: Clip,
    how: Look,
    origin: Origin,
    size: tuple[int, int],
    encoding: Encoding,
) -> VideoRecipe:
    whole = how.recipe(origin, size)
    keep = min(wanted.steadiness, MOST_KEPT)
    again = _briefly(how, keep, len(whole.octaves)).recipe(origin, size)
    return VideoRecipe(
        clip=origin.sha256,
        name=origin.name,
        start=float(clip.start),
        seconds=float(clip.times[-1]),
        every=wanted.every,
        frames=clip.frames,
        size=size,
        steadiness=float(wanted.steadiness),
        whole=whole,
        again=again,
        encoding=encoding,
    )


def _briefly(how: Look, keep: float, octaves: int) -> Look:
    """Return a look with the few steps of a frame that keeps a share of the dream before it."""
    settings = how.settings
    most = settings.ascent.steps
    wanted = min(float(most), most * STEPS * (10 * (1 - keep)) ** POWER)
    steps = min(most, max(1, round(wanted)))
    octaves = max(LEAST_OCTAVES, octaves)
    strength = settings.ascent.strength * (wanted / steps if steps else 1)
    strength *= pyramid.stretch(steps, octaves, settings.ascent.share) if steps else 1
    few = {"steps": steps, "coarse_steps": 1.0, "strength": min(10.0, strength)}
    few |= {"change": 0.0, "decay": 0.0}
    changed = settings.model_copy(
        update={
            "ascent": settings.ascent.model_copy(update=few),
            "octaves": settings.octaves.model_copy(update={"count": octaves}),
        }
    )
    return replace(how, settings=changed)
