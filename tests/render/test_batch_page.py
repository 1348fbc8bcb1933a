import errno
import io
import os
import shutil
import subprocess
import sys
import tracemalloc
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dreamer.errors import OutputError
from dreamer.media import files
from dreamer.render.batch import page
from dreamer.render.batch.page import Entry

RED, BLUE = (220, 30, 30), (30, 60, 220)
DESKTOP = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "{{ 7 * 7 }}",
    "\"'`$(touch oops)\\ &amp;",
    "two\nlines",
    "😀👩‍🚀 dröm",
    "#?%41%",
    "a:b",
    "-rf",
    "..hidden",
    "__proto__",
]
if sys.platform == "linux":  # elsewhere every file name is Unicode
    HOSTILE.append(os.fsdecode(b"no\xffutf\x80"))


def picture(path: Path, colour=RED, size=(96, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "JPEG")


def done(folder: Path, name: str, preset: str = "parts", **changes) -> Entry:
    """An entry with all its pictures: the photo is red, the dream blue."""
    stem = f"{name}-{preset}"
    entry = Entry(
        name=f"{name}.jpg",
        preset=preset,
        status="done",
        output=f"{stem}.jpg",
        size=(960, 640),
        facts={"target": "parts", "seed": "7"},
        source=f"{name}.jpg",
        thumbnail=f"previews/{stem}.small.jpg",
        before=f"previews/{stem}.before.jpg",
        after=f"previews/{stem}.after.jpg",
    )
    for path, colour in (
        (entry.output, BLUE),
        (entry.thumbnail, BLUE),
        (entry.before, RED),
        (entry.after, BLUE),
    ):
        picture(folder / path, colour)
    return replace(entry, **changes)


def batch(folder: Path) -> list[Entry]:
    return [
        *(done(folder, f"beach/{index}") for index in range(4)),
        *(done(folder, f"forest/{index}", "fur") for index in range(4)),
        Entry("beach/torn.jpg", "fur", "failed", error="'torn.jpg' is damaged.\nCopy it again."),
        Entry("forest/later.jpg", "fur", "waiting"),
    ]


# ---- What is written, without a browser.


def test_the_same_entries_make_the_same_bytes(tmp_path):
    entries = batch(tmp_path)
    first = page.write(tmp_path, entries, title="Dreams").read_bytes()
    other = page.write(tmp_path / "other", list(entries), title="Dreams")
    assert other == tmp_path / "other" / "index.html"
    assert other.read_bytes() == first
    assert first.startswith(b"<!doctype html>")


def test_any_text_makes_valid_utf_8(tmp_path):
    odd = "".join(map(chr, [*range(256), 0x2028, 0xD800, 0xDCFF, 0xFEFF, 0xFFFF, 0x1F600]))
    entry = Entry(odd, odd, "done", odd, None, {odd: odd}, odd, (odd,), odd, odd, odd)
    written = page.write(tmp_path, [entry], title=odd).read_bytes().decode("utf-8")
    assert written.lower().count("<script") == written.lower().count("</script>") == 2


def test_a_write_that_fails_leaves_the_page_as_it_was(tmp_path, monkeypatch):
    entries = batch(tmp_path)
    old = page.write(tmp_path, entries[:1], title="Dreams").read_bytes()
    names = sorted(os.listdir(tmp_path))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="room"):
        page.write(tmp_path, entries, title="Dreams")
    assert (tmp_path / "index.html").read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == names


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"index\.html"):
        page.write(tmp_path / "file", [], title="Dreams")


def test_a_page_of_thousands_is_never_whole_in_memory(tmp_path):
    entries = many(tmp_path, 4000)
    page.write(tmp_path, entries[:1], title="Dreams")  # compiles the template
    tracemalloc.start()
    try:
        size = page.write(tmp_path, entries, title="Dreams").stat().st_size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 1_000_000
    assert peak < size / 2


