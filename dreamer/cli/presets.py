"""`dreamer presets`: what is there, what is in one, and how they all look on a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dreamer.cli.console import StopOnInterrupt, console
from dreamer.cli.options import Json, NetworkName, Offline, Quiet, Verbose, complete_preset
from dreamer.errors import Interrupted
from dreamer.networks import rows

app = typer.Typer(
    help="List, show and compare presets.", no_args_is_help=True, add_completion=False
)


@app.command("list")
def list_presets(as_json: Json = False, verbose: Verbose = False) -> None:
    """Name every preset with what it is for."""
    console.setup("presets list", as_json=as_json, verbose=verbose)
    from dreamer import presets

    entries = presets.listing()
    listed = [
        {
            "name": entry.found.name,
            "description": entry.description,
            "source": entry.found.source,
            "error": None if entry.error is None else entry.error.message,
        }
        for entry in entries
    ]
    width = max(len(entry.found.name) for entry in entries)
    lines = []
    for entry in entries:
        place = "" if entry.found.source == "built-in" else f"  ({entry.found.source})"
        text = entry.description or "not valid: `dreamer presets show` says why"
        lines.append(f"{entry.found.name:{width}}  {text}{place}")
    console.finish({"presets": listed}, "\n".join(lines))


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A preset.", autocompletion=complete_preset)],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Print a preset with every setting, as a file to start your own from."""
    console.setup("presets show", as_json=as_json, verbose=verbose)
    from dreamer import presets

    preset = presets.load(name)
    found = preset.found
    settings = preset.settings.model_dump()
    result = {"name": preset.name, "source": found.source, "settings": settings}
    console.finish(result, presets.to_toml(preset.settings).rstrip())


@app.command("sheet")
def sheet(
    photo: Annotated[str, typer.Argument(help="The photo, or 'sky'.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Longer side of a tile, px.")] = 320,
    network: NetworkName = rows.DEFAULT,
    seed: Annotated[int, typer.Option(min=0, help="The same for every preset.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Replace the output.")
    ] = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream one photo with every preset, as one labelled contact sheet."""
    console.setup("presets sheet", as_json=as_json, quiet=quiet, verbose=verbose)
    from dreamer.render import sheets

    stem = Path(photo).stem
    wanted = Path("outputs") / f"{stem}-presets.png" if output is None else Path(output)
    path = sheets.target(wanted, numbered=output is None, overwrite=overwrite)
    with StopOnInterrupt() as stop:
        made = sheets.presets_sheet(
            photo,
            size=size,
            network=network,
            seed=seed,
            offline=offline,
            on_tile=lambda name, index, count: console.say(f"{index + 1}/{count} {name}"),
            stop=stop,
        )
    sheets.save(made.image, path, overwrite=overwrite)
    for name, error in made.failed.items():
        console.say(f"Left out: {name}: {error}")
    failed = {name: error.message for name, error in made.failed.items()}
    status = "partial" if made.failed or made.partial else "success"
    result = {"output": str(path), "failed": failed, "partial": made.partial}
    console.finish(result, str(path), status=status)
    if made.partial:
        console.say("Stopped early: the sheet holds the tiles that were made so far.")
        return Interrupted.exit_code
    return 1 if made.failed else 0
