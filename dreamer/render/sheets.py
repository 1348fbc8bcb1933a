"""Contact sheets: several pictures on one, with a label under each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dreamer import presets
from dreamer.errors import DreamerError, Interrupted, UsageError
from dreamer.media import files, formats, images
from dreamer.networks.network import Network
from dreamer.render import job as jobs
from dreamer.render import still

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
        on_tile: called before each tile with the preset's name, its index and how many there are.
        stop: asked after every step; the sheet is then finished with the tiles that are whole.

    Raises:
        UsageError: no preset can be used.
        DreamerError: what is wrong with anything but a preset.
    """
    names = presets.names() if names is None else list(names)
    stop = stop or (lambda: False)
    loaded: Network | None = None
    tiles: list[tuple[str, Image.Image]] = []
    failed: dict[str, UsageError] = {}
    for index, name in enumerate(names):
        if stop():
            break
        if on_tile is not None:
            on_tile(name, index, len(names))
        try:
            job = jobs.prepare(
                jobs.Request(
                    photo=photo,
                    preset=name,
                    network=loaded or network,
                    size=size,
                    seed=seed,
                    offline=offline,
                    to_file=False,
                )
            )
        except UsageError as error:
            failed[name] = error
            continue
        loaded = loaded or job.load_network()
        if not tiles:
            start = still.start(job.recipe, job.photo)
            tiles.append((start.name, images.to_image(start.pixels, start.alpha)))
        made = still.dream(job.recipe, job.photo, loaded, stop=stop)
        if made.recipe.partial:
            break
        tiles.append((name, made.image))
    if not tiles:
        stopped: DreamerError = Interrupted("Interrupted.", "Nothing was written.")
        raise next(iter(failed.values()), stopped)
    return Sheet(grid(tiles), failed, partial=len(tiles) + len(failed) < len(names) + 1)


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
