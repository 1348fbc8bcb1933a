"""`dreamer layers`: what a network can be asked to maximise."""

from __future__ import annotations

from typing import Any

from dreamer.cli.console import console
from dreamer.cli.options import Json, NetworkName, Verbose
from dreamer.networks import rows


def layers(
    network: NetworkName = rows.DEFAULT, as_json: Json = False, verbose: Verbose = False
) -> None:
    """List a network's layers in execution order."""
    console.setup("layers", as_json=as_json, verbose=verbose)
    row = rows.row(network)
    listed: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "aliases": [alias for alias, name in row.aliases.items() if name == layer.name],
            "channels": layer.channels,
            "stride": layer.stride,
            "depth": round(layer.depth, 3),
            "level": row.level_of(layer),
            "in_levels": [level for level in rows.LEVELS if layer.name in row.level(level)],
        }
        for layer in row.layers
    ]
    width = max(len(str(layer["name"])) for layer in listed)
    lines = [f"{'layer':{width}}  channels  stride  depth  detail level (* part of it)"]
    for layer in listed:
        inside = ", ".join(f"{level} *" for level in layer["in_levels"]) or layer["level"]
        also = f"  = {', '.join(layer['aliases'])}" if layer["aliases"] else ""
        lines.append(
            f"{layer['name']:{width}}  {layer['channels']:8}  {layer['stride'] or '-':>6}  "
            f"{layer['depth']:5.2f}  {inside}{also}"
        )
    console.finish({"network": row.name, "layers": listed}, "\n".join(lines))
