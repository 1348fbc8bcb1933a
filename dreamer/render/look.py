"""How to dream, whatever the photo: a preset or the recipe in a file, a network, where to compute.

Nothing here imports torch before `Look.placed`, so wrong names are answered at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dreamer import colour_text, mask_text, presets, targets, visual_recipe
from dreamer import recipe as recipes
from dreamer.errors import InputError, NetworkError, UsageError, unknown
from dreamer.media import files
from dreamer.networks import rows, weights
from dreamer.recipe import Choice, Origin, Recipe
from dreamer.render import devices, memory
from dreamer.target_files import Files, Like

if TYPE_CHECKING:
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network
    from dreamer.settings import Settings

DEFAULT_PRESET = "dream"
Asked = Literal["auto", "float32", "mixed"]
PRECISIONS: tuple[Asked, ...] = ("auto", "float32", "mixed")
MOST = {
    "size": 65_535,
    "seed": recipes.MOST_SEED,
    "threads": recipes.MOST_THREADS,
    "tile": recipes.MOST_TILE,
}


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
        precision: what the network computes in: one of `PRECISIONS`.
        tile: the longest side of what the network is shown at once, px; 0 for all of it.
        threads: to compute with.
        offline: never fetch weights.
        output: the file to write.
        to_file: whether a file is written at all.
        overwrite: whether a file that exists is replaced.
        metadata: whether the file is to carry its recipe; one that does is not kept otherwise.
        depth: bits a colour of the file; one with fewer is not kept.
        here: whether the files that a recipe knows are looked for in the folder one is in, too, and
            not beside the recipe's file alone.
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
    precision: str = "auto"
    tile: int | None = None
    threads: int | None = None
    offline: bool = False
    output: Path | None = None
    to_file: bool = True
    overwrite: bool = False
    metadata: bool = True
    depth: int = 8
    here: bool = True


@dataclass(frozen=True)
class Look:
    """Everything that decides a picture but the photo and its size.

    Attributes:
        settings: a preset, or those of a recipe, with what was asked for over them.
        preset: the name they came from.
        row: the network's row.
        weights: the hash that stands for the network's weights in a recipe.
        chosen: a checkpoint, or the name of published weights, or None for the default.
        seed: decides all that is random.
        threads: to compute with.
        device: where to compute; "auto" until `placed`.
        offline: never fetch weights.
        loaded: the network, if it is loaded already.
        old: the recipe that it was taken from.
        notes: what the user should know.
        files: what was read of the files that the target names.
        precision: what the network computes in; "auto" is as it suits the device.
        tile: the longest side of what the network is shown at once, px, 0 for all of it; None is as
            it suits the picture.
    """

    settings: Settings
    preset: str
    row: rows.Row
    weights: str
    chosen: str | Path | None
    seed: int
    threads: int
    device: str
    offline: bool
    loaded: Network | None
    old: Recipe | None
    notes: tuple[str, ...]
    files: Files = field(default_factory=Files)
    precision: Asked = "auto"
    tile: int | None = None

    def placed(self) -> Look:
        """Choose the device, and prove that it works, and what steers the dream as well.

        Raises:
            DeviceError: it is not there, or does not work.
            InputError: a picture that steers nothing: see `dreamer.render.steering.check`.
            UsageError: a package is missing for what is to be kept.
        """
        from dreamer.render import steering

        place = devices.choose(self.device) if self.loaded is None else self.loaded.device
        steering.check(self.settings, self.files.photos, self.row)
        return replace(self, device=str(place))

    def recipe(self, origin: Origin, size: tuple[int, int]) -> Recipe:
        """Resolve it for one picture, after `placed`.

        Args:
            origin: what is dreamed on.
            size: width and height of the result, px.

        Raises:
            UsageError: the target names what the network does not have at that size.
            InputError: the picture is smaller than the network takes.
        """
        return recipes.resolve(
            self.settings,
            self.row,
            preset=self.preset,
            weights=self.weights,
            origin=origin,
            size=size,
            choice=self._choice(size),
            files=self.files,
        )

    def _choice(self, size: tuple[int, int]) -> Choice:
        kind, precision = self.device.partition(":")[0], self.precision
        if precision == "auto" and self.old is not None and self.old.device == kind:
            precision = self.old.precision
        if precision == "auto":  # elsewhere it was not measured, or does not always pay
            precision = "mixed" if kind == "cuda" else "float32"
        tile = self.tile
        if tile is None and self.old is not None and self.old.size == size:
            tile = self.old.tile
        if tile is None:
            tile = memory.tile(self.row.name, size, kind)
        return Choice(self.seed, self.threads, kind, precision, tile)

    def load_network(self) -> Network:
        """Load the network, fetching its weights if needed and allowed."""
        from dreamer.networks import network

        return self.loaded or network.load(
            self.row.name, weights=self.chosen, offline=self.offline, device=self.device
        )


def look(request: Request, *, threads: int | None = None) -> Look:
    """Resolve and check all of a request that is not about its photo.

    Args:
        request: what was asked for.
        threads: to compute with if nothing says how many; all processors by default.

    Raises:
        UsageError: names, values or their combination.
        InputError: the picture whose recipe to use, or a file that the target names.
        NetworkError: weights that cannot be had.
    """
    check_numbers(request)
    old = _old_recipe(request.recipe) if request.recipe is not None else None
    settings, preset, row, loaded = _names(request, old)
    chosen = _chosen_weights(request, old, row)
    notes = () if loaded is not None else _fetching(row, chosen, request.offline)
    threads = threads or devices.default_threads()
    return Look(
        settings=settings,
        preset=preset,
        row=row,
        weights=_weights_id(row, chosen, loaded),
        chosen=chosen,
        seed=request.seed if request.seed is not None else (old.seed if old else 0),
        threads=request.threads or (old.threads if old else threads),
        device=request.device,
        offline=request.offline,
        loaded=loaded,
        old=old,
        notes=notes,
        files=_files(settings, row, old, request),
        precision=_precision(request.precision),
        tile=request.tile,
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
    if text is None:
        return None
    name = "stdin" if isinstance(source, bytes) else files.shown(source)
    if visual_recipe.is_visual(text):
        raise UsageError(
            f"'{name}' carries the recipe of a feature visualization, not of a dream.",
            "Make it again with `dreamer visualize --from FILE`.",
        )
    return recipes.from_json(text, name)


def beside(recipe: str, name: str, sha256: str, *, here: bool = True) -> str | None:
    """Find a file that a recipe knows by its name and content, or None.

    It is looked for in the folder that one is in, then beside the recipe's own file.

    Args:
        recipe: the file that carries the recipe.
        name: of the file to find.
        sha256: of its bytes.
        here: whether it is looked for in the folder that one is in.

    Raises:
        InputError: a file of that name cannot be read.
    """
    for folder in _places(recipe, here):
        candidate = folder / Path(name).name
        if candidate.is_file() and files.sha256(candidate) == sha256:
            return str(candidate)
    return None


def _places(recipe: str, here: bool) -> tuple[Path, ...]:
    return (Path(), Path(recipe).parent) if here else (Path(recipe).parent,)


def pictures_again(wanted: Iterable[Like], recipe: str, *, here: bool = True) -> dict[str, Like]:
    """Find the pictures that a recipe needs beside its photo, see `beside`; by their names.

    Args:
        wanted: the recipe's.
        recipe: the file that carries it.
        here: see `beside`.

    Raises:
        InputError: one of them is not there, or another picture has its name.
    """
    found = {}
    for like in wanted:
        path = beside(recipe, like.name, like.sha256, here=here)
        if path is None:
            places = _places(recipe, here)
            there = any((place / Path(like.name).name).is_file() for place in places)
            said = "which is not here" if not there else "and the one of that name here is another"
            raise InputError(
                f"The recipe in '{files.shown(recipe)}' needs the picture "
                f"'{files.shown(like.name)}', {said}.",
                "Put that same picture beside the recipe's file, or into the folder that you are "
                "in.",
            )
        found[like.name] = replace(like, path=str(Path(path).absolute()))
    return found


def _precision(name: str) -> Asked:
    for known in PRECISIONS:
        if name == known:
            return known
    raise unknown("precision", name, PRECISIONS, f"There are {', '.join(PRECISIONS)}")


def check_filmed(how: Look) -> None:
    """Refuse what films do not have: `UsageError`."""
    if any(mask.kind == "alpha" for mask in how.settings.masks):
        raise UsageError(
            "The mask alpha is where a photo is opaque, and films have no transparency.",
            "Give a picture file as the mask: white is where the dream goes.",
        )


def check_numbers(request: Request) -> None:
    """Refuse numbers of the wrong kind, as Python callers may give them."""
    for name, value, least in (
        ("size", request.size, 1),
        ("seed", request.seed, 0),
        ("threads", request.threads, 1),
        ("tile", request.tile, 0),
    ):
        if value is None:
            continue
        if type(value) is not int or not least <= value <= MOST[name]:
            raise UsageError(
                f"{value!r} is not valid for {name}.",
                f"It can be a whole number from {least} to {MOST[name]}.",
            )


def _names(request: Request, old: Recipe | None) -> tuple[Settings, str, rows.Row, Network | None]:
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
    if request.overrides.get("regions") and request.overrides.get("target") is not None:
        raise UsageError(
            f"The target '{request.overrides['target']}' and regions both say what to dream.",
            "Give the target a region of its own: --region rest=TARGET.",
        )
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


def _files(settings: Settings, row: rows.Row, old: Recipe | None, request: Request) -> Files:
    """Read the files that settings name; what a recipe knows of its own is not read anew.

    Args:
        settings: how to dream.
        row: the network's.
        old: the recipe of a picture.
        request: which picture, and what was asked for over its recipe.

    Raises:
        UsageError: the network does not have what a target names.
        InputError: a file that is not there, or is another one than the recipe was made with.
    """
    found = Files()
    if old is not None:
        texts = old.settings.targets_on(row.name).values()
        same = [text for text in settings.targets_on(row.name).values() if text in texts]
        kept = {path for text in same for path in targets.paths(targets.parse(text))}
        same_files = set(settings.files).intersection(old.settings.files)
        kept |= same_files - _named(request.overrides)
        wanted = [like for like in old.pictures if like.name in kept]
        found = Files(pictures_again(wanted, request.recipe or "", here=request.here))
        for text in same:
            found.vectors.update(_vectors(old, targets.parse(text), row))
    recipes.terms_on(settings, row, found)
    return found


def _named(overrides: Mapping[str, Any]) -> set[str]:
    """Return the paths of the masks and colours that were asked for."""
    masks = [overrides.get("mask.where"), *(overrides.get("regions") or ())]
    paths = {mask_text.parse(text).path for text in masks if text}
    colour = overrides.get("colour.mode")
    return paths | ({colour_text.parse(colour).path} if colour else set())


def _vectors(old: Recipe, target: targets.Target, row: rows.Row) -> dict[str, tuple[float, ...]]:
    """Return the numbers of a recipe's directions by the names of their files."""
    kept = {(term.layer, term.label): dict(term.direction) for term in old.terms if term.direction}
    found = {}
    for term in target.terms:
        with contextlib.suppress(UsageError, KeyError):  # of another network: there is no such
            layer = row.layer(term.name)
            shares = kept[layer.name, replace(term, name=layer.name).label]
            found[term.path] = tuple(shares.get(k, 0.0) for k in range(layer.channels))
    return found


