"""What a batch is to make: every photo with every look, and what is done of it already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dreamer.errors import DreamerError, InputError, OutputError, UsageError, of_code
from dreamer.media import files, formats, reading
from dreamer.media.gathering import Found
from dreamer.recipe import MOST_SEED, Origin, Recipe, Start
from dreamer.render.batch import names
from dreamer.render.batch.journal import Record, Stat, key
from dreamer.render.job import planned_size, recipe_in, taken
from dreamer.render.look import Look, Request, look

if TYPE_CHECKING:
    from dreamer.render.batch.names import Template

THREADS = 1
"""Threads that a picture is computed with unless told otherwise: many pictures at once make the
most of many processors, and a number that does not depend on the machine gives every machine the
same bytes."""


ADVICE = (
    "Choose another folder with -o or other names with --name; --renew makes again what changed "
    "photos made, --overwrite everything."
)
WATCHING = "Choose another folder with -o or other names with --name, or remove it."


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a batch.

    Attributes:
        output: its path below the batch's folder, with "/" between its parts; empty for what no
            picture can come of, such as a folder that cannot be listed.
        path: the photo's, or "sky" or "noise".
        name: the photo's path below its input folder.
        start: a photo, or what is made without one.
        look: how to dream.
    """

    output: str
    path: str
    name: str
    start: Start
    look: Look

    @property
    def key(self) -> str:
        """What the item is known by: its output, or its input if it has none."""
        return key(self.output, self.path)


