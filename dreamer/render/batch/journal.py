"""The journal of a batch: one line of JSON an item, only ever appended to.

It stands beside the results, and says what each was made from, so that a batch that is run again
knows what is done without opening every picture, and why something failed. A result is believed
to be done only if its file is there as well: the line is written before the file gets its name, so
no moment at which a program can be killed leaves a file of which nothing is known.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dreamer.errors import OutputError
from dreamer.media import files

SCHEMA = 1
NAME = "journal"
SUFFIX = ".jsonl"

Stat = tuple[int, int]
"""A file's size in bytes and its time of change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one item.

    Attributes:
        output: the result's path below the batch's folder, with "/" between its parts.
        input: the photo's path as it was given, or "sky" or "noise".
        name: the photo's path below its input folder.
        preset: the preset's name.
        seed: the seed.
        status: done or failed.
        input_sha256: of the photo's bytes.
        input_stat: the photo's size and time, or None if it has none.
        input_size: the photo's width and height, px.
        recipe: the recipe's hash.
        facts: what else the page tells of the recipe.
        metadata: whether the result carries its recipe.
        output_sha256: of the result's bytes.
        output_stat: the result's size and time.
        size: the result's width and height, px.
        thumbnail, before, after: the previews' paths below the batch's folder.
        work: pixels x steps.
        seconds: of computing.
        attempts: how often it was tried in that run.
        notes: what the user should know.
        code: the exit code of the error's kind; 0 if it is done.
        error: what went wrong.
        advice: what to do about it.
        time: of the entry, UTC.
    """

    output: str
    input: str
    name: str
    preset: str
    seed: int
    status: Literal["done", "failed"]
    input_sha256: str = ""
    input_stat: Stat | None = None
    input_size: tuple[int, int] | None = None
    recipe: str = ""
    facts: Mapping[str, str] | None = None
    metadata: bool = True
    output_sha256: str = ""
    output_stat: Stat | None = None
    size: tuple[int, int] | None = None
    thumbnail: str = ""
    before: str = ""
    after: str = ""
    work: int = 0
    seconds: float = 0.0
    attempts: int = 1
    notes: tuple[str, ...] = ()
    code: int = 0
    error: str = ""
    advice: str = ""
    time: str = ""

    @property
    def key(self) -> str:
        """What the item is known by, see `key`."""
        return key(self.output, self.input)


_PLAIN = {"str": str, "int": int, "float": int | float, "bool": bool}
_KINDS = {each.name: _PLAIN.get(str(each.type), object) for each in fields(Record)}
_NEEDED = {each.name for each in fields(Record) if each.default is MISSING}
_PAIRS = ("input_stat", "input_size", "output_stat", "size")


def key(output: str, path: str) -> str:
    """Return what an item is known by: its output, or its input if it has none."""
    return output or f":{path}"


class Journal:
    """The journal of one run, and what all runs into the same folder have written.

    Args:
        folder: the batch's folder; it is made.
        shard: tells the journals of several machines at work in one folder apart.

    Attributes:
        records: the last record of each item, by its key.
        unwritten: lines that could not be written yet, as on a full disk.

    Raises:
        OutputError: it cannot be written, or another dreamer is at work on it.
    """

    def __init__(self, folder: Path, shard: str = "") -> None:
        self.folder = folder
        self.path = folder / f"{NAME}{shard}{SUFFIX}"
        self.unwritten: list[bytes] = []
        with files.writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path, flags, 0o666)
        try:
            if not files.lock(self._descriptor, wait=False):
                raise OutputError(
                    f"Another dreamer is at work in '{files.shown(folder)}'.",
                    "Wait until it is done, or choose another folder.",
                )
            self.records = read(folder)
            self._whole = self._ends_whole()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, record: Record) -> None:
        """Write a record, at once and whole; it is kept for later if the disk is full."""
        record = _stamped(record)
        self.records[record.key] = record
        values = {
            name: value
            for name, value in asdict(record).items()
            if name in _NEEDED or value not in ("", None)
        }
        self.unwritten.append(json.dumps({"schema": SCHEMA} | values).encode() + b"\n")
        self.flush()

    def flush(self) -> None:
        """Write what could not be written before."""
        with contextlib.suppress(OSError):
            while self.unwritten:
                # A line that was cut, by a kill or a full disk, is ended; readers pass over it.
                line = (b"" if self._whole else b"\n") + self.unwritten[0]
                self._whole = False
                if os.write(self._descriptor, line) < len(line):
                    break
                self._whole = True
                self.unwritten.pop(0)

    def catch_up(self) -> set[str]:
        """Take in what other machines have written since; returns the keys of what is new.

        Raises:
            OutputError: a journal cannot be read.
        """
        known = self.records
        new = {
            key: record
            for key, record in read(self.folder, without=self.path).items()
            if key not in known or known[key].time < record.time
        }
        known.update(new)
        return set(new)

    def close(self) -> None:
        """Write what is left, and let others at it."""
        if self._descriptor >= 0:
            self.flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def _ends_whole(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        if size == 0:
            return True
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return file.read() == b"\n"


def read(folder: Path, *, without: Path | None = None) -> dict[str, Record]:
    """Return the last record of each item from all journals in a folder.

    Lines that are damaged or of a newer version are passed over: what they tell of is then judged
    by the results themselves.

    Args:
        folder: the batch's.
        without: a journal that is left out.

    Raises:
        OutputError: a journal cannot be read.
    """
    found: dict[str, Record] = {}
    with files.writing(folder / NAME):
        paths = [path for path in sorted(folder.glob(f"{NAME}*{SUFFIX}")) if path.is_file()]
    for path in paths:
        if path == without:
            continue
        # The clock puts journals in order, but never the lines of one: it may have been set back.
        for key, record in {record.key: record for record in _lines(path)}.items():
            older = found.get(key)
            if older is None or older.time <= record.time:
                found[key] = record
    return found


def _lines(path: Path) -> Iterator[Record]:
    with files.writing(path), path.open("rb") as file:
        for line in file:
            try:
                values = json.loads(line)
                if values.pop("schema") == SCHEMA:
                    yield _record(values)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue


def _record(values: dict[str, Any]) -> Record:
    """Build a record from what a line says; raises whatever there is if it is not one of ours."""
    values = {name: value for name, value in values.items() if name in _KINDS}
    for name, value in values.items():
        if not isinstance(value, _KINDS[name]):
            raise TypeError(name)
    for name in _PAIRS:
        if name in values:
            first, second = map(int, values[name])
            values[name] = (first, second)
    values["notes"] = tuple(map(str, values.get("notes", ())))
    if "facts" in values:
        values["facts"] = {label: str(value) for label, value in values["facts"].items()}
    if values["status"] not in ("done", "failed"):
        raise ValueError(values["status"])
    return Record(**values)


def _stamped(record: Record) -> Record:
    # To the microsecond: the records of several machines are put in order by it.
    return replace(record, time=datetime.now(UTC).isoformat(timespec="microseconds"))
