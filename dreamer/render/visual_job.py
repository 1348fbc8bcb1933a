"""From what the user asked for to recipes of feature visualizations: all checks, no work.

Nothing here imports torch until a device is chosen, so wrong names are answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dreamer import methods, targets, visual_recipe
from dreamer.errors import DreamerError, InputError, OutputError, UsageError
from dreamer.media import files, formats
from dreamer.networks import rows
from dreamer.recipe import TermRecord, check_neurons
from dreamer.render import devices, look
from dreamer.render.job import SAID, TAKEN
from dreamer.render.look import Look, Request
from dreamer.target_files import Files
from dreamer.visual_recipe import VisualRecipe, VisualSettings

if TYPE_CHECKING:
    from dreamer.networks.network import Network

MOST_PICTURES = 1024
_FLAGS = {"decorrelate": "plain-colors", "neutral": "color-cast"}
SPECTRUM_SIDE = 256
"""Photos are seen at this size, longer side in px, when their spectrum is measured."""


@dataclass(frozen=True)
class VisualRequest:
    """What was asked for; None is "not said".

    Attributes:
        targets: what the pictures are of, as text.
        recipe: a picture or a sheet whose recipes to use.
        method: a name of `dreamer.methods`.
        size: width and height, px.
        settings: over the method's, by their names in `VisualSettings`.
        spectrum: a folder of photos whose spectrum a MACO picture is to have.
        diversity: how many pictures of each target, as different as can be.
        restarts: from how many starts; the best is kept.
        negative: look for what the targets respond to least.
        look: the network, the device, the seed: see `dreamer.render.look.Request`.
    """

    targets: tuple[str, ...] = ()
    recipe: str | None = None
    method: str | None = None
    size: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    spectrum: str | None = None
    diversity: int | None = None
    restarts: int | None = None
    negative: bool = False
    look: Request = field(default_factory=Request)


@dataclass(frozen=True)
class VisualJob:
    """Pictures to make, all checks passed.

    Attributes:
        recipes: one a picture.
        look: the network's.
        workers: how many batches to make at once.
        notes: what the user should know.
    """

    recipes: tuple[VisualRecipe, ...]
    look: Look
    workers: int
    notes: tuple[str, ...]

    def load_network(self) -> Network:
        """Load the recipes' network, fetching it if needed and allowed."""
        return self.look.load_network()

    def describe(self) -> str:
        """Say in a few lines what will be done."""
        first = self.recipes[0]
        settings = first.settings
        width, height = first.size
        names = ", ".join(recipe.label for recipe in self.recipes[:6])
        more = f" and {len(self.recipes) - 6} more" if len(self.recipes) > 6 else ""
        lines = (
            ("targets", names + more),
            ("network", first.network),
            ("method", f"{first.method}, {settings.canvas} canvas"),
            (
                "size",
                f"{width}x{height}" + (f", {settings.octaves} octaves" * (settings.octaves > 1)),
            ),
            ("steps", f"{settings.steps} with {settings.views} views each"),
            ("seed", f"{first.seed}, {first.threads} threads on {first.device}"),
        )
        return "\n".join(f"{name:8} {value}" for name, value in lines)