@dataclass(frozen=True, slots=True)
class Todo:
    """An item that is to be made.

    Attributes:
        item: the item.
        recipe: as far as it is known; the photo's hash may be missing.
        replaces: whether a file that exists is to be replaced.
        own: the photo's own width and height, px; None without a photo.
    """

    item: Item
    recipe: Recipe
    replaces: bool
    own: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """An item that is done already, and what the journal should say of it."""

    item: Item
    record: Record


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that cannot be made."""

    item: Item
    error: DreamerError


Verdict: TypeAlias = Todo | Done | Refused


def looks(
    request: Request, presets: Sequence[str], seeds: int, *, here: bool = True
) -> tuple[Look, ...]:
    """Resolve every preset with every seed.

    Args:
        request: what all have in common.
        presets: their names; none for the request's own.
        seeds: how many, counted up from the request's.
        here: whether this machine computes, so that its device is to be proven.

    Raises:
        DreamerError: as `dreamer.render.look.look`, and as `Look.placed`.
        UsageError: there are not as many seeds from the request's on.
    """
    found: list[Look] = []
    for preset in dict.fromkeys(presets) or (request.preset,):
        chosen = look(replace(request, preset=preset), threads=THREADS)
        if chosen.seed + seeds - 1 > MOST_SEED:
            raise UsageError(
                f"There are no {seeds} seeds from {chosen.seed} on.",
                f"The last one is {MOST_SEED}: start with a smaller --seed.",
            )
        if here:
            chosen = replace(chosen, device=found[0].device) if found else chosen.placed()
        found += [replace(chosen, seed=chosen.seed + index) for index in range(seeds)]
    return tuple(found)


def items(
    photos: Iterable[Found], made: Iterable[Start], looks: Sequence[Look], template: Template
) -> tuple[tuple[Item, ...], tuple[Refused, ...]]:
    """List every photo with every look.

    Args:
        photos: the photos.
        made: what is to be dreamed on beside them.
        looks: how to dream.
        template: of the results' names.

    Returns:
        the items, and those that would write the same file as one before them.
    """
    sources: list[tuple[Start, str, str]] = [(start, start, "") for start in made]
    sources += [("photo", photo.path, photo.below) for photo in photos]
    found: dict[str, Item] = {}
    clashes = []
    for start, path, below in sources:
        for each in looks:
            item = _item(start, path, below, each, template)
            other = found.setdefault(item.output, item)
            if other is not item:
                clash = replace(item, output="", name=f"{item.name} ({item.look.preset})")
                clashes.append(Refused(clash, _collision(other, item, template)))
    return tuple(found.values()), tuple(clashes)


def check_folder(folder: Path, planned: Sequence[Item], listed: Sequence[str]) -> None:
    """Refuse a batch whose results would land on or among its photos, before any work.

    Args:
        folder: the batch's folder.
        planned: the items.
        listed: the real paths of the folders that photos were taken from.

    Raises:
        OutputError: they would, or the folder cannot be written.
        UsageError: two of them would write the same file in a folder that does not tell upper
            from lower case.
    """
    files.check(folder / "index.html", overwrite=True)
    real = os.path.realpath(folder)
    named = {os.path.dirname(item.path) for item in planned if item.start == "photo"}
    listed = [*listed, *map(os.path.realpath, named)]
    places = {
        place: os.path.realpath(os.path.join(real, place))
        for place in {os.path.dirname(item.output) for item in planned}
    }
    among = {real, *places.values()}.intersection(listed)
    if among:
        raise OutputError(
            f"The results would land among the photos, in '{files.shown(min(among))}'.",
            "Choose another folder with -o.",
        )
    photos = {os.path.realpath(item.path) for item in planned if item.start == "photo"}
    for item in planned:
        place, _, name = item.output.rpartition("/")
        output = os.path.join(places[place], name)
        if output in photos or (os.path.islink(output) and os.path.realpath(output) in photos):
            raise OutputError(
                f"The result '{files.shown(item.output)}' would replace a photo of this batch.",
                "Choose another folder with -o, or other names with --name.",
            )
    if files.folds_case(folder):
        seen: dict[str, Item] = {}
        for item in planned:
            other = seen.setdefault(item.output.casefold(), item)
            if other is not item:
                raise UsageError(
                    f"'{files.shown(other.output)}' and '{files.shown(item.output)}' are one name "
                    f"in '{files.shown(folder)}', which does not tell upper from lower case.",
                    "Rename one of the photos, or add {parent} to --name.",
                )


def filmed(planned: Sequence[Item]) -> tuple[Item, ...]:
    """Return items with their films for outputs: as many names, since results share a suffix."""
    return tuple(replace(item, output=names.film(item.output)) for item in planned)


def in_shard(planned: Sequence[Item], index: int, count: int) -> tuple[Item, ...]:
    """Return the items of a shard: by the names of the results, so the same on every machine."""

    def shard(item: Item) -> int:
        digest = hashlib.sha256(os.fsencode(item.output)).digest()
        return int.from_bytes(digest[:8], "big") % count

    return tuple(item for item in planned if shard(item) == index - 1)


# What a record tells of how its result was made, whatever the photo is called today.
_OF_MAKING = (
    *("metadata", "output_sha256", "thumbnail", "before", "after"),
    *("seconds", "attempts", "notes", "time"),
)


class Judge:
    """Decides what is to be done about each item.

    Args:
        folder: the batch's folder.
        request: what all items have in common.
        records: the last record of each output.
        renew: whether a result is made again if its photo has changed since.
    """

    def __init__(
        self,
        folder: Path,
        request: Request,
        records: Mapping[str, Record],
        *,
        renew: bool = False,
    ) -> None:
        self.folder = folder
        self.request = request
        self.records = records
        self.renew = renew
        # Most photos of a folder have few sizes, and resolving is the slow part.
        self._recipes: dict[tuple[int, Start, tuple[int, int]], Recipe] = {}

    def __call__(self, item: Item) -> Verdict:
        """Return the verdict on an item; reads as little as it can."""
        try:
            return self._judge(item)
        except DreamerError as error:
            # Without its traceback, which would keep what was read of the file.
            return Refused(item, of_code(error.exit_code, error.message, error.advice))

    def _judge(self, item: Item) -> Verdict:
        record = self.records.get(item.key)
        stat = file_stat(item.path) if item.start == "photo" else None
        known = record is not None and record.input == item.path and record.input_stat == stat
        own = None
        if item.start == "photo":
            own = record.input_size if record is not None and known else None
            own = own or reading.probe(item.path)
        size = planned_size(own, self.request.size)
        asked = "" if self.request.size is None else f" at --size {self.request.size}"
        item.look.row.check_size(*size, f"'{files.shown(item.path)}'{asked}")
        formats.check_size(item.output, *size)
        recipe = self._recipe(item, size)
        output = self.folder / item.output
        if self.request.overwrite or not os.path.lexists(output):
            return Todo(item, recipe, self.request.overwrite, own)
        sha256 = ""
        if item.start == "photo":
            sha256 = record.input_sha256 if record is not None and known else ""
            sha256 = sha256 or _sha256(item.path)
        name = files.text(os.path.basename(item.path)) if item.start == "photo" else ""
        origin = Origin(start=item.start, name=name, sha256=sha256)
        recipe = recipe.model_copy(update={"origin": origin})
        return self._existing(item, recipe, output, record, own, stat)

    def _existing(
        self,
        item: Item,
        recipe: Recipe,
        output: Path,
        record: Record | None,
        own: tuple[int, int] | None,
        stat: Stat | None,
    ) -> Verdict:
        """Return the verdict on an item whose output exists."""
        there = file_stat(output)
        wanted = recipe.hash
        now = record_of(item, recipe, status="done", input_stat=stat, input_size=own)
        now = replace(now, output_stat=there)
        if record is not None and (record.output_stat != there and not _same_bytes(record, output)):
            record = None  # it tells of another file
        if record is not None and record.metadata == self.request.metadata:
            if record.recipe == wanted:
                now = replace(now, **{name: getattr(record, name) for name in _OF_MAKING})
                return Done(item, record if now == record else now)
            if self.renew and self._is_renewed(item, recipe, record):
                return Todo(item, recipe, True, own)
        found = recipe_in(output)
        if found is not None and found.hash == wanted and self.request.metadata:
            return Todo(item, recipe, True, own) if found.partial else Done(item, now)
        if self.renew and found is not None and same_look(found, recipe):
            return Todo(item, recipe, True, own)
        raise taken(output, found, recipe, WATCHING if self.renew else ADVICE)

    def _is_renewed(self, item: Item, recipe: Recipe, record: Record) -> bool:
        """Whether a result is the dream of what the item's photo was before."""
        if record.size is None or record.input != item.path:
            return False
        origin = Origin(start=item.start, sha256=record.input_sha256)
        try:
            before = self._recipe(item, record.size).model_copy(update={"origin": origin})
        except DreamerError:  # such as a neuron that a picture of that size does not have
            return False
        return before.hash == record.recipe and before.origin.sha256 != recipe.origin.sha256

    def _recipe(self, item: Item, size: tuple[int, int]) -> Recipe:
        """Return the item's recipe but for its photo, which is known by its hash only later."""
        kind = (id(item.look), item.start, size)
        if kind not in self._recipes:
            self._recipes[kind] = item.look.recipe(Origin(start=item.start), size)
        return self._recipes[kind]


