"""The files of an atlas that say what is in it: atlas.json, and channels.json of each layer.

Both are replaced whole, and hold no paths but names below the atlas's folder, no times and nothing
that depends on how often the making was interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamer import visual_recipe
from dreamer.errors import OutputError, UsageError
from dreamer.media import files
from dreamer.visual_recipe import VisualRecipe

SCHEMA = 1
ATLAS = "atlas.json"
CHANNELS = "channels.json"
PAGE = "index.html"


@dataclass(frozen=True)
class Favourite:
    """A crop of a photo that excites a channel.

    Attributes:
        file: its name in the layer's folder.
        name: the photo's.
        value: what the strongest neuron answers.
    """

    file: str
    name: str
    value: float


@dataclass(frozen=True)
class Entry:
    """What there is of a channel; without pictures, only what photos there are.

    Attributes:
        recipe: the hash of its first picture's recipe; "" without pictures.
        pictures: their names in the layer's folder.
        scores: what each is worth over held-out crops.
        classes: names of classes it feeds, with how much.
        photos: the user's photos that excite it most.
        photo_set: which photos were looked through, as a hash; "" if none were.
        notes: what the user should know of the pictures.
    """

    recipe: str = ""
    pictures: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    classes: tuple[tuple[str, float], ...] = ()
    photos: tuple[Favourite, ...] = ()
    photo_set: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """All its files."""
        return {*self.pictures, *(photo.file for photo in self.photos)}


@dataclass(frozen=True)
class LayerRecord:
    """A layer of the atlas; see `rows.Layer` for what is not explained.

    Attributes:
        name: the layer's.
        folder: the folder of its pictures.
        channels: how many it has, in the atlas or not.
        stride: px.
        depth: 0..1.
        level: the detail level.
        rectified: whether it never answers below zero; None if that is not known.
    """

    name: str
    folder: str
    channels: int
    stride: int
    depth: float
    level: str
    rectified: bool | None = None


@dataclass(frozen=True)
class Record:
    """What an atlas is.

    Attributes:
        recipe: what all pictures have in common, of no target.
        flags: those that the commands on the page need to have the same network.
        commands: whether there are such commands: not for networks that only Python has.
        layers: in execution order.
        left: how many channels the last run was asked for and did not come to.
    """

    recipe: VisualRecipe
    flags: str = ""
    commands: bool = True
    layers: tuple[LayerRecord, ...] = ()
    left: int = 0


@dataclass
class Layers:
    """The entries of the layers of an atlas, as they are on the disk and as they change.

    Attributes:
        folder: the atlas's.
        entries: by the layer's folder and the channel.
    """

    folder: Path
    entries: dict[str, dict[int, Entry]] = field(default_factory=dict)

    def of(self, layer: str) -> dict[int, Entry]:
        """Return the entries of the layer with that folder."""
        if layer not in self.entries:
            self.entries[layer] = read_channels(self.folder / layer)
        return self.entries[layer]

    def whole(self, layer: str, channel: int, recipe: str) -> bool:
        """Whether the pictures of that recipe are there."""
        entry = self.of(layer).get(channel, Entry())
        return entry.recipe == recipe and all(
            (self.folder / layer / name).is_file() for name in entry.pictures
        )

    def put(self, layer: str, new: Mapping[int, Entry]) -> None:
        """Change entries, on the disk as well; files that they had and have no more are removed."""
        entries = self.of(layer)
        for channel, entry in new.items():
            gone = entries.get(channel, Entry()).names - entry.names
            for name in gone:
                (self.folder / layer / name).unlink(missing_ok=True)
            entries[channel] = entry
        values = {
            str(channel): {name: value for name, value in asdict(entry).items() if value}
            for channel, entry in sorted(entries.items())
        }
        _write(self.folder / layer / CHANNELS, {"schema": SCHEMA, "channels": values})

    def drop(self, layer: str) -> None:
        """Remove all files of a layer that are known to be the atlas's."""
        entries = self.of(layer)
        for name in {name for entry in entries.values() for name in entry.names} | {CHANNELS}:
            (self.folder / layer / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in it
            (self.folder / layer).rmdir()
        entries.clear()


def read_channels(folder: Path) -> dict[int, Entry]:
    """Read the entries of a layer; what is damaged is made again, so it is as if it was not there.

    Raises:
        OutputError: it cannot be read, or a newer program wrote it.
    """
    found = {}
    for number, values in _read(folder / CHANNELS).get("channels", {}).items():
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            found[int(number)] = _entry(values)
    return found


def _entry(values: Mapping[str, Any]) -> Entry:
    entry = Entry(
        recipe=str(values.get("recipe", "")),
        pictures=tuple(map(_name, values.get("pictures", ()))),
        scores=tuple(map(float, values.get("scores", ()))),
        classes=tuple((str(name), float(share)) for name, share in values.get("classes", ())),
        photos=tuple(
            Favourite(_name(each["file"]), str(each["name"]), float(each["value"]))
            for each in values.get("photos", ())
        ),
        photo_set=str(values.get("photo_set", "")),
        notes=tuple(map(str, values.get("notes", ()))),
    )
    if len(entry.scores) != len(entry.pictures):
        raise ValueError(entry.scores)
    return entry


def _name(value: Any) -> str:
    """Check that a value is the name of a file in a folder: it may come from anybody."""
    if not isinstance(value, str) or not value or value != os.path.basename(value):
        raise ValueError(value)
    if value.startswith("."):
        raise ValueError(value)
    return value


def read(folder: Path) -> Record | None:
    """Read what the atlas in a folder is; None if there is none.

    Raises:
        OutputError: it cannot be read, or what is there is damaged, newer, or no atlas.
    """
    path = folder / ATLAS
    values = _read(path)
    if not values:
        if path.exists():
            raise damaged(path)
        if (folder / PAGE).exists():
            raise OutputError(
                f"'{files.shown(folder)}' holds an {PAGE} that is not an atlas's.",
                "Choose another folder, or allow it to be replaced with --overwrite.",
            )
        return None
    try:
        (recipe,) = visual_recipe.from_json(json.dumps(values["recipe"]), ATLAS)
        return Record(
            recipe=recipe,
            flags=str(values["flags"]),
            commands=bool(values["commands"]),
            layers=tuple(
                LayerRecord(**{**each, "folder": _name(each["folder"])})
                for each in values["layers"]
            ),
            left=int(values["left"]),
        )
    except (ValueError, TypeError, KeyError, UsageError) as error:
        raise damaged(path) from error


def write(folder: Path, record: Record) -> None:
    """Write what an atlas is.

    Raises:
        OutputError: it cannot be written.
    """
    values = {**asdict(replace(record, recipe=None)), "recipe": record.recipe.to_dict()}  # type: ignore[arg-type]
    _write(folder / ATLAS, {"schema": SCHEMA} | values)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have a folder, which is made, so that no other dreamer works in it meanwhile.

    Raises:
        OutputError: it cannot be made, or another dreamer has it.
    """
    with files.writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    # Where folders cannot be opened (Windows), nothing can be locked either.
    descriptor = os.open(folder, os.O_RDONLY) if os.name != "nt" else -1
    try:
        if descriptor >= 0 and not files.lock(descriptor, wait=False):
            raise OutputError(
                f"Another dreamer is at work in '{files.shown(folder)}'.",
                "Wait until it is done, or choose another folder.",
            )
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a file of JSON; an empty one if there is no such file or it is damaged.

    Raises:
        OutputError: it cannot be read, or a newer program wrote it.
    """
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    except OSError as error:
        raise OutputError(
            f"'{files.shown(path)}' cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    if not isinstance(values, dict):
        return {}
    if isinstance(values.get("schema"), int) and values["schema"] > SCHEMA:
        raise OutputError(
            f"'{files.shown(path)}' was written by a newer dreamer.",
            "Update dreamer: `pip install --upgrade dreamer`.",
        )
    return values if isinstance(values.get("channels", {}), dict) else {}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with files.replacing(path) as stream:
        stream.write(json.dumps(values, indent=1, ensure_ascii=False).encode(errors="replace"))


def damaged(path: Path) -> OutputError:
    """Return the error for a file of an atlas that cannot be used."""
    return OutputError(
        f"'{files.shown(path)}' is damaged.",
        "Make the atlas anew with --overwrite, or choose another folder.",
    )
