"""Make the pictures of the README: `python docs/make_gallery.py` (needs the extra `test`)."""

from __future__ import annotations

from pathlib import Path

import skimage.data
from PIL import Image

import dreamer
from dreamer.render import sheets

GALLERY = Path(__file__).parent / "gallery"
PHOTOS = Path(skimage.data.__file__).parent


def save(image: Image.Image, name: str) -> None:
    """Write a small JPEG."""
    image.convert("RGB").save(GALLERY / name, quality=86, optimize=True, progressive=True)


def main() -> None:
    """Make every picture."""
    GALLERY.mkdir(exist_ok=True)
    network = dreamer.load_network("efficientnet_lite0")
    save(dreamer.dream("sky", preset="objects", seed=3, size=768, network=network).image, "sky.jpg")
    rows = []
    for name, presets in (
        ("astronaut.png", ("dream", "objects")),
        ("coffee.png", ("patterns", "ornament")),
        ("chelsea.png", ("objects", "woodcut")),
    ):
        photo = PHOTOS / name
        with Image.open(photo) as opened:
            square = min(opened.size)
            left = (opened.width - square) // 2
            cropped = opened.convert("RGB").crop((left, 0, left + square, square))
        start = cropped.resize((384, 384), Image.Resampling.LANCZOS)
        rows.append((name.partition(".")[0], start))
        for preset in presets:
            made = dreamer.dream(start, preset=preset, network=network)
            rows.append((preset, made.image))
    save(sheets.grid(rows, columns=3), "photos.jpg")
    made = sheets.presets_sheet(str(PHOTOS / "chelsea.png"), size=384, network="efficientnet_lite0")
    sheet = made.image
    sheet.thumbnail((1400, 1400))  # dreams of thumbnails would have few octaves
    save(sheet, "presets.jpg")


if __name__ == "__main__":
    main()