def prepare(request: VisualRequest) -> VisualJob:
    """Resolve and check a request.

    Raises:
        UsageError: names, values or their combination.
        InputError: a photo, a vector, or the picture whose recipe to use.
        NetworkError: weights that cannot be had.
        DeviceError: the device.
    """
    if request.recipe is not None:
        return _again(request)
    if not request.targets:
        raise UsageError(
            "There is nothing to visualize.",
            f"Name at least one target: {targets.KINDS}.",
        )
    for text in request.targets:
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no target.", f"A target is text: {targets.KINDS}.")
    method_name = methods.DEFAULT if request.method is None else str(request.method)
    method = methods.method(method_name)
    settings = settings_of(method, request.settings)
    _check_numbers(request)
    if request.spectrum is not None and settings.canvas != "maco":
        raise UsageError(
            f"--spectrum is for the maco canvas, not for {settings.canvas}.", "Add --canvas maco."
        )
    how = look.look(replace(request.look, preset=None, recipe=None, overrides={}))
    width, height = request.size or (method.size, method.size)
    size = (width, height)
    read = Files()
    parsed = [
        (text, targets.resolve(targets.parse(text), how.row, read)) for text in request.targets
    ]
    how.row.check_size(*size, "The picture")
    if request.spectrum is not None:
        settings = settings.model_copy(update={"spectrum": spectrum(request.spectrum)})
    how = how.placed()
    group = request.diversity or 1
    count = len(parsed) * group
    # Many pictures are made side by side, each on one processor.
    threads = how.threads if count == 1 or request.look.threads else 1
    recipes = []
    for text, resolved in parsed:
        _check_needs_no_photo(resolved)
        check_neurons(resolved, how.row, size)
        sign = -1 if request.negative else 1
        terms = tuple(
            TermRecord(**{**vars(term), "weight": sign * term.weight}) for term in resolved
        )
        recipes += [
            VisualRecipe(
                method=method_name,
                size=size,
                network=how.row.name,
                weights=how.weights,
                settings=settings,
                terms=terms,
                group=group,
                variant=variant,
                restarts=request.restarts or 1,
                seed=how.seed,
                threads=threads,
                device=how.device.partition(":")[0],
            )
            for variant in range(group)
        ]
        _check_smallest(recipes[-1], how.row, text)
    _check_views(recipes[0], how.row)
    return VisualJob(tuple(recipes), how, _workers(recipes), how.notes)


def settings_of(method: methods.Method, over: Mapping[str, Any]) -> VisualSettings:
    """Return a method's settings with others over them.

    Args:
        method: where they come from.
        over: by their names in `VisualSettings`; None is "not said".

    Raises:
        UsageError: a value that is not valid.
    """
    said = {name: value for name, value in over.items() if value is not None}
    canvas = said.get("canvas", method.canvas)
    if canvas not in methods.CANVASES:
        raise _choice("canvas", canvas, methods.CANVASES)
    if said.get("transforms", method.transforms) not in methods.TRANSFORMS:
        raise _choice("transforms", said["transforms"], methods.TRANSFORMS)
    if said.get("border", methods.BORDERS[0]) not in methods.BORDERS:
        raise _choice("border", said["border"], methods.BORDERS)
    values = {
        "canvas": canvas,
        "steps": method.steps,
        "views": method.views,
        "transforms": method.transforms,
        "optimiser": method.optimiser[canvas],
        "rate": method.rates[canvas],
        "decay": method.decay,
        "neutral": method.neutral,
        **said,
    }
    try:
        return VisualSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            from dreamer.errors import unknown

            raise unknown("setting", name, VisualSettings.model_fields, "See the guide") from error
        raise UsageError(
            f"{first['input']!r} is not valid for {name}.",
            f"{first['msg'].replace('Input should', 'It should')}.",
        ) from error


def spectrum(folder: str) -> tuple[tuple[float, ...], ...]:
    """Measure the mean spectrum of the photos in a folder.

    Raises:
        InputError: it is not there, or holds no photo that can be read and shows something.
    """
    from dreamer.media import gathering, images

    found = gathering.gather([folder])

    def photos() -> Any:
        for each in found.photos:
            try:
                yield images.resize(images.load(each.path), SPECTRUM_SIDE).pixels[None]
            except DreamerError:  # others may do
                continue

    from dreamer.core import spectra

    try:
        return spectra.measured(photos())
    except ValueError as error:
        raise InputError(
            f"No photo in '{files.shown(folder)}' can be read and shows something.",
            "Name a folder with a few photographs.",
        ) from error


