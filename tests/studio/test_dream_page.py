"""The Dream tab as people use it: by mouse, by keyboard, and with things going wrong."""

import contextlib
import io
import re
import shlex
import struct
import zlib

import numpy as np
import pytest
from looking import (
    choose,
    dreamed,
    drop,
    given,
    growing,
    made,
    paste,
    photo,
    press_until,
    smaller,
    strip_filled,
    visiting,
)
from PIL import Image
from running import running, screenshot

from dreamer import cli
from dreamer.render.look import read_recipe


def newest(studio):
    return made(studio.folder)[-1]


def test_a_dropped_photo_shows_every_preset_and_one_is_dreamed_and_taken_away(
    page, studio, monkeypatch
):
    screenshot(page, "dream-empty")
    drop(page, "holiday.png", photo())
    strip_filled(page)
    smaller(page, 384)
    page.get_by_role("radio", name="eyes", exact=True).click()
    assert page.get_by_role("radio", name="eyes", exact=True).get_attribute("aria-checked") == (
        "true"
    )
    screenshot(page, "dream-strip")
    page.get_by_role("button", name="Dream", exact=True).click()
    growing(page)
    screenshot(page, "dream-growing")
    dreamed(page)
    screenshot(page, "dream-done")

    with page.expect_download() as taken:
        page.get_by_role("link", name="Download").click()
    recipe = read_recipe(taken.value.path().read_bytes())
    assert (recipe.preset, recipe.seed, recipe.origin.name) == ("eyes", 0, "holiday.png")
    assert taken.value.suggested_filename == "holiday-eyes.png"

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy command").click()
    command = page.evaluate("navigator.clipboard.readText()")
    words = shlex.split(command)
    assert words[:2] == ["dreamer", "dream"]
    words[words.index("-o") + 1] = "again.png"
    monkeypatch.chdir(studio.folder)
    assert cli.run(words[1:]) == 0
    again = (studio.folder / "again.png").read_bytes()
    assert read_recipe(again).hash == recipe.hash
    assert again == taken.value.path().read_bytes()


def test_the_whole_way_by_keyboard_alone(page, studio):
    press_until(page, "Start from clouds")
    page.keyboard.press("Enter")
    strip_filled(page)
    smaller(page)
    page.evaluate("document.activeElement.blur()")
    press_until(page, "dream")  # the preset that is picked
    press_until(page, "facets", "ArrowRight")
    page.keyboard.press("Space")
    assert page.get_by_role("radio", name="facets", exact=True).get_attribute("aria-checked") == (
        "true"
    )
    page.keyboard.press("Control+Enter")
    line = page.get_by_role("slider", name="Before and after")
    page.get_by_role("link", name="Download").wait_for()
    assert read_recipe(newest(studio).read_bytes()).preset == "facets"
    if line.count():  # clouds have no photo to be compared with
        raise AssertionError("there is nothing before a sky")


def test_a_photo_is_pasted(page, studio):
    paste(page, "image.png", photo((96, 64)))
    page.locator(".photo-bar").get_by_text(re.compile("96 . 64")).wait_for()
    strip_filled(page)


def test_several_photos_at_once_are_all_here(page):
    choose(page, *(given(f"one-of-{n}.png", photo(seed=n)) for n in range(3)))
    page.get_by_text("3 photos are here.").wait_for()
    page.get_by_role("button", name="Open them in Batch").click()
    page.get_by_role("button", name="Remove one-of-2.png").wait_for()


def test_before_and_after_by_keyboard_and_mouse(page):
    choose(page, given("two.png", photo()))
    smaller(page)
    page.get_by_role("button", name="Dream", exact=True).click()
    dreamed(page)
    line = page.get_by_role("slider", name="Before and after")
    line.focus()
    page.keyboard.press("End")
    assert line.get_attribute("aria-valuenow") == "100"
    page.keyboard.press("ArrowLeft")
    assert line.get_attribute("aria-valuenow") == "98"
    box = page.locator(".compare").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert abs(int(line.get_attribute("aria-valuenow")) - 25) <= 1


def test_stopping_in_the_middle_keeps_what_there_is(page, studio):
    choose(page, given("stopped.png", photo((1200, 800))))
    smaller(page, 2048)
    page.get_by_role("button", name="Dream", exact=True).click()
    growing(page)
    page.get_by_role("button", name="Stop and keep").click()
    dreamed(page)
    assert page.get_by_text("stopped before its end").is_visible()
    recipe = read_recipe(newest(studio).read_bytes())
    assert recipe.partial
    assert max(recipe.size) == 2048


