"""Find the photos that a batch is about: files, folders, patterns and lists of paths.

Imports only the standard library. No photo is opened: whether one can be read shows later.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

from dreamer.errors import InputError
from dreamer.media.files import shown

_COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".hif")
PICTURES = frozenset((*_COMMON, ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm"))
"""What names of pictures end in, lower case: the files that are taken from a folder."""

LIST_BYTES = 100_000_000
"""A longer list of paths is refused: it is no list, or a device without an end."""

_SEPARATORS = (os.sep, os.altsep or os.sep)
_Kind = Literal["folder", "file", "other"]


@dataclass(frozen=True, slots=True)
class Found:
    """A photo to work on.

    Attributes:
        path: the file, as it can be opened from the current folder.
        below: the folders between the input and the file, with "/" between them; "" at the top.
            Never absolute and without "..": it can be mirrored under an output folder.
    """

    path: str
    below: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A folder that cannot be listed, or a path from a list where nothing is."""

    path: str
    error: InputError


@dataclass(frozen=True)
class Gathered:
    """What there is to do.

    Attributes:
        photos: in the order of the arguments, each real file once.
        refused: what could not be looked at, in the order in which it was met.
        left_out: how many files in folders are no pictures, by their suffix or their nature.
        folders: the real paths of the folders that were listed for their pictures, and of those
            out of which a pattern took files.
    """

    photos: tuple[Found, ...]
    refused: tuple[Refused, ...]
    left_out: int
    folders: tuple[str, ...]


def gather(
    inputs: Sequence[str],
    *,
    listed: Sequence[str] = (),
    recursive: bool = False,
    without: Sequence[str | os.PathLike[str]] = (),
) -> Gathered:
    """Find the photos of `inputs`, then those of `listed`.

    A file is taken whatever it is. A folder gives its pictures in natural order, and after them
    those of its subfolders if `recursive`; what is hidden is left out. Links are followed, but
    no real folder is listed twice.

    Args:
        inputs: files, folders, and patterns such as "photos/**/*.jpg" (`**` is any number of
            folders), of which each match is taken as if it had been named.
        listed: files and folders from a list; no patterns.
        recursive: whether folders are listed with all that is below them.
        without: folders that are not entered from above, such as the one for the results.

    Raises:
        InputError: one of `inputs` is not there or matches nothing, or the folders hold no
            picture and nothing was refused. Without any argument the result is empty.
    """
    work = _Gathering(recursive, [os.path.realpath(folder) for folder in without])
    for path in inputs:
        if not os.path.lexists(path) and _split(path)[1]:
            work.take_pattern(path)
        else:
            work.take_argument(path)
    for path in listed:
        try:
            work.take_argument(path)
        except InputError as error:
            work.refused.append(Refused(path, error))
    return work.done()