def stem(label: str) -> str:
    """Return the name of a file for what is called `label`."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "visualization"


def check_output(path: Path, recipes: Sequence[VisualRecipe], *, overwrite: bool) -> bool:
    """Refuse a file that could not be written; return whether it holds these pictures already.

    Raises:
        UsageError: an unknown suffix.
        OutputError: it exists with another recipe, or cannot be written.
    """
    formats.by_suffix(path)
    if os.path.lexists(path) and not overwrite:
        found = recipes_in(path)
        if [each.hash for each in found] == [each.hash for each in recipes]:
            if not any(each.partial for each in found):
                return True
        else:
            what = "exists already"
            if len(found) == len(recipes) == 1:
                changed = visual_recipe.differences(found[0], recipes[0])
                more = " and more" if len(changed) > SAID else ""
                what = f"exists, with another recipe: {', '.join(changed[:SAID])}{more}"
            raise OutputError(f"'{files.shown(path)}' {what}.", TAKEN)
    formats.check_target(path, overwrite=True if os.path.lexists(path) else overwrite)
    return False


def recipes_in(source: Path | str | bytes) -> tuple[VisualRecipe, ...]:
    """Return the recipes of the pictures in a file that may be anything; none if it has none.

    Args:
        source: the file, or its bytes.
    """
    from dreamer.media import metadata

    try:
        text = metadata.read(source if isinstance(source, bytes) else str(source))
        if text is not None and visual_recipe.is_visual(text):
            name = "stdin" if isinstance(source, bytes) else files.shown(source)
            return visual_recipe.from_json(text, name)
    except DreamerError:  # then it is not this picture, whatever else it is
        pass
    return ()


def _again(request: VisualRequest) -> VisualJob:
    """Make pictures again from what a file carries."""
    from dreamer.media import metadata

    source = request.recipe or ""
    if request.targets:
        raise UsageError("--from and a target both say what to show.", "Give one.")
    _check_nothing_over(request)
    text = metadata.read(source)
    if text is None or not visual_recipe.is_visual(text):
        what = "no recipe" if text is None else "the recipe of a dream"
        advice = "Only what `dreamer visualize` made can be made again so."
        if text is not None:
            advice = "Use `dreamer dream --from FILE`."
        raise InputError(f"'{files.shown(source)}' carries {what}.", advice)
    old = visual_recipe.from_json(text, files.shown(source))
    first = old[0]
    network = request.look.network or first.network
    row = rows.row(network) if isinstance(network, str) else network.row
    chosen = request.look.weights
    if chosen is None and isinstance(network, str) and network == first.network:
        chosen = look.weights_made_with(source, first.weights, row)
    wanted = replace(
        request.look,
        preset=None,
        recipe=None,
        overrides={},
        network=network,
        weights=chosen,
        seed=first.seed,
        threads=first.threads,
    )
    how = look.look(wanted)
    for each in old:
        _check_fits(each, row)
    how = how.placed()
    found = []
    likes = dict.fromkeys(term.like for each in old for term in each.terms if term.like)
    photos = look.pictures_again(likes, source)
    for each in old:
        terms = tuple(
            term.model_copy(update={"like": photos[term.like.name]}) if term.like else term
            for term in each.terms
        )
        kept = {
            "weights": how.weights,
            "device": how.device.partition(":")[0],
            "network": row.name,
            "terms": terms,
        }
        engine = visual_recipe.ENGINE
        found.append(each.model_copy(update={**kept, "engine": engine, "partial": False}))
    changed = visual_recipe.differences(first, found[0])
    notes = how.notes
    if changed:
        notes += (f"unlike the recipe in the file: {', '.join(changed)}",)
    return VisualJob(tuple(found), how, _workers(found), notes)


def _check_nothing_over(request: VisualRequest) -> None:
    """Refuse what would make other pictures than those of a file."""
    given = {
        "method": request.method,
        "size": request.size,
        "spectrum": request.spectrum,
        "diversity": request.diversity,
        "restarts": request.restarts,
        "negative": request.negative or None,
        "seed": request.look.seed,
        "threads": request.look.threads,
        **{_FLAGS.get(name, name): value for name, value in request.settings.items()},
    }
    said = [name for name, value in given.items() if value is not None]
    if said:
        raise UsageError(
            f"--from makes pictures as they were, and --{said[0]} would make others.",
            "Name the target again to make it otherwise; `dreamer inspect FILE` shows how it was.",
        )


def _check_needs_no_photo(terms: Sequence[targets.Resolved | TermRecord]) -> None:
    """Refuse what is towards a picture, or chosen by one: a visualization starts from nothing."""
    for term in terms:
        some = targets.choice(term.choice) if term.choice else None
        if term.guide is not None or (some is not None and some.rank):
            raise UsageError(
                f"'{term.label}' is for dreams on a photo, and a visualization has none.",
                "Dream on noise instead: `dreamer dream noise -t TARGET`.",
            )


def _check_fits(recipe: VisualRecipe, row: rows.Row) -> None:
    """Refuse a recipe that a network, which may be another one, does not have all of."""
    row.check_size(*recipe.size, "The picture")
    _check_needs_no_photo(recipe.terms)
    for term in recipe.terms:
        layer = row.layer(term.layer)
        channels = [channel for channel, _ in term.direction]
        some = targets.choice(term.choice) if term.choice else None
        channels += () if some is None else some.channels
        last = max([*channels, -1 if term.channel is None else term.channel])
        if last >= layer.channels:
            raise UsageError(
                f"Layer '{layer.name}' of {row.name} has no channel {last}.",
                f"Its channels are 0 to {layer.channels - 1}.",
            )
    terms = tuple(targets.Resolved(**dict(term)) for term in recipe.terms)
    check_neurons(terms, row, recipe.size)
    _check_smallest(recipe, row, recipe.target)
    _check_views(recipe, row)


def _workers(recipes: Sequence[VisualRecipe]) -> int:
    """Return how many batches to make at once: one a processor, if each takes only one."""
    first = recipes[0]
    if first.device != "cpu":
        return 1
    return max(1, devices.default_threads() // first.threads)


def _check_numbers(request: VisualRequest) -> None:
    for name, value, most in (
        ("diversity", request.diversity, 64),
        ("restarts", request.restarts, 64),
    ):
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise UsageError(
                f"{value!r} is not valid for {name}.", f"It can be a whole number from 1 to {most}."
            )
    size = request.size
    if size is not None and (not isinstance(size, tuple | list) or len(size) != 2):
        raise UsageError(
            f"{size!r} is not valid for size.", "It can be a side, or a width and a height, px."
        )
    for side in size or ():
        if type(side) is not int or not 1 <= side <= 8192:
            raise UsageError(
                f"{side!r} is not valid for a side.", "It can be a whole number from 1 to 8192 px."
            )
    if len(request.targets) * (request.diversity or 1) > MOST_PICTURES:
        raise UsageError(
            f"That is more than {MOST_PICTURES} pictures.",
            "Make a whole layer with `dreamer atlas`.",
        )


def _check_smallest(recipe: VisualRecipe, row: rows.Row, text: str) -> None:
    row.check_size(*recipe.sizes[0], f"The coarsest octave of '{text}'")


def _check_views(recipe: VisualRecipe, row: rows.Row) -> None:
    """Refuse pictures of whose views the network takes none: transforms may cut off a border."""
    import torch

    from dreamer.render import visualize

    width, height = recipe.sizes[0]
    chain = visualize.views(recipe.settings)
    high, wide = chain.draw((height, width), 0.0, torch.Generator()).size
    made = f"as the {recipe.settings.transforms} transforms make,"
    row.check_size(wide, high, f"A view of {width}x{height} pixels, {made}")


def _choice(name: str, given: object, choices: Sequence[str]) -> UsageError:
    from dreamer.errors import unknown

    return unknown(name, str(given), choices, f"There are {', '.join(choices)}")
