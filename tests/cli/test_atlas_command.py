"""`dreamer atlas` as its users run it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from PIL import Image

from dreamer.cli import atlas, console
from dreamer.core import judging
from dreamer.render.atlas import run as runs

FAST = ["--size", "64", "--steps", "2", "--layers", "block0", "--channels", "0-3"]


@pytest.fixture
def run(capfd):
    """Run the command; returns the exit code, stdout and stderr."""
    app = typer.Typer()
    app.command("atlas")(atlas.atlas)
    app.command("other")(lambda: None)  # with one command alone there is no name of it

    def run(*arguments):
        code = console.run_guarded(app, ["atlas", *map(str, arguments)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    glance = judging.held_out
    monkeypatch.setattr(judging, "held_out", lambda *a, **k: glance(*a, **{**k, "crops": 1}))


def test_an_atlas_ends_with_its_page_on_stdout_and_goes_on(run, tmp_path):
    code, out, err = run(*FAST, "-o", "atlas")
    assert (code, out) == (0, f"{os.path.join('atlas', 'index.html')}\n")
    assert "block0 4/4 done" in err
    assert "4 channels made." in err
    code, _, err = run(*FAST[:-1], "0-4", "-o", "atlas")
    assert code == 0
    assert "1 channels made, 4 were there already." in err
    code, out, err = run(*FAST, "-o", "atlas", "-q")
    assert (code, err) == (0, "")


def test_the_envelope_says_what_was_made(run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.effect_noise((96, 80), 60).convert("RGB").save(photos / "a.png")
    (photos / "torn.jpg").write_bytes(b"torn")
    wanted = [*FAST, "-o", "atlas", "--photos", photos, "--json"]
    code, out, _ = run(*wanted, "--dry-run")
    planned = json.loads(out)["result"]
    assert code == 0
    assert not (tmp_path / "atlas").exists()
    assert planned["layers"] == [
        {"name": "block0", "folder": "block0", "channels": 4, "missing": 4}
    ]
    assert (planned["channels"], planned["files"], planned["photos"]) == (4, 4, 2)
    code, out, _ = run(*wanted)
    envelope = json.loads(out)
    assert code == 0
    assert (envelope["command"], envelope["status"]) == ("atlas", "success")
    result = envelope["result"]
    assert set(result) == {
        "dry_run",
        "folder",
        "kept",
        "left",
        "made",
        "network",
        "notes",
        "page",
    }
    assert (result["made"], result["kept"], result["left"]) == (4, 0, 0)
    assert ["torn.jpg" in note for note in result["notes"]] == [True]
    assert (tmp_path / "atlas" / "block0" / "003-photo-1.jpg").is_file()


def test_a_dry_run_counts_and_writes_nothing(run, tmp_path):
    code, out, _ = run("--dry-run", "-o", "atlas", "--variants", 2)
    assert code == 0
    assert "block2 -> " in out
    assert "632 channels to make, 1264 pictures of 128x128 in" in out
    assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ([], 2, "-o"),
        (["-o", ""], 2, "-o"),
        (["-o", "atlas", "--layers", "blok8"], 2, "block8"),
        (["-o", "atlas", "--layers", "block2", "--channels", "24"], 2, "0 to 23"),
        (["-o", "atlas", "--channels", "x"], 2, "0-15,37"),
        (["-o", "atlas", "--size", "0"], 2, "--size"),
        (["-o", "atlas", "--size", "16"], 2, "--size 32"),
        (["-o", "atlas", "--variants", "99"], 2, "--variants"),
        (["-o", "atlas", "--network", "vg16"], 2, "vgg16"),
        (["-o", "atlas", "--photos", "nowhere"], 4, "nowhere"),
        (["-o", "atlas", "--device", "tpu"], 2, "tpu"),
        (["-o", "file/atlas", *FAST], 5, "file"),
    ],
)
def test_what_makes_no_sense_is_answered_in_two_lines(wrong, code, said, run, tmp_path):
    (tmp_path / "file").touch()
    found, out, err = run(*wrong)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "atlas").exists()


def test_other_settings_exit_with_5_and_are_replaced_if_allowed(run):
    assert run(*FAST, "-o", "atlas")[0] == 0
    code, _, err = run(*FAST, "-o", "atlas", "--seed", 3)
    assert code == 5
    assert "the seed" in err
    assert "--overwrite" in err
    assert run(*FAST, "-o", "atlas", "--seed", 3, "--overwrite")[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to send there")
def test_ctrl_c_keeps_what_is_whole_shows_it_and_exits_with_130(tmp_path, monkeypatch):
    code = (
        "import sys, typer; from dreamer.cli import atlas, console; app = typer.Typer();"
        "app.command('atlas')(atlas.atlas); app.command('other')(lambda: None);"
        "sys.exit(console.run_guarded(app, sys.argv[1:]))"
    )
    wanted = ["--size", "64", "--steps", "40", "--layers", "block0", "-o", "atlas", "-v"]
    started = subprocess.Popen(
        [sys.executable, "-c", code, "atlas", *wanted], cwd=tmp_path, stderr=subprocess.PIPE
    )
    layer = tmp_path / "atlas" / "atlas.json"
    until = time.monotonic() + 60
    while not layer.exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert b"run the command again" in said
    assert (tmp_path / "atlas" / "index.html").is_file()
    left = json.loads(layer.read_text())["left"]
    assert left > 0


def test_a_second_ctrl_c_says_that_nothing_is_lost(run, monkeypatch):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "make", pressed)
    code, _, err = run(*FAST, "-o", "atlas")
    assert code == 130
    assert "run the command again" in err
