"""Options that more than one command has, and the completion of their values.

Nothing here imports torch or pydantic: the shell waits for the completion.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dreamer.networks import rows

DEVICES = "auto, cpu, cuda, cuda:1, mps"


def complete_preset(incomplete: str) -> list[str]:
    """Name the presets that begin so."""
    from dreamer import preset_files

    return [name for name in preset_files.names() if name.startswith(incomplete)]


def complete_network(incomplete: str) -> list[str]:
    """Name the networks that begin so."""
    return [name for name in rows.names() if name.startswith(incomplete)]


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """Name the detail levels, and the layers of the chosen network, that begin so."""
    name = ctx.params.get("network") or rows.DEFAULT
    layers = [layer.name for layer in rows.row(name).layers] if name in rows.names() else []
    return [name for name in (*rows.LEVELS, *layers) if name.startswith(incomplete)]


def complete_level(incomplete: str) -> list[str]:
    """Name the detail levels that begin so."""
    return [level for level in rows.LEVELS if level.startswith(incomplete)]


def complete_color(incomplete: str) -> list[str]:
    """Name the ways to treat the photo's colours that begin so."""
    return [mode for mode in ("free", "keep", "luma") if mode.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Name the devices that begin so."""
    return [name for name in DEVICES.split(", ") if name.startswith(incomplete)]


Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON envelope on stdout.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print the result and errors only.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", metavar="", help="Say more; show tracebacks.")
]
NetworkName = Annotated[
    str,
    typer.Option("--network", help="The network to dream with.", autocompletion=complete_network),
]
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Never fetch weights.")]
