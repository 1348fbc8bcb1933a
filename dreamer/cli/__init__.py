"""The command line: parse, resolve a recipe, make one render call, report. One file a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from dreamer import __version__
from dreamer.cli import (
    atlas,
    batch,
    doctor,
    dream,
    explain,
    inspect,
    layers,
    networks,
    presets,
    video,
    visualize,
    watch,
    zoom,
)
from dreamer.cli.console import run_guarded

app = typer.Typer(
    name="dreamer",
    help="Make dream pictures by gradient ascent through a trained image network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("dream")(dream.dream)
app.command("batch")(batch.batch)
app.command("watch")(watch.watch)
app.command("zoom")(zoom.zoom)
app.command("video")(video.video)
app.command("visualize")(visualize.visualize)
app.command("atlas")(atlas.atlas)
app.command("explain")(explain.explain)
app.add_typer(presets.app, name="presets")
app.add_typer(networks.app, name="networks")
app.command("layers")(layers.layers)
app.command("inspect")(inspect.inspect)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dreamer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name; None for those of the process.
    """
    return run_guarded(app, arguments)