@pytest.mark.skipif(os.name == "nt", reason="the quoting is for POSIX shells")
@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize("name", [*HOSTILE, "plain/photo-1.jpg"], ids=ascii)
def test_the_command_gives_the_shell_the_very_names(name, tmp_path):
    entry = Entry(name, "parts", "done", f"{name}.png", source=name)
    command = next(page._rows([entry]))["command"]
    assert files.shown(command) == command  # one line, of characters that can be copied
    shell = ["bash", "-c", f"dreamer() {{ printf '%s\\0' \"$@\"; }}; {command}"]
    told = subprocess.run(shell, capture_output=True, check=True, cwd=tmp_path).stdout
    photo, output = (f"./{path}" if path[0] == "-" else path for path in (name, f"{name}.png"))
    given = [b"dream", os.fsencode(photo), b"--from", os.fsencode(output)]
    assert told.split(b"\0")[:-1] == [*given, b"-o", b"again.png"]
    assert not os.listdir(tmp_path)


# ---- What people see, in a browser.


@pytest.fixture
def visit(browser, tmp_path):
    """Write the entries' page and open it; at the end, nothing may have gone wrong on it."""
    contexts, wrong = [], []

    def open_page(entries, place="", *, viewport=DESKTOP, prepare=lambda _: None, **options):
        written = page.write(tmp_path, entries, title="Dreams <b>of</b> summer")
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        shown = context.new_page()
        shown.set_default_timeout(10_000)
        shown.on("console", lambda said: wrong.append(said.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        prepare(shown)
        shown.goto(written.as_uri() + place)
        return shown

    open_page.wrong = wrong
    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def many(folder: Path, count: int) -> list[Entry]:
    """Entries of tall and wide pictures, each with a thumbnail of its own name."""
    picture(folder / "0.jpg")
    entries = []
    for index in range(count):
        thumbnail = f"small-{index}.jpg"
        if not (folder / thumbnail).exists():
            os.link(folder / "0.jpg", folder / thumbnail)
        entries.append(
            Entry(
                f"trip {index % 7}/IMG_{index:05}.jpg",
                "parts" if index % 2 else "fur",
                "done",
                f"IMG_{index:05}.png",
                (1200, 800) if index % 3 else (800, 1200),
                {"target": "0.7*parts + 0.3*class:tiger", "network": "efficientnet_lite0"},
                thumbnail=thumbnail,
                after=thumbnail,
            )
        )
    return entries


def labels(shown) -> list[str]:
    """Name and preset of the tiles, in order."""
    return [tile.get_attribute("aria-label") for tile in shown.query_selector_all("#grid li .tile")]


def focused(shown) -> str:
    return shown.evaluate("document.activeElement.getAttribute('aria-label')")


def loaded(shown, selector: str) -> None:
    """Wait until all these pictures have pixels."""
    shown.wait_for_function(
        "(selector) => { const found = [...document.querySelectorAll(selector)];"
        " return found.length && found.every((one) => one.complete && one.naturalWidth > 0); }",
        arg=selector,
    )


def opened(shown, name: str) -> None:
    shown.wait_for_function(
        "(name) => viewer.open && document.getElementById('viewer-name').textContent === name",
        arg=name,
    )
    loaded(shown, "#layers img")


def closed(shown) -> None:
    shown.wait_for_function("() => !viewer.open")


def colour_at(shown, across: float) -> str:
    """Which of the two pictures is seen at this share of the width, a quarter down."""
    shown.wait_for_function("() => document.getAnimations().length === 0")
    box = shown.locator("#picture").bounding_box()
    image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    scale = image.width / shown.viewport_size["width"]
    x, y = box["x"] + across * box["width"], box["y"] + box["height"] / 4
    red, _, blue = image.getpixel((round(x * scale), round(y * scale)))
    return "photo" if red > blue + 100 else "dream" if blue > red + 100 else "neither"


def clip(shown) -> str:
    return shown.evaluate("getComputedStyle(document.querySelector('#layers .before')).clipPath")


def test_dragging_with_the_mouse_moves_the_line_between_photo_and_dream(visit, tmp_path):
    shown = visit([done(tmp_path, "a")])
    shown.click(".tile")
    opened(shown, "a.jpg")
    assert [colour_at(shown, across) for across in (0.3, 0.7)] == ["photo", "dream"]
    box = shown.locator("#picture").bounding_box()
    middle = box["y"] + box["height"] / 2
    shown.mouse.move(box["x"] + box["width"] / 2, middle)
    shown.mouse.down()
    shown.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    assert colour_at(shown, 0.7) == "photo"
    shown.mouse.up()
    assert shown.evaluate("Number(slider.value)") == pytest.approx(90, abs=1)
    assert clip(shown) == "inset(0px 10% 0px 0px)"
    shown.mouse.move(box["x"] + 5, middle)  # no button: nothing moves
    assert clip(shown) == "inset(0px 10% 0px 0px)"
    shown.mouse.click(box["x"] + box["width"] * 0.2, middle)
    assert [colour_at(shown, across) for across in (0.1, 0.3)] == ["photo", "dream"]
    shown.keyboard.press("ArrowRight")  # dragging gave the line no focus: this turns pages
    assert clip(shown) == "inset(0px 80% 0px 0px)"


def test_keys_move_the_line_while_it_has_the_focus(visit, tmp_path):
    shown = visit([done(tmp_path, "a"), done(tmp_path, "b")])
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    opened(shown, "a.jpg")
    shown.keyboard.press("Tab")
    assert focused(shown) == "Share of the photo that is shown"
    for _ in range(10):
        shown.keyboard.press("ArrowLeft")
    assert shown.evaluate("slider.value") == "30"
    assert clip(shown) == "inset(0px 70% 0px 0px)"
    assert [colour_at(shown, across) for across in (0.2, 0.4)] == ["photo", "dream"]
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("slider.value") == "32"
    assert shown.text_content("#viewer-name") == "a.jpg"
    shown.keyboard.press("End")
    assert colour_at(shown, 0.95) == "photo"


def test_b_and_a_held_space_show_the_photo_and_the_dream_again(visit, tmp_path):
    shown = visit([done(tmp_path, "a")])
    shown.click(".tile")
    opened(shown, "a.jpg")
    shown.keyboard.press("b")
    assert colour_at(shown, 0.7) == "photo"
    shown.keyboard.press("b")
    assert colour_at(shown, 0.7) == "dream"
    shown.keyboard.down(" ")
    assert colour_at(shown, 0.7) == "photo"
    shown.keyboard.up(" ")
    assert colour_at(shown, 0.7) == "dream"
    shown.click("#only-dream")
    assert colour_at(shown, 0.1) == "dream"
    assert shown.get_attribute("#only-dream", "aria-pressed") == "true"


def test_a_finger_on_the_line_moves_it_and_a_swipe_turns_to_the_next(visit, tmp_path):
    entries = [done(tmp_path, "a"), done(tmp_path, "b")]
    shown = visit(entries, viewport=PHONE, has_touch=True, is_mobile=True)
    shown.tap(".tile")
    opened(shown, "a.jpg")
    touch = shown.context.new_cdp_session(shown)
    box = shown.locator("#picture").bounding_box()

    def drag(start: float, end: float) -> None:
        def send(kind: str, *at: float) -> None:
            y = box["y"] + box["height"] / 2
            points = [{"x": box["x"] + box["width"] * x, "y": y} for x in at]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        send("touchStart", start)
        for step in range(1, 6):
            send("touchMove", start + (end - start) * step / 5)
        send("touchEnd")

    drag(0.5, 0.8)
    assert [colour_at(shown, across) for across in (0.7, 0.9)] == ["photo", "dream"]
    assert shown.text_content("#viewer-name") == "a.jpg"
    drag(0.5, 0.1)
    opened(shown, "b.jpg")
    assert [colour_at(shown, across) for across in (0.7, 0.9)] == ["photo", "dream"]
    drag(0.3, 0.7)
    opened(shown, "a.jpg")


def test_filters_by_name_and_preset_and_status_show_what_matches(visit, tmp_path):
    shown = visit(batch(tmp_path))
    assert shown.text_content("#shown") == "10 items"
    shown.keyboard.press("/")
    shown.keyboard.type("FOREST 2")
    assert labels(shown) == ["forest/2.jpg, fur"]
    assert shown.text_content("#shown") == "1 of 10 items"
    shown.fill("#search", "")
    shown.select_option("#preset", "parts")
    assert labels(shown) == [f"beach/{index}.jpg, parts" for index in range(4)]
    assert not shown.is_visible("#failed")
    shown.select_option("#preset", "")
    shown.click("#statuses >> text=1 failed")
    assert labels(shown) == []
    assert shown.is_visible("#failed")
    assert not shown.is_visible("#waiting")
    shown.fill("#search", "forest")
    assert shown.is_visible("text=Nothing matches the filter.")
    shown.click("#statuses >> text=All")
    assert len(labels(shown)) == 4


def test_one_preset_and_nothing_wrong_need_no_filters_for_them(visit, tmp_path):
    shown = visit([done(tmp_path, "a"), done(tmp_path, "b")])
    assert not shown.is_visible("#preset")
    assert not shown.is_visible("#statuses")
    assert not shown.is_visible("#reloading")


def test_a_tour_by_keyboard_opens_turns_closes_and_returns_to_the_tile(visit, tmp_path):
    shown = visit(batch(tmp_path))
    shown.keyboard.press("ArrowRight")
    assert focused(shown) == "beach/0.jpg, parts"
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowDown")
    below = focused(shown)
    assert below not in ("beach/0.jpg, parts", "beach/1.jpg, parts")
    shown.keyboard.press("ArrowUp")
    assert focused(shown) == "beach/1.jpg, parts"
    shown.keyboard.press("Enter")
    opened(shown, "1.jpg")
    assert shown.text_content("#place") == "2 / 8"
    shown.keyboard.press("ArrowRight")
    opened(shown, "2.jpg")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("ArrowRight")
    opened(shown, "3.jpg")
    shown.keyboard.press("?")
    assert shown.is_visible("#keys")
    shown.keyboard.press("Escape")
    assert not shown.is_visible("#keys")
    assert shown.evaluate("viewer.open")
    shown.keyboard.press("Escape")
    closed(shown)
    assert focused(shown) == "beach/3.jpg, parts"
    outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    shown.keyboard.press("End")
    assert focused(shown) == "forest/3.jpg, fur"
    shown.keyboard.press(" ")
    opened(shown, "3.jpg")
    assert shown.is_disabled("#next")


def test_the_browsers_back_closes_the_picture(visit, tmp_path):
    shown = visit(batch(tmp_path), "#q=beach")
    shown.click(".tile >> nth=1")
    opened(shown, "1.jpg")
    shown.click("#next")
    opened(shown, "2.jpg")
    shown.go_back()
    closed(shown)
    assert focused(shown) == "beach/2.jpg, parts"
    assert len(labels(shown)) == 4


def test_facts_notes_and_links_are_all_there_in_their_order(visit, tmp_path):
    facts = {"target": "0.7*parts", "10": "ten", "2": "two", "size": "960x640"}
    entry = done(tmp_path, "a b", facts=facts, notes=("Made in tiles.", "Twice."))
    shown = visit([entry])
    shown.click(".tile")
    opened(shown, "a b.jpg")
    pairs = {"photo": "a b.jpg", "preset": "parts", **facts}
    terms, details = shown.locator("#details dt"), shown.locator("#details dd")
    assert terms.all_text_contents() == list(pairs)
    assert details.all_text_contents() == list(pairs.values())
    assert shown.locator(".notes li").all_text_contents() == ["Made in tiles.", "Twice."]
    command = "dreamer dream 'a b.jpg' --from 'a b-parts.jpg' -o again.png"
    assert shown.text_content(".command") == command
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.click("#copy")
    shown.wait_for_selector("#copy:text('Copied')")
    assert shown.evaluate("navigator.clipboard.readText()") == command
    with shown.expect_popup() as popup:
        shown.click("#full")
    popup.value.wait_for_load_state()
    assert popup.value.evaluate("document.images[0].naturalWidth") == 96


def test_without_previews_the_result_itself_is_shown_if_browsers_can(visit, tmp_path):
    bare = {"thumbnail": "", "before": "", "after": "", "size": None}
    png = done(tmp_path, "a", output="a.PNG", **bare)
    tiff = done(tmp_path, "b", output="b.tif", **bare)
    gone = done(tmp_path, "c", before="gone-before.jpg", after="gone-after.jpg")
    Image.new("RGB", (60, 90), BLUE).save(tmp_path / "a.PNG")
    Image.new("RGB", (60, 90), BLUE).save(tmp_path / "b.tif")
    shown = visit([png, tiff, gone])
    loaded(shown, ".tile img[src='a.PNG']")
    shown.click(".tile >> nth=0")
    opened(shown, "a.jpg")
    assert colour_at(shown, 0.1) == colour_at(shown, 0.9) == "dream"
    assert not shown.is_visible("#split")
    assert not shown.is_visible("#handle")
    assert shown.evaluate("picture.offsetWidth / picture.offsetHeight") == pytest.approx(
        2 / 3, 0.02
    )
    shown.click("#next")
    assert shown.is_visible("text=No preview: open the file.")
    assert shown.get_attribute("#full", "href") == "b.tif"
    visit.wrong.clear()
    shown.click("#next")
    opened(shown, "c.jpg")
    assert colour_at(shown, 0.1) == "dream"  # the thumbnail, enlarged
    assert not shown.is_visible("#split")
    assert all("ERR_FILE_NOT_FOUND" in said for said in visit.wrong)
    visit.wrong.clear()


def test_failures_are_listed_with_their_reasons_and_what_waits_too(visit, tmp_path):
    shown = visit(batch(tmp_path))
    assert shown.text_content("#failed h2") == "1 failed"
    assert shown.text_content("#failed .name") == "beach/torn.jpg"
    assert shown.text_content("#failed .reason") == "'torn.jpg' is damaged.\nCopy it again."
    assert shown.text_content("#waiting .name") == "later.jpg"
    assert shown.locator("#statuses button").all_text_contents() == [
        "All",
        "8 done",
        "1 failed",
        "1 waiting",
    ]


def test_a_batch_of_failures_and_an_empty_batch_say_so(visit, tmp_path):
    failed = [Entry(f"{index}.jpg", "fur", "failed", error="Torn.") for index in range(250)]
    shown = visit(failed)
    assert shown.text_content("#summary") == "No pictures"
    assert shown.text_content("#failed h2") == "250 failed"
    shown.click("text=Show all 250")
    assert shown.locator("#failed li").count() == 250
    shown = visit([])
    assert shown.is_visible("text=Nothing has been dreamed here yet.")
    assert not shown.is_visible("#tools")


def test_hostile_names_run_nothing_and_break_no_link(visit, tmp_path):
    entries = []
    for name in HOSTILE:
        entry = done(tmp_path, f"{name}/x{name}", preset=name, notes=(name,), facts={name: name})
        entries += [entry, Entry(name, name, "failed", error=name), Entry(name, name, "waiting")]
    shown = visit(entries)
    assert shown.text_content("h1") == "Dreams <b>of</b> summer"
    assert shown.locator("#grid li").count() == len(HOSTILE)
    loaded(shown, "#grid img")
    assert shown.locator("script, #grid img, body > *").count() == shown.evaluate(
        "2 + document.body.childElementCount - 2 + pictures.length"
    )
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    for name, entry in zip(HOSTILE, entries[::3], strict=True):
        opened(shown, files.shown(entry.name).rpartition("/")[2])
        assert shown.locator("#layers img").count() == 3
        link = shown.get_attribute("#full", "href")
        assert [colour_at(shown, across) for across in (0.3, 0.7)] == ["photo", "dream"], name
        assert urllib.parse.unquote_to_bytes(link) == os.fsencode(entry.output)
        result = shown.context.new_page()
        result.goto(urllib.parse.urljoin(shown.url, link))
        assert result.evaluate("document.images[0].naturalWidth") == 96
        result.close()
        shown.keyboard.press("ArrowRight")
    assert shown.evaluate("({}).onerror === undefined && !document.querySelector('[onerror]')")


def test_nothing_but_the_pages_own_script_may_run_and_nothing_is_fetched(visit, tmp_path):
    shown = visit([done(tmp_path, "a")])
    blocked = shown.evaluate(
        """async () => {
          const blocked = [];
          addEventListener("securitypolicyviolation", (e) => blocked.push(e.effectiveDirective));
          document.body.append(make("script", {}, "window.ran = true"));
          document.body.append(make("img", { src: "http://127.0.0.1:9/x.png" }));
          document.body.append(make("p", { onclick: "window.ran = true" }));
          document.body.lastChild.click();
          await fetch("http://127.0.0.1:9/").catch(() => {});
          await new Promise((resolve) => setTimeout(resolve, 50));
          return [window.ran ?? false, blocked.sort()];
        }"""
    )
    wanted = ["connect-src", "img-src", "script-src-attr", "script-src-elem"]
    assert blocked == [False, wanted]
    visit.wrong.clear()


def test_five_thousand_pictures_scroll_to_the_last_and_filter(visit, tmp_path, record_property):
    shown = visit(many(tmp_path, 5000))
    assert shown.text_content("#shown") == "5,000 items"
    assert 0 < shown.locator("#grid li").count() < 200
    shown.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    shown.wait_for_selector("[aria-label^='trip 1/IMG_04999.jpg']")
    loaded(shown, "[aria-label^='trip 1/IMG_04999.jpg'] img")
    assert shown.is_visible("[aria-label^='trip 1/IMG_04999.jpg']")
    for _ in range(30):
        shown.evaluate("scrollBy(0, -800); new Promise(requestAnimationFrame)")
    assert 0 < shown.locator("#grid li").count() < 200
    shown.fill("#search", "img_0312")
    assert labels(shown)[0] == "trip 5/IMG_03120.jpg, fur"
    assert len(labels(shown)) == 10
    shown.fill("#search", "")
    assert shown.text_content("#shown") == "5,000 items"
    slowest = shown.evaluate(
        """() => Math.max(...["i", "img_0", "img_03", "trip 3", "x", ""].map((text) => {
          const start = performance.now();
          search.value = text;
          search.oninput();
          return performance.now() - start;
        }))"""
    )
    record_property("slowest filter of 5,000 pictures, ms", slowest)


def test_no_tile_overlaps_another_or_changes_its_place_as_pictures_load(visit, tmp_path):
    entries = many(tmp_path, 60)
    for viewport in (DESKTOP, PHONE):
        shown = visit(entries, viewport=viewport)
        boxes = "() => pictures.map(({ box: b }) => [b.left, b.top, b.width, b.height])"
        before = shown.evaluate(boxes)
        loaded(shown, "#grid img")
        assert shown.evaluate(boxes) == before
        for index, (left, top, width, height) in enumerate(before):
            assert width / height == pytest.approx(1.5 if index % 3 else 2 / 3)
            assert 0 <= left <= left + width <= viewport["width"]
            for other in before[:index]:
                apart = other[0] + other[2] <= left or left + width <= other[0]
                assert apart or other[1] + other[3] <= top or top + height <= other[1]


def test_on_a_phone_there_are_two_columns_and_nothing_is_wider_than_the_screen(visit, tmp_path):
    long = "a very long folder/" + "IMG_20240817_184512345_HDR_panorama" * 4
    entries = [
        *batch(tmp_path),
        done(tmp_path, long[:150]),
        Entry(long, long, "failed", error=long),
    ]
    shown = visit(entries, viewport=PHONE, has_touch=True, is_mobile=True)
    width = "document.documentElement.scrollWidth"
    assert shown.evaluate(width) == PHONE["width"]
    assert len(shown.evaluate("[...new Set(pictures.map(({ box }) => box.left))]")) == 2
    shown.tap(".tile >> nth=8")
    shown.wait_for_selector("#viewer[open]")
    loaded(shown, "#layers img")
    for element in ("viewer", "document.documentElement"):
        assert shown.evaluate(f"{element}.scrollWidth") == PHONE["width"]
    assert shown.evaluate("viewer.clientHeight") == PHONE["height"]
    assert shown.evaluate("picture.clientWidth") == PHONE["width"]
    for button in shown.query_selector_all("#viewer button:visible, #tools select"):
        assert button.bounding_box()["height"] >= 44, button.inner_html()
    shown.evaluate("viewer.scrollTo(0, viewer.scrollHeight)")
    assert shown.is_visible("#copy")
    copy = shown.locator("#copy").bounding_box()
    assert copy["y"] + copy["height"] <= PHONE["height"]


def test_a_reload_keeps_the_filter_the_open_picture_and_the_place(visit, tmp_path):
    entries = many(tmp_path, 300)
    shown = visit(entries)
    shown.fill("#search", "trip")
    shown.select_option("#preset", "fur")
    shown.evaluate("scrollTo(0, 2000)")
    shown.wait_for_function("() => history.state?.y === 2000")
    # More was finished in the meantime, before all that was there.
    first = [replace(entry, name=f"trip/{index}.jpg") for index, entry in enumerate(entries[:40])]
    name = shown.evaluate("byId.get(anchor().id).name")
    place = f"""document.querySelector("[aria-label='{name}, fur']").getBoundingClientRect().top"""
    before = shown.evaluate(place)
    assert abs(before) < DESKTOP["height"]
    page.write(tmp_path, [*first, *entries], title="Dreams")
    for _ in range(2):
        shown.reload()
        assert shown.evaluate(place) == pytest.approx(before, abs=1)
    assert shown.input_value("#search") == "trip"
    assert shown.input_value("#preset") == "fur"
    assert shown.text_content("#shown") == "170 of 340 items"
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    shown.wait_for_selector("#viewer[open]")
    name = shown.text_content("#viewer-name")
    shown.reload()
    opened(shown, name)
    shown.keyboard.press("Escape")
    closed(shown)
    assert focused(shown).endswith(f"{name}, fur")
    assert shown.text_content("#shown") == "170 of 340 items"


def test_a_link_to_a_picture_opens_it_and_closes_to_the_page(visit, tmp_path):
    entries = batch(tmp_path)
    key = list(page._rows(entries))[5]["id"]
    shown = visit(entries, f"#preset=fur&open={key}")
    opened(shown, "1.jpg")
    assert shown.text_content("#place") == "2 / 4"
    shown.keyboard.press("Escape")
    closed(shown)
    assert focused(shown) == "forest/1.jpg, fur"


@pytest.mark.parametrize("place", ["#open=nothing&preset=<b>&status=odd&rows=x", "#%FF&&=#"])
def test_an_address_that_makes_no_sense_shows_the_whole_batch(place, visit, tmp_path):
    shown = visit(batch(tmp_path), place)
    assert len(labels(shown)) == 8
    assert shown.text_content("#shown") == "10 items"


def test_while_items_wait_the_page_reloads_itself_only_if_asked(visit, tmp_path):
    entries = batch(tmp_path)
    shown = visit(entries, prepare=lambda blank: blank.clock.install())
    later = done(tmp_path, "forest/later", "fur")
    page.write(tmp_path, [*entries[:-1], later, Entry("last.jpg", "fur", "waiting")], title="x")
    shown.clock.fast_forward(65_000)
    assert shown.text_content("#shown") == "10 items"
    shown.check("#reload")
    shown.clock.fast_forward(65_000)
    shown.wait_for_selector("[aria-label='forest/later.jpg, fur']")
    assert shown.is_checked("#reload")
