"""Make the pictures of `studio.md`: `python docs/make_studio.py` (extra `test`, and Chromium).

A studio is started in an empty folder and used as people do.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import skimage.data
from PIL import Image
from playwright import sync_api as playwright

SHOTS = Path(__file__).parent / "studio"
PHOTOS = Path(skimage.data.__file__).parent
DESKTOP, PHONE = (1280, 860), (360, 740)
PATIENCE = 300_000  # milliseconds
GAP, PAPER, QUALITY = 16, (128, 128, 126), 84


def main() -> None:
    """Make every picture."""
    SHOTS.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        _studio(Path(folder)) as url,
        playwright.sync_playwright() as browsers,
        _browser(browsers) as browser,
    ):
        page = _page(browser, url, DESKTOP, "light")
        _save(_dream(page), "dream.jpg")
        _save(_zoom(page), "zoom.jpg")
        _save(_batch(page), "batch.jpg")
        _save(_microscope(page), "microscope.jpg")
        light = _phone(_page(browser, url, PHONE, "light"))
        dark = _phone(_page(browser, url, PHONE, "dark"))
        _save(_beside([*light, *dark]), "phone.jpg")


def _dream(page: playwright.Page) -> Image.Image:
    """Dream on a cat."""
    _choose(page, "chelsea.png")
    _fill_strip(page)
    page.get_by_role("radio", name="monarch", exact=True).click()
    page.get_by_role("button", name="Dream", exact=True).click()
    page.get_by_role("slider", name="Before and after").wait_for()
    page.locator(".compare").click()  # half of it
    page.mouse.move(0, 0)
    return _shot(page)


def _zoom(page: playwright.Page) -> Image.Image:
    """Frame a journey, and make a preview of it."""
    page.get_by_role("tab", name="Zoom").click()
    page.get_by_role("button", name="Make it a journey").click()
    page.get_by_role("button", name="Add a look").click()
    page.get_by_role("combobox", name="Look", exact=True).select_option("preset:scales")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.locator("video").wait_for()
    page.get_by_role("button", name="Framing").click()
    page.mouse.move(0, 0)
    return _shot(page)


def _batch(page: playwright.Page) -> Image.Image:
    """Dream on four photos with two presets, and wait for half of it."""
    page.get_by_role("tab", name="Batch").click()
    photos = [
        PHOTOS / name for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    ]
    page.locator(".batch-intake input[type=file]").nth(1).set_input_files(photos)
    page.get_by_role("button", name="Remove rocket.jpg").wait_for()
    page.get_by_role("checkbox", name="fur", exact=True).check(force=True)
    page.get_by_role("button", name="Dream them all").click()
    page.get_by_role("cell", name="done").nth(2).wait_for()
    page.mouse.move(0, 0)
    shown = _shot(page)
    page.get_by_role("link", name="Open the gallery").first.wait_for()
    return shown


def _microscope(page: playwright.Page) -> Image.Image:
    """Look at the channels of a layer."""
    page.get_by_role("tab", name="Microscope").click()
    page.locator(".unit:nth-child(32) img").wait_for()
    page.get_by_role("option", name="block8:2", exact=True).click()
    page.get_by_role("button", name="Dream with it").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    return _shot(page)


def _phone(page: playwright.Page) -> list[Image.Image]:
    """Dream on a cup."""
    _choose(page, "coffee.png")
    _fill_strip(page)
    page.get_by_role("radio", name="ornament", exact=True).click()
    page.get_by_role("button", name="Dream", exact=True).click()
    page.get_by_role("slider", name="Before and after").wait_for()
    page.locator(".compare").click()  # half of it
    shots = [_shot(page)]
    page.get_by_role("tab", name="Zoom").click()
    page.wait_for_timeout(500)
    return [*shots, _shot(page)]


def _choose(page: playwright.Page, name: str) -> None:
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a photo").locator("visible=true").first.click()
    chosen.value.set_files(PHOTOS / name)


def _fill_strip(page: playwright.Page) -> None:
    thumbs = page.locator(".strip [role=radio]")
    thumbs.first.wait_for()
    playwright.expect(page.locator(".strip .arrives")).to_have_count(
        thumbs.count(), timeout=PATIENCE
    )


@contextlib.contextmanager
def _studio(folder: Path) -> Iterator[str]:
    """Start a studio; yields its address."""
    command = [sys.executable, "-m", "dreamer", "studio", "--port", "0", "--quiet"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def _browser(browsers: playwright.Playwright) -> Iterator[playwright.Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    try:
        yield browser
    finally:
        browser.close()


def _page(
    browser: playwright.Browser, url: str, size: tuple[int, int], scheme: str
) -> playwright.Page:
    """Open the page as somebody new."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url)
    page.get_by_role("heading", name=re.compile("Drop a photo")).wait_for()
    return page


def _shot(page: playwright.Page) -> Image.Image:
    page.wait_for_timeout(400)  # until what has just come is drawn
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _beside(shots: list[Image.Image]) -> Image.Image:
    width, height = shots[0].size
    sheet = Image.new("RGB", (len(shots) * (width + GAP) + GAP, height + 2 * GAP), PAPER)
    for index, shot in enumerate(shots):
        sheet.paste(shot, (GAP + index * (width + GAP), GAP))
    return sheet


def _save(image: Image.Image, name: str) -> None:
    image.save(SHOTS / name, quality=QUALITY, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
