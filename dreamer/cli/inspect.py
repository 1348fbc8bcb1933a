"""`dreamer inspect`: how a picture was made."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dreamer.cli.console import console
from dreamer.cli.options import Json, Verbose
from dreamer.errors import InputError
from dreamer.media.files import shown


def inspect(
    file: Annotated[
        str, typer.Argument(help="A picture that dreamer made; - reads it from stdin.")
    ],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Print the recipe that a picture carries; `dreamer dream --from FILE` makes it again."""
    console.setup("inspect", as_json=as_json, verbose=verbose)
    from dreamer.presets import to_toml
    from dreamer.render.job import read_recipe

    recipe = read_recipe(sys.stdin.buffer.read() if file == "-" else file)
    if recipe is None:
        raise InputError(
            f"'{shown(file)}' carries no recipe.",
            "Only pictures made by dreamer, and not changed by other programs, carry one.",
        )
    facts = (
        ("made by", f"dreamer {recipe.dreamer}" + (", stopped early" if recipe.partial else "")),
        ("start", f"{recipe.origin.start} {shown(recipe.origin.name)}".strip()),
        ("size", f"{recipe.size[0]}x{recipe.size[1]}"),
        ("preset", recipe.preset),
        ("network", f"{recipe.network}, weights {recipe.weights[:8]}"),
        ("target", recipe.target),
        ("octaves", " ".join(f"{w}x{h}" for w, h in recipe.octaves)),
        ("steps", " ".join(map(str, recipe.steps))),
        ("seed", str(recipe.seed)),
        ("threads", f"{recipe.threads} on {recipe.device}"),
        ("recipe", recipe.hash),
    )
    text = "\n".join(f"{name:8} {value}" for name, value in facts)
    result = {"recipe": recipe.to_dict(), "recipe_hash": recipe.hash}
    console.finish(result, f"{text}\n\n{to_toml(recipe.settings)}".rstrip())
