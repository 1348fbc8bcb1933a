"""Make the pictures of `steering.md`: `python docs/make_steering.py [NAME...]` (extra `test`).

The page is where their commands are: those above a picture make its tiles, in order.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

from dreamer import cli
from dreamer.render import sheets

PAGE = Path(__file__).parent / "steering.md"
PHOTOS = Path(skimage.data.__file__).parent
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
WIDEST, QUALITY = 1100, 76

BEFORE = {
    "guide": ("astronaut.png", "chelsea.png"),
    "guides": ("coffee.png",),
    "style": ("painting.png", "astronaut.png"),
    "mask": ("coffee.png", "mask.png"),
    "region": ("coffee.png",),
    "keep": ("astronaut.png",),
    "channels": ("coffee.png",),
    "likeness": ("astronaut.png",),
    "colour": ("chelsea.png", "painting.png"),
}
"""What is shown on a sheet before its dreams."""
COLUMNS = {"guides": 2, "likeness": 4, "colour": 4}
"""Of the sheets that have not three."""

# The painting: a night's blues, the paler ones of a wind, and the yellows of its lights.
_DEEP, _BLUE, _PALE = (24, 44, 110), (40, 90, 160), (90, 150, 200)
_GOLD, _CREAM, _NIGHT, _GREEN = (235, 200, 80), (245, 235, 190), (20, 25, 60), (60, 110, 90)
_COLOURS = np.array((_DEEP, _BLUE, _PALE, _GOLD, _CREAM, _NIGHT, _GREEN), float)
_WIND, _DARK = (0, 1, 2, 1, 5), (0, 5, 1, 6)  # around the lights, and between them
_EDDIES, _STROKES, _BEAT = 9, 9000, 5.0

# The outline of the space suit's wearer, as shares of width and height.
_PERSON = (
    (0.04, 1.01), (0.05, 0.78), (0.07, 0.56), (0.12, 0.48), (0.22, 0.42), (0.23, 0.34),
    (0.28, 0.29), (0.36, 0.28), (0.33, 0.21), (0.30, 0.18), (0.31, 0.10), (0.37, 0.04),
    (0.44, 0.02), (0.53, 0.05), (0.585, 0.11), (0.585, 0.19), (0.53, 0.25), (0.50, 0.30),
    (0.57, 0.36), (0.60, 0.44), (0.67, 0.52), (0.71, 0.63), (0.69, 0.69), (0.78, 0.665),
    (0.90, 0.71), (0.96, 0.80), (0.99, 0.90), (1.00, 1.01),
)  # fmt: skip


class Command(NamedTuple):
    """A command of the page.

    Attributes:
        words: as a shell would give them to the program, without its name.
        label: the comment behind it.
    """

    words: tuple[str, ...]
    label: str

    @property
    def picture(self) -> Path | None:
        """The picture that it is told to write: of a film its strip."""
        for flag in ("--strip", "-o"):
            if flag in self.words:
                return Path(self.words[self.words.index(flag) + 1])
        return None


def commands(text: str) -> list[Command]:
    """Return the commands of every `sh` block of a page."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "dreamer":
                label = line.partition(" # ")[2].strip()
                found.append(Command(tuple(words), label))
            elif program:
                raise ValueError(f"not a command of dreamer: {line}")
    return found


def pictures(text: str) -> dict[str, list[Command]]:
    """Return the pictures of a page by name, each with the commands since the one before."""
    found: dict[str, list[Command]] = {}
    end = 0
    for match in re.finditer(r"!\[[^]]*\]\(steering/([\w-]+)\.jpg\)", text):
        found[match[1]] = commands(text[end : match.start()])
        end = match.end()
    return found


