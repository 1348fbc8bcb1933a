"""The people of a studio and what is theirs: photos they gave, things that were made for them.

Everything of a person is in one folder, by names that we chose; what the browser says is looked up
in a list and never opened as a path.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from dreamer import preset_files
from dreamer.errors import DreamerError, InputError, OutputError, UsageError
from dreamer.media import files, reading

As = Literal["photo", "mask", "guide"]
MadeKind = Literal["dream", "film", "preview", "batch", "unit"]
Told = Callable[[str, Mapping[str, Any]], None]
"""Told the name of an event, and what it says."""

MADE_UP = {"sky": (768, 512), "noise": (768, 512)}
"""What needs no photo, with its usual size, px."""
_LEFT = ("dream", "preview", "film", "batch", "unit")
MOST_FILES = 8000
MOST_BYTES = 20_000_000_000
"""What one person may keep here."""
_ENDINGS = {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "tif", "tiff", "gif", "bmp", "dib"}
_ENDINGS |= {"heic", "heif", "hif", "toml"}
_NOTHING_WINDOWS_KEEPS = {"con", "prn", "aux", "nul"} | {
    f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10)
}


@dataclass
class Photo:
    """A picture that was given.

    Attributes:
        id: its file's name.
        width: as it is meant to be seen, px.
        height: likewise.
        kind: what it is for.
        sha256: of its bytes.
        restored: what of a dreamer file was found in it.
        notes: what had to be given up while reading.
    """

    id: str
    width: int
    height: int
    kind: As
    sha256: str
    restored: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return what the page gets."""
        return {
            "id": self.id,
            "name": self.id,
            "width": self.width,
            "height": self.height,
            "as": self.kind,
            "url": f"/api/files/{quote(self.id)}/preview",
            "restored": self.restored,
            "notes": self.notes,
        }


@dataclass
class Made:
    """Something that was made.

    Attributes:
        id: names it on the wire.
        kind: what it is.
        file: its name in the person's folder; of a batch the folder's.
        width: px.
        height: px.
        command: the line that makes it again.
        asked: the body that it was asked with.
        photo: what it was dreamed on, by id.
        notes: what the user should know.
        partial: whether it was stopped before its end.
        seconds: it took.
        recipe: the hash of its recipe; "" of a batch.
    """

    id: str
    kind: MadeKind
    file: str
    width: int
    height: int
    command: str
    asked: dict[str, Any]
    photo: str | None
    notes: list[str] = field(default_factory=list)
    partial: bool = False
    seconds: float = 0.0
    recipe: str = ""