def record_of(
    item: Item,
    recipe: Recipe | None,
    *,
    status: Literal["done", "failed"],
    input_stat: Stat | None = None,
    input_size: tuple[int, int] | None = None,
) -> Record:
    """Return what the journal says of an item, as far as its recipe tells."""
    record = Record(
        output=item.output,
        input=item.path,
        name=item.name,
        preset=item.look.preset,
        seed=item.look.seed,
        status=status,
        input_stat=input_stat,
        input_size=input_size,
    )
    if recipe is None:
        return record
    return replace(
        record,
        input_sha256=recipe.origin.sha256,
        recipe=recipe.hash if status == "done" else "",
        size=recipe.size,
        work=recipe.work,
        facts=facts(recipe),
    )


def facts(recipe: Recipe) -> dict[str, str]:
    """Return what a reader wants to know of a recipe, by what to call it."""
    width, height = recipe.size
    return {
        "target": recipe.target,
        "network": recipe.network,
        "size": f"{width} x {height} px",
        "octaves": f"{len(recipe.octaves)}, with {' '.join(map(str, recipe.steps))} steps",
        "seed": str(recipe.seed),
        "device": f"{recipe.device}, {recipe.threads} thread{'s'[: recipe.threads > 1]}",
        "recipe": recipe.hash[:16],
    }


def same_look(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes are for two photos of the same name, dreamed on in the same way."""
    names = ("preset", "settings", "network", "seed")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    renewed = one.origin.sha256 != other.origin.sha256
    return same and renewed and one.origin.name == other.origin.name


def _item(start: Start, path: str, below: str, look: Look, template: Template) -> Item:
    name = os.path.basename(path)
    shown = f"{below}/{name}" if below else name
    return Item(template.fill(below, _values(path, look)), path, shown, start, look)


def _values(path: str, look: Look) -> dict[str, str | int]:
    """Return what the fields of a template stand for."""
    name = os.path.basename(path)
    return {
        "stem": os.path.splitext(name)[0],
        "name": name,
        "parent": os.path.basename(os.path.dirname(os.path.abspath(path))),
        "preset": look.preset,
        "seed": look.seed,
        "network": look.row.name,
    }


def _collision(one: Item, other: Item, template: Template) -> UsageError:
    """Build the error for two items that would write one file: it says what tells them apart."""
    values, others = _values(one.path, one.look), _values(other.path, other.look)
    pair = f"'{files.shown(one.path)}' and '{files.shown(other.path)}'"
    advice = "Rename one of them, or give a folder that holds both, with --recursive."
    if one.path == other.path:
        pair = f"Two results of '{files.shown(one.path)}'"
        advice = f"Give one of the presets '{files.shown(one.look.preset)}' another name."
    for field in ("preset", "seed", "name", "parent"):
        if values[field] != others[field] and f"{{{field}" not in template.text:
            now = files.shown(template.text)
            advice = f"Tell them apart with {{{field}}} in --name; it is '{now}' now."
            break
    return UsageError(f"{pair} would both be written to '{files.shown(one.output)}'.", advice)


def file_stat(path: str | Path) -> Stat | None:
    """Return a file's size and time, or None if it cannot be asked for them."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"'{files.shown(path)}' cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _same_bytes(record: Record, output: Path) -> bool:
    """Whether a result is as it was written, though its time says otherwise: it was copied."""
    there = file_stat(output)
    if there is None or record.output_stat is None or there[0] != record.output_stat[0]:
        return False
    return bool(record.output_sha256) and _sha256(os.fspath(output)) == record.output_sha256
