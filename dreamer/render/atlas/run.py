"""An atlas of a network: every channel of some layers, batch by batch, as files and one page.

A batch is made whole or not at all, and always of the same channels, so an atlas that was
interrupted goes on to the very files that it would have had.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dreamer import visual_recipe
from dreamer.errors import InputError, OutputError
from dreamer.media import files
from dreamer.networks import rows
from dreamer.networks.network import Network
from dreamer.networks.rows import Row
from dreamer.render import devices, visualize
from dreamer.render.atlas import classes, page, plan, store
from dreamer.render.atlas import photos as photographs
from dreamer.render.atlas.photos import Crop
from dreamer.render.atlas.plan import Part, Plan, Wanted
from dreamer.render.atlas.store import Entry, Favourite, LayerRecord, Layers, Record
from dreamer.render.visualize import Visualization

PHOTOS = 4
"""Photos of a channel, at most."""
POLL = 0.2
"""Seconds between two looks at how far the batches are."""

Stop = Callable[[], bool]


@dataclass(frozen=True)
class At:
    """How far an atlas is.

    Attributes:
        doing: "photos" or "pictures".
        layer: whose pictures are made; "" for photos.
        done: photos looked at, or channels of this layer that are there.
        of: of how many.
        work: pixels x steps of all pictures that are over, or are being made.
        whole: of how many that are to be made.
    """

    doing: Literal["photos", "pictures"]
    layer: str
    done: int
    of: int
    work: int
    whole: int


OnProgress = Callable[[At], None]


@dataclass(frozen=True)
class Atlas:
    """An atlas, as far as it is made.

    Attributes:
        folder: of it all.
        made: how many channels this run made.
        kept: how many were there already.
        left: how many are still to be made.
        whole: whether that is none, and all photos were looked through.
        notes: what the user should know.
    """

    folder: Path
    made: int
    kept: int
    left: int
    whole: bool
    notes: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page that shows it."""
        return self.folder / store.PAGE


