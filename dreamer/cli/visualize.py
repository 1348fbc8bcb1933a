"""`dreamer visualize`: pictures of what units of a network look for."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer import methods
from dreamer.cli import filming
from dreamer.cli.console import StopOnInterrupt, console
from dreamer.cli.filming import WritingOptions
from dreamer.cli.options import (
    DryRun,
    Json,
    Offline,
    Overwrite,
    PlaceOptions,
    Quiet,
    Verbose,
    complete_canvas,
    complete_target,
    flattened,
)
from dreamer.errors import UsageError
from dreamer.media.files import shown

if TYPE_CHECKING:
    from dreamer.render.visual_job import VisualJob, VisualRequest
    from dreamer.render.visualize import Visualization

_SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")


def complete_method(incomplete: str) -> list[str]:
    """Name the methods that begin so."""
    return [name for name in methods.METHODS if name.startswith(incomplete)]


def complete_border(incomplete: str) -> list[str]:
    """Name the borders that begin so."""
    return [name for name in methods.BORDERS if name.startswith(incomplete)]


def complete_transforms(incomplete: str) -> list[str]:
    """Name the transforms that begin so."""
    return [name for name in methods.TRANSFORMS if name.startswith(incomplete)]


@flattened
def visualize(
    target: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="What to see: block8:37, class:zebra, block8, block8:37@4,5, "
            "'block8:[3, -0.5*12]', 'like:photo.jpg@parts', or a sum of them.",
            autocompletion=complete_target,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A picture, which is a sheet if there are several; or a folder for one file each.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"How: {', '.join(methods.METHODS)}; what follows goes over it.",
            autocompletion=complete_method,
        ),
    ] = None,
    canvas: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(methods.CANVASES)}: how pixels are parametrised.",
            autocompletion=complete_canvas,
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="In px; one number: square.")] = (
        None
    ),
    octaves: Annotated[
        int | None, typer.Option(help="Sizes to grow through, each half the next; 1 to 6.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, of all octaves together.")] = None,
    views: Annotated[int | None, typer.Option(help="Random views a step.")] = None,
    transforms: Annotated[
        str | None,
        typer.Option(
            help=f"What views go through: {', '.join(methods.TRANSFORMS)}.",
            autocompletion=complete_transforms,
        ),
    ] = None,
    border: Annotated[
        str | None,
        typer.Option(
            help=f"What views see beyond the picture: {', '.join(methods.BORDERS)}.",
            autocompletion=complete_border,
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    diversity: Annotated[
        int | None, typer.Option(help="So many pictures of each target, as different as can be.")
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(help="From so many starts; the best picture is kept.")
    ] = None,
    negative: Annotated[
        bool, typer.Option("--negative", metavar="", help="What the target responds to least.")
    ] = False,
    alpha: Annotated[
        bool, typer.Option("--alpha", metavar="", help="Let what does not matter be transparent.")
    ] = False,
    spectrum: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Photos whose spectrum a MACO picture is to have."),
    ] = None,
    plain_colors: Annotated[
        bool,
        typer.Option("--plain-colors", metavar="", help="Do not decorrelate colours."),
    ] = False,
    color_cast: Annotated[
        bool,
        typer.Option("--color-cast", metavar="", help="Let the mean colour of MACO go free."),
    ] = False,
    film: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A film from each target to the next: .mp4, .webm, ..."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of film from a target to the next.")] = 3.0,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 25.0,
    loop: Annotated[
        bool, typer.Option("--loop", metavar="", help="Go on from the last target to the first.")
    ] = False,
    film_options: WritingOptions = WritingOptions(),  # noqa: B008 - frozen
    where: PlaceOptions = PlaceOptions(),  # noqa: B008 - frozen
    recipe: Annotated[
        str | None, typer.Option("--from", help="Make the pictures of this file again.")
    ] = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", metavar="", help="Leave the recipe out of the file.")
    ] = False,
    offline: Offline = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what a layer, a channel, a neuron, a class or a mixture of them looks for.

    The path of the result is the last thing on stdout.
    """
    console.setup("visualize", as_json=as_json, quiet=quiet, verbose=verbose)
    from dreamer.render.look import Request
    from dreamer.render.visual_job import VisualRequest

    request = VisualRequest(
        targets=tuple(target or ()),
        recipe=recipe,
        method=method,
        size=_size(size),
        settings={
            "canvas": canvas,
            "octaves": octaves,
            "steps": steps,
            "views": views,
            "transforms": transforms,
            "border": border,
            "rate": rate,
            "decorrelate": False if plain_colors else None,
            "alpha": alpha or None,
            "neutral": False if color_cast else None,
        },
        spectrum=spectrum,
        diversity=diversity,
        restarts=restarts,
        negative=negative,
        look=Request(
            network=where.network,
            weights=where.weights,
            seed=where.seed,
            device=where.device,
            threads=where.threads,
            offline=offline,
        ),
    )
    if film is None and (loop or film_options != WritingOptions()):
        raise UsageError(
            "--loop, --codec, --crf, --audio and --strip are for films.", "Add --film FILE."
        )
    if film is None:
        return _pictures(request, output, overwrite, metadata=not no_metadata, dry_run=dry_run)
    if output is not None:
        raise UsageError("-o and --film both say what to write.", "Give one of them.")
    from dreamer.render import passage

    delivery = film_options.delivery(film, "", overwrite=overwrite, metadata=not no_metadata)
    made = passage.prepare(request, delivery, seconds=seconds, fps=fps, loop=loop)
    described = f"targets  {', '.join(request.targets)}\nfilm     {shown(made.delivery.output)}"
    return filming.deliver(made, described, dry_run=dry_run)


