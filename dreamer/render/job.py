"""From what the user asked for to a recipe, a photo and a place to write: all checks, no work.

Nothing here imports torch until the photo itself is read, so wrong names and files are answered
at once.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dreamer import recipe as recipes
from dreamer.errors import DreamerError, InputError, OutputError
from dreamer.media import files, formats, reading
from dreamer.recipe import Origin, Recipe, Start
from dreamer.render.look import Look, Request, beside, look, read_recipe

if TYPE_CHECKING:
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network
    from dreamer.render.still import Dream

__all__ = ["Job", "Request", "prepare", "read_recipe"]

DEFAULT_SIZE = (768, 512)
OUTPUTS = Path("outputs")
SAID = 3  # differences between two recipes that a message names
TAKEN = "Choose another name with -o, or replace it with --overwrite."
MADE: tuple[Start, ...] = ("sky", "noise")


@dataclass(frozen=True)
class Job:
    """A picture to make, all checks passed.

    Attributes:
        recipe: every number.
        photo: what it dreams on, or None if the recipe makes it itself.
        output: the file to write, or None.
        kept: whether that file holds this very result already.
        replaces_partial: whether that file holds a part of this very result.
        default_name: whether the user left the name to us: it may get a number.
        overwrite: whether a file that exists is replaced.
        notes: what the user should know.
        look: how to dream, and with which network.
        depth: bits a colour of the file.
    """

    recipe: Recipe
    photo: Photo | None
    output: Path | None
    kept: bool
    replaces_partial: bool
    default_name: bool
    overwrite: bool
    notes: tuple[str, ...]
    look: Look
    depth: int = 8

    def load_network(self) -> Network:
        """Load the recipe's network, fetching it if needed and allowed."""
        return self.look.load_network()

    def save(self, made: Dream, *, metadata: bool = True) -> Path:
        """Write the result; a default name that was taken meanwhile gets a number.

        Raises:
            OutputError: it cannot be written, or a name that was asked for is taken.
        """
        assert self.output is not None
        path = self.output
        while True:
            try:
                overwrite = self.overwrite or self.replaces_partial
                return made.save(path, overwrite=overwrite, metadata=metadata, depth=self.depth)
            except OutputError as error:
                taken = isinstance(error.__cause__, FileExistsError)
                if not taken or not self.default_name:
                    raise
            path = files.free_name(self.output)

    def describe(self) -> str:
        """Say in a few lines what will be done."""
        recipe = self.recipe
        sizes = " ".join(f"{w}x{h}" for w, h in recipe.octaves)
        lines = (
            ("start", recipe.origin.name or recipe.origin.start),
            ("preset", recipe.preset),
            ("network", recipe.network),
            ("target", recipe.target),
            *_steered(recipe),
            ("size", f"{recipe.size[0]}x{recipe.size[1]}"),
            ("octaves", f"{sizes} with {' '.join(map(str, recipe.steps))} steps"),
            ("seed", f"{recipe.seed}, {recipe.threads} threads on {recipe.device}"),
            ("output", "-" if self.output is None else str(self.output)),
        )
        return "\n".join(f"{name:8} {value}" for name, value in lines)


def _steered(recipe: Recipe) -> list[tuple[str, str]]:
    """Say where a recipe dreams and what it holds, as far as it says so."""
    settings = recipe.settings
    mask, likeness = settings.mask, settings.likeness
    lines = [
        ("mask", mask.where + (", inverted" if mask.invert else "")),
        ("keep", mask.keep),
        ("likeness", f"{likeness.amount:g} in {likeness.layer}" if likeness.amount else ""),
        ("colours", settings.colour.mode),
    ]
    usual = ("", "free")
    return [(name, value) for name, value in lines if value not in usual]


def prepare(request: Request) -> Job:
    """Resolve and check a request.

    Raises:
        UsageError: names, values or their combination.
        InputError: the photo.
        NetworkError: a checkpoint that is not there.
        OutputError: the output exists, or cannot be written.
        DeviceError: the device.
    """
    formats.check_depth(request.output or ".png", request.depth)
    how = look(request)
    source, start = _source(request, how.old)
    name, size = _name_and_size(source, start, how.old, request.size)
    how.row.check_size(*size, _subject(name, request.size))
    output = _output(request, name, how.preset, size)
    from dreamer.media import images

    how = how.placed()
    photo = images.load(source) if isinstance(source, str | bytes) else source
    origin = Origin(start=start)
    if photo is not None:
        origin = Origin(name=files.text(photo.name), sha256=photo.sha256)
    if how.old is not None and _same(origin, how.old.origin):
        origin = how.old.origin  # a photo may have been renamed
    recipe = how.recipe(origin, size)
    notes = how.notes + (photo.notes if photo is not None else ())
    changed = recipes.differences(how.old, recipe) if how.old is not None else []
    if changed:
        notes += (f"unlike the recipe in the file: {', '.join(changed)}",)
    path, kept, partial = _place(request, output, recipe)
    return Job(
        recipe=recipe,
        photo=photo,
        output=path,
        kept=kept,
        replaces_partial=partial,
        default_name=request.output is None,
        overwrite=request.overwrite,
        notes=notes,
        look=how,
        depth=request.depth,
    )