def atlas(
    folder: str | os.PathLike[str],
    *,
    network: str | Network | None = None,
    weights: str | Path | None = None,
    layers: Sequence[str] | None = None,
    channels: str | Sequence[int] | None = None,
    size: int = plan.SIZE,
    steps: int | None = None,
    variants: int = 1,
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
    device: str | torch.device = "auto",
    threads: int | None = None,
    offline: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> Atlas:
    """Make a picture of every channel of some layers, and a page that shows them all.

    What is there already, with the same settings, is kept: more layers can be added, and what was
    interrupted goes on.

    Args:
        folder: where it goes, or is.
        network: a network's name, or one that was loaded; None is the embedded one.
        weights: the name of published weights, or a checkpoint; not with a loaded network.
        layers: names of layers or detail levels, or `["all"]`; None takes those of every detail
            level. "logits" is only taken if it is named.
        channels: such as "0-15,37" or `range(16)`, of each layer; None takes all.
        size: the side of the pictures, px.
        steps: of gradient ascent; None takes the method's.
        variants: pictures of each channel, that avoid each other's textures.
        photos: files and folders of photos, of which each channel gets its favourites.
        seed: decides all that is random.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: to compute a batch with, one by default; part of the recipe. There are as many
            batches at once as processors suffice for.
        offline: never fetch weights.
        overwrite: whether an atlas of other settings is replaced.
        on_progress: told how far it is.
        stop: asked now and then; what is whole is then kept.

    Returns:
        An `Atlas`: `.page` is the file to open.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    several = [photos] if isinstance(photos, str | os.PathLike) else photos
    if channels is not None and not isinstance(channels, str):
        channels = ",".join(map(str, channels))
    wanted = Wanted(
        folder=Path(folder),
        network=network,
        weights=weights,
        layers=[layers] if isinstance(layers, str) else layers,
        channels=channels,
        size=size,
        steps=steps,
        variants=variants,
        photos=[os.fspath(each) for each in several],
        seed=seed,
        device=str(device),
        threads=threads,
        offline=offline,
        overwrite=overwrite,
    )
    return make(plan.plan(wanted), on_progress=on_progress, stop=stop)


@dataclass(frozen=True)
class Todo:
    """What is to be done of an atlas.

    Attributes:
        missing: channels by layer that lack pictures, in order.
        kept: how many channels do not.
        files: how many pictures are to be written.
        old: the atlas that is there.
        others: what differs between its settings and those that are wanted.
    """

    missing: dict[str, list[int]]
    kept: int
    files: int
    old: Record | None
    others: tuple[str, ...]


def look_at(planned: Plan) -> Todo:
    """Compare what is wanted with what there is.

    Raises:
        OutputError: an atlas of other settings is there, or something else; not if it may be
            replaced.
    """
    wanted = planned.wanted
    try:
        old = store.read(wanted.folder)
    except OutputError:
        if not wanted.overwrite:
            raise
        old = None
    others = _differences(old, planned) if old else []
    if others and not wanted.overwrite:
        raise OutputError(
            f"'{files.shown(wanted.folder)}' holds an atlas with other settings: "
            f"{', '.join(others)}.",
            "Choose another folder, or replace it with --overwrite.",
        )
    layers = Layers(wanted.folder)
    missing = {
        part.layer.name: [
            channel
            for channel in part.channels
            if others or not layers.whole(part.folder, channel, _hash(planned, part, channel))
        ]
        for part in planned.parts
    }
    left = sum(map(len, missing.values()))
    kept = sum(len(part.channels) for part in planned.parts) - left
    return Todo(missing, kept, left * wanted.variants, old, tuple(others))


def make(
    planned: Plan, *, on_progress: OnProgress | None = None, stop: Stop | None = None
) -> Atlas:
    """Make what is missing of an atlas.

    Args:
        planned: from `plan.plan`.
        on_progress: told how far it is.
        stop: asked now and then; what is whole is then kept.

    Raises:
        OutputError: it cannot be written, another dreamer is at work on it, or an atlas of other
            settings is there.
        DreamerError: as making a picture does.
    """
    with store.claimed(planned.wanted.folder):
        return _Making(planned, on_progress, stop)()


class _Making:
    """One run, in a folder that is locked."""

    def __init__(self, planned: Plan, on_progress: OnProgress | None, stop: Stop | None) -> None:
        self._planned = planned
        self._folder = planned.wanted.folder
        self._tell = on_progress or (lambda _: None)
        self._stop = stop or (lambda: False)
        self._todo = look_at(planned)
        self._layers = Layers(self._folder)
        self._record = Record(planned.recipe)
        self._notes = list(planned.notes)
        self._made = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._work = 0
        self._done = 0
        self._batches = [
            [batch for batch in part.batches if set(batch) & set(self._missing(part))]
            for part in planned.parts
        ]
        work = planned.recipe.work * planned.recipe.group
        self._whole = work * sum(len(batch) for part in self._batches for batch in part)

    def __call__(self) -> Atlas:
        self._clean()
        network = self._planned.look.load_network()
        self._describe(network)
        self._write_record()
        try:
            seen = self._see_photos(network)
            for part, todo in zip(self._planned.parts, self._batches, strict=True):
                if todo and not self._stop():
                    self._make_part(network, part, todo)
                    self._write_page()
        finally:
            # Whatever ends it, what is there is shown.
            self._write_page()
        left = self._left()
        notes = tuple(self._notes)
        return Atlas(self._folder, self._made, self._todo.kept, left, seen and not left, notes)

    def _missing(self, part: Part) -> list[int]:
        return self._todo.missing[part.layer.name]

    def _left(self) -> int:
        return sum(map(len, self._todo.missing.values())) - self._made

    def _clean(self) -> None:
        """Remove what killed programs left, and an atlas that is replaced."""
        if self._todo.others and self._todo.old is not None:
            for layer in self._todo.old.layers:
                self._layers.drop(layer.folder)
        for folder in ("", *(part.folder for part in self._planned.parts)):
            files.remove_unfinished(self._folder / folder)

    def _describe(self, network: Network) -> None:
        row = self._planned.look.row
        known = {layer.name: layer for layer in (self._todo.old or self._record).layers}
        if self._todo.others:
            known = {}
        for part in self._planned.parts:
            layer = part.layer
            known[layer.name] = LayerRecord(
                name=layer.name,
                folder=part.folder,
                channels=layer.channels,
                stride=layer.stride,
                depth=layer.depth,
                level=row.level_of(layer),
                rectified=network.rectified(layer.name),
            )
        in_order = [known[layer.name] for layer in row.layers if layer.name in known]
        commands = _from_a_name(row)
        flags = _flags(self._planned) if commands else ""
        self._record = replace(self._record, layers=tuple(in_order), commands=commands, flags=flags)

    def _write_record(self) -> None:
        self._record = replace(self._record, left=self._left())
        store.write(self._folder, self._record)

    def _write_page(self) -> None:
        self._write_record()
        page.write(self._folder, self._record, self._layers)

    # ---- Photos.

    def _see_photos(self, network: Network) -> bool:
        """Find the photos that excite channels most; returns whether all were looked through."""
        paths = self._planned.photos
        if not paths:
            return True
        photo_set = _photo_set(paths)
        wanted = {
            part.layer.name: [
                channel
                for channel in part.channels
                if not self._has_photos(part, channel, photo_set)
            ]
            for part in self._planned.parts
        }
        if not any(wanted.values()):
            return True

        def on_photo(done: int, of: int, wrong: str) -> None:
            if wrong:
                self._notes.append(f"left out {wrong}")
            self._tell(At("photos", "", done, of, self._work, self._whole))

        with devices.threads(devices.default_threads()):
            found = photographs.strongest(
                paths, network, wanted, per_channel=PHOTOS, on_photo=on_photo, stop=self._stop
            )
        return not self._stop() and self._keep_photos(found, photo_set)

    def _has_photos(self, part: Part, channel: int, photo_set: str) -> bool:
        entry = self._layers.of(part.folder).get(channel, Entry())
        return entry.photo_set == photo_set and all(
            (self._folder / part.folder / photo.file).is_file() for photo in entry.photos
        )

    def _keep_photos(self, found: dict[str, dict[int, list[Crop]]], photo_set: str) -> bool:
        """Write the crops of photos; returns whether it could, without being stopped."""
        targets = [
            (crop, self._folder / part.folder / part.crop(channel, number))
            for part in self._planned.parts
            for channel, crops in found.get(part.layer.name, {}).items()
            for number, crop in enumerate(crops)
        ]
        written = photographs.cut(targets, stop=self._stop)
        if self._stop():
            return False
        for part in self._planned.parts:
            entries = self._layers.of(part.folder)
            new = {}
            for channel, crops in found.get(part.layer.name, {}).items():
                favourites = tuple(
                    Favourite(name, files.text(crop.photo.name), _rounded(crop.value))
                    for number, crop in enumerate(crops)
                    if self._folder / part.folder / (name := part.crop(channel, number)) in written
                )
                entry = entries.get(channel, Entry())
                new[channel] = replace(entry, photos=favourites, photo_set=photo_set)
            self._layers.put(part.folder, new)
        return True

    # ---- Pictures.

    def _make_part(self, network: Network, part: Part, todo: Sequence[tuple[int, ...]]) -> None:
        """Make batches of a layer, several at once, and keep each as soon as it is whole."""
        network.features([part.layer.name])  # built once, not once a worker
        there = len(part.channels) - len(self._missing(part))
        workers = _workers(self._planned, network)
        with ThreadPoolExecutor(min(workers, len(todo))) as pool:
            try:
                for batch, future in [
                    (batch, pool.submit(self._pictures, network, part, batch)) for batch in todo
                ]:
                    while not wait([future], POLL).done:
                        self._say(part, there)
                    made = future.result()
                    if made:  # else it was stopped before it was whole
                        kept = self._keep(network, part, batch, made)
                        there += kept
                        self._made += kept
                    self._say(part, there)
            finally:
                self._ended.set()  # or the pool would wait for pictures that nobody wants
        self._ended.clear()

    def _pictures(
        self, network: Network, part: Part, batch: Sequence[int]
    ) -> list[list[Visualization]]:
        """Make the pictures of a batch of channels; none if it is to stop before they are whole."""
        if self._ending():
            return []
        recipes = [
            recipe
            for channel in batch
            for recipe in self._planned.recipes(part.layer.name, channel)
        ]
        before = 0

        def on_step(progress: visualize.Progress) -> None:
            nonlocal before
            with self._lock:
                self._work += progress.work - before
            before = progress.work

        made = visualize.make(recipes, network, on_step=on_step, stop=self._ending)
        if any(each.recipe.partial for each in made):
            return []
        group = self._planned.recipe.group
        return [made[first : first + group] for first in range(0, len(made), group)]

    def _ending(self) -> bool:
        return self._ended.is_set() or self._stop()

    def _keep(
        self,
        network: Network,
        part: Part,
        batch: Sequence[int],
        made: Sequence[Sequence[Visualization]],
    ) -> int:
        """Write what was missing of a batch; returns how many channels that were."""
        missing = set(self._missing(part))
        first = torch.stack([pictures[0].pixels for pictures in made])
        with devices.threads(self._planned.recipe.threads):
            feeds = classes.fed(network, part.layer.name, batch, first)
        entries = self._layers.of(part.folder)
        new = {}
        for channel, pictures, feed in zip(batch, made, feeds, strict=True):
            if channel not in missing:
                continue
            names = [part.picture(channel, variant) for variant in range(len(pictures))]
            for name, picture in zip(names, pictures, strict=True):
                picture.save(self._folder / part.folder / name, overwrite=True)
            new[channel] = replace(
                entries.get(channel, Entry()),
                recipe=_hash(self._planned, part, channel),
                pictures=tuple(names),
                scores=tuple(_rounded(picture.score) for picture in pictures),
                classes=tuple((name, _rounded(share)) for name, share in feed),
                notes=tuple(dict.fromkeys(note for each in pictures for note in each.notes)),
            )
            self._notes += new[channel].notes
        self._layers.put(part.folder, new)
        return len(new)

    def _say(self, part: Part, there: int) -> None:
        with self._lock:
            work = self._work
        at = At("pictures", part.layer.name, there, len(part.channels), work, self._whole)
        self._tell(at)


def _hash(planned: Plan, part: Part, channel: int) -> str:
    return planned.recipes(part.layer.name, channel)[0].hash


def _differences(old: Record, planned: Plan) -> list[str]:
    return visual_recipe.differences(old.recipe, planned.recipe)


def _from_a_name(row: Row) -> bool:
    """Whether the network is one that commands know by its name."""
    return row.name in rows.names() and rows.row(row.name) == row


def _flags(planned: Plan) -> str:
    """Return what commands have to be told to take the same network."""
    flags = []
    row = planned.look.row
    if row.name != rows.DEFAULT:
        flags += ["--network", row.name]
    if planned.recipe.weights != row.weights[0].sha256:
        named = (w.name for w in row.weights if w.sha256 == planned.recipe.weights)
        flags += ["--weights", next(named, "CHECKPOINT")]
    return shlex.join(flags)


def _workers(planned: Plan, network: Network) -> int:
    """Return how many batches are made at once."""
    if network.device.type != "cpu" or not _from_a_name(network.row):
        return 1  # the memory of a device is its own; a user's own module is used by one at a time
    return max(1, devices.default_threads() // planned.recipe.threads)


def _photo_set(paths: Sequence[Path]) -> str:
    """Return a hash of photos, whatever their folders and order."""
    found = set()
    for path in paths:
        try:
            found.add(f"{files.text(path.name)}\0{files.sha256(path)}")
        except InputError:  # it is left out, and said so, when it is looked at
            found.add(files.text(path.name))
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def described(planned: Plan, todo: Todo) -> dict[str, Any]:
    """Return what a run would do, as the envelope says it."""
    return {
        "layers": [
            {
                "name": part.layer.name,
                "folder": part.folder,
                "channels": len(part.channels),
                "missing": len(todo.missing[part.layer.name]),
            }
            for part in planned.parts
        ],
        "channels": sum(map(len, todo.missing.values())),
        "kept": todo.kept,
        "files": todo.files,
        "photos": len(planned.photos),
    }
