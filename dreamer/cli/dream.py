"""`dreamer dream`: one picture."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer import preset_files
from dreamer.cli.console import StopOnInterrupt, console, guarded_stdout
from dreamer.cli.options import (
    DEVICES,
    Json,
    Offline,
    Quiet,
    Verbose,
    complete_color,
    complete_device,
    complete_level,
    complete_network,
    complete_preset,
    complete_target,
)
from dreamer.errors import UsageError
from dreamer.networks import rows

if TYPE_CHECKING:
    from dreamer.render.job import Job
    from dreamer.render.still import Dream

PHOTO_HELP = "The photo; - reads it from stdin; 'noise' or 'sky' (the default) need none."
STDIO = "-"


def dream(
    photo: Annotated[str | None, typer.Argument(metavar="[PHOTO|-]", help=PHOTO_HELP)] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Where to write; - is stdout, as PNG."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="How to dream: `dreamer presets list`; dream by default.",
            autocompletion=complete_preset,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=f"The network to dream with; {rows.DEFAULT} by default.",
            autocompletion=complete_network,
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A checkpoint, or the name of published weights.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="What to maximise, e.g. 'block8:37' or '0.7*parts + 0.3*class:zebra'.",
            autocompletion=complete_target,
        ),
    ] = None,
    detail: Annotated[
        str | None,
        typer.Option(help=f"A level: {', '.join(rows.LEVELS)}.", autocompletion=complete_level),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="0 is the photo, 1 the preset; 0 to 10.")
    ] = None,
    octaves: Annotated[
        int | None, typer.Option(help="Number of scales, 0 to 16; 0: as needed.")
    ] = None,
    octave_scale: Annotated[
        float | None, typer.Option(help="Ratio of two scales, 1.05 to 4.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps at full size, 0 to 10000.")] = None,
    step_size: Annotated[float | None, typer.Option(help="How far a step goes, 0 to 1.")] = None,
    jitter: Annotated[int | None, typer.Option(help="Random shift of a step, 0 to 256 px.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Longer side of the result, px.")
    ] = None,
    color: Annotated[
        str | None, typer.Option(help="free, keep or luma.", autocompletion=complete_color)
    ] = None,
    blend: Annotated[
        float | None, typer.Option(help="Share of the photo mixed back, 0 to 1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another dream of the photo.")] = None,
    device: Annotated[
        str, typer.Option(help=f"{DEVICES}.", autocompletion=complete_device)
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processors to use; all by default.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--from", help="Use the recipe in this picture.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Replace the output.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Show the plan; do nothing.")
    ] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", metavar="", help="Leave the recipe out of the file.")
    ] = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream on a photo, or on a sky of clouds when there is none.

    The path of the result is the last thing on stdout.
    """
    console.setup("dream", as_json=as_json, quiet=quiet, verbose=verbose)
    if detail is not None:
        if target is not None:
            raise UsageError("--detail and --target both say what to maximise.", "Give one.")
        rows.row(network or rows.DEFAULT).level(detail)
        # The level's own preset brings the settings that suit it, unless another was asked for.
        if preset is None and recipe is None:
            preset = detail
        if preset != detail or preset_files.find(detail).source != "built-in":
            target = detail
    if output == "":
        raise UsageError("-o is empty.", "Name a file, or - for standard output.")
    if output == STDIO and as_json:
        raise UsageError("-o - and --json both want stdout.", "Give one of them.")

    from dreamer.render import job as jobs

    job = jobs.prepare(
        jobs.Request(
            photo=sys.stdin.buffer.read() if photo == STDIO else photo,
            recipe=recipe,
            preset=preset,
            network=network,
            weights=weights,
            overrides={
                "target": target,
                "ascent.strength": strength,
                "octaves.count": octaves,
                "octaves.scale": octave_scale,
                "ascent.steps": steps,
                "ascent.step_size": step_size,
                "view.jitter": jitter,
                "colour.mode": color,
                "mix.blend": blend,
            },
            size=size,
            seed=seed,
            device=device,
            threads=threads,
            offline=offline,
            output=None if output is None or output == STDIO else Path(output),
            to_file=output != STDIO,
            overwrite=overwrite,
            metadata=not no_metadata,
        )
    )
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
            made.write(stream, metadata=not no_metadata)
        return _leave(made)
    began = time.perf_counter()
    made = _make(job)
    path = job.save(made, metadata=not no_metadata)
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