def painting(width: int, height: int, seed: int = 0) -> Image.Image:
    """Paint a night of eddies: strokes that follow a stream, one over the other.

    Args:
        width: px.
        height: px.
        seed: of the eddies and the strokes.
    """
    random = np.random.default_rng(seed)
    size = np.array((width, height), float)
    centres = random.uniform(0, size, (_EDDIES, 2))
    radii = random.uniform(0.1, 0.28, _EDDIES) * min(width, height)
    turns = random.choice((-3.0, 3.0), _EDDIES)

    def angle(places: np.ndarray) -> np.ndarray:
        """Return where the stream goes at `(N, 2)` places, radians."""
        x, y = np.moveaxis(places[:, None] - centres, 2, 0)
        turn = turns * np.exp(-(x**2 + y**2) / radii**2) / radii
        along = 1 - (y * turn).sum(1)
        across = 0.25 * np.sin(6 * places[:, 0] / width) + (x * turn).sum(1)
        return np.arctan2(across, along)

    path = [random.uniform(0, size, (_STROKES, 2))]
    for _ in range(11):
        way = angle(path[-1])
        path.append(path[-1] + _BEAT * np.stack((np.cos(way), np.sin(way)), 1))
    strokes = np.stack(path, 1)
    distance = np.linalg.norm(strokes[:, 0, None] - centres, axis=2) / radii
    near = distance.min(1)
    colour = np.where(near < 1.6, random.choice(_WIND, _STROKES), random.choice(_DARK, _STROKES))
    colour = np.where(near < 0.5, 4, colour)
    colour = np.where(near < 0.35, 3, colour)
    shades = np.clip(_COLOURS[colour] + random.normal(0, 14, (_STROKES, 3)), 0, 255).astype(int)
    lengths, widths = random.integers(6, 13, _STROKES), random.integers(3, 7, _STROKES)
    made = Image.new("RGB", (width, height), _BLUE)
    draw = ImageDraw.Draw(made)
    for stroke, length, shade, wide in zip(strokes, lengths, shades, widths, strict=True):
        points = [(float(x), float(y)) for x, y in stroke[:length]]
        draw.line(points, fill=tuple(map(int, shade)), width=int(wide), joint="curve")
    return made


def mask(width: int, height: int) -> Image.Image:
    """Draw a mask by hand: the table of a photo of a cup, without the cup and its saucer."""
    made = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(made)
    for left, top, right, bottom in ((0.125, 0.17, 0.80, 0.97), (0.28, 0.03, 0.71, 0.55)):
        draw.ellipse((left * width, top * height, right * width, bottom * height), fill=0)
    return made.filter(ImageFilter.GaussianBlur(width / 150))


def cutout(photo: Image.Image) -> Image.Image:
    """Cut the wearer of a space suit out: all around is transparent."""
    shape = Image.new("L", photo.size, 0)
    points = [(x * photo.width, y * photo.height) for x, y in _PERSON]
    ImageDraw.Draw(shape).polygon(points, fill=255)
    made = photo.convert("RGBA")
    made.putalpha(shape.filter(ImageFilter.GaussianBlur(photo.width / 250)))
    return made


def prepare(folder: Path) -> None:
    """Put the files that the commands name into a folder."""
    for name in NAMES:
        shutil.copy(PHOTOS / name, folder)
    painting(640, 512).save(folder / "painting.png")
    mask(600, 400).save(folder / "mask.png")
    with Image.open(folder / "astronaut.png") as photo:
        cutout(photo).save(folder / "cutout.png")


def main(names: Sequence[str]) -> None:
    """Make the pictures of these names, or all."""
    every = pictures(PAGE.read_text(encoding="utf-8"))
    target = PAGE.parent / "steering"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        with contextlib.chdir(name):
            for each in names or every:
                image = sheet(each, every[each])
                image.save(target / f"{each}.jpg", quality=QUALITY, optimize=True, progressive=True)


def sheet(name: str, made_by: Sequence[Command]) -> Image.Image:
    """Run commands, and lay out what they wrote."""
    before = BEFORE.get(name, ())
    tiles = [(each, Path(each)) for each in before]
    for command in made_by:
        picture = command.picture
        if picture is None:
            continue
        # One thread: the same picture however many processors there are.
        if cli.run([*command.words, "--quiet", "--threads", "1"]) != 0:
            raise SystemExit(f"dreamer {shlex.join(command.words)}")
        tiles.append((command.label, picture))
    if len(tiles) == 1:
        with Image.open(tiles[0][1]) as opened:
            made = opened.convert("RGB")
    else:
        made = sheets.grid(_alike(tiles, len(before)), columns=COLUMNS.get(name, 3))
    made.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
    return made


def _alike(tiles: Sequence[tuple[str, Path]], first: int) -> list[tuple[str, Image.Image]]:
    """Read pictures, all fitted into the shape of the one at `first`."""
    with Image.open(tiles[first][1]) as opened:
        size = opened.size
    found = []
    for label, path in tiles:
        with Image.open(path) as opened:
            shown = opened.convert("RGBA")
        shown.thumbnail(size, Image.Resampling.LANCZOS)
        tile = Image.new("RGB", size, sheets.PAPER)
        place = ((size[0] - shown.width) // 2, (size[1] - shown.height) // 2)
        tile.paste(shown, place, shown)
        found.append((label, tile))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