def _pictures(
    request: VisualRequest, output: str | None, overwrite: bool, *, metadata: bool, dry_run: bool
) -> int:
    from dreamer.render import visual_job, visual_output

    place = visual_output.place(output)
    job = visual_job.prepare(request)
    for note in job.notes:
        console.say(f"Note: {note}.")
    plan = visual_output.plan(job.recipes, place, overwrite=overwrite, metadata=metadata)
    console.detail(job.describe())
    if dry_run:
        told = job.describe() + f"\noutput   {', '.join(map(str, plan.paths))}"
        console.finish(_report(job, plan.paths, (), 0.0) | {"dry_run": True}, told)
        return 0
    if plan.kept:
        console.say("It is there already, with this very recipe: kept.")
        console.finish(_report(job, plan.paths, (), 0.0) | {"kept": True}, plan.last)
        return 0
    began = time.perf_counter()
    made = _make(job)
    plan.save(made)
    for note in dict.fromkeys(note for each in made for note in each.notes):
        console.say(f"Note: {note}.")
    for each in made:
        console.detail(f"{each.recipe.label}: {each.score:.4g} on held-out crops")
    partial = any(each.recipe.partial for each in made)
    report = _report(job, plan.paths, made, time.perf_counter() - began)
    console.finish(report, plan.last, status="partial" if partial else "success")
    if partial:
        console.say("Stopped early: the pictures are kept as they stood, marked partial.")
        return 130
    return 0


def _make(job: VisualJob) -> list[Visualization]:
    """Load the network and make the pictures, with a bar that counts pixels x steps x views."""
    from tqdm import tqdm

    from dreamer.render import visualize as rendering

    network = job.load_network()
    hidden = console.quiet or console.as_json or not sys.stderr.isatty()
    with (
        StopOnInterrupt() as stop,
        tqdm(
            total=sum(recipe.work for recipe in job.recipes) / 1e6,
            disable=hidden,
            leave=False,
            bar_format="{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        ) as bar,
    ):
        console.detail("Visualizing; Ctrl-C keeps what is there.")

        def on_step(progress: Any) -> None:
            bar.update(progress.work / 1e6 - bar.n)

        return rendering.make(job.recipes, network, on_step=on_step, stop=stop, workers=job.workers)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{shown(text)}' is not valid for --size.", "Give a side, or WxH: 224 or 640x360."
        )
    return int(match[1]), int(match[2] or match[1])


def _report(
    job: VisualJob, paths: Sequence[os.PathLike[str]], made: Sequence[Visualization], seconds: float
) -> dict[str, Any]:
    recipes = [each.recipe for each in made] or list(job.recipes)
    notes = [*job.notes, *(note for each in made for note in each.notes)]
    return {
        "outputs": [str(Path(path)) for path in paths],
        "pictures": [
            {
                "target": recipe.target,
                "variant": recipe.variant,
                "score": recipe.score,
                "recipe": recipe.to_dict(),
                "recipe_hash": recipe.hash,
            }
            for recipe in recipes
        ],
        "seconds": round(seconds, 3),
        "kept": False,
        "dry_run": False,
        "notes": list(dict.fromkeys(notes)),
    }
