"""`dreamer video`: a clip dreamed frame by frame, steadily."""

from __future__ import annotations

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
    Size,
    Verbose,
    flattened,
)
from dreamer.media.files import fitting_name, shown

if TYPE_CHECKING:
    from dreamer.render.film_job import Film
    from dreamer.render.video_plan import Wanted


@flattened
def video(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="The film to dream.")],
    output: FilmOutput = None,
    preset: PresetName = None,
    steadiness: Annotated[
        float,
        typer.Option(
            help="How much of a frame's dream goes on into the next, 0 to 1; 0: each by itself."
        ),
    ] = 0.9,
    start: Annotated[float | None, typer.Option(help="Begin at this second of the clip.")] = None,
    end: Annotated[float | None, typer.Option(help="End at this second of the clip.")] = None,
    every: Annotated[int, typer.Option(help="Use one of so many frames.")] = 1,
    size: Size = None,
    silent: Annotated[
        bool, typer.Option("--silent", metavar="", help="Leave out the clip's sound.")
    ] = False,
    film_options: FilmOptions = FilmOptions(),  # noqa: B008 - frozen
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream a clip: what is dreamed moves with what it was dreamed on, without flicker.

    Run it again to go on where it was stopped. The path of the film is the last thing on stdout.
    """
    console.setup("video", as_json=as_json, quiet=quiet, verbose=verbose)
    default = fitting_name(Path(clip).stem, "-dream.mp4")
    request, _ = how.request(*(() if preset is None else (preset,)), size=size, overwrite=overwrite)
    delivery = film_options.delivery(
        output, default, overwrite=overwrite, metadata=request.metadata
    )
    from dreamer.render import video_plan

    wanted = video_plan.Wanted(
        clip=Path(clip),
        delivery=delivery,
        request=request,
        steadiness=steadiness,
        start=start,
        end=end,
        every=every,
        silent=silent,
    )
    film = video_plan.prepare(wanted)

    def preview() -> Film:
        return video_plan.prepare(video_plan.preview(wanted, film))

    return filming.deliver(
        film,
        _described(film, wanted),
        preview=preview if film_options.preview else None,
        dry_run=dry_run,
    )


def _described(film: Film, wanted: Wanted) -> str:
    """Say in a few lines what will be done."""
    recipe = film.recipe
    width, height = recipe.size
    lines = (
        ("clip", shown(wanted.clip)),
        ("look", f"{film.look.preset}, steadiness {wanted.steadiness:g}"),
        ("film", f"{width}x{height}, {recipe.frames} frames in {film.time(recipe.frames):.4g} s"),
        ("sound", shown(film.delivery.audio) if film.delivery.audio else "none"),
        ("output", shown(film.delivery.output)),
    )
    return "\n".join(f"{name:8} {value}" for name, value in lines)
