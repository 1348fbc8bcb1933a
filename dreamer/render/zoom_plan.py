"""What zoom was asked for: all checks, and the recipe; no work."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dreamer.core import zoom as geometry
from dreamer.errors import InputError, UsageError
from dreamer.film.zoom import ZoomRecipe
from dreamer.media import files, films, images, reading
from dreamer.networks.network import Network
from dreamer.recipe import Origin, Start
from dreamer.render import camera_plan, film_job
from dreamer.render.film_job import Delivery, Film, Pictures
from dreamer.render.job import DEFAULT_SIZE, MADE
from dreamer.render.journeys import LONGEST_FILM, SPEEDS, TURNS, CameraKey, Stretch
from dreamer.render.look import Look, Request, check_filmed
from dreamer.render.stretches import looks as looks_of
from dreamer.render.stretches import stretches
from dreamer.render.zoom import Keyframes

NAMED_SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
LONGEST = 1280
"""The longer side of a film of a photo unless told otherwise, px."""
PREVIEW, PREVIEW_FPS = 320, 12.0


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        delivery: where it goes.
        request: the photo and how to dream; its size and output are not used.
        seconds: the film's length; None for the journey's, or ten.
        fps: frames a second.
        size: width and height, px; None for the photo's shape.
        speed: how many times a second enlarges; 2 if neither it nor a path is given.
        rotate: degrees a second, clockwise; 0 likewise.
        centre: the place zoomed into, 0..1 from the left and from the top; the middle likewise.
        path: how the camera moves, if that changes.
        outward: whether it zooms out.
        ease: whether it starts and ends slowly.
        loop: whether the last frame flows into the first.
        method: nested or feedback, see `ZoomRecipe`.
        journey: the looks, in their order.
        fade: seconds of the cross-fades that the journey does not say itself.
    """

    delivery: Delivery
    request: Request = field(default_factory=Request)
    seconds: float | None = None
    fps: float = 30.0
    size: tuple[int, int] | None = None
    speed: float | None = None
    rotate: float | None = None
    centre: tuple[float, float] | None = None
    path: Sequence[CameraKey] = ()
    outward: bool = False
    ease: bool = False
    loop: bool = False
    method: Literal["nested", "feedback"] = "nested"
    journey: Sequence[Stretch] = ()
    fade: float | None = None


def parse_size(text: str) -> tuple[int, int]:
    """Read a size such as "1280x720" or "1080p".

    Raises:
        UsageError: it is none.
    """
    if text.lower() in NAMED_SIZES:
        return NAMED_SIZES[text.lower()]
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise UsageError(
            f"'{text}' is not a size.", f"Write it like 1280x720, or {', '.join(NAMED_SIZES)}."
        )
    size = int(width[:6]), int(height[:6])
    if not all(2 <= side <= 16_384 for side in size):
        raise UsageError(f"{text} is no size for a film.", "Each side can be 2 to 16384 px.")
    return size


def prepare(wanted: Wanted) -> Film:
    """Resolve and check what was asked for.

    Raises:
        UsageError: names, values or their combination.
        InputError: the photo, or the sound.
        NetworkError: weights that cannot be had.
        OutputError: the film exists, or cannot be written.
        DeviceError: the device.
    """
    _check(wanted)
    looks = looks_of(wanted.request, wanted.journey)
    source, start = _source(wanted.request)
    own = reading.probe(source) if source is not None else DEFAULT_SIZE
    size = wanted.size or _film_size(own, films.by_suffix(wanted.delivery.target).even)
    canvas = geometry.canvas_size((size[1], size[0]))
    looks[0].row.check_size(canvas[1], canvas[0], f"A film of {size[0]}x{size[1]} pixels")
    for each in looks:
        check_filmed(each)
    looks = [each.placed() for each in looks]
    photo = None if source is None else images.load(source)
    origin = Origin(start=start)
    if photo is not None:
        origin = Origin(name=files.text(photo.name), sha256=photo.sha256)
    recipe, notes = _recipe(wanted, looks, origin, size, (canvas[1], canvas[0]))
    notes = looks[0].notes + (photo.notes if photo is not None else ()) + notes
    delivery, kept, more = film_job.check(wanted.delivery, recipe, wanted.fps)

    def opened(folder: Path, network: Network) -> Pictures:
        return Keyframes(recipe, folder, photo, network)

    return Film(
        delivery=delivery,
        recipe=recipe,
        look=looks[0],
        fps=wanted.fps,
        pace=None,
        open=opened,
        pictures=recipe.keyframes,
        works=lambda: [recipe.recipe_at(number).work for number in range(recipe.keyframes)],
        picture="keyframe" if recipe.method == "nested" else "frame",
        kept=kept,
        notes=notes + more,
    )


