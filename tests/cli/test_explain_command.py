"""`dreamer explain` as a user runs it, in process."""

import io
import json
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from dreamer import cli
from dreamer.render import still
from dreamer.render.explaining import page, pictures, seeing

QUICK = ("--octaves", "1", "--steps", "1", "--threads", "1", "--channels", "1", "--classes", "2")


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "STEPS", 1)
    monkeypatch.setattr(pictures, "SIDE", 48)
    monkeypatch.setattr(seeing, "USUAL", 4)


@pytest.fixture
def photo(tmp_path, chelsea):
    with Image.open(chelsea) as opened:
        opened.convert("RGB").resize((96, 64)).save(tmp_path / "cat.png")
    return "cat.png"


@pytest.fixture
def run(capfd):
    def call(*arguments):
        code = cli.run(["explain", *map(str, arguments)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_the_numbers_are_told_and_the_path_is_the_last_thing_said(run, photo):
    code, out, _ = run(photo, *QUICK)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["taken", "for", "photo", "dream"]
    assert "cat" in lines[1]
    assert any(line.split()[:1] == ["objects"] and "block11:" in line for line in lines)
    assert any("gained" in line for line in lines)
    assert lines[-1] == str(Path("outputs", "cat-explained.html"))
    assert Path(lines[-1]).read_text().startswith("<!doctype html>")


def test_json_is_one_envelope_of_pinned_keys(run, photo):
    code, out, _ = run(photo, "-o", "page.html", "--json", *QUICK)
    assert code == 0
    envelope = json.loads(out)
    assert [envelope[key] for key in ("schema", "command", "status", "error")] == [
        1,
        "explain",
        "success",
        None,
    ]
    result = envelope["result"]
    assert set(result) == {
        "output",
        "photo",
        "network",
        "weights",
        "seen_at",
        "recipe",
        "recipe_hash",
        "layers",
        "classes",
        "channels",
        "gained",
        "places",
        "notes",
        "seconds",
    }
    assert (result["output"], result["photo"]) == ("page.html", "cat.png")
    assert result["seen_at"] == [224, 149]
    assert set(result["layers"][0]) == {"layer", "levels"}
    assert set(result["classes"][0]) == {"index", "name", "photo", "dream"}
    channel = {"layer", "level", "channel", "photo", "dream", "picture", "score"}
    assert set(result["channels"][0]) == channel
    assert set(result["gained"]) == {"classes", "channels"}
    assert set(result["gained"]["channels"][0]) == channel
    assert len(result["channels"]) == len(result["layers"]) == 5


def test_without_a_dream_nothing_is_told_of_one(run, photo, monkeypatch):
    monkeypatch.setattr(still, "dream", None)
    code, out, _ = run(photo, "--no-dream", "--json", *QUICK)
    assert code == 0
    result = json.loads(out)["result"]
    assert result["recipe"] is None
    assert {each["dream"] for each in (*result["classes"], *result["channels"])} == {None}
    assert result["gained"] == {"classes": [], "channels": []}
    assert "dream made of it" not in Path(result["output"]).read_text()


def test_a_photo_from_stdin(run, photo, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(Path(photo).read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, out, _ = run("-", "--no-dream", "-q", *QUICK)
    assert (code, out.strip()) == (0, str(Path("outputs", "stdin-explained.html")))


@pytest.mark.parametrize("stage", ["looking", "dreaming", "picturing", "writing"])
def test_ctrl_c_leaves_nothing(run, photo, monkeypatch, stage):
    place, name = {
        "looking": (seeing, "usual"),
        "dreaming": (still, "dream"),
        "picturing": (pictures, "channel_pictures"),
        "writing": (page, "page"),
    }[stage]
    real = getattr(place, name)

    def pressed(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr(place, name, pressed)
    code, out, err = run(photo, *QUICK)
    assert (code, out) == (130, "")
    assert ("nothing is written" in err) == (stage != "writing")
    assert sorted(path.name for path in Path().rglob("*")) == ["cat.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.jpg",), 4, "nowhere.jpg"),
        (("cat.png", "--network", "efficientnet_lite9"), 2, "efficientnet_lite0"),
        (("cat.png", "--target", "block99:1"), 2, "block9"),
        (("cat.png", "--preset", "nonesuch"), 2, "nonesuch"),
        (("cat.png", "--weights", "gone.pth"), 3, "gone.pth"),
        (("cat.png", "-o", "cat.png"), 2, ".html"),
        (("cat.png", "-o", "-"), 2, "-o"),
        (("cat.png", "-o", ""), 2, "-o"),
        (("cat.png", "-o", "taken.html"), 5, "taken.html"),
        (("cat.png", "--atlas", "nowhere"), 4, "nowhere"),
        (("cat.png", "--classes", "0"), 2, "--classes"),
        (("cat.png", "--channels", "9"), 2, "--channels"),
        (("taken.html",), 4, "taken.html"),
        ((), 2, "PHOTO"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(run, photo, arguments, code, said):
    Path("taken.html").write_text("theirs")
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 2
    assert Path("taken.html").read_text() == "theirs"


def test_overwrite_replaces_the_page(run, photo):
    Path("page.html").write_text("old")
    code, _, _ = run(photo, "-o", "page.html", "--overwrite", "--no-dream", *QUICK)
    assert code == 0
    assert Path("page.html").read_text().startswith("<!doctype html>")
