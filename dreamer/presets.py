"""Presets: named, validated TOML files that say what to dream, for any network and picture.

A preset's name is its file's name without `.toml`. It is looked for in `./presets`, then in the
user's folder, then among the built-in ones; a preset can also be given as a path. It may extend
another one, whose values it then keeps where it sets none of its own:

    schema = 1
    extends = "parts"
    description = "Slow and deep."

    [ascent]
    steps = 30

`extends` looks in the file's own folder first and then only in those after it, so a user's preset
may extend the built-in one of the same name, and no user's file changes a built-in preset. A path
in `extends` starts at the file's folder. A preset that sets `target` drops the `targets` for single
networks of the one it extends.

What a preset can set is declared in `dreamer.settings`, where pydantic checks it: it is imported
when a preset is read. Nothing here imports torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer import errors
from dreamer.preset_files import (
    FILE_KEYS,
    SCHEMA,
    Document,
    Found,
    PresetError,
    find,
    folders,
    names,
    read_chain,
)

if TYPE_CHECKING:
    from dreamer.settings import Complaint, Settings

__all__ = [
    "SCHEMA",
    "Entry",
    "Found",
    "Preset",
    "PresetError",
    "find",
    "folders",
    "listing",
    "load",
    "merge",
    "names",
    "to_toml",
]


@dataclass(frozen=True)
class Preset:
    """A preset that was read: where it was found, and its settings after all it extends."""

    found: Found
    settings: Settings

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.found.name


@dataclass(frozen=True)
class Entry:
    """A line of the listing: the description, or the error of a preset that is not valid."""

    found: Found
    description: str | None
    error: errors.UsageError | None


def load(name_or_path: str | Path) -> Preset:
    """Find and read a preset with all that it extends.

    Raises:
        UsageError: there is no such preset, or a file cannot be read.
        PresetError: everything that is wrong in it, or in what it extends.
    """
    return _load(find(name_or_path))


def listing() -> tuple[Entry, ...]:
    """Describe every preset that `names` names, with an error in place of a broken one's text."""
    entries = []
    for found in map(find, names()):
        try:
            entries.append(Entry(found, _load(found).settings.description, None))
        except errors.UsageError as error:
            entries.append(Entry(found, None, error))
    return tuple(entries)


def merge(preset: Preset, overrides: Mapping[str, object]) -> Preset:
    """Put flags over a preset.

    Args:
        preset: what holds where no flag was given.
        overrides: values by dotted path, such as {"octaves.count": 3}; None is "not given". A
            `target` also replaces the preset's targets for single networks, and "ascent.steps" is
            just as many, whatever the quality.

    Raises:
        PresetError: everything that is wrong with the values, each with its flag.
    """
    from dreamer import settings

    values = preset.settings.model_dump()
    for path, value in overrides.items():
        if value is not None:
            values = _over(_nested(path.split("."), value), values)
    change = overrides.get("ascent.change")
    if change is not None:  # a step of another size does away with the preset's, not with this one
        values = _over({"ascent": {"change": change}}, values)
    checked = settings.check(values)
    if isinstance(checked, settings.Settings):
        if overrides.get("ascent.steps") is not None:  # just as many, whatever the quality
            ascent = checked.ascent.model_copy(update={"quality": "normal"})
            checked = checked.model_copy(update={"ascent": ascent})
        return replace(preset, settings=checked)
    flags = {found.path: found.flag for found in settings.all_settings()}
    problems = []
    for complaint in checked:
        path = ".".join(complaint.path)
        problems.append(
            f"{flags.get(path) or flags.get(complaint.path[0]) or path}: {complaint.text}"
        )
    raise PresetError(problems, f"Correct {_count(problems)}; --help shows what each can be.")


def to_toml(settings: Settings) -> str:
    """Write settings as a whole preset file, which reads back as the same settings."""
    values: dict[str, Any] = {"schema": SCHEMA, **settings.model_dump()}
    lines = []
    tables = []
    for key, value in values.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {_toml(value)}")
        elif value:
            tables += ["", f"[{key}]", *(f"{_key(k)} = {_toml(v)}" for k, v in value.items())]
    return "\n".join([*lines, *tables, ""])


def _load(found: Found) -> Preset:
    from dreamer import settings

    chain, problems = read_chain(found)
    values: dict[str, Any] = {}
    for document in reversed(chain):
        own = {k: v for k, v in document.values.items() if k not in FILE_KEYS}
        values = _over(own, values)
    checked = settings.check(values)
    if isinstance(checked, settings.Settings):
        if not problems:
            return Preset(found, checked)
    else:
        # Where the chain breaks off, the rest of it may hold what seems to be missing.
        whole = "extends" not in chain[-1].values
        problems += _located([c for c in checked if whole or not c.missing], chain)
    problems.sort(key=_place)
    advice = f"Correct {_count(problems)}; `dreamer presets show NAME` prints a whole preset."
    raise PresetError(problems, advice)


def _located(complaints: Iterable[Complaint], chain: Sequence[Document]) -> Iterator[str]:
    """Name the file and line of each complaint: the first file that sets what is wrong."""
    for complaint in complaints:
        path = complaint.path
        prefixes = [path[:length] for length in range(len(path), 0, -1)]
        holders = (link for prefix in prefixes for link in chain if prefix in link.lines)
        yield next(holders, chain[0]).problem(path, complaint.text)


def _place(problem: str) -> tuple[str, int]:
    """Return the file and line that a problem begins with, to sort by."""
    match = re.match(r"(.*?):(\d+):", problem)
    return (match[1], int(match[2])) if match else (problem, 0)


def _over(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings over others.

    A new target does away with those for single networks and for regions, new regions with all
    others, and a step of another size with the change that steps are brought to.
    """
    dropped = ("targets", "regions") if "target" in values else ()
    merged = {key: value for key, value in base.items() if key not in dropped}
    for key, value in values.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key != "regions":
            merged[key] = {**below, **value}
            if key == "ascent" and "step_size" in value and "change" not in value:
                merged[key]["change"] = 0.0
        else:
            merged[key] = value
    return merged


def _nested(path: Sequence[str], value: object) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def _toml(value: str | bool | int | float) -> str:
    if isinstance(value, str):
        # JSON's strings are TOML's, but for one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _count(problems: Sequence[str]) -> str:
    return "it" if len(problems) == 1 else f"these {len(problems)} things"