def test_a_dream_goes_on_while_the_page_is_loaded_again_or_closed(browser, studio):
    with visiting(browser, studio.url) as page:
        choose(page, given("reloaded.png", photo((900, 600))))
        smaller(page, 1400)
        page.get_by_role("button", name="Dream", exact=True).click()
        growing(page)
        page.reload()
        page.get_by_role("button", name="Stop and keep").wait_for()
        growing(page)
        other = page.context.new_page()
        page.close()
        other.goto(studio.url)
        dreamed(other)
        assert "reloaded" in other.get_by_role("figure", name="The picture").inner_text()
    recipe = read_recipe(newest(studio).read_bytes())
    assert (recipe.partial, max(recipe.size)) == (False, 1400)


def test_a_second_person_waits_in_line_and_sees_only_their_own(browser, studio):
    with visiting(browser, studio.url) as first, visiting(browser, studio.url) as second:
        for page, name in ((first, "apple.png"), (second, "blueberry.png")):
            choose(page, given(name, photo(seed=len(name))))
            strip_filled(page)
        smaller(first, 2048)
        smaller(second)
        first.get_by_role("button", name="Dream", exact=True).click()
        growing(first)
        second.get_by_role("button", name="Dream", exact=True).click()
        second.locator(".going-text").get_by_text("1 ahead of you").wait_for()
        screenshot(second, "dream-waiting")
        first.get_by_role("button", name="Stop and keep").click()
        dreamed(first)
        dreamed(second)
        assert first.get_by_text("blueberry").count() == 0
        assert second.get_by_text("apple").count() == 0
        url = first.get_by_role("link", name="Download").get_attribute("href")
        assert first.request.get(f"{studio.url.rstrip('/')}{url}").ok
        # The same address, by somebody else, is something of their own or nothing.
        mine = first.request.get(f"{studio.url.rstrip('/')}{url}").body()
        other = second.request.get(f"{studio.url.rstrip('/')}{url}")
        assert other.status == 404 or other.body() != mine


