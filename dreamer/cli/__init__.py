"""The command line: parse, resolve a recipe, make one render call, report. One file a command.

A command's file is imported when that command is run or asked for help, and not before: what is
said here of each is all that `dreamer --help` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from dreamer import __version__
from dreamer.cli.console import run_guarded
from dreamer.errors import unknown

# The first line of each command's own help, in the order of the list.
COMMANDS = {
    "studio": "Open a page on this machine to look and steer.",
    "dream": "Dream on a photo, or on a sky of clouds when there is none.",
    "batch": "Dream on folders of photos, unattended.",
    "watch": "Dream what lands in a folder, until it is stopped.",
    "zoom": "Zoom into a dream, for as long as you like.",
    "video": "Dream a clip: what is dreamed moves with what it was dreamed on, without flicker.",
    "visualize": "Show what a layer, a channel, a neuron, a class or a mixture of them looks for.",
    "atlas": "Show what every channel of a network looks for, as files and one page.",
    "explain": "Show what the network sees in a photo, before and after a dream of it.",
    "presets": "List, show and compare presets.",
    "networks": "List, fetch and verify networks.",
    "layers": "List a network's layers in execution order.",
    "inspect": (
        "Print the recipe that a picture carries; `dreamer dream --from FILE` makes it again."
    ),
    "doctor": (
        "Check versions, devices, ffmpeg, weights and the output folder, and dream two steps."
    ),
}


class _Commands(TyperGroup):
    """The commands, each imported when it is wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = import_module(f"dreamer.cli.{cmd_name}")
            found = getattr(module, "app", None)
            if found is None:
                found = typer.Typer(add_completion=False)
                found.command(cmd_name)(getattr(module, cmd_name))
            self.commands[cmd_name] = get_command(found)
            self.commands[cmd_name].name = cmd_name
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names; `UsageError` if there is none."""
        if args and args[0] not in COMMANDS:
            raise unknown("command", args[0], list(COMMANDS), "`dreamer --help` lists them")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands with their first lines."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


app = typer.Typer(
    cls=_Commands,
    name="dreamer",
    help="Make dream pictures by gradient ascent through a trained image network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # drawing this one page in boxes took longer than all else
)


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
