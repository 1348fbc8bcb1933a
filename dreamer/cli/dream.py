"""`dreamer dream`: one picture."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer.cli import suggest as suggestions
from dreamer.cli.console import StopOnInterrupt, console, guarded_stdout
from dreamer.cli.options import (
    Depth,
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
from dreamer.errors import UsageError

if TYPE_CHECKING:
    from dreamer.render.job import Job
    from dreamer.render.still import Dream

PHOTO_HELP = "The photo; - reads it from stdin; 'noise' or 'sky' (the default) need none."
STDIO = "-"


@flattened
def dream(
    photo: Annotated[str | None, typer.Argument(metavar="[PHOTO|-]", help=PHOTO_HELP)] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Where to write; - is stdout, as PNG."),
    ] = None,
    preset: PresetName = None,
    size: Size = None,
    depth: Depth = 8,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", metavar="", help="Print what would suit the photo, with thumbnails."
        ),
    ] = False,
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream on a photo, or on a sky of clouds when there is none.

    The path of the result is the last thing on stdout.
    """
    console.setup("dream", as_json=as_json, quiet=quiet, verbose=verbose)
    given = () if preset is None else (preset,)
    request, _ = how.request(*given, size=size, overwrite=overwrite)
    if output == "":
        raise UsageError("-o is empty.", "Name a file, or - for standard output.")
    if output == STDIO and as_json:
        raise UsageError("-o - and --json both want stdout.", "Give one of them.")

    request = replace(
        request,
        photo=sys.stdin.buffer.read() if photo == STDIO else photo,
        output=None if output is None or output == STDIO else Path(output),
        to_file=output != STDIO,
        depth=depth,
    )
    if suggest:
        return suggestions.run(request, dry_run=dry_run)

    from dreamer.render import job as jobs

    job = jobs.prepare(request)
    for note in job.notes:
        console.say(f"Note: {note}.")
    console.detail(job.describe())
    if dry_run:
        console.finish(_report(job, 0.0) | {"dry_run": True}, job.describe())
        return 0
    if job.kept:
        console.say("It is there already, with this very recipe: kept.")
        console.finish(_report(job, 0.0), str(job.output))
        return 0
    if output == STDIO:
        with guarded_stdout() as stream:
            made = _make(job)
            made.write(stream, metadata=not how.no_metadata, depth=depth)
        return _leave(made)
    began = time.perf_counter()
    made = _make(job)
    path = job.save(made, metadata=not how.no_metadata)
    status = "partial" if made.recipe.partial else "success"
    report = _report(job, time.perf_counter() - began, made) | {"output": str(path)}
    console.finish(report, str(path), status=status)
    return _leave(made)


def _make(job: Job) -> Dream:
    """Load the network and dream, with a bar that counts pixels x steps."""
    from tqdm import tqdm

    from dreamer.render import still

    network = job.load_network()
    work = still.plan(job.recipe).work
    hidden = console.quiet or console.as_json or not sys.stderr.isatty()
    with (
        StopOnInterrupt() as stop,
        tqdm(
            total=work / 1e6,
            disable=hidden,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} Mpx {remaining} left",
        ) as bar,
    ):
        console.detail("Dreaming; Ctrl-C keeps what is there.")

        def on_step(step: Any) -> None:
            bar.set_description_str(f"octave {step.octave + 1}/{len(job.recipe.octaves)}", False)
            bar.update(step.work / 1e6 - bar.n)

        made = still.dream(job.recipe, job.photo, network, on_step=on_step, stop=stop)
    for note in [each for each in made.notes if each not in job.notes]:
        console.say(f"Note: {note}.")
    return made


def _leave(made: Dream) -> int:
    if made.recipe.partial:
        console.say("Stopped early: what was dreamed so far is kept, marked partial.")
        return 130
    return 0


def _report(job: Job, seconds: float, made: Dream | None = None) -> dict[str, Any]:
    recipe = made.recipe if made is not None else job.recipe
    return {
        "output": None if job.output is None else str(job.output),
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "seconds": round(seconds, 3),
        "kept": job.kept,
        "dry_run": False,
        "notes": list(dict.fromkeys([*job.notes, *(made.notes if made is not None else ())])),
    }
