"""`dreamer explain`: what a network sees in a photo, before and after a dream."""

from __future__ import annotations

import functools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamer.cli.console import console, in_stages
from dreamer.cli.options import (
    Json,
    LookOptions,
    Overwrite,
    PresetName,
    Quiet,
    Verbose,
    flattened,
)
from dreamer.errors import UsageError

if TYPE_CHECKING:
    from dreamer.render.explain import Explanation

STDIO = "-"


@flattened
def explain(
    photo: Annotated[
        str, typer.Argument(metavar="PHOTO|-", help="The photo; - reads it from stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The page, one HTML file that holds its pictures."),
    ] = None,
    preset: PresetName = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, help="Longer side of the dream, px; 512 at most by default."
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=1, max=20, help="Classes to name a picture.")] = 5,
    channels: Annotated[int, typer.Option(min=1, max=8, help="Channels to show a layer.")] = 3,
    no_dream: Annotated[
        bool, typer.Option("--no-dream", metavar="", help="Only look at the photo.")
    ] = False,
    atlas: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="An atlas to take channels' pictures from; else they are made."
        ),
    ] = None,
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what the network sees in a photo, before and after a dream of it.

    What it takes both for, which channels answer most, what those look for, and where.
    The path of the page is the last thing on stdout.
    """
    console.setup("explain", as_json=as_json, quiet=quiet, verbose=verbose)
    given = () if preset is None else (preset,)
    request, _ = how.request(*given, size=size, overwrite=overwrite)
    if output == "":
        raise UsageError("-o is empty.", "Name a page, such as cat.html.")
    if output == STDIO:
        raise UsageError("A page is not written to stdout.", "Name a file with -o.")

    from dreamer.render import explain as explaining

    plan = explaining.prepare(
        replace(
            request,
            photo=sys.stdin.buffer.read() if photo == STDIO else photo,
            output=None if output is None else Path(output),
        ),
        classes=classes,
        channels=channels,
        dream=not no_dream,
        atlas=atlas,
    )
    for note in plan.job.notes:
        console.say(f"Note: {note}.")
    console.detail(plan.job.describe())
    began = time.perf_counter()
    made = in_stages(functools.partial(explaining.run, plan))
    for note in [each for each in made.notes if each not in plan.job.notes]:
        console.say(f"Note: {note}.")
    path = explaining.save(plan, made)
    seconds = round(time.perf_counter() - began, 3)
    result = {"output": str(path)} | made.to_dict() | {"seconds": seconds}
    console.finish(result, f"{summary(made)}\n\n{path}" if not quiet else str(path))
    return 0


def summary(made: Explanation) -> str:
    """Return the numbers that matter most, as tables."""
    from dreamer.render.explaining.page import percent

    both = made.dream is not None
    heading = f"{'photo':>8}{'dream':>9}" if both else f"{'photo':>8}"
    lines = []
    if made.classes is None:
        lines.append(f"{made.network} does not tell ImageNet's classes.")
    else:
        width = max(len(each.name) for each in made.classes)
        lines.append(f"{'taken for':{width}}  {heading}")
        for each in made.classes:
            after = "" if each.after is None else f"{percent(each.after):>9}"
            lines.append(f"{each.name:{width}}  {percent(each.before):>8}{after}")
    units = [(each, f"{each.layer}:{each.channel}") for each in (*made.channels, *made.gained)]
    width = max(len(name) for _, name in units)
    levels = max(len(each.level) for each, _ in units)
    for title, some in (
        ("channels that answer most to the photo, in standard deviations", made.channels),
        ("channels that gained most by the dream", made.gained),
    ):
        if not some:
            continue
        lines += ["", title, f"{'':{levels + width + 2}}  {heading}"]
        for channel in some:
            name = f"{channel.layer}:{channel.channel}"
            after = "" if channel.after is None else f"{channel.after:+9.1f}"
            lines.append(f"{channel.level:{levels}}  {name:{width}}  {channel.before:+8.1f}{after}")
    return "\n".join(lines)