class Person:
    """One person: photos, things made, own presets.

    Args:
        key: names the folder.
        folder: of this person; made when the first thing is put into it.
        told: told of what is new, from any thread.
    """

    def __init__(self, key: str, folder: Path, told: Told) -> None:
        self.key = key
        self.folder = folder
        self.photos: dict[str, Photo] = {}
        self.made: dict[str, Made] = {}
        self._told = told
        self._lock = threading.RLock()
        self._left: list[dict[str, Any]] = []
        self._read()
        files.remove_unfinished(folder)

    @property
    def presets(self) -> Path:
        """The folder of this person's own presets."""
        return self.folder / "presets"

    @property
    def previews(self) -> Path:
        """The folder of small pictures."""
        return self.folder / ".previews"

    @property
    def given(self) -> Path:
        """The folder of what was given; all in one, so that recipes find each other's pictures."""
        return self.folder / "photos"

    def photo(self, name: object) -> Photo:
        """Return a photo by its id.

        Raises:
            UsageError: there is none.
        """
        found = self.photos.get(name) if isinstance(name, str) else None
        if found is None or not self.path(found).is_file():
            raise UsageError(
                f"There is no photo '{files.shown(str(name)[:80])}' here.", "Give it again."
            )
        return found

    def path(self, photo: Photo) -> Path:
        """Return where a photo is."""
        return self.given / photo.id

    def free(self, kind: As, name: str, sha256: str) -> tuple[str, Photo | None]:
        """Return a free name for a picture, and the very same picture if it is here already."""
        with self._lock:
            same = [p for p in self.photos.values() if p.sha256 == sha256 and p.kind == kind]
            same = [p for p in same if self.path(p).is_file()]
            if same:
                return same[0].id, same[0]
            return files.free_name(self.given / name).name, None

    def room(self) -> None:
        """Refuse more files than a person may keep: `UsageError`."""
        count, size = 0, 0
        for path in _files_below(self.folder):
            with contextlib.suppress(FileNotFoundError):  # what was being written has its name now
                count, size = count + 1, size + os.path.getsize(path)
        if count >= MOST_FILES or size >= MOST_BYTES:
            raise UsageError(
                f"There are {count} files and {size / 1e9:.1f} GB here already.",
                f"Take some out of {files.shown(self.folder)}.",
            )

    def give(self, photo: Photo) -> None:
        """Add a photo whose file is in its place; if it cannot be noted, that is removed.

        Raises:
            OutputError: it cannot be noted.
        """
        with self._lock:
            self.photos[photo.id] = photo
            try:
                self._write()
            except OutputError:
                del self.photos[photo.id]
                self.path(photo).unlink(missing_ok=True)
                raise
        self._told("photo", photo.to_dict())

    def next_id(self) -> str:
        """Return an id for the next thing made."""
        numbers = [int(name[1:]) for name in self.made]
        return f"m{max(numbers, default=0) + 1}"

    def add(self, *, thumb: bytes | None = None, **facts: Any) -> Made:
        """Add something that was made, see `Made`; returns it with its id.

        Args:
            thumb: a small picture of it, a JPEG.
            **facts: what `Made` has, but for the id.
        """
        with self._lock:
            made = Made(id=self.next_id(), **facts)
            if thumb is not None:
                self.keep_preview(made.id, thumb)
            # A preview takes the place of the one before, as does a batch that went on.
            over = [each.id for each in self.made.values() if each.file == made.file]
            for name in over:
                del self.made[name]
                (self.previews / f"{name}.jpg").unlink(missing_ok=True)
            self.made[made.id] = made
            try:
                self._write()
            except OutputError as error:  # the thing itself is there, and is shown
                made.notes.append(f"it cannot be noted for the next time: {error.message}")
        for name in over:
            self._told("gone", {"made": name})
        self._told("made", self.shown(made))
        return made

    def leave(self, job: dict[str, Any]) -> None:
        """Remember a job that the studio did not come to before it was closed.

        Args:
            job: its kind, its title, and the body that it was asked with.

        Raises:
            OutputError: it cannot be noted.
        """
        with self._lock:
            self._left.append(job)
            self._write()

    def take_left(self) -> list[dict[str, Any]]:
        """Return those jobs, once."""
        with self._lock:
            left, self._left = self._left, []
        return left

    def keep_preview(self, name: str, data: bytes) -> None:
        """Keep a small picture, a JPEG, under a name of ours."""
        with files.replacing(self.previews / f"{name}.jpg") as stream:
            stream.write(data)

    def file(self, made: Made) -> Path:
        """Return where something is."""
        return self.folder / made.file

    def shown(self, made: Made) -> dict[str, Any]:
        """Return what the page gets of something that was made."""
        batch = made.kind == "batch"
        name = made.file
        return {
            "id": made.id,
            "kind": made.kind,
            "name": name,
            "url": f"/made/{made.id}/{'index.html' if batch else quote(name)}",
            "thumb": None if batch else f"/made/{made.id}/thumb",
            "width": made.width,
            "height": made.height,
            "command": made.command,
            "asked": made.asked,
            "photo": made.photo,
            "notes": made.notes,
            "partial": made.partial,
            "seconds": made.seconds,
            "files": [from_here(self.file(made))],
        }

    def own_presets(self) -> list[preset_files.Found]:
        """Return this person's own presets, by name."""
        found = sorted(self.presets.glob("*.toml")) if self.presets.is_dir() else []
        return [preset_files.Found(path.stem, path, "file") for path in found]

    def state(self) -> dict[str, Any]:
        """Return all that a page needs when it begins."""
        with self._lock:
            given = [photo for photo in self.photos.values() if self.path(photo).is_file()]
            there = [made for made in self.made.values() if self.file(made).exists()]
            return {
                "photos": [photo.to_dict() for photo in given],
                "made": [self.shown(made) for made in there],
                "presets": [found.name for found in self.own_presets()],
            }

    @property
    def _list(self) -> Path:
        return self.folder / ".studio.json"

    def _write(self) -> None:
        values = {
            "photos": [asdict(photo) for photo in self.photos.values()],
            "made": [asdict(made) for made in self.made.values()],
            "left": self._left,
        }
        with files.replacing(self._list) as stream:
            stream.write(json.dumps(values).encode())

    def _read(self) -> None:
        """Take up what was here before; a list that is damaged is begun anew."""
        try:
            values = json.loads(self._list.read_bytes())
            photos = [Photo(**each) for each in values["photos"]]
            made = [Made(**each) for each in values["made"]]
            names = [*(photo.id for photo in photos), *(each.file for each in made)]
            if any(os.path.basename(name) != name for name in names):
                return  # we write no such list
            here = [p for p in photos if p.kind in get_args(As) and self.path(p).is_file()]
            left = [
                {"kind": each["kind"], "title": str(each["title"])[:200], "asked": each["asked"]}
                for each in values.get("left", [])
                if each["kind"] in _LEFT and isinstance(each["asked"], dict)
            ]
            made = [each for each in made if re.fullmatch(r"m[0-9]{1,9}", each.id)]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return
        self.photos = {photo.id: photo for photo in here}
        self.made = {each.id: each for each in made}
        self._left = left


