"""What is given to the page: checked by what it is, and kept only if it is good."""

import copy
import hashlib
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import picture, small

from dreamer.cli import run
from dreamer.errors import DreamerError, InputError, UsageError
from dreamer.media import files, metadata
from dreamer.studio import asks, uploads
from dreamer.studio.people import Person


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.chdir(tmp_path)
    return Person("a", Path("outputs") / "studio" / "a", lambda *_: None)


@pytest.fixture(scope="module")
def dreamed(tmp_path_factory: pytest.TempPathFactory, chelsea: Path) -> Iterator[Path]:
    """A folder with a photo, a dream of it, a picture of a unit and a film."""
    folder = tmp_path_factory.mktemp("dreamed")
    (folder / "cat.png").write_bytes(small(chelsea))
    fast = ["--quality", "draft", "--octaves", "1", "--quiet"]
    cat, out = str(folder / "cat.png"), [str(folder / name) for name in ("d.png", "u.png", "z.gif")]
    assert run(["dream", cat, "--preset", "eyes", "--seed", "3", *fast, "-o", out[0]]) == 0
    assert run(["visualize", "block8:3", "--size", "64", "--steps", "4", "-q", "-o", out[1]]) == 0
    film = ["--seconds", "0.5", "--fps", "4", "--size", "64x48", "--rotate", "10", "--ease"]
    assert run(["zoom", "sky", "--preset", "fur", *film, *fast, "-o", out[2]]) == 0
    return folder


def take(person: Person, data: bytes, name: str = "a.png", kind: Any = "photo") -> dict[str, Any]:
    """Give a file as the server does."""
    person.folder.mkdir(parents=True, exist_ok=True)
    with files.temporary(str(person.folder / "given")) as stream:
        stream.write(data)
        stream.flush()
        digest = hashlib.sha256(data).hexdigest()
        return uploads.take(person, stream, Path(stream.name), name, kind, digest)


