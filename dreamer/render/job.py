"""From what the user asked for to a recipe, a photo and a place to write: all checks, no work.

Nothing here imports torch until the photo itself is read, so wrong names and files are answered
at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer import presets
from dreamer import recipe as recipes
from dreamer.errors import DreamerError, InputError, OutputError, UsageError
from dreamer.media import files, formats, reading
from dreamer.networks import rows, weights
from dreamer.recipe import Choice, Origin, Recipe, Start

if TYPE_CHECKING:
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network
    from dreamer.settings import Settings

DEFAULT_PRESET = "dream"
DEFAULT_SIZE = (768, 512)
OUTPUTS = Path("outputs")
MADE: tuple[Start, ...] = ("sky", "noise")


@dataclass(frozen=True)
class Request:
    """What was asked for; None is "not said".

    Attributes:
        photo: a file's path, a file's bytes, "sky" or "noise", or a photo that was read.
        recipe: a picture whose recipe to use.
        preset: the name or file of a preset.
        network: the name of a network, or one that was loaded.
        weights: a checkpoint, or the name of published weights.
        overrides: settings over the preset's, by their paths.
        size: the longer side of the result, px.
        seed: decides all that is random.
        device: where to compute.
        threads: to compute with.
        output: the file to write.
        to_file: whether a file is written at all.
        overwrite: whether a file that exists is replaced.
    """

    photo: str | bytes | Photo | None = None
    recipe: str | None = None
    preset: str | None = None
    network: str | Network = rows.DEFAULT
    weights: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None
    output: Path | None = None
    to_file: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Job:
    """A picture to make, all checks passed.

    Attributes:
        recipe: every number.
        photo: what it dreams on, or None if the recipe makes it itself.
        output: the file to write, or None.
        kept: whether that file holds this very result already.
        replaces_partial: whether that file holds a part of this very result.
        notes: what the user should know.
        device: where to compute.
        weights: a checkpoint, or the name of published weights.
        loaded: the network, if it is loaded already.
    """

    recipe: Recipe
    photo: Photo | None
    output: Path | None
    kept: bool
    replaces_partial: bool
    notes: tuple[str, ...]
    device: str
    weights: str | Path | None
    loaded: Network | None

    def load_network(self, *, offline: bool) -> Network:
        """Load the recipe's network, fetching it if needed and allowed."""
        from dreamer.networks import network

        return self.loaded or network.load(
            self.recipe.network, weights=self.weights, offline=offline, device=self.device
        )

    def describe(self) -> str:
        """Say in a few lines what will be done."""
        recipe = self.recipe
        sizes = " ".join(f"{w}x{h}" for w, h in recipe.octaves)
        lines = (
            ("start", recipe.origin.name or recipe.origin.start),
            ("preset", recipe.preset),
            ("network", recipe.network),
            ("target", recipe.target),
            ("size", f"{recipe.size[0]}x{recipe.size[1]}"),
            ("octaves", f"{sizes} with {' '.join(map(str, recipe.steps))} steps"),
            ("seed", f"{recipe.seed}, {recipe.threads} threads on {recipe.device}"),
            ("output", "-" if self.output is None else str(self.output)),
        )
        return "\n".join(f"{name:8} {value}" for name, value in lines)


def prepare(request: Request) -> Job:
    """Resolve and check a request.

    Raises:
        UsageError: names, values or their combination.
        InputError: the photo.
        NetworkError: a checkpoint that is not there.
        OutputError: the output exists, or cannot be written.
        DeviceError: the device.
    """
    if request.output is not None:
        formats.by_suffix(request.output)
    old = _old_recipe(request.recipe) if request.recipe is not None else None
    settings, preset, row, loaded = _look(request, old)
    source, start = _source(request, old)
    name, size = _name_and_size(source, start, old, request.size)
    row.check_size(*size, f"'{files.shown(name)}'")
    output = _output(request, name, preset, size)
    from dreamer.media import images
    from dreamer.render import devices

    place = devices.choose(request.device) if loaded is None else loaded.device
    photo = images.load(source) if isinstance(source, str | bytes) else source
    origin = Origin(start=start) if photo is None else Origin(name=photo.name, sha256=photo.sha256)
    if old is not None and request.size is None and origin.sha256 == old.origin.sha256:
        size = old.size
    seed = request.seed if request.seed is not None else (old.seed if old else 0)
    threads = request.threads or (old.threads if old else devices.default_threads())
    recipe = recipes.resolve(
        settings,
        row,
        preset=preset,
        weights=_weights_id(row, request.weights, loaded),
        origin=origin,
        size=size,
        choice=Choice(seed, threads, place.type),
    )
    notes = (photo.notes if photo is not None else ()) + _differences(old, recipe)
    path, kept, partial = _place(request, output, recipe)
    return Job(recipe, photo, path, kept, partial, notes, str(place), request.weights, loaded)


def read_recipe(path: str) -> Recipe | None:
    """Read the recipe that a picture carries, or None if it carries none.

    Raises:
        InputError: it cannot be read, or is no picture.
        UsageError: the recipe is damaged, or too new for this program.
    """
    from dreamer.media import metadata

    text = metadata.read(path)
    return None if text is None else recipes.from_json(text, files.shown(path))