def _chosen_weights(request: Request, old: Recipe | None, row: rows.Row) -> str | Path | None:
    """Return the weights that were asked for, or those that the recipe in a file was made with.

    None if the network is loaded, and its weights with it.

    Raises:
        NetworkError: it was made with a checkpoint, which only the user has.
    """
    if request.network is not None and not isinstance(request.network, str):
        return None
    if request.weights is not None or old is None or old.network != row.name:
        return request.weights
    return weights_made_with(request.recipe or "", old.weights, row)


def weights_made_with(source: str, digest: str, row: rows.Row) -> str:
    """Return the name of the published weights that a recipe was made with.

    Args:
        source: the file with the recipe, for messages.
        digest: what the recipe says of them.
        row: the network's row.

    Raises:
        NetworkError: it was made with a checkpoint, which only the user has.
    """
    for published in row.weights:
        if published.sha256 == digest:
            return published.name
    raise NetworkError(
        f"The recipe in '{files.shown(source)}' was made with a checkpoint of "
        f"{row.name} (SHA-256 {digest[:12]}...).",
        "Give that checkpoint with --weights, or others by their name.",
    )


def _fetching(row: rows.Row, chosen: str | Path | None, offline: bool) -> tuple[str, ...]:
    """Say that weights will be fetched; refuse at once if they cannot be had."""
    published, checkpoint = weights.choose(row, chosen)
    if checkpoint is not None or weights.locate(published) is not None:
        return ()
    if offline or published.package is not None:
        raise weights.absent(row, published)
    return (f"the weights of {row.name} ({published.size / 1e6:.0f} MB) will be fetched",)


def _weights_id(row: rows.Row, chosen: str | Path | None, loaded: Network | None) -> str:
    """Return the hash that stands for the weights: as published, or of the checkpoint."""
    published, checkpoint = weights.choose(row, chosen)
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
