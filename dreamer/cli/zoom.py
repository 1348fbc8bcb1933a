"""`dreamer zoom`: a film that zooms into a dream without an end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamer.cli import filming
from dreamer.cli.console import console
from dreamer.cli.filming import FilmOptions, FilmOutput
from dreamer.cli.options import (
    DryRun,
    Json,
    LookOptions,
    Overwrite,
    PresetName,
    Quiet,
    Verbose,
    flattened,
)
from dreamer.errors import UsageError
from dreamer.media.files import fitting_name, shown

if TYPE_CHECKING:
    from dreamer.render.film_job import Film
    from dreamer.render.journeys import CameraKey, Stretch


@flattened
def zoom(
    photo: Annotated[
        str | None, typer.Argument(metavar="[PHOTO]", help="The photo; 'sky' by default.")
    ] = None,
    output: FilmOutput = None,
    preset: PresetName = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long it is, 0.1 to 86400; 10 by default.")
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames a second, 1 to 240.")] = 30.0,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="1280x720, or 720p, 1080p, 4k.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="How many times a second enlarges, 1.01 to 8; 2 by default."),
    ] = None,
    direction: Annotated[
        str, typer.Option(metavar="in|out", help="Into the dream, or out.")
    ] = "in",
    rotate: Annotated[
        float | None, typer.Option(help="Degrees a second, -360 to 360; 0 by default.")
    ] = None,
    center: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="The place zoomed into, each 0 to 1; 0.5,0.5 by default."),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A camera that changes: a TOML file of its keys."),
    ] = None,
    ease: Annotated[bool, typer.Option("--ease", metavar="", help="Start and end slowly.")] = False,
    loop: Annotated[
        bool, typer.Option("--loop", metavar="", help="The end flows into the beginning.")
    ] = False,
    method: Annotated[
        str,
        typer.Option(
            metavar="nested|feedback",
            help="nested: smooth and sharp; feedback: every frame dreams on, and boils.",
        ),
    ] = "nested",
    journey: Annotated[
        str | None,
        typer.Option(
            help="Presets or targets in turn: 'textures 4s, eyes 6s, class:zebra 5s', or a .toml."
        ),
    ] = None,
    fade: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long a journey's looks cross-fade; 0 cuts."),
    ] = None,
    film_options: FilmOptions = FilmOptions(),  # noqa: B008 - frozen
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Zoom into a dream, for as long as you like.

    Run it again to go on where it was stopped. The path of the film is the last thing on stdout.
    """
    console.setup("zoom", as_json=as_json, quiet=quiet, verbose=verbose)
    if direction not in ("in", "out"):
        raise UsageError(f"'{direction}' is no direction.", "It can be in or out.")
    if method not in ("nested", "feedback"):
        raise UsageError(f"'{method}' is no method.", "It can be nested or feedback.")
    request, _ = how.request(*(() if preset is None else (preset,)), overwrite=overwrite)
    from dreamer.render import zoom_plan

    looks, keys = _script(journey, path)
    default = fitting_name("sky" if photo is None else Path(photo).stem, "-zoom.mp4")
    wanted = zoom_plan.Wanted(
        delivery=film_options.delivery(
            output, default, overwrite=overwrite, metadata=request.metadata
        ),
        request=replace(request, photo=photo),
        seconds=seconds,
        fps=fps,
        size=None if size is None else zoom_plan.parse_size(size),
        speed=speed,
        rotate=rotate,
        centre=None if center is None else _centre(center),
        path=keys,
        outward=direction == "out",
        ease=ease,
        loop=loop,
        method="feedback" if method == "feedback" else "nested",
        journey=looks,
        fade=fade,
    )
    film = zoom_plan.prepare(wanted)

    def preview() -> Film:
        return zoom_plan.prepare(zoom_plan.preview(wanted, film.recipe.size))

    return filming.deliver(
        film, _described(film), preview=preview if film_options.preview else None, dry_run=dry_run
    )


def _script(
    journey: str | None, path: str | None
) -> tuple[tuple[Stretch, ...], tuple[CameraKey, ...]]:
    """Return the looks and the camera's keys, from the command line or from files."""
    from dreamer.render import journeys

    looks: tuple[Stretch, ...] = ()
    keys: tuple[CameraKey, ...] = ()
    if journey is not None and journeys.is_file(journey):
        script = journeys.read(journey, "look")
        looks, keys = script.looks, script.camera
    elif journey is not None:
        looks = journeys.parse(journey)
    if path is not None:
        if keys:
            raise UsageError(f"'{shown(journey or '')}' has a camera, too.", "Leave out --path.")
        keys = journeys.read(path, "camera").camera
    return looks, keys


def _centre(text: str) -> tuple[float, float]:
    try:
        across, down = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not valid for --center.", "Write it like 0.5,0.5: from the top left."
        ) from error
    return across, down


def _described(film: Film) -> str:
    """Say in a few lines what will be done."""
    from dreamer.film.zoom import ZoomRecipe

    recipe = film.recipe
    assert isinstance(recipe, ZoomRecipe)
    first = recipe.stretches[0].recipe
    width, height = recipe.size
    lines = (
        ("start", first.origin.name or first.origin.start),
        ("looks", ", ".join(stretch.recipe.preset for stretch in recipe.stretches)),
        ("film", f"{width}x{height}, {recipe.frames} frames at {recipe.fps:g} a second"),
        ("dreams", f"{recipe.keyframes} of {first.size[0]}x{first.size[1]}"),
        ("output", shown(film.delivery.output)),
    )
    return "\n".join(f"{name:8} {value}" for name, value in lines)
