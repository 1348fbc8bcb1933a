from pathlib import Path

import pytest
from PIL import Image

from dreamer.errors import OutputError
from dreamer.render.atlas import page, store
from dreamer.render.atlas.store import Entry, Favourite, LayerRecord, Layers, Record
from dreamer.visual_recipe import VisualRecipe, VisualSettings

DESKTOP = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
BAD = "<img src=x onerror=alert(1)>"
RECIPE = VisualRecipe(
    method="dreamer",
    size=(128, 128),
    network="efficientnet_lite0",
    weights="57934424",
    settings=VisualSettings(
        canvas="fourier", steps=64, views=1, transforms="dreamer", optimiser="adam", rate=0.05
    ),
    terms=(),
    seed=0,
    threads=1,
    device="cpu",
)
LAYERS = (
    LayerRecord("block2", "block2", 24, 4, 0.2, "edges", False),
    LayerRecord("features.3/x", "features.3_x", 80, 16, 0.5, "textures", True),
    LayerRecord("block11", "block11", 192, 32, 0.72, "objects", False),
    LayerRecord("block14", "block14", 192, 32, 0.9, "objects", None),
)
CLASSES = ("tabby", "tiger cat", "zebra", "great white shark")


def picture(path: Path, colour) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), colour).save(path)


def atlas(folder: Path, *, count=12, photos=True, variants=2, **changes) -> Record:
    """An atlas of single-coloured pictures."""
    layers = Layers(folder)
    for at, layer in enumerate(LAYERS):
        new = {}
        for channel in range(count):
            names = tuple(
                f"{channel:03}{'' if v == 0 else f'-{v + 1}'}.png" for v in range(variants)
            )
            for variant, name in enumerate(names):
                colour = (60 * at + 20, 250 * variant, 5 * channel)
                picture(folder / layer.folder / name, colour)
            shown = ()
            if photos:
                shown = tuple(
                    Favourite(f"{channel:03}-photo-{k}.jpg", f"my {BAD} {k}.jpg", 9.5 - k)
                    for k in (1, 2, 3, 4)
                )
                for each in shown:
                    picture(folder / layer.folder / each.file, (200, 200, 200))
            feeds = ((CLASSES[channel % 4], 2.5), (CLASSES[(channel + 1) % 4], 1.25))
            new[channel] = Entry(
                "hash",
                names,
                tuple(3.5 + v for v in range(variants)),
                feeds,
                shown,
                "set",
                (f"nothing moves it {BAD}",) if channel == 2 else (),
            )
        layers.put(layer.folder, new)
    record = Record(RECIPE, layers=LAYERS, **changes)
    store.write(folder, record)
    page.write(folder)
    return record


def test_the_same_atlas_makes_the_same_bytes(tmp_path):
    record = atlas(tmp_path)
    first = (tmp_path / "index.html").read_bytes()
    page.write(tmp_path, record, Layers(tmp_path))
    assert (tmp_path / "index.html").read_bytes() == first
    assert str(tmp_path).encode() not in first
    assert first.lower().count(b"<script") == first.lower().count(b"</script>") == 3