def kept(person: Person) -> set[str]:
    found = (path for path in person.folder.rglob("*") if path.is_file())
    return {path.relative_to(person.folder).as_posix() for path in found}


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png_of_size(width: int, height: int) -> bytes:
    """A small file that says it is a picture of that size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000), 9))


def text_bomb() -> bytes:
    """A picture with a text that grows a thousandfold."""
    bomb = b"dreamer\0\1\0\0\0" + zlib.compress(bytes(300_000_000), 9)
    data = picture()
    return data[:33] + chunk(b"iTXt", bomb) + data[33:]


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a text named .jpg": ("a.jpg", lambda: b"hello"),
    "nothing": ("a.jpg", lambda: b""),
    "a page": ("a.png", lambda: b"<!doctype html><script>alert(1)</script>"),
    "a vector picture": ("a.svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "half a picture": ("a.png", lambda: small_noise()[:900]),
    "half a JPEG": ("a.jpg", lambda: picture((400, 300), kind="JPEG")[:900]),
    "a bomb": ("a.png", lambda: png_of_size(60_000, 60_000)),
    "a smaller bomb": ("a.png", lambda: png_of_size(11_000, 11_000)),
    "a bomb of text": ("a.png", text_bomb),
    "a playlist": ("a.mp4", lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    "a list of films": ("a.mp4", lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
    "a program": ("a.png", lambda: b"\x7fELF" + bytes(100)),
}


def small_noise() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((100, 80), 90).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("what", [*BAD])
def test_what_is_no_picture_is_refused_and_leaves_nothing(person: Person, what: str) -> None:
    name, data = BAD[what]
    with pytest.raises(InputError) as caught:
        take(person, data(), name)
    assert f"'{name}'" in caught.value.message
    assert ".part" not in str(caught.value)
    assert caught.value.advice
    assert kept(person) == set()
    assert person.photos == {}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_pictures_are_known_by_what_they_are(person: Person, kind: str) -> None:
    data = picture(kind=kind)
    taken = take(person, data, "photo.txt")["file"]
    assert (taken["width"], taken["height"]) == (96, 64)
    assert taken["id"] == "photo.txt.png"
    assert kept(person) == {
        ".studio.json",
        "photos/photo.txt.png",
        ".previews/photo-photo.txt.png.jpg",
    }
    assert (person.folder / "photos/photo.txt.png").read_bytes() == data
    with Image.open(person.folder / ".previews/photo-photo.txt.png.jpg") as preview:
        assert preview.format == "JPEG"
        assert preview.size == (96, 64)


def test_of_an_animation_the_first_picture_is_taken(person: Person) -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    taken = take(person, stream.getvalue(), "a.gif")["file"]
    assert (taken["id"], taken["restored"]) == ("a.gif", None)
    with Image.open(person.previews / "photo-a.gif.jpg") as preview:
        red, _, blue = preview.getpixel((20, 15))
        assert red > 200 > 50 > blue


def test_a_photo_is_seen_the_way_it_was_held(person: Person) -> None:
    stream = io.BytesIO()
    image = Image.new("RGB", (60, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(stream, "JPEG", exif=exif)
    taken = take(person, stream.getvalue(), "a.jpg")["file"]
    assert (taken["width"], taken["height"]) == (40, 60)


def test_the_same_file_twice_is_kept_once(person: Person) -> None:
    first, second = take(person, picture(), "a.png"), take(person, picture(), "b.png")
    assert first == second
    assert len(person.photos) == 1
    other = take(person, picture(colour="red"), "a.png")["file"]
    assert other["id"] == "a-2.png"
    assert take(person, picture(), "a.png", "mask")["file"]["id"] == "a-3.png"


def test_two_files_of_one_name_at_once_are_both_kept(person: Person) -> None:
    failed: list[BaseException] = []

    def give(colour: str) -> None:
        try:
            take(person, picture(colour=colour))
        except BaseException as error:
            failed.append(error)

    colours = ("red", "green", "blue", "white", "black", "pink")
    threads = [threading.Thread(target=give, args=(colour,)) for colour in colours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(person.photos) == len({photo.sha256 for photo in person.photos.values()}) == 6


def test_a_disk_that_is_full_leaves_nothing(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    person.folder.mkdir(parents=True)
    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(DreamerError, match="no room"):
        take(person, picture())
    assert kept(person) == set()
    assert person.photos == {}


def test_too_many_files_are_refused_before_they_are_read(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamer.studio.people.MOST_BYTES", 10)
    with pytest.raises(UsageError, match="here already"):
        take(person, picture())
    assert kept(person) == set()


def test_a_dream_brings_its_settings(person: Person, dreamed: Path) -> None:
    photo = take(person, (dreamed / "cat.png").read_bytes(), "cat.png")["file"]["id"]
    restored = take(person, (dreamed / "d.png").read_bytes(), "back.png")["file"]["restored"]
    assert restored["kind"] == "dream"
    assert restored["said"] == "Settings of back.png: eyes, seed 3"
    assert restored["missing"] == []
    assert restored["shown"]["quality"] == "draft"
    assert restored["shown"]["octaves"] == 1
    assert restored["asked"] == {
        "photo": photo,
        "look": {"from": "back.png"},
        "size": 96,
        "seed": 3,
    }
    asked = asks.read(asks.DreamBody, restored["asked"])
    assert asks.look(asked.look, person).recipe == "outputs/studio/a/photos/back.png"


def test_what_a_dream_needs_and_is_not_here_is_named(person: Person, dreamed: Path) -> None:
    restored = take(person, (dreamed / "d.png").read_bytes())["file"]["restored"]
    assert restored["missing"] == ["cat.png"]
    assert restored["asked"]["photo"] is None


def test_a_visualization_brings_its_settings(person: Person, dreamed: Path) -> None:
    restored = take(person, (dreamed / "u.png").read_bytes())["file"]["restored"]
    assert restored["kind"] == "visual"
    assert restored["asked"] == {
        "target": "block8:3",
        "canvas": "fourier",
        "size": 64,
        "seed": 0,
    }
    asks.read(asks.UnitBody, restored["asked"])


def test_a_film_brings_its_settings_and_is_not_kept(person: Person, dreamed: Path) -> None:
    taken = take(person, (dreamed / "z.gif").read_bytes(), "z.gif")
    assert taken["file"] is None
    restored = taken["restored"]
    assert restored["kind"] == "zoom"
    body = asks.read(asks.ZoomBody, restored["asked"])
    assert (body.photo, body.size, body.fps, body.seconds) == ("sky", "64x48", 4, 0.5)
    assert (body.rotate, body.ease, body.loop, body.direction) == (10, True, False, "in")
    assert body.look.preset == "fur"
    assert (body.look.quality, body.look.octaves) == ("draft", 1)
    assert kept(person) == set()


def with_recipe(text: str) -> bytes:
    stream = io.BytesIO()
    options = metadata.save_options("PNG", text)
    Image.new("RGB", (96, 64), "red").save(stream, "PNG", **options)
    return stream.getvalue()


NO_RECIPES = [
    "",
    "{",
    "null",
    '"x"',
    "[" * 100_000,
    '{"a":' * 20_000,
    '{"schema": 1e999}',
    '{"schema": NaN}',
    '{"schema": ' + "9" * 5000 + "}",
    '{"schema": 1, "preset": {"a": []}}',
    '{"film": "zoom"}',
]


@pytest.mark.parametrize("text", NO_RECIPES, ids=range(len(NO_RECIPES)))
def test_a_recipe_that_is_none_is_said_and_the_picture_taken(person: Person, text: str) -> None:
    taken = take(person, with_recipe(text))["file"]
    assert taken["restored"] is None
    assert all("settings cannot be used" in note for note in taken["notes"])
    assert len(str(taken["notes"])) < 400


@pytest.mark.parametrize("text", NO_RECIPES, ids=range(len(NO_RECIPES)))
def test_a_film_with_a_hostile_comment_is_a_picture_at_most(person: Person, text: str) -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    comment = metadata.wrapped(text).encode()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], comment=comment)
    taken = take(person, stream.getvalue(), "a.gif")
    assert taken["file"]["restored"] is None


def hostile(recipe: dict[str, Any], **changes: Any) -> bytes:
    """A picture with a recipe in which values at dotted paths are others."""
    changed = copy.deepcopy(recipe)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return with_recipe(json.dumps(changed))


@pytest.fixture
def recipe(dreamed: Path) -> dict[str, Any]:
    text = metadata.read(str(dreamed / "d.png"))
    assert text is not None
    return json.loads(text)


def look(person: Person, data: bytes) -> asks.Asked:
    name = take(person, data, "hostile.png")["file"]["id"]
    return asks.look(asks.LookBody(**{"from": name}), person)


NET = "efficientnet_lite0"


@pytest.mark.parametrize(
    "changes",
    [
        {"settings__targets": {NET: "like:secret.png@parts"}},
        {"settings__targets": {NET: "parts + guide:secret.png@parts"}},
        {"settings__targets": {NET: "style:secret.png@parts"}},
        {"settings__targets": {NET: "direction:secret.json@block8"}},
        {"settings__targets": {}, "settings__target": "like:secret.png@parts"},
        {"settings__mask__where": "secret.png"},
        {
            "settings__mask__where": "secret.png",
            "files": [{"name": "secret.png", "sha256": "0" * 64}],
        },
        {"settings__mask__where": "../../../../secret.png"},
        {"settings__colour__mode": "match:secret.png"},
        {"settings__regions": {"secret.png": "parts"}},
    ],
    ids=str,
)
def test_a_recipe_opens_no_file_that_was_not_given(
    person: Person, recipe: dict[str, Any], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("secret.png").write_bytes(picture())
    Path("secret.json").write_text(json.dumps([1] * 112))
    data = hostile(recipe, **changes)
    with pytest.raises(DreamerError) as caught:
        look(person, data)
    assert "secret" in caught.value.message or "carries no recipe" not in caught.value.message
    assert caught.value.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "evil<script>"},
        {"network": "../../etc/passwd"},
        {"weights": "/etc/passwd"},
        {"weights": "0" * 64},
        {"network": "googlenet"},
    ],
    ids=str,
)
def test_a_recipe_loads_no_other_network(
    person: Person, recipe: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(DreamerError) as caught:
        look(person, hostile(recipe, **changes))
    assert caught.value.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"size": [60_000, 60_000]},
        {"octaves": [[60_000, 60_000]] * 900},
        {"steps": [10**9]},
        {"threads": 1024},
        {"device": "cuda"},
        {"origin": {"start": "photo", "name": "../../x", "sha256": "x"}},
        {"preset": '<img src=x onerror="alert(1)">'},
        {"seed": 2**63 - 1},
    ],
    ids=str,
)
def test_numbers_of_a_recipe_are_brought_within_limits(
    person: Person, recipe: dict[str, Any], changes: dict[str, Any]
) -> None:
    taken = take(person, hostile(recipe, **changes))["file"]
    body = asks.read(asks.DreamBody, taken["restored"]["asked"] | {"photo": "sky"})
    assert body.size is not None
    assert body.size <= asks.LARGEST
    request = asks.look(body.look, person).request()
    assert (request.threads or 1) < 1024
    assert request.here is False
    assert request.offline is True


def test_a_preset_is_kept_for_its_person(person: Person) -> None:
    text = b'schema = 1\nextends = "eyes"\ndescription = "<script>alert(1)</script>"\n'
    taken = uploads.take_preset(person, text, "../../my own.toml")
    assert taken["preset"]["name"] == "my_own"
    assert taken["preset"]["own"] is True
    assert taken["preset"]["description"] == "<script>alert(1)</script>"
    assert [found.name for found in person.own_presets()] == ["my_own"]
    assert asks.preset_of("my_own", person) == "outputs/studio/a/presets/my_own.toml"
    assert kept(person) == {"presets/my_own.toml"}


PRESET = 'schema = 1\nextends = "eyes"\ndescription = "mine"\n'
BAD_PRESETS = {
    "a path": PRESET.replace("eyes", "/etc/passwd"),
    "another folder": PRESET.replace("eyes", "../secret.toml"),
    "a preset of one's own": PRESET.replace("eyes", "own"),
    "itself": PRESET.replace("eyes", "bad"),
    "a number": PRESET.replace('"eyes"', "5"),
    "a list": PRESET.replace('"eyes"', '["eyes"]'),
    "a caricature": PRESET + 'target = "like:secret.png@parts"\n',
    "a guide": PRESET + 'target = "parts + guide:secret.png@parts"\n',
    "a direction": PRESET + 'target = "direction:secret.npy@block8"\n',
    "a guide elsewhere": PRESET + '[targets]\ngooglenet = "like:secret.png@parts"\n',
    "a region": PRESET + '[regions]\n"secret.png" = "parts"\n',
    "a mask": PRESET + '[mask]\nwhere = "secret.png"\n',
    "colours": PRESET + '[colour]\nmode = "match:secret.png"\n',
    "no number": PRESET + "[ascent]\nstrength = nan\n",
    "too much": PRESET + "[ascent]\nsteps = 1000000\n",
    "a strange key": PRESET + "__class__ = 1\n",
    "code": "__import__('os').system('true')",
    "nesting": "x = " + "[" * 15_000,
    "many lines": PRESET + 'x = """' + "\n" * 3000 + '"""',
    "a long line": PRESET + "# " + "x" * 100_000,
    "nothing": "",
    "no text": "\udcff",
}


@pytest.mark.parametrize("what", [*BAD_PRESETS])
def test_a_preset_that_is_not_good_is_not_kept(person: Person, what: str) -> None:
    Path("secret.png").write_bytes(picture())
    data = BAD_PRESETS[what].encode("utf-8", "surrogateescape")
    with pytest.raises(UsageError) as caught:
        uploads.take_preset(person, data, "bad.toml")
    assert ".checking" not in str(caught.value)
    assert caught.value.advice
    assert kept(person) == set()
    assert person.own_presets() == []


@pytest.mark.parametrize("name", ["eyes.toml", "dream", "x" * 90 + ".toml", "été.toml"])
def test_a_preset_takes_no_name_that_is_taken_or_strange(person: Person, name: str) -> None:
    with pytest.raises(UsageError):
        uploads.take_preset(person, PRESET.encode(), name)
    assert kept(person) == set()
