"""The page about the studio: what it names is on the page, its pictures are there."""

import re
from pathlib import Path

import pytest
from PIL import Image

from dreamer.studio import asks, jobs, uploads

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
ASSETS = ROOT / "dreamer" / "studio" / "assets"


@pytest.mark.parametrize("label", sorted(set(re.findall(r"\*\*(.+?)\*\*", TEXT))))
def test_what_is_named_is_on_the_page(label):
    pages = "\n".join(path.read_text(encoding="utf-8") for path in ASSETS.glob("*.js"))
    assert f'"{label}' in pages


@pytest.mark.parametrize("picture", re.findall(r"\]\((studio/.+?\.jpg)\)", TEXT))
def test_its_pictures_are_there_and_small(picture):
    path = ROOT / "docs" / picture
    with Image.open(path) as opened:
        assert opened.width >= 1000
    assert path.stat().st_size < 400_000


def test_the_limits_it_tells_are_those_that_hold():
    said = " ".join(TEXT.split())
    assert f"up to {uploads.MOST_BYTES // 10**6} MB" in said
    assert f"up to {uploads.MOST_PIXELS // 10**6} megapixels" in said
    assert f"up to {asks.LARGEST} px" in said
    assert f"up to {asks.MOST_PHOTOS} photos" in said
    assert asks.LONGEST_FILM == 600
    assert "films up to ten minutes" in said
    assert jobs.MOST_WAITING == 8
    assert "eight jobs of one person wait or run" in said
