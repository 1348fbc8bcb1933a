"""From what the user asked for to a recipe, a photo and a place to write: all checks, no work.

Nothing here imports torch until the photo itself is read, so wrong names and files are answered
at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer import presets
from dreamer import recipe as recipes
from dreamer.errors import DreamerError, InputError, NetworkError, OutputError, UsageError
from dreamer.media import files, formats, reading
from dreamer.networks import rows, weights
from dreamer.recipe import Choice, Origin, Recipe, Start

if TYPE_CHECKING:
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network
    from dreamer.render.still import Dream
    from dreamer.settings import Settings

DEFAULT_PRESET = "dream"
DEFAULT_SIZE = (768, 512)
OUTPUTS = Path("outputs")
MADE: tuple[Start, ...] = ("sky", "noise")
MOST = {"size": 65_535, "seed": recipes.MOST_SEED, "threads": recipes.MOST_THREADS}


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
        offline: never fetch weights.
        output: the file to write.
        to_file: whether a file is written at all.
        overwrite: whether a file that exists is replaced.
        metadata: whether the file is to carry its recipe; one that does is not kept otherwise.
    """

    photo: str | bytes | Photo | None = None
    recipe: str | None = None
    preset: str | None = None
    network: str | Network | None = None
    weights: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None
    offline: bool = False
    output: Path | None = None
    to_file: bool = True
    overwrite: bool = False
    metadata: bool = True


@dataclass(frozen=True)
class Job:
    """A picture to make, all checks passed.

    Attributes:
        recipe: every number.
        photo: what it dreams on, or None if the recipe makes it itself.
        output: the file to write, or None.
        kept: whether that file holds this very result already.
        replaces_partial: whether that file holds a part of this very result.
        default_name: whether the user left the name to us: it may get a number.
        overwrite: whether a file that exists is replaced.
        notes: what the user should know.
        device: where to compute.
        weights: a checkpoint, or the name of published weights.
        offline: never fetch weights.
        loaded: the network, if it is loaded already.
    """

    recipe: Recipe
    photo: Photo | None
    output: Path | None
    kept: bool
    replaces_partial: bool
    default_name: bool
    overwrite: bool
    notes: tuple[str, ...]
    device: str
    weights: str | Path | None
    offline: bool
    loaded: Network | None

    def load_network(self) -> Network:
        """Load the recipe's network, fetching it if needed and allowed."""
        from dreamer.networks import network

        return self.loaded or network.load(
            self.recipe.network, weights=self.weights, offline=self.offline, device=self.device
        )

    def save(self, made: Dream, *, metadata: bool = True) -> Path:
        """Write the result; a default name that was taken meanwhile gets a number.

        Raises:
            OutputError: it cannot be written, or a name that was asked for is taken.
        """
        assert self.output is not None
        path = self.output
        while True:
            try:
                overwrite = self.overwrite or self.replaces_partial
                return made.save(path, overwrite=overwrite, metadata=metadata)
            except OutputError as error:
                taken = isinstance(error.__cause__, FileExistsError)
                if not taken or not self.default_name:
                    raise
            path = files.free_name(self.output)

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
    _check_numbers(request)
    if request.output is not None:
        formats.by_suffix(request.output)
    old = _old_recipe(request.recipe) if request.recipe is not None else None
    settings, preset, row, loaded = _look(request, old)
    chosen = _chosen_weights(request, old, row)
    notes = () if loaded is not None else _fetching(row, chosen, request.offline)
    source, start = _source(request, old)
    name, size = _name_and_size(source, start, old, request.size)
    row.check_size(*size, _subject(name, request.size))
    output = _output(request, name, preset, size)
    from dreamer.media import images
    from dreamer.render import devices

    place = devices.choose(request.device) if loaded is None else loaded.device
    photo = images.load(source) if isinstance(source, str | bytes) else source
    origin = Origin(start=start)
    if photo is not None:
        origin = Origin(name=_text(photo.name), sha256=photo.sha256)
    if old is not None and origin.sha256 == old.origin.sha256 and start == old.origin.start:
        origin = old.origin  # a photo may have been renamed
    seed = request.seed if request.seed is not None else (old.seed if old else 0)
    threads = request.threads or (old.threads if old else devices.default_threads())
    recipe = recipes.resolve(
        settings,
        row,
        preset=preset,
        weights=_weights_id(row, chosen, loaded),
        origin=origin,
        size=size,
        choice=Choice(seed, threads, place.type),
    )
    notes += photo.notes if photo is not None else ()
    changed = recipes.differences(old, recipe) if old is not None else []
    if changed:
        notes += (f"unlike the recipe in the file: {', '.join(changed)}",)
    path, kept, partial = _place(request, output, recipe)
    return Job(
        recipe=recipe,
        photo=photo,
        output=path,
        kept=kept,
        replaces_partial=partial,
        default_name=request.output is None,
        overwrite=request.overwrite,
        notes=notes,
        device=str(place),
        weights=chosen,
        offline=request.offline,
        loaded=loaded,
    )