def test_a_photo_of_fifty_megabytes(page, tmp_path):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    noise = rng.integers(0, 255, (4100, 4100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG", compress_level=0)
    assert len(stream.getvalue()) > 50_000_000
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a photo").first.click()
    large = tmp_path / "large.png"
    large.write_bytes(stream.getvalue())
    chosen.value.set_files(large)
    page.locator(".photo-bar").get_by_text(re.compile("4100 . 4100")).wait_for()
    page.get_by_role("radio", name="eyes", exact=True).wait_for()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 20000 x 20000 pixels."""

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("bomb.png", bomb(), "too large: 20000x20000"),
        ("letter.jpg", b"Dear photo,\n" * 40, "is not a picture that can be read"),
        ("cut.png", photo()[:900], "damaged or incomplete"),
        ("nothing.png", b"", "is empty"),
    ],
)
def test_what_is_no_photo_is_refused_with_its_reason(page, studio, name, data, said):
    drop(page, name, data)
    page.get_by_text(said).first.wait_for()
    assert page.get_by_role("heading", name="Drop a photo here").is_visible()
    assert not [*studio.folder.rglob(name)]
    assert not [*(studio.folder / "outputs" / "studio").rglob("*.part")]


@pytest.mark.parametrize(
    "name",
    [
        "../../../../tmp/up.png",
        "..\\..\\up.png",
        "<img src=x onerror=alert(1)>.png",
        "'\"><script>alert(1)</script>.png",
        "sky.png",
        "con.png",
        "-o.png",
        "x" * 240 + ".png",
    ],
)
def test_names_that_mean_harm_do_none(page, studio, name):
    before = {*studio.folder.iterdir()}
    drop(page, name, photo((64, 48)))
    page.locator(".photo-bar").get_by_text(re.compile("64 . 48")).wait_for()
    assert {*studio.folder.iterdir()} - before <= {studio.folder / "outputs"}
    photos = [*(studio.folder / "outputs" / "studio").glob("*/photos/*")]
    assert all(re.fullmatch(r"[\w][\w.-]*", path.name) for path in photos)
    assert page.locator("main script, main img[src=x]").count() == 0


def test_a_dream_that_is_dropped_back_brings_its_settings(page, studio):
    choose(page, given("back.png", photo(seed=9)))
    strip_filled(page)
    page.get_by_role("radio", name="scales", exact=True).click()
    smaller(page)
    page.get_by_label("Seed", exact=True).fill("41")
    page.get_by_label("Seed", exact=True).press("Tab")
    page.get_by_label("Strength, as a number").fill("1.5")
    page.get_by_label("Strength, as a number").press("Tab")
    page.get_by_role("button", name="Dream", exact=True).click()
    dreamed(page)
    before = newest(studio)
    recipe = read_recipe(before.read_bytes())
    assert (recipe.seed, recipe.settings.ascent.strength) == (41, 1.5)
    page.get_by_role("radio", name="fur", exact=True).click()
    page.get_by_label("Seed", exact=True).fill("2")
    page.get_by_label("Seed", exact=True).press("Tab")
    drop(page, "again.png", before.read_bytes())
    page.get_by_text("Settings of again.png: scales, seed 41").first.wait_for()
    assert page.get_by_label("Seed", exact=True).input_value() == "41"
    assert page.get_by_label("Strength, as a number").input_value() == "1.5"


def test_undo_and_redo_step_through_the_settings(page):
    choose(page, given("undo.png", photo()))
    page.get_by_role("radio", name="fur", exact=True).click()
    page.get_by_role("radio", name="edges", exact=True).click()

    def picked():
        return page.locator(".strip [aria-checked=true]").get_attribute("aria-label")

    assert picked() == "edges"
    page.get_by_role("button", name="Undo", exact=True).click()
    assert picked() == "fur"
    page.locator("body").press("Control+z")
    assert picked() == "dream"
    page.locator("body").press("Control+Shift+z")
    page.get_by_role("button", name="Redo", exact=True).click()
    assert picked() == "edges"


def test_a_mask_painted_by_mouse_and_by_keyboard_and_a_guide(page, studio):
    choose(page, given("masked.png", photo((320, 240))))
    smaller(page)
    page.get_by_role("button", name="Paint where...").click()
    area = page.get_by_label(re.compile("Painting area"))
    box = area.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.3, steps=5)
    page.mouse.up()
    area.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    screenshot(page, "dream-mask")
    page.get_by_role("button", name="Use this mask").click()
    page.get_by_role("button", name="Remove the mask").wait_for()

    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a picture...").click()
    chosen.value.set_files(given("guide.png", photo(seed=3)))
    page.get_by_role("button", name="Remove the second picture").wait_for()
    page.get_by_role("button", name="Dream", exact=True).click()
    dreamed(page)
    recipe = read_recipe(newest(studio).read_bytes())
    assert recipe.settings.mask.where
    assert "guide" in recipe.settings.target
    with Image.open(newest(studio)) as after, Image.open(io.BytesIO(photo((320, 240)))) as before:
        small = before.convert("RGB").resize(after.size, Image.Resampling.BICUBIC)
        change = np.abs(np.asarray(after.convert("RGB"), float) - np.asarray(small, float)).mean(2)
    height, width = change.shape
    painted = change[int(0.25 * height) : int(0.35 * height), int(0.2 * width) : int(0.4 * width)]
    elsewhere = change[int(0.8 * height) :, int(0.7 * width) :]
    assert painted.mean() > 5 * elsewhere.mean()


def test_a_dream_that_is_stopped_by_the_end_of_the_studio_is_kept(browser, tmp_path):
    with running(tmp_path) as served:
        with contextlib.suppress(AssertionError), visiting(browser, served.url) as page:
            choose(page, given("ended.png", photo((1200, 800))))
            smaller(page, 2048)
            page.get_by_role("button", name="Dream", exact=True).click()
            growing(page)
            assert served.end() == 0
            page.get_by_text("does not answer just now").wait_for()
        recipe = read_recipe(made(tmp_path)[-1].read_bytes())
        assert recipe.partial
    assert not [*tmp_path.rglob("*.part")]


def test_an_idle_page_does_nothing_at_all(browser, studio):
    counting = """() => {
        window.calls = [];
        for (const name of ["fetch", "setInterval", "requestAnimationFrame"]) {
            const own = window[name];
            window[name] = (...given) => (window.calls.push(name), own(...given));
        }
    }"""
    with visiting(browser, studio.url) as page:
        choose(page, given("idle.png", photo()))
        strip_filled(page)
        page.wait_for_timeout(1000)
        page.evaluate(counting)
        page.wait_for_timeout(3000)
        assert page.evaluate("window.calls") == []
        assert page.evaluate("document.getAnimations().length") == 0
