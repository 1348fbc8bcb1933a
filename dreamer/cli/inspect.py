"""`dreamer inspect`: how a picture was made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer.cli.console import console
from dreamer.cli.options import Json, Verbose
from dreamer.errors import DreamerError, InputError
from dreamer.media.files import shown

if TYPE_CHECKING:
    from dreamer.film.base import FilmRecipe
    from dreamer.film.video import VideoRecipe
    from dreamer.film.visual import PassageRecipe
    from dreamer.film.zoom import Key, ZoomRecipe
    from dreamer.visual_recipe import VisualRecipe


def inspect(
    file: Annotated[
        str, typer.Argument(help="A picture that dreamer made; - reads it from stdin.")
    ],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Print the recipe that a picture carries; `dreamer dream --from FILE` makes it again.

    A film's can be printed, too.
    """
    console.setup("inspect", as_json=as_json, verbose=verbose)
    from dreamer.film.reading import recipe_in
    from dreamer.presets import to_toml
    from dreamer.render import visual_job
    from dreamer.render.job import read_recipe

    film = None if file == "-" else recipe_in(Path(file))
    if film is not None:
        result = {"recipe": film.to_dict(), "recipe_hash": film.hash}
        console.finish(result, _film(film))
        return
    source = sys.stdin.buffer.read() if file == "-" else file
    try:
        visual = visual_job.recipes_in(source)
        if visual:
            _visualizations(visual)
            return
        recipe = read_recipe(source)
    except InputError:
        if file == "-" or not _plays(file):
            raise
        recipe = None
    if recipe is None:
        raise InputError(
            f"'{shown(file)}' carries no recipe.",
            "Only what dreamer made, and other programs did not change, carries one.",
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
        *([("precision", recipe.precision)] if recipe.precision != "float32" else []),
        *([("tile", f"{recipe.tile} px")] if recipe.tile else []),
        ("recipe", recipe.hash),
    )
    text = _lines(facts)
    result = {"recipe": recipe.to_dict(), "recipe_hash": recipe.hash}
    console.finish(result, f"{text}\n\n{to_toml(recipe.settings)}".rstrip())


def _film(recipe: ZoomRecipe | VideoRecipe | PassageRecipe) -> str:
    if recipe.film == "zoom":
        return _zoom(recipe)
    return _video(recipe) if recipe.film == "video" else _passage(recipe)


def _visualizations(recipes: Sequence[VisualRecipe]) -> None:
    """Print the recipes of feature visualizations, one after the other."""
    text = "\n\n".join(_lines(_visual_facts(each)) for each in recipes)
    first = recipes[0]
    result: dict[str, Any] = {"recipe": first.to_dict(), "recipe_hash": first.hash}
    if len(recipes) > 1:
        result = {"recipes": [{"recipe": r.to_dict(), "recipe_hash": r.hash} for r in recipes]}
    console.finish(result, text)


def _visual_facts(recipe: VisualRecipe) -> Sequence[tuple[str, str]]:
    settings = recipe.settings
    width, height = recipe.size
    return (
        ("made by", f"dreamer {recipe.dreamer}" + (", stopped early" if recipe.partial else "")),
        ("shows", recipe.label),
        ("size", f"{width}x{height}, {settings.octaves} octaves"),
        ("method", f"{recipe.method}: {settings.canvas} canvas, {settings.transforms} transforms"),
        ("steps", f"{settings.steps} with {settings.views} views, {settings.optimiser}"),
        ("network", f"{recipe.network}, weights {recipe.weights[:8]}"),
        ("score", "unknown" if recipe.score is None else f"{recipe.score:g} on held-out crops"),
        ("seed", f"{recipe.seed}, best of {recipe.restarts} starts"),
        ("threads", f"{recipe.threads} on {recipe.device}"),
        ("recipe", recipe.hash),
    )


def _lines(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:8} {value}" for name, value in facts)


def _passage(recipe: PassageRecipe) -> str:
    first = recipe.stations[0]
    width, height = recipe.size
    facts = (
        ("made by", f"dreamer {recipe.dreamer}"),
        ("shows", " -> ".join(each.target for each in recipe.stations)),
        ("film", f"{width}x{height}, {recipe.frames} frames at {recipe.fps:g} a second"),
        ("way", f"{recipe.keys} keys" + (", in a loop" if recipe.loop else "")),
        ("method", f"{first.method}: {first.settings.canvas} canvas, {first.settings.steps} steps"),
        ("network", f"{first.network}, weights {first.weights[:8]}"),
        ("seed", str(first.seed)),
        ("threads", f"{first.threads} on {first.device}"),
        ("written", _written(recipe)),
        ("recipe", recipe.hash),
    )
    return _lines(facts)


def _zoom(recipe: ZoomRecipe) -> str:
    first = recipe.stretches[0].recipe
    width, height = recipe.size
    motion = [f"{'out of' if recipe.outward else 'into'} {recipe.doublings:g} doublings"]
    motion += [f"turning {recipe.turn:g} degrees"] if abs(recipe.turn) > 1e-6 else []
    motion += [name for name in ("ease", "loop") if getattr(recipe, name)]
    facts = (
        ("made by", f"dreamer {recipe.dreamer}"),
        ("start", f"{first.origin.start} {shown(first.origin.name)}".strip()),
        ("film", f"{width}x{height}, {recipe.frames} frames at {recipe.fps:g} a second"),
        ("zoom", ", ".join((recipe.method, *motion))),
        *(("camera", _key(key)) for key in recipe.camera),
        ("network", f"{first.network}, weights {first.weights[:8]}"),
        *(
            (
                "look",
                f"{each.recipe.preset}, {each.recipe.target}, until {each.until:g} s"
                + (f", after a fade of {each.fade:g} s" if each.fade else ""),
            )
            for each in recipe.stretches
        ),
        ("dreams", f"{recipe.keyframes} of {first.size[0]}x{first.size[1]}"),
        ("seed", str(first.seed)),
        ("threads", f"{first.threads} on {first.device}"),
        ("written", _written(recipe)),
        ("recipe", recipe.hash),
    )
    return _lines(facts)


def _video(recipe: VideoRecipe) -> str:
    width, height = recipe.size
    whole = recipe.whole
    facts = (
        ("made by", f"dreamer {recipe.dreamer}"),
        ("clip", f"{shown(recipe.name)}, {recipe.seconds:.4g} s from {recipe.start:.4g} s"),
        ("film", f"{width}x{height}, {recipe.frames} frames"),
        ("used", f"one of {recipe.every} frames" if recipe.every > 1 else "every frame"),
        ("steady", f"{recipe.steadiness:g}"),
        ("network", f"{whole.network}, weights {whole.weights[:8]}"),
        ("look", f"{whole.preset}, {whole.target}"),
        ("seed", str(whole.seed)),
        ("threads", f"{whole.threads} on {whole.device}"),
        ("written", _written(recipe)),
        ("recipe", recipe.hash),
    )
    return _lines(facts)


def _written(recipe: FilmRecipe) -> str:
    written = recipe.encoding
    return (written.codec or "unknown") + ("" if written.crf is None else f", crf {written.crf}")


def _key(key: Key) -> str:
    across, down = ((place + 1) / 2 for place in key.centre)
    return (
        f"from {key.at:g} s {key.speed:.4g} times a second about {across:g},{down:g}, "
        f"turning {key.rotate:.4g} degrees a second, {key.ease}"
    )


def _plays(file: str) -> bool:
    """Whether a file is a film."""
    from dreamer.media import footage

    try:
        footage.probe(file)
    except DreamerError:
        return False
    return True
