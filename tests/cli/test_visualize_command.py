"""`dreamer visualize` as its users run it."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.cli import console
from dreamer.core import judging
from dreamer.film import reading
from dreamer.media import images, metadata
from dreamer.render import visualize
from dreamer.render.sheets import GAP, LABEL
from dreamer.visual_recipe import from_json

REAL = judging.held_out
FAST = ("--size", "64", "--steps", "2", "--threads", "1")
KEYS = {"outputs", "pictures", "seconds", "kept", "dry_run", "notes"}
PICTURE_KEYS = {"target", "variant", "score", "recipe", "recipe_hash"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judging, "held_out", functools.partial(REAL, crops=1))


@pytest.fixture
def run(capfd):
    """Run the command line; returns the exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def show(run):
    """Run `dreamer visualize` with few steps."""
    return lambda *arguments: run("visualize", *arguments, *FAST)


def recipes(path):
    return from_json(metadata.read(str(path)), str(path))


def tree():
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_one_target_is_one_picture_and_its_path_is_the_last_thing_said(show):
    code, out, err = show("block8:37", "-o", "a.png")
    assert (code, out, err) == (0, "a.png\n", "")
    with Image.open("a.png") as made:
        assert (made.size, made.mode) == ((64, 64), "RGB")
    (recipe,) = recipes("a.png")
    assert (recipe.target, recipe.settings.steps, recipe.threads) == ("block8:37", 2, 1)
    assert recipe.score is not None
    assert list(tree()) == ["a.png"]


def test_several_targets_are_one_labelled_sheet(show):
    code, out, _ = show("block8:37", "block5:3", "class:zebra", "-o", "sheet.png")
    assert (code, out) == (0, "sheet.png\n")
    assert [each.target for each in recipes("sheet.png")] == [
        "block8:37",
        "block5:3",
        "class:zebra",
    ]
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (2 * (64 + GAP) + GAP, 2 * (64 + LABEL + GAP) + GAP)
        first = sheet.crop((GAP, GAP, GAP + 64, GAP + 64)).tobytes()
    assert show("block8:37", "-o", "one.png")[0] == 0
    with Image.open("one.png") as one:
        assert one.tobytes() == first
    assert list(tree()) == ["one.png", "sheet.png"]


@pytest.mark.parametrize("name", ["units", "units/", "below/units"])
def test_a_folder_holds_a_file_each(show, name):
    code, out, _ = show("block8:37", "class:zebra", "--diversity", 2, "-o", name)
    assert (code, out) == (0, f"{Path(name)}\n")
    assert sorted(path.name for path in Path(name).iterdir()) == [
        "block8-37-1.png",
        "block8-37-2.png",
        "class-zebra-1.png",
        "class-zebra-2.png",
    ]
    (recipe,) = recipes(Path(name) / "class-zebra-2.png")
    assert (recipe.label, recipe.group, recipe.variant) == ("class:zebra #2", 2, 1)
    assert show("block8:37", "class:zebra", "--diversity", 2, "-o", name)[2].count("kept") == 1


def test_default_names_say_what_is_seen_and_get_a_number_beside_another(show):
    first = os.path.join("outputs", "block8-37.png")
    assert show("block8:37")[1] == f"{first}\n"
    code, out, err = show("block8:37")
    assert (code, out) == (0, f"{first}\n")
    assert "kept" in err
    before = tree()
    for seed in (1, 2):
        out = show("block8:37", "--seed", seed)[1]
        assert out == f"{os.path.join('outputs', f'block8-37-{seed + 1}.png')}\n"
    assert show("block8:37", "--seed", 1)[1].strip().endswith("block8-37-2.png")
    assert tree().items() >= before.items()
    out = show("block8:37", "class:zebra", "block5:1")[1]
    assert out.strip() == os.path.join("outputs", "block8-37-and-2-more.png")
    assert show("block8:37", "--seed", 7, "--overwrite")[1] == f"{first}\n"
    assert recipes(first)[0].seed == 7