def _look(request: Request, old: Recipe | None) -> tuple[Settings, str, rows.Row, Network | None]:
    """Return the settings, the preset's name, and the network's row and, if loaded, itself."""
    if old is not None and request.preset is not None:
        raise UsageError(
            "--from and --preset both say how to dream.",
            "Give one; other flags go over either.",
        )
    if old is None:
        preset = presets.load(request.preset or DEFAULT_PRESET)
    else:
        preset = presets.Preset(presets.Found(old.preset, Path(), "file"), old.settings)
    settings = presets.merge(preset, request.overrides).settings
    if not isinstance(request.network, str):
        return settings, preset.name, request.network.row, request.network
    other = old is None or request.network != rows.DEFAULT
    row = rows.row(request.network if other or old is None else old.network)
    return settings, preset.name, row, None


def _source(request: Request, old: Recipe | None) -> tuple[str | bytes | Photo | None, Start]:
    """Find what to dream on: the photo, or None and what is made instead."""
    photo = request.photo
    for made in MADE:
        if photo == made and not Path(made).exists():
            return None, made
    if photo is not None:
        return photo, "photo"
    if old is None:
        return None, "sky"
    if old.origin.start != "photo":
        return None, old.origin.start
    for folder in (Path(), Path(request.recipe or "").parent):
        candidate = folder / Path(old.origin.name).name
        if candidate.is_file() and weights.sha256(candidate) == old.origin.sha256:
            return str(candidate), "photo"
    raise InputError(
        f"The recipe in '{files.shown(request.recipe or '')}' was made for the photo "
        f"'{files.shown(old.origin.name)}', which is not here.",
        "Give the photo: `dreamer dream PHOTO --from FILE`.",
    )


def _name_and_size(
    source: str | bytes | Photo | None, start: Start, old: Recipe | None, long_edge: int | None
) -> tuple[str, tuple[int, int]]:
    """Return what the start is called and the result's width and height, from headers alone."""
    if source is None:
        name: str = start
        size = old.size if old is not None and old.origin.start == start else DEFAULT_SIZE
    elif isinstance(source, str | bytes):
        name = Path(source).name if isinstance(source, str) else "stdin"
        size = reading.probe(source)
    else:
        name, size = source.name, source.size
    return name, size if long_edge is None else reading.fitted(*size, long_edge)


def _weights_id(row: rows.Row, chosen: str | Path | None, loaded: Network | None) -> str:
    """Return the hash that stands for the weights: as published, or of the checkpoint."""
    from dreamer.networks.network import choose_weights

    published, checkpoint = choose_weights(row, chosen)
    if loaded is not None:
        known = loaded.published.sha256
        return known if loaded.weights_sha256.startswith(known) else loaded.weights_sha256
    return published.sha256 if checkpoint is None else weights.sha256(checkpoint)


def _old_recipe(path: str) -> Recipe:
    recipe = read_recipe(path)
    if recipe is None:
        raise InputError(
            f"'{files.shown(path)}' carries no recipe.",
            "Only pictures made by dreamer, and not changed by other programs, carry one.",
        )
    return recipe


def _differences(old: Recipe | None, new: Recipe) -> tuple[str, ...]:
    """Say why a recipe from a file will not make that file's bytes again, if it will not."""
    if old is None or old.hash == new.hash:
        return ()
    before, after = old.to_dict(), new.to_dict()
    names = [key for key in after if key not in ("dreamer", "preset", "partial")]
    changed = [key for key in names if before[key] != after[key]]
    return (f"unlike the recipe in the file: {', '.join(changed)}",)


def _output(request: Request, name: str, preset: str, size: tuple[int, int]) -> Path | None:
    """Return the file to write: the one asked for, or the default name for the result."""
    if not request.to_file:
        return None
    output = request.output
    if output is None:
        output = OUTPUTS / files.fitting_name(Path(name).stem or "photo", f"-{preset}.png")
    formats.check_size(output, *size)
    return output


def _place(request: Request, output: Path | None, recipe: Recipe) -> tuple[Path | None, bool, bool]:
    """Return where to write, whether it is done already, and whether a part of it is there."""
    if output is None:
        return None, False, False
    default = request.output is None
    candidate, count = output, 1
    while candidate.exists() and not request.overwrite:
        found = _recipe_in(candidate)
        if found is not None and found.hash == recipe.hash:
            return candidate, not found.partial, found.partial
        if not default:
            raise OutputError(
                f"'{files.shown(candidate)}' exists, with another recipe.",
                "Choose another name with -o, or replace it with --overwrite.",
            )
        count += 1
        ending = f"-{count}{output.suffix}"
        candidate = output.with_name(files.fitting_name(output.stem, ending))
    formats.check_target(candidate, overwrite=request.overwrite)
    return candidate, False, False


def _recipe_in(path: Path) -> Recipe | None:
    """Read the recipe of a file that may be anything."""
    try:
        return read_recipe(str(path))
    except DreamerError:  # then it is not this result, whatever else it is
        return None