def read_list(source: str | BinaryIO) -> list[str]:
    """Read paths, one a line, or separated by NUL if there is one (as from `find -print0`).

    Blank lines, a byte-order mark and the line ends of Windows are no part of a path; everything
    else is: there are no comments and no quotes.

    Args:
        source: the path of the list, or a stream (which stays open), such as standard input.

    Raises:
        InputError: it cannot be read, is longer than `LIST_BYTES`, or is UTF-16 text.
    """
    label = f"'{shown(source)}'" if isinstance(source, str) else "The list on standard input"
    advice = "Give a text file with one path a line."
    try:
        if isinstance(source, str):
            with open(source, "rb") as stream:
                data = stream.read(LIST_BYTES + 1)
        else:
            data = source.read(LIST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"There is no file {label}.", "Check the name and the folder.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be read: {_reason(error)}.", advice) from error
    if len(data) > LIST_BYTES:
        raise InputError(f"{label} is too long: more than {LIST_BYTES / 1e6:g} MB.", advice)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in data:
        raise InputError(f"{label} is UTF-16 text, as PowerShell writes it.", "Save it as UTF-8.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        return [os.fsdecode(path) for path in data.split(b"\0") if path]
    return [os.fsdecode(line.removesuffix(b"\r")) for line in data.split(b"\n") if line.strip()]


def natural(name: str) -> tuple[str, str]:
    """Return a key to sort names by: IMG_2 before IMG_10, a before B, the same everywhere.

    Digits (0 to 9) count by their value, letters without their case. Names that are equal so far
    go by their exact text, so that no two are equal.
    """
    return re.sub("[0-9]+", _by_value, name.casefold()), name


def _by_value(digits: re.Match[str]) -> str:
    """Write a number so that its text sorts as its value does: with its length in front."""
    number = digits[0].lstrip("0")
    return f"0{chr(min(len(number), 0x10FFFF))}{number}"


class _Place(NamedTuple):
    """A file or a folder that was found; `below` is where a file, or a folder's files, belong."""

    path: str
    real: str
    below: str
    kind: _Kind
    is_linked: bool = False


class _Gathering:
    """What has been gathered so far."""

    def __init__(self, recursive: bool, without: list[str]) -> None:
        self.refused: list[Refused] = []
        self._photos: dict[str, Found] = {}  # by their real paths
        self._left_out = 0
        self._folders: dict[str, None] = {}  # a set that keeps its order
        self._recursive = recursive
        self._without = without
        self._searched: list[str] = []  # the folders and patterns among the arguments
        self._subfolders_left = False
        self._entered: set[str] = set()
        self._closed: set[str] = set()  # the folders that cannot be listed
        self._parents: dict[str, str] = {}

    def done(self) -> Gathered:
        """Return it all; raise an InputError if there was nothing in any folder."""
        if self._searched and not self._photos and not self.refused:
            where = f"'{shown(self._searched[0])}'"
            if len(self._searched) > 1:
                where += f" and {len(self._searched) - 1} more"
            advice = "Pictures in folders are known by a suffix such as .jpg; others can be named."
            if self._subfolders_left:
                advice = "There are subfolders: add --recursive to take the pictures in them."
            raise InputError(f"There are no pictures in {where}.", advice)
        photos, folders = tuple(self._photos.values()), tuple(self._folders)
        return Gathered(photos, tuple(self.refused), self._left_out, folders)

    def take_argument(self, path: str) -> None:
        """Take a file or a folder that was named; raise an InputError if nothing is there."""
        label = f"'{shown(path)}'"
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            advice = "Check the name, and the folder that it starts from."
            raise InputError(f"There is no file or folder {label}.", advice) from error
        except OSError as error:
            advice = "Check the name, and the permissions of its folder."
            raise InputError(f"{label} cannot be found: {_reason(error)}.", advice) from error
        if os.path.isdir(path):
            self._searched.append(path)
            top = _Place(path, os.path.realpath(path), "", "folder")
            self._take_folders([top], top.real)
        else:
            self._take(_Place(path, _real(path, self._parent(path), is_link), "", "file"))

    def take_pattern(self, pattern: str) -> None:
        """Take what a pattern matches; raise an InputError if that is nothing."""
        self._searched.append(pattern)
        fixed, parts = _split(pattern)
        start = _Place(fixed, os.path.realpath(fixed), "", "folder")
        folders = []
        for folder, place in self._matches(pattern, start, parts):
            if place.kind == "folder":
                folders.append(place)
            else:
                self._take(place)
                self._folders[folder.real] = None
        soon, late = _in_turn(folders, start.real)
        self._take_folders(late + soon, start.real)

    def _take(self, place: _Place) -> None:
        self._photos.setdefault(place.real, Found(place.path, place.below))

    def _take_folders(self, waiting: list[_Place], scope: str) -> None:
        """Take the pictures of folders, the last one first, and of their subfolders if wanted."""
        while waiting:
            folder = waiting.pop()
            if folder.real in self._entered:
                continue
            self._entered.add(folder.real)
            found = self._list(folder, _is_visible)
            if folder.real not in self._closed:
                self._folders[folder.real] = None
            for place in found:
                if place.kind == "file" and os.path.splitext(place.path)[1].lower() in PICTURES:
                    self._take(place)
                elif place.kind != "folder":
                    self._left_out += 1
            subfolders = [place for place in found if place.kind == "folder"]
            if self._recursive:
                soon, late = _in_turn(subfolders, scope)
                waiting[:0] = late
                waiting += soon
            elif subfolders:
                self._subfolders_left = True

    def _matches(
        self, pattern: str, start: _Place, parts: list[str]
    ) -> Iterator[tuple[_Place, _Place]]:
        """Yield what a pattern matches, after its folder; raise an InputError if it is nothing."""
        matched = False
        # The `glob` module would go astray where links lead in circles. What a folder yields for
        # the rest of a pattern does not depend on the way to it, so one visit is enough.
        waiting, seen = [(start, 0)] if os.path.isdir(start.real) else [], set()
        while waiting:
            folder, index = waiting.pop()
            if (folder.real, index) in seen:
                continue
            seen.add((folder.real, index))
            found = self._match(folder, parts[index])
            folders = [place for place in found if place.kind == "folder"]
            soon, late = _in_turn(folders, start.real)
            if parts[index] == "**":
                waiting[:0] = [(place, index) for place in late]
                waiting += [(place, index) for place in soon]
                found = folders = soon = [folder]
                late = []
            if index + 1 < len(parts):
                waiting[:0] = [(place, index + 1) for place in late]
                waiting += [(place, index + 1) for place in soon]
                continue
            for place in folders if pattern.endswith(_SEPARATORS) else found:
                matched = True
                yield folder, place
        if not matched and not any(real in self._closed for real, _ in seen):
            advice = "Check the pattern: * stays within a folder, **/* looks into subfolders too."
            raise InputError(f"Nothing matches '{shown(pattern)}'.", advice)

    def _match(self, folder: _Place, part: str) -> list[_Place]:
        """Return what in a folder matches one part of a pattern; its subfolders for `**`."""
        if part == "**":
            return self._list(folder, lambda entry: _is_visible(entry) and _kind(entry) == "folder")
        if _is_pattern(part):
            hidden = part.startswith(".")
            return self._list(
                folder,
                lambda entry: (hidden or _is_visible(entry)) and fnmatch.fnmatch(entry.name, part),
            )
        path = os.path.join(folder.path, part)
        if not os.path.lexists(path):
            return []
        kind: _Kind = "folder" if os.path.isdir(path) else "file"
        is_link = part in (os.curdir, os.pardir) or os.path.islink(path)
        place = self._placed(folder, part, kind, is_link)
        return [place] if place else []

    def _list(self, folder: _Place, wanted: Callable[[os.DirEntry[str]], bool]) -> list[_Place]:
        """Return what is in a folder, in natural order; nothing if it has to be refused."""
        path = folder.path or os.curdir
        try:
            with os.scandir(path) as listing:
                entries = [entry for entry in listing if wanted(entry)]
            entries.sort(key=lambda entry: natural(entry.name))
            return [
                place
                for entry in entries
                if (place := self._placed(folder, entry.name, _kind(entry), entry.is_symlink()))
            ]
        except OSError as error:
            if folder.real not in self._closed:
                self._closed.add(folder.real)
                message = f"The folder '{shown(path)}' cannot be listed: {_reason(error)}."
                refusal = InputError(message, "Check its permissions, and the disk it is on.")
                self.refused.append(Refused(path, refusal))
            return []

    def _placed(self, folder: _Place, name: str, kind: _Kind, is_link: bool) -> _Place | None:
        """Return what `name` in a folder is, or None for a folder that is not to be entered."""
        path = os.path.join(folder.path, name)
        if kind != "folder":
            return _Place(path, _real(path, folder.real, is_link), folder.below, kind)
        # A junction of Windows leads elsewhere without being a link.
        real = _real(path, folder.real, is_link or os.name == "nt")
        for barred in self._without:
            if _is_within(real, barred) and not _is_within(folder.real, barred):
                return None
        below = folder.below
        if name == os.pardir:
            below = below.rpartition("/")[0]
        elif name != os.curdir:
            below = f"{below}/{name}" if below else name
        return _Place(path, real, below, kind, real != os.path.join(folder.real, name))

    def _parent(self, path: str) -> str:
        """Return the real path of the folder of a file; asked once for thousands of files."""
        parent = os.path.dirname(path)
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(parent)
        return self._parents[parent]


def _kind(entry: os.DirEntry[str]) -> _Kind:
    """Tell what is in a folder, without a look at the disk for all but links."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        if not entry.is_symlink() or os.path.exists(entry.path):
            return "other"
    except OSError:
        pass
    return "file"  # a link that leads nowhere: a photo that cannot be read, and not unheard


def _in_turn(folders: list[_Place], scope: str) -> tuple[list[_Place], list[_Place]]:
    """Return, both last first, the folders to enter next and those to enter after all else.

    Late are links into the folder `scope` (a real path) or to one that it lies in: what is there
    is likely to be met without the link too, and photos should have their plain paths.
    """
    soon: list[_Place] = []
    late: list[_Place] = []
    for place in reversed(folders):
        is_near = _is_within(place.real, scope) or _is_within(scope, place.real)
        (late if place.is_linked and is_near else soon).append(place)
    return soon, late


def _real(path: str, parent: str, is_link: bool) -> str:
    """Return the real path of what lies in the folder of which `parent` is the real path."""
    # Links to the same missing file stay apart: each of them is missed.
    if is_link and os.path.exists(path):
        return os.path.realpath(path)
    return os.path.join(parent, os.path.basename(path))


def _split(pattern: str) -> tuple[str, list[str]]:
    """Part a pattern into the folder that is fixed and the parts from the first wildcard on.

    A part that exists as it is written is no wildcard, as with a folder named "[2024] Rome".
    """
    drive, rest = os.path.splitdrive(pattern)
    fixed = drive + os.sep if rest.startswith(_SEPARATORS) else drive
    parts = [part for part in rest.replace(_SEPARATORS[1], os.sep).split(os.sep) if part]
    while parts:
        path = os.path.join(fixed, parts[0])
        if _is_pattern(parts[0]) and not os.path.lexists(path):
            break
        fixed = path
        del parts[0]
    return fixed, parts


def _is_pattern(part: str) -> bool:
    return any(wildcard in part for wildcard in "*?[")


def _is_visible(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".")


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