def test_without_an_atlas_there_is_no_page(tmp_path):
    with pytest.raises(OutputError):
        page.write(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        page.write(tmp_path / "file", Record(RECIPE), Layers(tmp_path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    atlas(folder)
    return folder


@pytest.fixture
def visit(browser, folder):
    """Open an atlas; at the end nothing may have gone wrong, or been fetched from elsewhere."""
    contexts, wrong = [], []

    def requested(request):
        if not request.url.startswith("file://"):
            wrong.append(request.url)

    def open_page(place="", *, of=folder, viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        shown = context.new_page()
        shown.set_default_timeout(10_000)
        shown.on("console", lambda said: wrong.append(said.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        shown.on("request", requested)
        shown.goto((of / "index.html").as_uri() + place)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def tiles(shown) -> list[str]:
    return shown.evaluate(
        "[...document.querySelectorAll('.tiles li')].filter((e) => e.offsetParent)"
        ".map((e) => e.dataset.name)"
    )


def focused(shown) -> str | None:
    return shown.evaluate("document.activeElement.closest('li')?.dataset.name")


def opened(shown, name) -> None:
    shown.wait_for_function("(name) => panel.open && current?.name === name", arg=name)
    assert shown.text_content("#panel-name") == name


def closed(shown) -> None:
    shown.wait_for_function("() => !panel.open && !current")


def test_layers_stand_in_order_under_their_levels(visit):
    shown = visit()
    assert shown.locator(".word").all_text_contents() == ["edges", "textures", "objects"]
    assert shown.locator(".layer h3 span:first-child").all_text_contents() == [
        layer.name for layer in LAYERS
    ]
    assert "12 of 24 channels" in shown.text_content(".layer >> nth=0")
    assert "signed" in shown.text_content(".layer >> nth=0")
    assert "rectified" in shown.text_content(".layer >> nth=1")
    assert len(tiles(shown)) == 48
    assert shown.text_content("#shown") == "48 channels"
    label = "features.3/x:1, feeds tiger cat, zebra"
    assert shown.locator(f"[aria-label='{label}'] img[loading=lazy]").count() == 1
    shown.set_viewport_size({"width": 800, "height": 500})
    shown.click("#contents >> text=block14")
    shown.wait_for_function(
        "() => document.querySelector('[aria-current]').textContent === 'block14'"
    )


def test_search_finds_layers_channels_and_classes(visit):
    shown = visit()
    shown.keyboard.press("/")
    shown.keyboard.type("block2:7")
    assert tiles(shown) == ["block2:7"]
    shown.reload()  # the address keeps it
    assert shown.input_value("#search") == "block2:7"
    assert tiles(shown) == ["block2:7"]
    assert shown.text_content("#shown") == "1 of 48 channels"
    shown.focus("#search")
    shown.keyboard.press("Enter")
    opened(shown, "block2:7")
    for text, found in {
        "block2": 12,
        "features.3/x:11": 1,
        "BLOCK1": 24,
        "7": 4,
        "tabby": 24,
        "cat": 24,
        "great white shark": 24,
        "zebra block11": 6,
        "objects zebra": 12,
        "my": 48,
        "nothing like it": 0,
        "<b>": 0,
        "": 48,
    }.items():
        shown.fill("#search", text)
        assert len(tiles(shown)) == found, text
        assert shown.is_visible("#nothing") == (found == 0)


def test_a_click_opens_the_channel_with_all_there_is_of_it(visit):
    shown = visit()
    shown.click("[data-name='block11:2']")
    opened(shown, "block11:2")
    assert shown.evaluate("location.hash") == "#block11:2"
    assert shown.get_attribute(".large", "src") == "block11/002.png"
    assert shown.text_content("#place") == "27 / 48"
    assert shown.get_attribute(".large", "alt") == "What excites block11:2"
    crops = shown.locator(".crops img")
    assert crops.count() == 4
    assert crops.first.get_attribute("alt") == f"Part of my {BAD} 1.jpg"
    assert shown.locator(".crops figcaption").first.text_content() == f"my {BAD} 1.jpg8.50"
    large, first = shown.locator(".large").bounding_box(), crops.first.bounding_box()
    assert first["x"] > large["x"] + large["width"]  # beside it
    assert shown.text_content("#score") == "3.5"
    assert shown.text_content(".note") == f"nothing moves it {BAD}"
    shown.click(".variants button >> nth=1")
    assert shown.get_attribute(".large", "src") == "block11/002-2.png"
    assert shown.text_content("#score") == "4.5"
    assert shown.get_attribute(".variants button >> nth=1", "aria-pressed") == "true"
    assert shown.evaluate("document.title").startswith("block11:2")
    shown.click(".classes button:has-text('zebra')")
    assert shown.input_value("#search") == "zebra"
    assert len(tiles(shown)) == 24
    opened(shown, "block11:2")
    shown.click("#close")
    closed(shown)


def test_the_commands_are_there_to_be_copied(visit, tmp_path):
    shown = visit("#features.3/x:4")
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    commands = [
        "dreamer dream PHOTO --target features.3/x:4",
        "dreamer visualize features.3/x:4",
    ]
    assert shown.locator(".command").all_text_contents() == commands
    for at, command in enumerate(commands):
        button = shown.locator(".command + button").nth(at)
        assert button.get_attribute("aria-label") == f"Copy: {command}"
        button.click()
        shown.wait_for_function(
            "(at) => document.querySelectorAll('.command + button')[at].textContent === 'Copied'",
            arg=at,
        )
        assert shown.evaluate("navigator.clipboard.readText()") == command
    atlas(tmp_path, count=1, flags="--network vgg16")
    shown = visit("#block2:0", of=tmp_path)
    assert shown.locator(".command").all_text_contents() == [
        "dreamer dream PHOTO --target block2:0 --network vgg16",
        "dreamer visualize block2:0 --network vgg16",
    ]
    atlas(tmp_path, count=1, commands=False)
    assert visit("#block2:0", of=tmp_path).locator(".command").count() == 0


def test_a_tour_by_keyboard_opens_turns_closes_and_returns_to_the_tile(visit):
    shown = visit()
    shown.keyboard.press("ArrowRight")
    assert focused(shown) == "block2:0"
    shown.keyboard.press("ArrowRight")
    assert focused(shown) == "block2:1"
    shown.keyboard.press("ArrowDown")
    assert focused(shown) == "features.3/x:1"
    shown.keyboard.press("Enter")
    opened(shown, "features.3/x:1")
    shown.keyboard.press("ArrowRight")
    opened(shown, "features.3/x:2")
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("ArrowLeft")
    opened(shown, "features.3/x:0")
    shown.keyboard.press("ArrowLeft")
    opened(shown, "block2:11")
    shown.keyboard.press("?")
    assert shown.is_visible("#keys")
    shown.keyboard.press("Escape")
    assert not shown.is_visible("#keys")
    opened(shown, "block2:11")
    shown.keyboard.press("Escape")
    closed(shown)
    assert focused(shown) == "block2:11"
    assert shown.evaluate("location.hash") in ("", "#")
    shown.keyboard.press("End")
    assert focused(shown) == "block14:11"
    box = shown.locator("[data-name='block14:11']").bounding_box()
    assert box["y"] + box["height"] <= DESKTOP["height"]


def test_the_browsers_back_closes_the_panel(visit):
    shown = visit("#?q=zebra")
    shown.click("[data-name='block11:2']")
    opened(shown, "block11:2")
    shown.keyboard.press("ArrowRight")
    opened(shown, "block11:5")  # the next that is found
    shown.go_back()
    closed(shown)
    assert len(tiles(shown)) == 24
    assert focused(shown) == "block11:5"


@pytest.mark.parametrize("place", ["#features.3/x:3", "#features.3%2Fx%3A3", "#block14:11"])
def test_a_link_opens_its_channel_and_shows_its_tile(place, visit):
    shown = visit(place)
    name = "block14:11" if "14" in place else "features.3/x:3"
    opened(shown, name)
    box = shown.locator(f"[data-name='{name}']").bounding_box()
    assert 0 <= box["y"] <= DESKTOP["height"] - box["height"]
    assert shown.locator(".tile.current").count() == 1
    shown.keyboard.press("Escape")
    closed(shown)


@pytest.mark.parametrize("place", ["#block99:1", "#%FF", "#?q", "#block2:99?size=x&face=<b>"])
def test_an_address_that_makes_no_sense_shows_the_whole_atlas(place, visit):
    shown = visit(place)
    assert len(tiles(shown)) == 48
    assert not shown.is_visible("#panel")


def test_tiles_show_the_users_photos_if_asked(visit, tmp_path):
    shown = visit()
    first = "[data-name='block2:0'] img"
    shown.keyboard.press("p")
    assert shown.get_attribute(first, "src") == "block2/000-photo-1.jpg"
    shown.click("#faces >> text=Pictures")
    assert shown.get_attribute(first, "src") == "block2/000.png"
    atlas(tmp_path, count=1, photos=False, variants=1)
    shown = visit("#block2:0", of=tmp_path)
    assert not shown.is_visible("#faces")
    assert shown.locator(".crops, .variants").count() == 0


def test_an_atlas_that_is_not_whole_says_so(visit, tmp_path):
    atlas(tmp_path, count=1, left=31)
    shown = visit(of=tmp_path)
    assert "31 channels to go" in shown.text_content("#left")
    store.write(tmp_path, Record(RECIPE))
    page.write(tmp_path)
    shown = visit(of=tmp_path)
    assert shown.text_content("#nothing") == "No channel is made yet."


def test_on_a_phone_nothing_is_wider_than_the_screen_and_all_can_be_touched(visit):
    shown = visit(viewport=PHONE, has_touch=True, is_mobile=True)
    assert shown.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    shown.tap("[data-name='features.3/x:1']")
    opened(shown, "features.3/x:1")
    for element in ("panel", "document.documentElement"):
        assert shown.evaluate(f"{element}.scrollWidth") == PHONE["width"]
    assert shown.evaluate("panel.clientHeight") == PHONE["height"]
    assert shown.evaluate("panel.matches(':modal')")
    for button in shown.query_selector_all("#panel button:visible:not(.variants *), #tools a"):
        assert button.bounding_box()["height"] >= 43, button.inner_html()
    shown.tap("#next")
    opened(shown, "features.3/x:2")
    shown.go_back()
    closed(shown)


def test_thousands_of_tiles_are_searched_at_once_and_loaded_when_they_are_near(visit, tmp_path):
    layers, count = Layers(tmp_path), 3000
    picture(tmp_path / "block2" / "0.png", (9, 9, 9))
    layers.put(
        "block2",
        {k: Entry("h", ("0.png",), (1.0,), ((CLASSES[k % 4], 1.0),)) for k in range(count)},
    )
    page.write(tmp_path, Record(RECIPE, layers=LAYERS[:1]), layers)
    shown = visit(of=tmp_path)
    assert shown.text_content("#shown") == "3,000 channels"
    assert (
        0 < shown.evaluate("[...document.images].filter((e) => e.complete && e.src).length") < 2500
    )
    slowest = shown.evaluate(
        """() => Math.max(...["z", "ze", "zebra", "39", ""].map((text) => {
          const start = performance.now();
          search.value = text;
          search.oninput();
          document.body.offsetHeight;
          return performance.now() - start;
        }))"""
    )
    assert slowest < 1500
