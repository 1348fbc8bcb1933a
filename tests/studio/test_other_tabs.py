"""Zoom, Batch and Microscope as people use them, by mouse and by keyboard."""

import re
import shlex

from looking import (
    choose,
    dreamed,
    drop,
    given,
    made,
    photo,
    press_until,
    smaller,
    strip_filled,
    visiting,
)
from PIL import Image
from playwright.sync_api import expect
from running import running, screenshot

from dreamer import cli
from dreamer.film.reading import recipe_in
from dreamer.render.look import read_recipe
from dreamer.render.visual_job import recipes_in


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def copied(page) -> list[str]:
    """What "Copy command" gives, in words."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy command").locator("visible=true").first.click()
    page.get_by_text("Copied.").first.wait_for()
    return shlex.split(page.evaluate("navigator.clipboard.readText()"))


def test_a_journey_is_framed_previewed_filmed_and_taken_away(page, studio, monkeypatch):
    choose(page, given("flight.png", photo()))
    tab(page, "Zoom")
    board = page.locator(".frame-board")
    board.wait_for()
    page.wait_for_timeout(300)
    box = board.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    assert int(page.get_by_label("Across").input_value()) < 50
    page.get_by_label("Down", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Make it a journey").click()
    page.get_by_role("button", name=re.compile("^Look 1")).click()
    page.get_by_label("Seconds of this look").fill("0.6")
    page.get_by_role("combobox", name="Look", exact=True).select_option("preset:edges")
    page.get_by_role("button", name=re.compile("^Look 2")).focus()
    page.keyboard.press("Enter")
    page.get_by_label("Seconds of this look").fill("0.7")
    page.get_by_label("Seconds of this look").press("Tab")
    page.get_by_label("Frames").select_option(index=0)
    screenshot(page, "zoom-journey")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.locator("video").wait_for()
    screenshot(page, "zoom-preview")
    assert recipe_in(made(studio.folder)[-1]) is not None

    page.get_by_role("button", name="Make the film").click()
    page.get_by_role("button", name=re.compile(r"flight-zoom\.mp4")).wait_for()
    film = next(path for path in made(studio.folder) if path.name == "flight-zoom.mp4")
    recipe = recipe_in(film)
    assert recipe.stretches[0].recipe.preset == "edges"
    assert len(recipe.stretches) == 2
    assert recipe.camera[0].centre[0] < 0
    page.wait_for_timeout(300)
    words = copied(page)
    words[words.index("-o") + 1] = "again.mp4"
    monkeypatch.chdir(studio.folder)
    assert cli.run(words[1:]) == 0
    assert recipe_in(studio.folder / "again.mp4").hash == recipe.hash

    # Dropped back, it brings its camera and journey.
    page.get_by_role("button", name="Framing").click()
    page.get_by_role("button", name="Back to the middle").click()
    drop(page, "again.mp4", film.read_bytes(), "video/mp4")
    page.get_by_text("Settings of again.mp4").first.wait_for()
    assert int(page.get_by_label("Across").input_value()) < 50
    assert page.get_by_role("button", name=re.compile("^Look 1: edges")).count() == 1


def test_a_zoom_by_keyboard_alone(page, studio):
    press_until(page, "Start from clouds")
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="eyes", exact=True).wait_for()
    page.get_by_role("tab", name="Dream").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("Across").wait_for()
    press_until(page, "Across")
    page.keyboard.press("ArrowRight")
    press_until(page, "Seconds")
    page.keyboard.press("Control+a")
    page.keyboard.type("1.5")
    press_until(page, "Preview")
    page.keyboard.press("Enter")
    page.locator("video").wait_for()
    recipe = recipe_in(made(studio.folder)[-1])
    assert recipe.seconds == 1.5
    assert recipe.camera[0].centre[0] > 0


def test_a_batch_by_keyboard_alone(page, studio):
    page.get_by_role("tab", name="Dream").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Choose photos").wait_for()
    press_until(page, "Choose photos")
    with page.expect_file_chooser() as chosen:
        page.wait_for_timeout(300)  # until it is listened for
        page.keyboard.press("Enter")
    chosen.value.set_files([given("keys.png", photo((96, 64)))])
    page.get_by_role("button", name="Remove keys.png").wait_for()
    press_until(page, "dream")
    page.keyboard.press("Space")
    press_until(page, "edges")
    page.keyboard.press("Space")
    press_until(page, "Dream them all", most=120)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Open the gallery").first.wait_for()
    found = [*(studio.folder / "outputs" / "studio").rglob("keys-edges.png")]
    assert len(found) == 1


def test_a_folder_goes_in_and_a_gallery_comes_out(page, studio, tmp_path, monkeypatch):
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "one.png").write_bytes(photo(seed=1))
    (folder / "two.png").write_bytes(photo(seed=2))
    (folder / "letter.jpg").write_text("Dear photo")
    (folder / "<b>three.png").write_bytes(photo(seed=3))
    tab(page, "Batch")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a folder").click()
    chosen.value.set_files(folder)
    page.locator(".batch-refused").get_by_text("letter.jpg").wait_for()
    page.get_by_role("button", name=re.compile("Remove two")).click()
    page.get_by_role("checkbox", name="dream", exact=True).uncheck(force=True)
    page.get_by_role("checkbox", name="edges", exact=True).focus()
    page.keyboard.press("Space")
    page.get_by_role("checkbox", name="textures", exact=True).check(force=True)
    page.get_by_label("Longer side").locator("visible=true").select_option("512")
    screenshot(page, "batch-chosen")
    page.get_by_role("button", name="Dream them all").click()
    link = page.get_by_role("link", name="Open the gallery").first
    link.wait_for()
    screenshot(page, "batch-done")
    with page.context.expect_page() as opened:
        link.click()
    gallery = opened.value
    gallery.locator("img").first.wait_for()
    gallery.wait_for_timeout(500)
    broken = gallery.evaluate(
        "() => [...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    )
    assert (broken, gallery.locator("img").count() > 0) == (0, True)
    screenshot(gallery, "batch-gallery")
    gallery.close()
    found = (studio.folder / "outputs" / "studio").glob("*/batch/*.png")
    results = [path for path in found if path.name.startswith(("one-", "b_three-"))]
    presets = {read_recipe(path.read_bytes()).preset for path in results}
    assert (len(results), presets) == (4, {"edges", "textures"})
    words = copied(page)
    monkeypatch.chdir(studio.folder)
    assert cli.run(words[1:]) == 0  # it is all there already
    again = {path: path.read_bytes() for path in results}
    words[words.index("-o") + 1] = str(tmp_path / "again")
    assert cli.run(words[1:]) == 0
    for path, data in again.items():
        assert (tmp_path / "again" / path.name).read_bytes() == data


def test_a_channel_is_found_and_dreamed_with_by_keyboard(page, studio):
    choose(page, given("under.png", photo()))
    smaller(page)
    page.get_by_role("tab", name="Dream").focus()
    page.keyboard.press("End")  # to the last tab
    page.get_by_role("radio", name=re.compile("^block8,")).click()
    page.locator(".unit:nth-child(1) img").wait_for()
    page.get_by_role("option", name="block8:0", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    chosen = page.get_by_role("region", name="Chosen")
    chosen.get_by_text("block8:1", exact=True).first.wait_for()
    screenshot(page, "microscope-channel")
    chosen.get_by_role("button", name="Dream with it").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("tab", name="Dream").get_attribute("aria-selected") == "true"
    assert page.get_by_label("Target", exact=True).input_value() == "block8:1"
    page.keyboard.press("Control+Enter")
    dreamed(page)
    assert read_recipe(made(studio.folder)[-1].read_bytes()).settings.target == "block8:1"


def test_a_class_is_searched_painted_large_and_added(page, studio):
    choose(page, given("zebra.png", photo()))
    tab(page, "Microscope")
    page.get_by_label("Search classes").fill("zebra")
    page.get_by_role("option", name="zebra", exact=True).click()
    chosen = page.get_by_role("region", name="Chosen")
    chosen.get_by_role("button", name="Paint it large").click()
    # One that still waits would leave nothing.
    page.locator(".job-doing").get_by_text("painting").wait_for()
    chosen.get_by_role("button", name="Stop").click()
    chosen.get_by_role("link", name=re.compile("Download")).wait_for()
    screenshot(page, "microscope-class")
    painted = next(path for path in made(studio.folder) if "zebra" in path.name)
    (recipe,) = recipes_in(painted)
    assert (recipe.target, recipe.partial) == ("class:zebra", True)
    chosen.get_by_role("button", name="Add to the target").click()
    tab(page, "Dream")
    assert "class:zebra" in page.get_by_label("Target", exact=True).input_value()


def test_a_target_is_picked_in_a_dialog_and_from_what_suits_the_photo(page, photos):
    choose(page, given("cat.png", (photos / "chelsea.png").read_bytes()))
    page.get_by_role("button", name="Pick a channel or class...").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Search classes").fill("tabby")
    dialog.get_by_role("option", name="tabby", exact=True).click()
    screenshot(page, "picker")
    dialog.get_by_role("button", name="Use class:tabby").click()
    target = page.get_by_label("Target", exact=True)
    expect(target).to_have_value("class:tabby")
    page.get_by_role("button", name="Pick a channel or class...").click()
    dialog.get_by_label("Search classes").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    expect(target).to_have_value("class:tabby")
    page.get_by_role("button", name="What suits this photo?").click()
    found = page.get_by_role("group", name="What suits this photo").get_by_role("button")
    found.first.wait_for()
    wanted = found.first.get_attribute("data-target")
    found.first.click()
    expect(target).to_have_value(wanted)


def test_a_preset_of_ones_own_is_dropped_and_dreamed_with(page, studio):
    own = b'schema = 1\nextends = "edges"\ndescription = "Mine <b>alone</b>."\n'
    choose(page, given("own.png", photo()))
    smaller(page)
    drop(page, "mine.toml", own, "application/toml")
    page.get_by_role("radio", name="mine", exact=True).wait_for()
    page.get_by_role("button", name="Dream", exact=True).click()
    dreamed(page)
    assert read_recipe(made(studio.folder)[-1].read_bytes()).preset == "mine"
    drop(page, "bad.toml", b'schema = 1\nextends = "/etc/passwd"\n', "application/toml")
    page.get_by_text("extends one of the built-in ones").first.wait_for()
    page.reload()
    page.get_by_role("radio", name="mine", exact=True).wait_for()


def test_the_strip_gives_way_to_a_dream_and_goes_on(page):
    choose(page, given("large.png", photo((1600, 1200))))
    smaller(page)
    page.get_by_role("button", name="Dream", exact=True).click()
    dreamed(page)
    strip_filled(page)


def test_what_was_made_is_there_after_the_studio_was_started_anew(browser, tmp_path):
    with running(tmp_path) as first, visiting(browser, first.url) as page:
        choose(page, given("kept.png", photo()))
        smaller(page)
        page.get_by_role("button", name="Dream", exact=True).click()
        dreamed(page)
        port = first.url.rsplit(":", 1)[1].strip("/")
        assert first.end() == 0
        page.get_by_text("does not answer just now").wait_for()
        (tmp_path / "log").unlink()
        with running(tmp_path, "--port", port):
            page.get_by_text("The studio answers again.").wait_for()
            page.reload()
            name = re.compile("kept-dream")
            page.get_by_role("region", name="Earlier dreams").get_by_role(
                "button", name=name
            ).click()
            dreamed(page)
    with Image.open(made(tmp_path)[-1]) as picture:
        assert max(picture.size) == 256


def test_a_film_that_the_end_of_the_studio_cut_goes_on(browser, tmp_path):
    with running(tmp_path) as first, visiting(browser, first.url) as page:
        choose(page, given("left.png", photo((480, 320))))
        strip_filled(page)
        tab(page, "Zoom")
        page.get_by_label("Seconds", exact=True).fill("20")
        page.get_by_label("Seconds", exact=True).press("Tab")
        page.get_by_role("button", name="Make the film").click()
        page.locator(".film-doing").get_by_text(re.compile("keyframe [3-9] of 21")).wait_for()
        port = first.url.rsplit(":", 1)[1].strip("/")
        assert first.end() == 0
        kept = [*tmp_path.rglob("keyframe-*.png")]
        assert kept
        (tmp_path / "log").unlink()
        with running(tmp_path, "--port", port):
            queue = page.get_by_role("region", name="Queue")
            queue.get_by_role("button", name="Go on: film of left.png").click()
            page.get_by_role("button", name=re.compile(r"left-zoom\.mp4")).wait_for()
            assert recipe_in(made(tmp_path)[-1]).seconds == 20


def test_a_batch_that_was_stopped_goes_on_where_it_was(page, studio):
    tab(page, "Batch")
    files = [given(f"many-{n}.png", photo((600, 400), seed=n)) for n in range(6)]
    page.locator(".batch-intake input[type=file]").nth(1).set_input_files(files)
    page.get_by_role("button", name="Remove many-5.png").wait_for()
    page.get_by_role("button", name="Dream them all").click()
    page.get_by_role("cell", name="done").first.wait_for()
    page.get_by_role("region", name="The batch", exact=True).get_by_role(
        "button", name="Stop"
    ).click()
    page.get_by_role("button", name="Go on", exact=True).click()
    page.get_by_role("cell", name="there already").first.wait_for()
    expect(page.get_by_role("cell", name=re.compile("done|there already"))).to_have_count(
        6, timeout=60_000
    )
    page.wait_for_timeout(300)
    assert page.get_by_role("link", name="Open the gallery").count() == 1
