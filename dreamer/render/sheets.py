"""Contact sheets: several pictures on one, with a label under each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dreamer import presets
from dreamer.errors import DreamerError, Interrupted, UsageError
from dreamer.media import files, formats, images
from dreamer.render import job as jobs
from dreamer.render import still, strip
from dreamer.render.strip import Draft

GAP = 8
LABEL = 26
PAPER = (24, 24, 26)
INK = (232, 232, 228)

OnTile = Callable[[str, int, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Attributes:
        image: all tiles that were made.
        failed: the presets that cannot be used, with the reason.
        partial: whether it was stopped before the last tile.
    """

    image: Image.Image
    failed: Mapping[str, UsageError]
    partial: bool


def presets_sheet(
    photo: str,
    *,
    size: int,
    network: str,
    seed: int = 0,
    names: Sequence[str] | None = None,
    offline: bool = False,
    on_tile: OnTile | None = None,
    stop: Stop | None = None,
) -> Sheet:
    """Dream one photo with every preset: the photo first, then a tile a preset.

    Args:
        photo: its file, or "sky".
        size: the longer side of a tile, px.
        network: its name.
        seed: the same for all.
        names: of presets; None takes all.
        offline: never fetch weights.
        on_tile: called after each tile with the preset's name, how many there were before, and of
            how many.
        stop: asked after every step; the sheet is then finished with the tiles that are whole.

    Raises:
        UsageError: no preset can be used.
        Interrupted: it was stopped before any tile was whole.
        DreamerError: what is wrong with anything but a preset.
    """
    names = tuple(presets.names() if names is None else names)
    request = jobs.Request(
        photo=photo, network=network, size=size, seed=seed, offline=offline, to_file=False
    )
    job = _first(request, names)
    count = itertools.count()

    def told(draft: Draft) -> None:
        if on_tile is not None:
            on_tile(draft.preset, next(count), len(names))

    made = strip.make(
        job.photo or job.recipe.origin.start,
        network=job.load_network(),
        names=names,
        size=size,
        seed=seed,
        on_draft=told,
        stop=stop,
    )
    if not made.drafts:
        stopped: DreamerError = Interrupted("Interrupted.", "Nothing was written.")
        raise stopped if made.partial else next(iter(made.failed.values()))
    start = still.start(job.recipe, job.photo)
    tiles = [(start.name, images.to_image(start.pixels, start.alpha))]
    tiles += [(draft.preset, draft.image) for draft in made.drafts]
    return Sheet(grid(tiles), made.failed, made.partial)


def _first(request: jobs.Request, names: Sequence[str]) -> jobs.Job:
    """Prepare a dream with the first preset that can be used."""
    failed = UsageError("There is nothing to put on the sheet.", "Name at least one preset.")
    for name in reversed(names):  # so that the first one's error is the one that is raised
        try:
            return jobs.prepare(replace(request, preset=name))
        except UsageError as error:
            failed = error
    raise failed


def grid(tiles: Sequence[tuple[str, Image.Image]], columns: int | None = None) -> Image.Image:
    """Lay out labelled pictures of one size, about as wide as high unless told `columns`."""
    if not tiles:
        raise UsageError("There is nothing to put on the sheet.", "Name at least one preset.")
    width, height = tiles[0][1].size
    cell = (width + GAP, height + LABEL + GAP)
    columns = columns or _columns(len(tiles), cell)
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for index, (label, tile) in enumerate(tiles):
        left, top = GAP + index % columns * cell[0], GAP + index // columns * cell[1]
        sheet.paste(tile.convert("RGB"), (left, top))
        shown = files.shown(label)
        while font.getlength(shown) > width and len(shown) > 1:
            shown = shown[:-1]
        draw.text((left + 2, top + height + 4), shown, fill=INK, font=font)
    return sheet


def size(count: int, tile: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the `grid` of so many tiles, px."""
    cell = (tile[0] + GAP, tile[1] + LABEL + GAP)
    columns = _columns(count, cell)
    return columns * cell[0] + GAP, math.ceil(count / columns) * cell[1] + GAP


def _columns(count: int, cell: tuple[int, int]) -> int:
    return max(1, round(math.sqrt(count * 1.4 * cell[1] / cell[0])))


def target(path: Path, *, numbered: bool, overwrite: bool) -> Path:
    """Return the file to write after checking it; a default name that is taken gets a number."""
    if numbered and not overwrite:
        path = files.free_name(path)
    formats.check_target(path, overwrite=overwrite)
    return path


def save(sheet: Image.Image, path: Path, *, overwrite: bool) -> None:
    """Write a sheet, whole or not at all."""
    photo = images.load(sheet)
    images.save(photo.pixels, path, overwrite=overwrite)