def read_recipe(source: str | bytes) -> Recipe | None:
    """Read the recipe that a picture carries, or None if it carries none.

    Args:
        source: a file, or the bytes of one.

    Raises:
        InputError: it cannot be read, or is no picture.
        UsageError: the recipe is damaged, or too new for this program.
    """
    from dreamer.media import metadata

    text = metadata.read(source)
    name = "stdin" if isinstance(source, bytes) else files.shown(source)
    return None if text is None else recipes.from_json(text, name)


def _check_numbers(request: Request) -> None:
    """Refuse numbers of the wrong kind, as Python callers may give them."""
    for name, value, least in (
        ("size", request.size, 1),
        ("seed", request.seed, 0),
        ("threads", request.threads, 1),
    ):
        if value is None:
            continue
        if type(value) is not int or not least <= value <= MOST[name]:
            raise UsageError(
                f"{value!r} is not valid for {name}.",
                f"It can be a whole number from {least} to {MOST[name]}.",
            )


def _look(request: Request, old: Recipe | None) -> tuple[Settings, str, rows.Row, Network | None]:
    """Return the settings, the preset's name, and the network's row and, if loaded, itself."""
    if old is not None and request.preset is not None:
        raise UsageError(
            "--from and --preset both say how to dream.",
            "Give one; other flags go over either.",
        )
    if old is None:
        preset = presets.load(DEFAULT_PRESET if request.preset is None else request.preset)
    else:
        preset = presets.Preset(presets.Found(old.preset, Path(), "file"), old.settings)
    settings = presets.merge(preset, request.overrides).settings
    network = request.network or (rows.DEFAULT if old is None else old.network)
    if isinstance(network, str):
        return settings, preset.name, rows.row(network), None
    if request.weights is not None:
        raise UsageError("The network is loaded already.", "Give its weights when you load it.")
    if request.device not in ("auto", network.device.type, str(network.device)):
        raise UsageError(
            f"The network is loaded on {network.device}, not on '{request.device}'.",
            "Load it on that device.",
        )
    return settings, preset.name, network.row, network


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
    if old is not None and source is not None and _sha256(source) == old.origin.sha256:
        size = old.size
    return name, size if long_edge is None else reading.fitted(*size, long_edge)


def _sha256(source: str | bytes | Photo) -> str:
    if isinstance(source, str):
        return weights.sha256(Path(source))
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source.sha256


def _subject(name: str, long_edge: int | None) -> str:
    """Name a picture whose size is judged, with what the size comes from."""
    return f"'{files.shown(name)}'" + ("" if long_edge is None else f" at --size {long_edge}")


def _text(name: str) -> str:
    """Return a file's name as text that can be written down, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def _chosen_weights(request: Request, old: Recipe | None, row: rows.Row) -> str | Path | None:
    """Return the weights that were asked for, or those that the recipe in a file was made with.

    Raises:
        NetworkError: it was made with a checkpoint, which only the user has.
    """
    if request.weights is not None or old is None or old.network != row.name:
        return request.weights
    for published in row.weights:
        if published.sha256 == old.weights:
            return published.name
    if request.network is not None and not isinstance(request.network, str):
        return None
    raise NetworkError(
        f"The recipe in '{files.shown(request.recipe or '')}' was made with a checkpoint of "
        f"{row.name} (SHA-256 {old.weights[:12]}...).",
        "Give that checkpoint with --weights, or others by their name.",
    )


def _fetching(row: rows.Row, chosen: str | Path | None, offline: bool) -> tuple[str, ...]:
    """Say that weights will be fetched; refuse at once if they cannot be had."""
    from dreamer.networks.network import choose_weights

    published, checkpoint = choose_weights(row, chosen)
    if checkpoint is not None or weights.locate(published) is not None:
        return ()
    if offline or published.package is not None:
        raise weights.absent(row, published)
    return (f"the weights of {row.name} ({published.size / 1e6:.0f} MB) will be fetched",)


def _weights_id(row: rows.Row, chosen: str | Path | None, loaded: Network | None) -> str:
    """Return the hash that stands for the weights: as published, or of the checkpoint."""
    from dreamer.networks.network import choose_weights

    published, checkpoint = choose_weights(row, chosen)
    if loaded is not None:
        digest = loaded.weights_sha256
    elif checkpoint is not None:
        digest = weights.sha256(checkpoint)
    else:
        return published.sha256
    # The same file is the same weights, however it was given.
    return next((w.sha256 for w in row.weights if digest.startswith(w.sha256)), digest)


def _old_recipe(path: str) -> Recipe:
    recipe = read_recipe(path)
    if recipe is None:
        raise InputError(
            f"'{files.shown(path)}' carries no recipe.",
            "Only pictures made by dreamer, and not changed by other programs, carry one.",
        )
    return recipe


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
    while os.path.lexists(candidate) and not request.overwrite:
        found = _recipe_in(candidate)
        if found is not None and found.hash == recipe.hash and request.metadata:
            return candidate, not found.partial, found.partial
        if not default:
            other = found is not None and found.hash != recipe.hash
            what = "exists, with another recipe" if other else "exists already"
            raise OutputError(
                f"'{files.shown(candidate)}' {what}.",
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
