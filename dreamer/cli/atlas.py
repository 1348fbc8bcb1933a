"""`dreamer atlas`: every channel of some layers, on one page."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer.cli.console import StopOnInterrupt, console, guarded_stdout
from dreamer.cli.options import (
    DryRun,
    Json,
    Offline,
    Overwrite,
    PlaceOptions,
    Quiet,
    Verbose,
    flattened,
)
from dreamer.errors import Interrupted, UsageError
from dreamer.media.files import shown

if TYPE_CHECKING:
    from dreamer.render.atlas.plan import Plan
    from dreamer.render.atlas.run import At, Atlas, Todo

STOPPING = "Stopping; what is whole is kept. Once more to stop at once."
LISTED = 10  # notes, of any number
GO_ON = "What is made is kept: run the command again to go on."


@flattened
def atlas(
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Where the atlas goes.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Layers or detail levels, with commas, or 'all'; those of all levels by default. "
            "The logits are taken only by name.",
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="Of each layer, such as 0-15,37; all by default."),
    ] = None,
    size: Annotated[int, typer.Option(min=1, max=4096, help="Side of the pictures, px.")] = 128,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of gradient ascent.")] = None,
    variants: Annotated[
        int, typer.Option(min=1, max=16, help="Pictures of each channel, as unlike as can be.")
    ] = 1,
    photos: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Photos: each channel is shown with those that excite it most. May be repeated.",
        ),
    ] = None,
    where: PlaceOptions = PlaceOptions(),  # noqa: B008 - frozen
    offline: Offline = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what every channel of a network looks for, as files and one page.

    Run it again to go on where it was stopped, or to add layers. The page is DIR/index.html; its
    path is the last thing on stdout.
    """
    console.setup("atlas", as_json=as_json, quiet=quiet, verbose=verbose)
    if not output:
        raise UsageError("It is not said where the atlas goes.", "Name a folder with -o.")
    from dreamer.render.atlas import plan

    planned = plan.plan(
        plan.Wanted(
            folder=Path(output),
            network=where.network,
            weights=where.weights,
            layers=None if layers is None else layers.split(","),
            channels=channels,
            size=size,
            steps=steps,
            variants=variants,
            photos=photos or (),
            seed=where.seed or 0,
            device=where.device,
            threads=where.threads,
            offline=offline,
            overwrite=overwrite,
        )
    )
    from dreamer.render.atlas import run

    todo = run.look_at(planned)
    for note in planned.notes:
        console.say(f"Note: {note}.")
    if dry_run:
        console.finish(_report(planned) | run.described(planned, todo), _described(planned, todo))
        return 0
    with guarded_stdout(), StopOnInterrupt(STOPPING) as stop, Display(planned) as display:
        try:
            made = run.make(planned, on_progress=display, stop=stop)
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.", GO_ON) from None
    return _finish(planned, made)


class Display:
    """Follows one run: a bar on a terminal, a line a layer elsewhere; used as a context.

    Args:
        planned: what the run is about.
    """

    def __init__(self, planned: Plan) -> None:
        self._planned = planned
        self._terminal = sys.stderr.isatty() and not console.quiet and not console.as_json
        self._bar: Any = None
        self._told: tuple[str, int] = ("", -1)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, at: At) -> None:
        """Show how far it is."""
        what = f"{at.layer or 'photos'} {at.done}/{at.of}"
        if self._terminal:
            self._draw(at, what)
        elif at.done == at.of and self._told != (at.layer, at.done):
            console.say(f"{what} done")
        elif self._told != (at.layer, at.done):
            console.detail(what)
        self._told = (at.layer, at.done)

    def _draw(self, at: At, what: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=max(at.whole / 1e6, 1e-6),  # pixels x steps, of all pictures
                leave=False,
                dynamic_ncols=True,
                smoothing=0.05,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            )
        self._bar.set_description_str(what, refresh=False)
        self._bar.n = min(at.work / 1e6, self._bar.total)
        self._bar.refresh()


def _report(planned: Plan) -> dict[str, Any]:
    folder = planned.wanted.folder
    return {
        "folder": str(folder),
        "page": str(folder / "index.html"),
        "network": planned.recipe.network,
        "notes": list(planned.notes),
        "dry_run": True,
    }


def _described(planned: Plan, todo: Todo) -> str:
    """Say what a run would do, a line a layer."""
    lines = []
    for part in planned.parts:
        missing = len(todo.missing[part.layer.name])
        kept = len(part.channels) - missing
        there = f", {kept} there already" if kept else ""
        place = shown(planned.wanted.folder / part.folder)
        lines.append(f"{part.layer.name} -> {place}: {missing} channels{there}")
    missing = sum(map(len, todo.missing.values()))
    width, height = planned.recipe.size
    lines.append(
        f"{missing} channels to make, {todo.files} pictures of {width}x{height} in "
        f"{planned.recipe.settings.steps} steps each."
    )
    if planned.photos:
        lines.append(f"{len(planned.photos)} photos to look through.")
    if todo.others:
        lines.append(f"The atlas that is there is replaced: {', '.join(todo.others)}.")
    return "\n".join(lines)


def _finish(planned: Plan, made: Atlas) -> int:
    """Report on a run; returns the exit code."""
    kept = f", {made.kept} were there already" if made.kept else ""
    left = f", {made.left} left to do" if made.left else ""
    console.say(f"{made.made} channels made{kept}{left}.")
    news = made.notes[len(planned.notes) :]
    for note in news[:LISTED]:
        console.say(f"Note: {note}.")
    if len(news) > LISTED:
        console.say(f"And {len(news) - LISTED} more notes: --json has them all.")
    report = _report(planned) | {
        "made": made.made,
        "kept": made.kept,
        "left": made.left,
        "notes": list(made.notes),
        "dry_run": False,
    }
    console.finish(report, str(made.page), status="success" if made.whole else "partial")
    if not made.whole:
        console.say(GO_ON)
        return Interrupted.exit_code
    return 0
