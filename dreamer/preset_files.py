"""Where preset files are, and what is written in them: everything short of what it means.

This module is light: naming presets for the shell's completion reads no file and imports neither
pydantic nor torch. `dreamer.presets` makes settings of what is read here.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

from dreamer import errors

SCHEMA = 1
FILE_KEYS = ("schema", "extends")  # what a file says about itself; all else is settings
VARIABLE = "DREAMER_PRESETS"
LISTING = "`dreamer presets list` shows them all"

_LARGEST = 64 * 1024  # bytes; a preset is a page of text, anything larger is the wrong file

Source = Literal["./presets", "user", "built-in", "file"]


class PresetError(errors.UsageError):
    """Everything that is wrong with a preset, or with the flags over it.

    Attributes:
        problems: one line each, starting with the file and line, or the flag, at fault.
    """

    def __init__(self, problems: Sequence[str], advice: str) -> None:
        super().__init__("\n".join(problems), advice)
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Found:
    """Where a preset is: its name, its file, and which place it came from."""

    name: str
    path: Path
    source: Source


@dataclass(frozen=True)
class Document:
    """A file as it is written: its text, and the values that TOML reads from it."""

    found: Found
    text: str
    values: Mapping[str, Any]

    @cached_property
    def lines(self) -> Mapping[tuple[str, ...], int]:
        """The line of every key and table."""
        return key_lines(self.text)

    def problem(self, path: Sequence[str], text: str) -> str:
        """Say what is wrong with the value at `path`, with the line it is on.

        Where the value is missing it is the line of the table it should be in, or the first.
        """
        prefixes = (tuple(path[:length]) for length in range(len(path), 0, -1))
        line = next((self.lines[prefix] for prefix in prefixes if prefix in self.lines), 1)
        return f"{shown(self.found.path)}:{line}: {'.'.join(path)}: {text}"


def folders() -> tuple[tuple[Source, Path], ...]:
    """Return the folders that presets are looked for in, first to last.

    The user's folder is `$DREAMER_PRESETS`, or else `dreamer/presets` in `$XDG_CONFIG_HOME`
    (`~/.config`; on Windows `%APPDATA%`). Folders that do not exist are left out.

    Raises:
        UsageError: `$DREAMER_PRESETS` is set but is not a folder.
    """
    places: list[tuple[Source, Path]] = [("./presets", Path("presets"))]
    user = _user_folder()
    if user is not None:
        places.append(("user", user))
    built_in = _built_in_folder()
    # In a checkout `./presets` is the built-in folder itself.
    own = built_in.resolve()
    others = [place for place in places if os.path.isdir(place[1]) and place[1].resolve() != own]
    return (*others, ("built-in", built_in))


def names() -> list[str]:
    """Name all presets in all folders, in alphabetical order; none of them is read."""
    return sorted({found.name for folder in folders() for found in _files(*folder)})


def find(name_or_path: str | Path) -> Found:
    """Find a preset by name, or by path: anything that ends in `.toml` or holds a slash.

    Raises:
        UsageError: there is no such preset.
    """
    name = str(name_or_path)
    found = _find(name, folders())
    if found is not None:
        return found
    if _is_path(name):
        raise errors.UsageError(
            f"There is no preset file '{name}'.",
            f"Check the path, or give the name of a preset: {LISTING}.",
        )
    raise errors.unknown("preset", name, names(), LISTING)


def read_chain(found: Found) -> tuple[list[Document], list[str]]:
    """Read a preset and all that it extends.

    Returns:
        The documents, the preset's own first, and what is wrong with their `schema` and `extends`.
        The chain ends where something that is extended could not be found.

    Raises:
        UsageError: a file cannot be read.
        PresetError: a file is not TOML, or is of a schema that is not known here.
    """
    chain = [read(found)]
    problems: list[str] = []
    while True:
        document = chain[-1]
        problems += _schema_problems(document)
        if "extends" not in document.values:
            return chain, problems
        try:
            parent = _parent(document, chain)
        except errors.UsageError as error:
            problems.append(document.problem(["extends"], f"{error.message} {error.advice}"))
            return chain, problems
        chain.append(read(parent))


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, counted from 1, of every key and table of a valid TOML text.

    The tables of an array are numbered: `("look", "0", "preset")`.

    `tomllib` tells no positions. But a statement never parses before its last line is there, so
    the lines can be fed to it one by one: whatever parses is one statement.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    count: dict[tuple[str, ...], int] = {}
    statement = ""
    start = 1
    for number, line in enumerate(text.split("\n"), start=1):
        statement += f"{line}\n"
        try:
            values = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        paths = list(_paths(values))
        if statement.lstrip().startswith("["):
            table = paths[-1]
            lines.setdefault(table, start)
            if statement.lstrip().startswith("[["):
                count[table] = count.get(table, -1) + 1
                table = (*table, str(count[table]))
                lines[table] = start
        else:
            for path in paths:
                lines.setdefault((*table, *path), start)
        statement, start = "", number + 1
    return lines


def shown(path: Path) -> str:
    """Write a path as short as it is from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def shorten(value: object) -> str:
    """Write a value as Python would, cut to 60 characters for a message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "this value"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key, tables before what they hold."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            for path in _paths(value):
                yield (key, *path)


def _user_folder() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(os.path.expanduser(named))
        if not os.path.isdir(folder):
            raise errors.UsageError(
                f"{VARIABLE} is set to '{named}', which is not a folder.",
                f"Make the folder, or unset {VARIABLE}.",
            )
        return folder
    config = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    try:
        return (Path(config) if config else Path.home() / ".config") / "dreamer" / "presets"
    except RuntimeError:  # a user without a home folder
        return None


def _built_in_folder() -> Path:
    """Return the folder in the wheel, or that of the checkout for an editable install."""
    package = Path(__file__).resolve().parent
    packaged = package / "_presets"
    return packaged if packaged.is_dir() else package.parent / "presets"


def _files(source: Source, folder: Path) -> list[Found]:
    files = (path for path in sorted(folder.glob("*.toml")) if os.path.isfile(path))
    return [Found(path.stem, path, source) for path in files]


def _is_path(name: str) -> bool:
    return name.endswith(".toml") or "/" in name or os.sep in name


def _find(name: str, places: Iterable[tuple[Source, Path]], by: Path | None = None) -> Found | None:
    """Find a preset by name in `places`, or by path; for one that the file `by` extends, not it."""
    if _is_path(name):
        path = Path(os.path.expanduser(name))
        path = path if by is None else by.parent / path
        return Found(path.stem, path, "file") if os.path.exists(path) else None
    for place in places:
        for found in _files(*place):
            if found.name == name and (by is None or found.path.resolve() != by.resolve()):
                return found
    return None


def _schema_problems(document: Document) -> list[str]:
    """Check `schema`; a newer one is the only thing to say, as nothing else can be judged."""
    schema = document.values.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise PresetError(
            [document.problem(["schema"], f"{shorten(schema)} is newer than this version reads.")],
            f"Upgrade dreamer: this one reads schema = {SCHEMA}.",
        )
    if schema is None:
        return [document.problem(["schema"], f"is missing. Begin the file with schema = {SCHEMA}.")]
    if type(schema) is not int or schema != SCHEMA:
        return [
            document.problem(["schema"], f"{shorten(schema)} is not valid. It can be {SCHEMA}.")
        ]
    return []


def _parent(document: Document, chain: Sequence[Document]) -> Found:
    """Find what a document extends; `UsageError` if that gives nothing to go on with."""
    own = document.found
    name = document.values["extends"]
    if not isinstance(name, str):
        raise errors.UsageError(
            f"{shorten(name)} is not a preset's name.", "Put the name in quotes."
        )
    places = list(folders())
    if own.source == "file":
        places.insert(0, ("file", own.path.parent))
    else:
        places = list(dropwhile(lambda place: place[0] != own.source, places))
    found = _find(name, places, own.path)
    if found is None:
        others = {other.name for place in places for other in _files(*place)} - {own.name}
        raise errors.unknown("preset to extend", name, sorted(others), LISTING)
    if any(found.path.resolve() == link.found.path.resolve() for link in chain):
        circle = " -> ".join([*(link.found.name for link in chain), found.name])
        raise errors.UsageError(
            f"The presets extend each other in a circle: {circle}.", "One must stand alone."
        )
    return found


def read(found: Found, kind: str = "preset", other: str = f"a name: {LISTING}") -> Document:
    """Read and parse one file, without looking at what it sets.

    Args:
        found: where it is.
        kind: what it should be, for messages.
        other: what can be given instead of a file.

    Raises:
        UsageError: it cannot be read.
        PresetError: it is not TOML.
    """
    name = shown(found.path)
    try:
        with found.path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise errors.UsageError(
            f"The {kind} {name} cannot be read: {error.strerror}.",
            f"Give a file that can be read, or {other}.",
        ) from error
    if len(data) > _LARGEST:
        raise errors.UsageError(
            f"The {kind} {name} is larger than {_LARGEST // 1024} KiB.",
            f"Give a {kind} file, or {other}.",
        )
    try:
        text = data.decode("utf-8-sig")  # Windows editors may put a byte order mark first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PresetError(
            [f"{name}:{line}: the file is not UTF-8 text."],
            "Save it as UTF-8, which TOML asks for.",
        ) from error
    try:
        return Document(found, text, tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # a number, or a nesting, beyond all bounds
        raise PresetError(
            [f"{name}:{_place(str(error), text)}"], "Correct the TOML: a setting is `key = value`."
        ) from error


def _place(message: str, text: str) -> str:
    """Turn tomllib's "X (at line 3, column 5)" into "3:5: X"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.S)
    if match is None:
        return f"1: {message}."
    lines = text.rstrip("\n").split("\n")
    return f"{match[2] or len(lines)}:{match[3] or len(lines[-1]) + 1}: {match[1]}."
