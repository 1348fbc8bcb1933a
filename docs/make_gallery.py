"""Make the pictures of the README: `python docs/make_gallery.py` (needs the extra `test`)."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

import make_steering
import skimage.data
from PIL import Image
from playwright import sync_api as playwright

import dreamer
from dreamer.media import films
from dreamer.render import (
    making,
    passage,
    sheets,
    video_plan,
    visual_job,
    visualize,
    zoom_plan,
)
from dreamer.render.batch.session import Session, Wanted
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request

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
    save(steering(network), "steering.jpg")
    save(page(), "page.jpg")
    save(zoom(), "zoom.jpg")
    save(video(), "video.jpg")
    save(features(network), "features.jpg")
    save(between(), "passage.jpg")
    save(microscope(), "microscope.jpg")


def steering(network: dreamer.Network) -> Image.Image:
    """Steer one photo in five ways, with the files that the page about steering draws."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_steering.prepare(folder)
        photo = folder / "astronaut.png"
        with Image.open(photo) as opened:
            rows = [("photo", opened.convert("RGB").resize((384, 384), Image.Resampling.LANCZOS))]
        cat, painting = folder / "chelsea.png", folder / "painting.png"
        for label, settings in (
            ("towards a cat", {"target": f"guide:{cat}@patterns", "color": "keep"}),
            (
                "painted",
                {"target": f"style:{painting}@patterns", "color": f"match:{painting}"}
                | {"preset": "brush"},
            ),
            ("its face kept", {"preset": "creatures", "keep": "faces"}),
            ("an ellipse", {"preset": "eyes", "mask": "ellipse:0.36,0.74,0.34,0.32"}),
            (
                "regions",
                {"region": {"ellipse:0.37,0.2,0.16,0.2": "block8:96", "rest": "block8:56"}},
            ),
        ):
            made = dreamer.dream(photo, network=network, size=384, **settings)
            rows.append((label, made.image))
    return sheets.grid(rows, columns=3)


def features(network: dreamer.Network) -> Image.Image:
    """Visualize units of growing depth, and classes with the spectrum of natural pictures."""
    units = ["block3:5", "block5:3", "block8:37", "block8:2", "block11:30", "block11:100"]
    made = dreamer.visualize([*units, "class:zebra"], network=network)
    calm = dreamer.visualize(
        ["block5:3", "block8:37", "block11:100"], canvas="maco", network=network
    )
    tiles = list(visualize.labels(made))
    tiles += [(f"{each.recipe.label}, maco", each.image) for each in calm]
    return sheets.grid(tiles, columns=5)


def between() -> Image.Image:
    """Film the way from a channel to another, and lay frames of it side by side."""
    with tempfile.TemporaryDirectory() as name:
        strip = Path(name) / "strip.png"
        request = visual_job.VisualRequest(("block8:37", "block11:100"))
        delivery = Delivery(Path(name) / "film.mp4", strip=strip)
        making.make(passage.prepare(request, delivery, seconds=3, fps=12, loop=False))
        with Image.open(strip) as opened:
            return opened.convert("RGB")


def microscope() -> Image.Image:
    """Make a small atlas and explain a photo, and take pictures of both pages (needs Chromium)."""
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as browsers:
        photos = Path(name) / "photos"
        photos.mkdir()
        for photo in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "brick.png"):
            shutil.copy(PHOTOS / photo, photos)
        folder = Path(name) / "atlas"
        made = dreamer.atlas(folder, layers=["block8"], channels="0-47", photos=[str(photos)])
        explained = Path(name) / "explained.html"
        dreamer.explain(photos / "chelsea.png", atlas=folder).save(explained)
        with _browser(browsers) as browser:
            view = browser.new_page(viewport={"width": 1280, "height": 860})
            view.goto(f"{made.page.as_uri()}#block8:37")
            view.wait_for_timeout(1000)
            channel = _shot(view)
            view.goto(explained.as_uri())
            view.wait_for_timeout(500)
            return _beside(channel, _shot(view))


def zoom() -> Image.Image:
    """Make a looping zoom, and lay frames of it side by side."""
    with tempfile.TemporaryDirectory() as name:
        strip = Path(name) / "strip.png"
        wanted = zoom_plan.Wanted(
            Delivery(Path(name) / "zoom.mp4", strip=strip),
            Request(photo="sky", preset="objects", seed=3),
            seconds=7,
            fps=12,
            size=(480, 320),
            rotate=50,
            loop=True,
        )
        making.make(zoom_plan.prepare(wanted))
        with Image.open(strip) as opened:
            shown = opened.convert("RGB")
    shown.thumbnail((1400, 1400))
    return shown


def video() -> Image.Image:
    """Dream a clip that pans and zooms over a photo; lay frames of it above those of its dream."""
    width, height, count = 480, 320, 36
    with tempfile.TemporaryDirectory() as name, Image.open(PHOTOS / "rocket.jpg") as photo:
        clip, film = Path(name) / "clip.mp4", Path(name) / "film"
        with films.writing(clip, (width, height), 24, crf=10) as writer:
            for number in range(count):
                left, top, wide = 160 - 4 * number, 110 - 2 * number, 300 + 6 * number
                box = (left, top, left + wide, top + wide * height / width)
                frame = photo.resize((width, height), Image.Resampling.LANCZOS, box)
                writer.add(frame.tobytes())
        request = Request(preset="garden")
        making.make(video_plan.prepare(video_plan.Wanted(clip, Delivery(film), request)))
        tiles = []
        for source in (clip, film):
            shown = list(films.frames(source))[:: count // 3 - 1]
            tiles += [("", Image.frombytes("RGB", (width, height), data)) for data in shown]
    sheet = sheets.grid(tiles, columns=len(tiles) // 2)
    sheet.thumbnail((1400, 1400))
    return sheet


def page() -> Image.Image:
    """Dream on a folder, and take a picture of its page (needs Chromium)."""
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as browsers:
        photos, folder = Path(name) / "in", Path(name) / "holiday dreams"
        photos.mkdir()
        for photo in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
            shutil.copy(PHOTOS / photo, photos)
        wanted = Wanted(
            folder, [str(photos)], request=Request(size=512), presets=("dream", "ornament", "fur")
        )
        with Session(wanted) as session:
            session.run(session.judge(session.plan(session.find())))
        with _browser(browsers) as browser:
            view = browser.new_page(viewport={"width": 1280, "height": 760})
            view.goto(session.page.as_uri())
            grid = _shot(view)
            view.click("[aria-label='chelsea.png, ornament']")
            view.wait_for_timeout(1000)  # until both pictures are there
            return _beside(grid, _shot(view))


def _browser(browsers: playwright.Playwright) -> playwright.Browser:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    return browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width + 12, left.height), sheets.PAPER)
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 12, 0))
    both.thumbnail((1600, 1600))
    return both


def _shot(view: playwright.Page) -> Image.Image:
    return Image.open(io.BytesIO(view.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