def _check(wanted: Wanted) -> None:
    if wanted.request.output is not None or wanted.request.size is not None:
        raise UsageError("A film has a size and a file of its own.", "Give them to the film.")
    films.by_suffix(wanted.delivery.target)
    moving = (
        ("--speed", wanted.speed, *SPEEDS),
        ("--rotate", wanted.rotate, -TURNS, TURNS),
        *(("--center", place, 0.0, 1.0) for place in wanted.centre or ()),
    )
    for name, value, least, most in (
        *moving,
        ("--fps", wanted.fps, 1, 240),
        ("--seconds", _seconds(wanted), 0.1, LONGEST_FILM),
        ("--fade", wanted.fade, 0, LONGEST_FILM),
    ):
        if value is not None and not least <= value <= most:
            advice = f"Give {least:g} to {most:g}."
            raise UsageError(f"{value:g} is not valid for {name}.", advice)
    for name, value, _, _ in moving:
        if wanted.path and value is not None:
            raise UsageError(
                f"The path and {name} both say how the camera moves.", "Give one of them."
            )
    if wanted.method == "feedback" and wanted.loop:
        raise UsageError("--loop is for the method nested.", "Leave it out, or leave out --method.")
    if wanted.journey and wanted.seconds is not None:
        raise UsageError("--journey and --seconds both say how long it is.", "Give one.")
    if wanted.fade is not None and len(wanted.journey) < 2:
        raise UsageError("--fade is for a journey of several looks.", "Give one with --journey.")


def _seconds(wanted: Wanted) -> float:
    if wanted.seconds is not None:
        return wanted.seconds
    return sum(stretch.seconds for stretch in wanted.journey) or 10.0


def _source(request: Request) -> tuple[str | None, Start]:
    photo = request.photo
    if photo is None:
        return None, "sky"
    for made in MADE:
        if photo == made and not Path(made).exists():
            return None, made
    if not isinstance(photo, str):
        raise InputError("A film starts from a photo's file.", "Name one, or 'sky'.")
    return photo, "photo"


def _film_size(own: tuple[int, int], even: bool) -> tuple[int, int]:
    """Return the size of a film in a photo's shape."""
    width, height = own if max(own) <= LONGEST else reading.fitted(*own, LONGEST)
    return (width - width % 2, height - height % 2) if even else (width, height)


def _recipe(
    wanted: Wanted,
    looks: Sequence[Look],
    origin: Origin,
    size: tuple[int, int],
    canvas: tuple[int, int],
) -> tuple[ZoomRecipe, tuple[str, ...]]:
    """Return the recipe, and what to say about its camera."""
    seconds = _seconds(wanted)
    frames = max(1, round(seconds * wanted.fps))
    length = frames / wanted.fps
    steady = CameraKey(
        speed=2.0 if wanted.speed is None else wanted.speed,
        rotate=wanted.rotate or 0.0,
        centre=wanted.centre or (0.5, 0.5),
    )
    camera, notes = camera_plan.keys(wanted.path or (steady,), seconds, length, wanted.loop)
    recipe = ZoomRecipe(
        method=wanted.method,
        stretches=stretches(
            wanted.journey,
            looks,
            origin,
            canvas,
            seconds=length,
            fade=wanted.fade,
            loop=wanted.loop,
            feedback=wanted.method == "feedback",
        ),
        size=size,
        fps=float(wanted.fps),
        frames=frames,
        camera=camera,
        outward=wanted.outward,
        ease=wanted.ease,
        loop=wanted.loop,
        encoding=wanted.delivery.encoding(),
    )
    return recipe, notes + camera_plan.mirrored(recipe)


def preview(wanted: Wanted, size: tuple[int, int]) -> Wanted:
    """Return a small film at a low rate, in a tenth of the time, of what was asked for.

    Args:
        wanted: what was asked for.
        size: of the film, px.
    """
    scale = min(1.0, max(PREVIEW / max(size), 1 / 3))
    small = tuple(max(2, round(side * scale / 2) * 2) for side in size)
    return replace(
        wanted,
        delivery=film_job.preview(wanted.delivery),
        size=(small[0], small[1]),
        fps=min(wanted.fps, PREVIEW_FPS),
    )