def planned_size(own: tuple[int, int] | None, long_edge: int | None) -> tuple[int, int]:
    """Return the size of a result, px: of a photo's own size, or of what is made without one."""
    size = DEFAULT_SIZE if own is None else own
    return size if long_edge is None else reading.fitted(*size, long_edge)


def _same(new: Origin, old: Origin) -> bool:
    return new.sha256 == old.sha256 and new.start == old.start


def _source(request: Request, old: Recipe | None) -> tuple[str | bytes | Photo | None, Start]:
    """Find what to dream on: the photo, or None and what is made instead."""
    photo = request.photo
    for made in MADE:
        if photo == made and not Path(made).exists():
            return None, made
    if photo is not None:
        return photo, "photo"
    if old is None:
        return None, "sky"
    if old.origin.start != "photo":
        return None, old.origin.start
    origin = old.origin
    found = beside(request.recipe or "", origin.name, origin.sha256, here=request.here)
    if found is not None:
        return found, "photo"
    raise InputError(
        f"The recipe in '{files.shown(request.recipe or '')}' was made for the photo "
        f"'{files.shown(old.origin.name)}', which is not here.",
        "Give the photo: `dreamer dream PHOTO --from FILE`.",
    )


def _name_and_size(
    source: str | bytes | Photo | None, start: Start, old: Recipe | None, long_edge: int | None
) -> tuple[str, tuple[int, int]]:
    """Return what the start is called and the result's width and height, from headers alone."""
    if source is None:
        name: str = start
        size = old.size if old is not None and old.origin.start == start else DEFAULT_SIZE
    elif isinstance(source, str | bytes):
        name = Path(source).name if isinstance(source, str) else "stdin"
        size = reading.probe(source)
    else:
        name, size = source.name, source.size
    if old is not None and source is not None and _sha256(source) == old.origin.sha256:
        size = old.size
    return name, size if long_edge is None else reading.fitted(*size, long_edge)


def _sha256(source: str | bytes | Photo) -> str:
    if isinstance(source, str):
        return files.sha256(source)
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source.sha256


def _subject(name: str, long_edge: int | None) -> str:
    """Name a picture whose size is judged, with what the size comes from."""
    return f"'{files.shown(name)}'" + ("" if long_edge is None else f" at --size {long_edge}")


def _output(request: Request, name: str, preset: str, size: tuple[int, int]) -> Path | None:
    """Return the file to write: the one asked for, or the default name for the result."""
    if not request.to_file:
        return None
    output = request.output
    if output is None:
        output = OUTPUTS / files.fitting_name(Path(name).stem or "photo", f"-{preset}.png")
    formats.check_size(output, *size)
    return output


def _place(request: Request, output: Path | None, recipe: Recipe) -> tuple[Path | None, bool, bool]:
    """Return where to write, whether it is done already, and whether a part of it is there."""
    if output is None:
        return None, False, False
    default = request.output is None
    candidate, count = output, 1
    while os.path.lexists(candidate) and not request.overwrite:
        found = recipe_in(candidate)
        if (
            found is not None
            and found.hash == recipe.hash
            and request.metadata
            and (found.partial or reading.depth(candidate) >= request.depth)
        ):
            return candidate, not found.partial, found.partial
        if not default:
            raise taken(candidate, found, recipe)
        count += 1
        ending = f"-{count}{output.suffix}"
        candidate = output.with_name(files.fitting_name(output.stem, ending))
    formats.check_target(candidate, overwrite=request.overwrite)
    return candidate, False, False


def taken(path: Path, found: Recipe | None, wanted: Recipe, advice: str = TAKEN) -> OutputError:
    """Build the error for an output that exists: it says whether it is another dream."""
    what = "exists already"
    if found is not None and found.hash != wanted.hash:
        changed = recipes.differences(found, wanted)
        more = " and more" if len(changed) > SAID else ""
        what = f"exists, with another recipe: {', '.join(changed[:SAID])}{more}"
    return OutputError(f"'{files.shown(path)}' {what}.", advice)


def recipe_in(path: Path) -> Recipe | None:
    """Read the recipe of a file that may be anything."""
    try:
        return read_recipe(str(path))
    except DreamerError:  # then it is not this result, whatever else it is
        return None
