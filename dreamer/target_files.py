"""The files that a look names: the pictures of caricatures, guides, masks and colours; directions.

They are read when it is resolved, each once, and what was found travels on with `Files`: to
the pictures of a batch or a film, and to other processes. Imports neither torch nor NumPy before a
file needs it.
"""

from __future__ import annotations

import json
import math
import os
import re
import tokenize
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dreamer.errors import InputError, UsageError
from dreamer.media import files

if TYPE_CHECKING:
    from dreamer.networks.rows import Layer

SUFFIXES = (".npy", ".txt", ".json")

_LARGEST = 10_000_000  # bytes of a direction's file: no layer has a thousandth of such numbers
_NUMBER_KINDS = "iuf"
_LISTS = "A direction is a list of plain numbers: NumPy's .npy, a .txt, or a .json."


@dataclass(frozen=True)
class Like:
    """A picture that a look names, such as one that a caricature is of: known by its content.

    Attributes:
        name: the file's name, without its folder.
        sha256: of its bytes.
        path: where it was found, absolute; "" if that is not known. Two that are the same photo
            are equal wherever they were found.
    """

    name: str
    sha256: str
    path: str = field(default="", compare=False, repr=False)


@dataclass
class Files:
    """What the files that a look names hold; each is read when it is first asked for.

    Attributes:
        photos: the pictures that are known, by the path in the target or setting.
        vectors: the numbers in those that are known, by the path in the target.
    """

    photos: dict[str, Like] = field(default_factory=dict)
    vectors: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def photo(self, path: str) -> Like:
        """Return a photo of which the header and the hash were read.

        Raises:
            InputError: it is missing, or no picture.
        """
        if path not in self.photos:
            from dreamer.media import reading

            reading.probe(path)
            self.photos[path] = Like(file_name(path), files.sha256(path), os.path.abspath(path))
        return self.photos[path]

    def direction(self, path: str, layer: Layer) -> tuple[tuple[int, float], ...]:
        """Return the channels of a layer that the numbers in a file are not zero for, with those.

        Raises:
            UsageError: a suffix that names no format.
            InputError: it is missing, too large, or does not hold one plain number a channel.
        """
        if path not in self.vectors:
            self.vectors[path] = _vector(path)
        numbers = self.vectors[path]
        if len(numbers) != layer.channels:
            raise InputError(
                f"'{files.shown(path)}' holds {len(numbers)} numbers; layer '{layer.name}' has "
                f"{layer.channels} channels.",
                "Give one number a channel, in their order, or name the layer it was made for.",
            )
        return tuple((channel, number) for channel, number in enumerate(numbers) if number != 0)

    def moved(self, paths: Mapping[str, str]) -> Files:
        """Return the same with the photos at other paths, by their SHA-256."""
        photos = {
            written: replace(like, path=paths.get(like.sha256, like.path))
            for written, like in self.photos.items()
        }
        return Files(photos, dict(self.vectors))


class Unread(Files):
    """Stands for files while only the names of networks' parts are checked: reads nothing."""

    def photo(self, path: str) -> Like:
        """Return a photo of that path, whether it is there or not."""
        return Like(file_name(path), path)

    def direction(self, path: str, layer: Layer) -> tuple[tuple[int, float], ...]:
        """Return a direction that is the same for the same path only."""
        del layer
        return ((0, 1.0 + zlib.crc32(os.fsencode(path))),)


def file_name(path: str) -> str:
    """Return a file's name without its folder, as text that can be written down."""
    return files.text(os.path.basename(path))


def apart(paths: Iterable[str]) -> None:
    """Refuse files in different folders that have one name: `UsageError`.

    Recipes know files by their names.
    """
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(file_name(path), path)
        if os.path.abspath(other) != os.path.abspath(path):
            raise UsageError(
                f"'{files.shown(other)}' and '{files.shown(path)}' have one name.",
                "Rename one of them: a recipe knows files by their names.",
            )


def _vector(path: str) -> tuple[float, ...]:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"'{files.shown(path)}' is no direction that can be read.",
            f"Its name has to end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.",
        )
    _check_file(path)
    try:
        found = _numpy(path) if suffix == ".npy" else _text(path, suffix)
        numbers = tuple(float(number) for number in found)
    except OSError as error:
        raise InputError(
            f"'{files.shown(path)}' cannot be read: {error.strerror or error}.",
            "Check the path, and that you may read it.",
        ) from error
    # What NumPy says of damaged files comes as any of these.
    except (
        *(ValueError, TypeError, OverflowError, EOFError, SyntaxError),
        *(MemoryError, RecursionError, tokenize.TokenError),
    ) as error:
        raise InputError(f"'{files.shown(path)}' does not hold plain numbers.", _LISTS) from error
    if not all(map(math.isfinite, numbers)):
        raise InputError(
            f"'{files.shown(path)}' holds values that are not numbers, or are infinite.", _LISTS
        )
    largest = max(map(abs, numbers), default=0.0)
    if largest == 0:
        raise InputError(
            f"'{files.shown(path)}' points nowhere: it holds nothing but zeros.",
            "Give a direction that has a number for at least one channel.",
        )
    # Only where it points counts: brought to where squares are neither lost nor infinite.
    scale = 1.0 if 1e-6 <= largest <= 1e6 else largest
    # As many digits as float32 has, which is what they are computed with.
    return tuple(float(f"{number / scale:.9g}") for number in numbers)


def _check_file(path: str) -> None:
    """Refuse what is no ordinary file of a moderate size."""
    if not os.path.exists(path):
        raise InputError(
            f"There is no file '{files.shown(path)}'.", "Check the name and the folder."
        )
    if not os.path.isfile(path):
        raise InputError(f"'{files.shown(path)}' is not a file.", _LISTS)
    if os.path.getsize(path) > _LARGEST:
        raise InputError(
            f"'{files.shown(path)}' is too large for a direction: more than "
            f"{_LARGEST / 1e6:.0f} MB.",
            _LISTS,
        )


def _numpy(path: str) -> list[float]:
    import numpy as np

    with open(path, "rb") as stream:
        found = np.lib.format.read_array(stream, allow_pickle=False)
    if found.dtype.kind not in _NUMBER_KINDS:
        raise ValueError("no array of numbers")
    numbers: list[float] = found.ravel().tolist()
    return numbers


def _text(path: str, suffix: str) -> list[float]:
    text = Path(path).read_text("utf-8-sig")
    if suffix != ".json":
        return [float(word) for word in re.split(r"[\s,;]+", text) if word]
    found = json.loads(text)
    if not isinstance(found, list) or any(type(number) not in (int, float) for number in found):
        raise ValueError("no list of numbers")
    return found
