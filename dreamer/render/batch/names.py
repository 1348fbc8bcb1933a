"""What the results of a batch are called: a template, filled in for every item."""

from __future__ import annotations

import hashlib
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

from dreamer.errors import UsageError, unknown
from dreamer.media import files, formats
from dreamer.recipe import MOST_SEED

FIELDS = ("stem", "name", "parent", "preset", "seed", "network")
DEFAULT_SUFFIX = ".png"
FILM_SUFFIX = ".mp4"
# What a file's name cannot hold, here or on the system that the folder is copied to next.
_SEPARATORS = str.maketrans("/\\\0", "___")
_NOWHERE = {"", ".", ".."}
_SAMPLE: Mapping[str, str | int] = {
    "stem": "photo",
    "name": "photo.jpg",
    "parent": "photos",
    "preset": "dream",
    "seed": MOST_SEED,  # what suits this one suits all: no code of a character is as large
    "network": "network",
}


@dataclass(frozen=True)
class Template:
    """A checked template, such as `{preset}/{stem}-{seed:06d}.jpg`.

    Attributes:
        text: as it was given.
        suffix: of every result.
    """

    text: str
    suffix: str

    def fill(self, below: str, values: Mapping[str, str | int]) -> str:
        """Return a result's path below the batch's folder, with "/" between its parts.

        No value can add a folder or lead out of the batch's folder, and no part is longer than a
        file system takes: a name that is too long is cut, and told apart by a hash.

        Args:
            below: the photo's folder below its input folder, which is mirrored.
            values: of all `FIELDS`.
        """
        safe = {
            key: value.translate(_SEPARATORS) if isinstance(value, str) else value
            for key, value in values.items()
        }
        *folders, last = self.text.removesuffix(self.suffix).split("/")
        filled = [_part(folder.format(**safe), "") for folder in folders]
        filled.append(_part(last.format(**safe), self.suffix))
        mirrored = [_part(part, "") for part in below.split("/") if part not in _NOWHERE]
        return "/".join([*mirrored, *filled])


def template(text: str) -> Template:
    """Check a template.

    Args:
        text: with fields of `FIELDS` in braces, as `str.format` takes them; "/" makes folders. A
            suffix at its end chooses the format, PNG if there is none.

    Raises:
        UsageError: unknown fields, a mistake in the braces, a suffix that is no format, or a
            path that would lead out of the folder.
    """
    for field in _fields(text):
        if field not in FIELDS:
            listing = f"There are {', '.join(FIELDS)}"
            raise unknown("field of --name", files.shown(field), FIELDS, listing)
    try:
        parts = [part.format(**_SAMPLE) for part in text.split("/")]
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(
            f"--name '{files.shown(text)}' is not valid: {error}.",
            "Write it like {stem}-{preset}-{seed:06d}.",
        ) from error
    if os.path.isabs(text) or "\\" in text or "\0" in text or not _NOWHERE.isdisjoint(parts):
        raise UsageError(
            f"--name '{files.shown(text)}' names no file inside the output folder.",
            "Use names without an empty, '.' or '..' part; -o chooses the folder.",
        )
    suffix = os.path.splitext("x" + text.rpartition("}")[2])[1]
    if suffix:
        formats.by_suffix(text)
    return Template(text if suffix else text + DEFAULT_SUFFIX, suffix or DEFAULT_SUFFIX)


def default(seeds: int) -> str:
    """Return the template that tells results apart: by the seed only if there are several."""
    return "{stem}-{preset}-{seed}" if seeds > 1 else "{stem}-{preset}"


def film(output: str) -> str:
    """Return the path of the film that belongs to a result: beside it, of the same name."""
    return os.path.splitext(output)[0] + FILM_SUFFIX


def _fields(text: str) -> list[str]:
    """Return the fields of a template; anything but plain names is refused by its name."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UsageError(
            f"--name '{files.shown(text)}' is not valid: {error}.",
            "Write {{ and }} for braces of the name itself.",
        ) from error
    names = []
    for _, field, spec, conversion in parsed:
        if field is None:
            continue
        if re.search(r"\d{4}", spec or ""):  # it could fill any memory
            raise UsageError(
                f"--name '{files.shown(text)}' asks for more characters than a name may have.",
                f"A name takes at most {files.NAME_BYTES} bytes.",
            )
        nested = "{" in (spec or "") or conversion is not None
        names.append(f"{field}!{conversion}:{spec}" if nested else field)
    return names


def _part(name: str, suffix: str) -> str:
    """Return one part of a path that is legal and leads nowhere."""
    if not name.strip("."):  # it would lead elsewhere, or make a suffix a hidden file's name
        name = f"_{name}"
    whole = name + suffix
    if len(os.fsencode(whole)) <= files.NAME_BYTES:
        return whole
    # The end of a name is what tells it from its neighbours, and it is what is cut.
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return files.fitting_name(name, f"~{digest}{suffix}")