@pytest.mark.parametrize(
    ("arguments", "count"),
    [(("block8:37",), 1), (("block8:37", "block5:3"), 2), (("block8:37", "--diversity", "2"), 2)],
    ids=str,
)
def test_the_envelope_keeps_its_keys(show, arguments, count):
    code, out, err = show(*arguments, "-o", "a.png", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    result = said.pop("result")
    assert said == {"schema": 1, "command": "visualize", "status": "success", "error": None}
    assert set(result) == KEYS
    assert (result["outputs"], result["kept"], result["dry_run"]) == (["a.png"], False, False)
    assert result["seconds"] > 0
    assert len(result["pictures"]) == count
    for told, made in zip(result["pictures"], recipes("a.png"), strict=True):
        assert set(told) == PICTURE_KEYS
        assert from_json(json.dumps(told["recipe"]), "it") == (made,)
        assert (told["recipe_hash"], told["score"]) == (made.hash, made.score)
        assert (told["target"], told["variant"]) == (made.target, made.variant)
    kept = json.loads(show(*arguments, "-o", "a.png", "--json")[1])["result"]
    assert set(kept) == KEYS
    assert kept["kept"] is True
    assert kept["pictures"][0]["recipe_hash"] == result["pictures"][0]["recipe_hash"]


def test_quiet_prints_only_the_path_and_verbose_what_is_made(show):
    assert show("block8:37", "-o", "a.png", "-q") == (0, "a.png\n", "")
    assert show("block8:37", "-o", "a.png", "-q") == (0, "a.png\n", "")
    _, out, err = show("block8:37", "-o", "b.png", "-v")
    assert out == "b.png\n"
    for said in ("fourier canvas", "64x64", "2 with 1 views", "on held-out crops", "Ctrl-C"):
        assert said in err


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(show):
    code, out, _ = show("block8:37", "class:zebra", "--dry-run", "--canvas", "pixel")
    assert code == 0
    for said in ("block8:37, class:zebra", "pixel canvas", "64x64", "block8-37-and-1-more.png"):
        assert said in out
    code, out, _ = show("block8:37", "-o", "a.png", "--dry-run", "--json")
    result = json.loads(out)["result"]
    assert set(result) == KEYS
    assert (result["dry_run"], result["outputs"]) == (True, ["a.png"])
    assert result["pictures"][0]["score"] is None
    assert tree() == {}


def test_no_metadata_leaves_the_recipe_out_and_such_a_file_is_not_kept(show, run):
    for more in ((), ("block5:3",)):
        assert show("block8:37", *more, "-o", "a.png", "--no-metadata", "--overwrite")[0] == 0
        assert metadata.read("a.png") is None
        assert b"block8" not in Path("a.png").read_bytes()
        assert show("block8:37", *more, "-o", "a.png", "--no-metadata")[0] == 5
    assert run("inspect", "a.png")[0] == 4


def test_another_recipe_is_an_error_that_says_what_differs(show):
    show("block8:37", "-o", "a.png")
    before = tree()
    code, out, err = show("block8:37", "-o", "a.png", "--seed", 4, "--rate", 0.1)
    assert (code, out) == (5, "")
    assert err.startswith(
        "Error: 'a.png' exists, with another recipe: the seed, rate (0.1 instead of 0.05).\n"
    )
    assert "--overwrite" in err
    assert len(err.splitlines()) == 2
    assert show("block8:37", "block5:3", "-o", "a.png")[0] == 5
    assert tree() == before
    assert show("block8:37", "-o", "a.png", "--seed", 4, "--overwrite")[0] == 0
    assert tree() != before


def test_the_file_makes_itself_again(show, run):
    show("class:zebra", "block8:37", "-o", "sheet.png", "--canvas", "maco", "--seed", 3)
    assert run("visualize", "--from", "sheet.png", "-o", "again.png") == (0, "again.png\n", "")
    assert Path("sheet.png").read_bytes() == Path("again.png").read_bytes()
    code, _, err = run("visualize", "--from", "sheet.png", "-o", "x.png", "--steps", 5)
    assert code == 2
    assert "--steps" in err


def test_inspect_shows_a_picture_a_sheet_and_a_film(show, run):
    show("block8:37", "-o", "a.png", "--octaves", 2)
    code, out, _ = run("inspect", "a.png")
    assert code == 0
    (recipe,) = recipes("a.png")
    told = ("block8:37", "64x64, 2 octaves", "dreamer: fourier canvas, dreamer transforms")
    for said in (*told, "2 with 1 views, adam", f"{recipe.score:g} on held-out", recipe.hash):
        assert said in out
    result = json.loads(run("inspect", "a.png", "--json")[1])["result"]
    assert result == {"recipe": recipe.to_dict(), "recipe_hash": recipe.hash}

    show("block8:37", "class:zebra", "-o", "sheet.png")
    code, out, _ = run("inspect", "sheet.png")
    assert code == 0
    result = json.loads(run("inspect", "sheet.png", "--json")[1])["result"]
    assert [each["recipe_hash"] for each in result["recipes"]] == [
        each.hash for each in recipes("sheet.png")
    ]
    for each in recipes("sheet.png"):
        assert each.label in out
        assert each.hash in out

    show("block8:37", "class:zebra", "--film", "f.mp4", "--fps", 4, "--seconds", 1)
    film = reading.recipe_in(Path("f.mp4"))
    code, out, _ = run("inspect", "f.mp4")
    assert code == 0
    told = ("block8:37 -> class:zebra", "64x64, 4 frames at 4 a second", "7 keys", "h264, crf 18")
    for said in (*told, film.hash):
        assert said in out
    result = json.loads(run("inspect", "f.mp4", "--json")[1])["result"]
    assert result["recipe_hash"] == film.hash


def test_a_film_is_made_kept_and_its_envelope_is_that_of_films(show):
    wanted = ("block8:37", "block5:3", "--film", "f.mp4", "--fps", 4, "--seconds", 1, "--loop")
    code, out, _ = show(*wanted, "--dry-run")
    assert code == 0
    assert "block8:37, block5:3" in out
    assert not Path("f.mp4").exists()
    code, out, err = show(*wanted, "--json")
    assert code == 0, err
    result = json.loads(out)["result"]
    assert (result["output"], result["frames"], result["kept"]) == ("f.mp4", 8, False)
    assert json.loads(show(*wanted, "--json")[1])["result"]["kept"] is True
    code, _, err = show(*wanted, "--seed", 1)
    assert code == 5
    assert "the seed" in err or "seed (1 instead of 0)" in err
    assert list(tree()) == ["f.mp4"]


def test_dream_says_which_command_makes_a_visualization_again(show, run):
    show("block8:37", "-o", "a.png")
    code, out, err = run("dream", "sky", "--from", "a.png", "-o", "b.png")
    assert (code, out) == (2, "")
    assert "dreamer visualize --from" in err
    run("dream", "sky", "--size", 64, "--steps", 0, "-o", "dream.png")
    code, _, err = run("visualize", "--from", "dream.png")
    assert code == 4
    assert "dreamer dream --from" in err


BAD = [
    ((), 2, "nothing to visualize"),
    (("blok8:3",), 2, "block8"),
    (("block8:99999",), 2, "no channel 99999"),
    (("class:zebr",), 2, "zebra"),
    (("like:gone.jpg@block8",), 4, "gone.jpg"),
    (("block8", "--method", "lucit"), 2, "Did you mean lucid"),
    (("block8", "--canvas", "fuorier"), 2, "Did you mean fourier"),
    (("block8", "--transforms", "x"), 2, "dreamer, lucid, distill, maco, none"),
    (("block8", "--border", "gray"), 2, "Did you mean grey"),
    (("block8", "--size", "x"), 2, "'x' is not valid for --size"),
    (("block8", "--size", "64x"), 2, "64x"),
    (("block8", "--size", "0"), 2, "0 is not valid"),
    (("block8", "--size", "99999"), 2, "99999"),
    (("block8", "--size", "16"), 4, "at least 32 pixels"),
    (("block8", "--steps", "0"), 2, "steps"),
    (("block8", "--steps", "many"), 2, "many"),
    (("block8", "--octaves", "9"), 2, "octaves"),
    (("block8", "--views", "0"), 2, "views"),
    (("block8", "--rate", "-1"), 2, "rate"),
    (("block8", "--diversity", "99"), 2, "diversity"),
    (("block8", "--restarts", "0"), 2, "restarts"),
    (("block8", "--spectrum", "folder"), 2, "--canvas maco"),
    (("block8", "--canvas", "maco", "--spectrum", "gone"), 4, "gone"),
    (("block8", "--network", "vgg"), 2, "vgg"),
    (("block8", "--device", "toaster"), 2, "toaster"),
    (("block8", "--seed", "-1"), 2, "seed"),
    (("block8", "-o", "a.bmp"), 2, ".bmp"),
    (("block8", "-o", ""), 2, "-o"),
    (("block8", "-o", "-"), 2, "-o"),
    (("block8", "block8", "-o", "units/"), 2, "would both be"),
    (("block8", "block5", "--alpha", "-o", "a.png"), 2, "transparency"),
    (("block8", "--loop"), 2, "--film"),
    (("block8", "--crf", "20"), 2, "--film"),
    (("block8", "--strip", "s.png"), 2, "--film"),
    (("block8", "--film", "f.mp4"), 2, "at least two targets"),
    (("block8", "block5", "--film", "f.mp4", "-o", "a.png"), 2, "-o and --film"),
    (("block8", "block5", "--film", "f.mp4", "--octaves", "2"), 2, "--octaves"),
    (("block8", "block5", "--film", "f.mp4", "--alpha"), 2, "--alpha"),
    (("block8", "block5", "--film", "f.mp4", "--fps", "0"), 2, "--fps"),
    (("block8", "block5", "--film", "f.bmp"), 2, "bmp"),
    (("block8", "--from", "photo.png"), 2, "--from"),
    (("--from", "photo.png"), 4, "no recipe"),
    (("--from", "gone.png"), 4, "gone.png"),
    (("block8", "--stepz", "3"), 2, "--steps"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_gets_its_code_and_two_lines_and_nothing_is_written(run, arguments, code, said):
    images.save(torch.full((3, 64, 64), 0.5), "photo.png")
    before = sorted(Path().rglob("*")), tree()
    found, out, err = run("visualize", *arguments)
    assert (found, out) == (code, ""), err
    assert said in err
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("Error: ")
    assert (sorted(Path().rglob("*")), tree()) == before
    found, out, _ = run("visualize", *arguments, "--json")
    assert found == code
    assert json.loads(out)["error"]["code"] == code


def test_the_help_names_methods_canvases_and_films_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom dreamer.cli import run\nrun(['visualize', '--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'numpy')))"
    )
    environment = os.environ | {"COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for word in (
        "dreamer, lucid, distill, maco",
        "fourier, maco, pixel",
        "reflect, mean, grey",
        "--diversity",
        "--restarts",
        "--negative",
        "--alpha",
        "--spectrum",
        "--film",
        "--loop",
        "--from",
        "class:zebra",
    ):
        assert word in said


@pytest.mark.parametrize("output", ["a.png", "sheet.png", "units/"])
def test_ctrl_c_keeps_what_is_there_marked_partial_and_the_next_run_makes_it_whole(
    run, monkeypatch, output
):
    wanted = ["visualize", "block8:37", "block5:3", "-o", output, *FAST[:2], "--threads", "1"]
    wanted = [word for word in wanted if output != "a.png" or word != "block5:3"]
    asked = []

    def ask(self):
        asked.append(1)
        return len(asked) == 3

    with monkeypatch.context() as patch:
        patch.setattr(console.StopOnInterrupt, "__call__", ask)
        code, out, err = run(*wanted, "--steps", 6)
    assert code == 130
    assert out == f"{Path(output)}\n"
    assert "partial" in err
    paths = sorted(Path(output).iterdir()) if output == "units/" else [Path(output)]
    assert all(each.partial for path in paths for each in recipes(path))
    assert "stopped early" in run("inspect", paths[0])[1]
    code, _, err = run(*wanted, "--steps", 6)
    assert (code, err) == (0, "")
    assert not any(each.partial for path in paths for each in recipes(path))
    with monkeypatch.context() as patch:
        patch.setattr(console.StopOnInterrupt, "__call__", lambda self: True)
        told = run(*wanted, "--steps", 6, "--overwrite", "--json")[1]
    assert json.loads(told)["status"] == "partial"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_a_real_ctrl_c_is_a_request_and_leaves_no_unfinished_file():
    command = ["visualize", "block8:37", "--size", "64", "-o", "a.png", "-v", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamer", *command, "--steps", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"Visualizing" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out.decode().strip() == "a.png"
    assert recipes("a.png")[0].partial
    assert [str(path) for path in Path().iterdir()] == ["a.png"]


def test_a_second_ctrl_c_writes_nothing(run, monkeypatch):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(visualize, "make", pressed)
    assert run("visualize", "block8:37", "-o", "a.png", *FAST)[:2] == (130, "")
    assert tree() == {}


def test_what_nothing_moves_is_a_note(show, monkeypatch):
    real = visualize.make

    def make(*arguments, **more):
        from dataclasses import replace

        return [replace(each, notes=("nothing moves it",)) for each in real(*arguments, **more)]

    monkeypatch.setattr(visualize, "make", make)
    assert "Note: nothing moves it." in show("block8:37", "-o", "a.png")[2]
    told = json.loads(show("block8:37", "-o", "b.png", "--json")[1])["result"]
    assert told["notes"] == ["nothing moves it"]
