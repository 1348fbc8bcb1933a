"""`dreamer dream PHOTO --suggest` as a user runs it, in process."""

import io
import json
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from dreamer import cli, targets
from dreamer.networks import rows
from dreamer.render import sheets, still, suggest
from dreamer.render.explaining import seeing

QUICK = ("--suggest", "--octaves", "1", "--steps", "1", "--size", "48", "--threads", "1")


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seeing, "USUAL", 4)


@pytest.fixture
def photo(tmp_path, chelsea):
    with Image.open(chelsea) as opened:
        opened.convert("RGB").resize((192, 128)).save(tmp_path / "cat.png")
    return "cat.png"


@pytest.fixture
def run(capfd):
    def call(*arguments):
        code = cli.run(["dream", *map(str, arguments)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_targets_are_told_with_reasons_and_the_path_is_the_last_thing_said(run, photo):
    code, out, err = run(photo, *QUICK)
    assert code == 0
    *lines, blank, path = out.splitlines()
    assert (len(lines), blank, path) == (9, "", str(Path("outputs", "cat-suggestions.png")))
    row = rows.row(rows.DEFAULT)
    for line in lines:
        target, why = line.split(maxsplit=1)
        assert targets.resolve(targets.parse(target), row)
        assert why.split(",")[0] in ("texture", "pattern", "part", "class")
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in lines}) == 1
    assert any("cat" in line for line in lines)
    assert f"-t {lines[0].split()[0]}" in err
    with Image.open(path) as sheet:
        assert sheet.height % (32 + sheets.LABEL + sheets.GAP) == sheets.GAP


def test_json_is_one_envelope_of_pinned_keys(run, photo):
    code, out, _ = run(photo, "-o", "sheet.jpg", "--json", *QUICK)
    assert code == 0
    envelope = json.loads(out)
    assert [envelope[key] for key in ("schema", "command", "status", "error")] == [
        1,
        "dream",
        "success",
        None,
    ]
    result = envelope["result"]
    keys = {"output", "photo", "network", "suggestions", "notes", "seconds", "dry_run"}
    assert set(result) == keys
    assert (result["output"], result["photo"], result["dry_run"]) == ("sheet.jpg", "cat.png", False)
    assert len(result["suggestions"]) == 9
    for each in result["suggestions"]:
        assert set(each) == {"target", "kind", "why", "score", "level", "place"}
    assert Path("sheet.jpg").read_bytes()[:2] == b"\xff\xd8"
    code, out, _ = run(photo, "-o", "other.png", "--json", "--dry-run", *QUICK)
    assert code == 0
    result = json.loads(out)["result"]
    assert set(result) == keys
    assert (result["output"], result["suggestions"], result["dry_run"]) == ("other.png", [], True)
    assert not Path("other.png").exists()


def test_quiet_tells_the_path_only(run, photo):
    code, out, err = run(photo, "-o", "sheet.png", "-q", *QUICK)
    assert (code, out, err) == (0, "sheet.png\n", "")


def test_a_dry_run_tells_the_plan_and_does_nothing(run, photo, monkeypatch):
    monkeypatch.setattr(suggest, "run", None)
    code, out, _ = run(photo, "--dry-run", *QUICK)
    assert code == 0
    assert "48x32 a thumbnail" in out
    assert [path.name for path in Path().iterdir()] == ["cat.png"]


def test_a_photo_from_stdin(run, photo, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(Path(photo).read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, out, _ = run("-", "-q", *QUICK)
    assert (code, out.strip()) == (0, str(Path("outputs", "stdin-suggestions.png")))


@pytest.mark.parametrize("stage", ["looking", "dreaming"])
def test_ctrl_c_leaves_nothing(run, photo, monkeypatch, stage):
    place, name = {"looking": (seeing, "see"), "dreaming": (still, "dream")}[stage]
    real = getattr(place, name)

    def pressed(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr(place, name, pressed)
    code, out, err = run(photo, *QUICK)
    assert (code, out) == (130, "")
    assert "nothing is written" in err
    assert sorted(path.name for path in Path().rglob("*")) == ["cat.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "no photo"),
        (("sky",), 2, "no photo"),
        (("cat.png", "-t", "block8:37"), 2, "block8:37"),
        (("cat.png", "-o", "-"), 2, "-o"),
        (("cat.png", "-o", "sheet.html"), 2, "sheet.html"),
        (("cat.png", "-o", "taken.png"), 5, "taken.png"),
        (("cat.png", "--preset", "nonesuch"), 2, "nonesuch"),
        (("nowhere.png",), 4, "nowhere.png"),
        (("taken.png",), 4, "taken.png"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(run, photo, arguments, code, said):
    Path("taken.png").write_text("theirs")
    found, out, err = run(*arguments, "--suggest")
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 2
    assert Path("taken.png").read_text() == "theirs"


def test_overwrite_replaces_the_sheet(run, photo):
    Path("sheet.png").write_text("old")
    code, _, _ = run(photo, "-o", "sheet.png", "--overwrite", *QUICK)
    assert code == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"