class People:
    """Everybody who has a folder here.

    Args:
        folder: the studio's.
        told: told a person's key, the name of an event and what it says.
    """

    def __init__(self, folder: Path, told: Callable[[str, str, Mapping[str, Any]], None]) -> None:
        self.folder = folder
        self._told = told
        self._people: dict[str, Person] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Person:
        with self._lock:
            if key not in self._people:
                self._people[key] = Person(
                    key, self.folder / key, lambda name, data: self._told(key, name, data)
                )
            return self._people[key]


def safe_name(name: str, suffix: str) -> str:
    """Return a file's name that is safe anywhere, and in targets and commands without quotes.

    Args:
        name: what the browser says it is called; may be anything.
        suffix: what it ends in if it says nothing of that kind.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[^\w.-]+", "_", name).strip("._-")
    stem, dot, ending = name.rpartition(".")
    if not dot or ending.lower() not in _ENDINGS:  # no program is to take it for a page, say
        stem, ending = name, suffix.lstrip(".")
    stem = stem.strip("._-") or "photo"
    first, dot, rest = stem.partition(".")  # Windows looks no further
    if first.lower() in {*_NOTHING_WINDOWS_KEEPS, *MADE_UP}:
        stem = f"{first}_{dot}{rest}"
    while len(os.fsencode(stem)) > 100:
        stem = stem[:-1]
    return f"{stem}.{ending}"


def from_here(path: Path) -> str:
    """Write a path as short as it is from the folder one is in."""
    return preset_files.shown(path.absolute())


def check_picture(path: Path, name: str, most_pixels: int) -> tuple[int, int]:
    """Return width and height of a picture that was given, from its header.

    Raises:
        InputError: it is none, is damaged, or is too large.
    """
    try:
        return reading.probe(path, max_pixels=most_pixels)
    except DreamerError as error:
        # It is called what the user calls it.
        message = error.message.replace(files.shown(path), files.shown(name))
        raise InputError(message, error.advice) from error


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (os.path.join(parent, name) for name in names)
