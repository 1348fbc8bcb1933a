"""`dreamer batch --zoom` as its users run it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import clip_making
import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.film.reading import recipe_in

FAST = ["--size", "96", "--steps", "1", "--octaves", "1", "--threads", "1"]
FRAMES = 9  # of 0.3 s


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
    Path("in").mkdir()
    for index, name in enumerate(("a.png", "b.jpg")):
        Image.effect_noise((120 + 8 * index, 80), 60).convert("RGB").save(Path("in", name))


@pytest.fixture
def run(capfd):
    """Run a batch with films; returns the exit code, stdout and stderr."""

    def run(*arguments, seconds="0.3"):
        code = cli.run(["batch", *arguments, *FAST, "--zoom", seconds])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def report(run):
    """Run a batch with films; returns the exit code and the envelope's result."""

    def report(*arguments):
        code, out, _ = run(*arguments, "--json")
        return code, json.loads(out)["result"]

    return report


def statuses(said) -> dict[str, str]:
    return {Path(film["output"]).name: film["status"] for film in said["films"]}


def tree() -> dict[str, bytes]:
    """Every film of the folder and what else lies about there, but for the batch's own files."""
    return {
        path.name: path.read_bytes()
        for path in Path("out").rglob("*")
        if path.is_file() and (path.suffix == ".mp4" or ".dreamer" in str(path))
    }


def test_each_item_gets_a_film_in_its_shape_which_is_kept_the_next_time(run, report):
    code, out, err = run("in", "-o", "out", "-p", "dream", "-p", "woodcut")
    assert code == 0, err
    assert out == f"{Path('out/index.html')}\n"
    assert "film 3/4 done: in" in err
    assert "Films: 4 made." in err
    names = {f"{stem}-{preset}.mp4" for stem in "ab" for preset in ("dream", "woodcut")}
    first = tree()
    assert set(first) == names
    assert len(clip_making.decoded("out/a-woodcut.mp4")) == FRAMES
    recipe = recipe_in(Path("out/a-woodcut.mp4"))
    assert recipe.size == (96, 64)
    assert recipe.stretches[0].recipe.preset == "woodcut"
    page = Path("out/index.html").read_text()
    assert all(f'"film": "{name}"' in page for name in names)
    code, said = report("in", "-o", "out", "-p", "dream", "-p", "woodcut")
    assert code == 0
    assert statuses(said) == dict.fromkeys(names, "skipped")
    assert tree() == first


def test_a_film_is_the_one_that_zoom_makes(run, capfd):
    assert run("in/a.png", "sky", "-o", "out", "--seeds", "2", "--seed", "7")[0] == 0
    assert set(tree()) == {f"{stem}-dream-{seed}.mp4" for stem in ("a", "sky") for seed in (7, 8)}
    options = ["--size", "96x64", *FAST[2:], "--seconds", "0.3", "--seed", "8"]
    assert cli.run(["zoom", "in/a.png", "-o", "one.mp4", *options]) == 0
    capfd.readouterr()
    assert Path("one.mp4").read_bytes() == Path("out/a-dream-8.mp4").read_bytes()


def test_a_broken_photo_stops_no_other(run, report):
    Path("in/a.png").write_bytes(b"no picture")
    code, said = report("in", "-o", "out")
    assert code == 1
    assert statuses(said) == {"a-dream.mp4": "failed", "b-dream.mp4": "done"}
    failed = said["films"][0]
    assert failed["input"] == str(Path("in/a.png"))
    assert failed["error"]["message"]
    assert failed["error"]["advice"]
    assert set(failed) == set(said["items"][0])
    code, _, err = run("in", "-o", "out", "-q")
    assert code == 1
    assert err.count("Failed: ") == 1


def test_another_film_of_that_name_is_named_until_it_is_made_anew(run, report):
    assert run("in", "-o", "out")[0] == 0
    before = tree()
    code, _, err = run("in", "-o", "out", seconds="0.2")
    assert code == 1
    assert "another recipe" in err
    assert "--name" in err
    assert tree() == before
    assert run("in", "-o", "out", "--overwrite", seconds="0.2")[0] == 0
    assert len(clip_making.decoded("out/a-dream.mp4")) == 6


def test_a_photo_that_changed_is_filmed_again_when_asked(run, report):
    assert run("in", "-o", "out")[0] == 0
    Image.effect_noise((80, 120), 90).convert("RGB").save("in/a.png")
    code, said = report("in", "-o", "out")
    assert code == 1
    assert statuses(said) == {"a-dream.mp4": "failed", "b-dream.mp4": "skipped"}
    code, said = report("in", "-o", "out", "--renew")
    assert code == 0
    assert statuses(said) == {"a-dream.mp4": "done", "b-dream.mp4": "skipped"}
    assert recipe_in(Path("out/a-dream.mp4")).size == (64, 96)


def test_a_dry_run_counts_the_films_and_makes_none(run, report):
    Path("in/c.png").write_bytes(b"no picture")
    code, out, _ = run("in", "-o", "out", "--dry-run")
    assert code == 0
    assert out.splitlines()[-1] == "2 films to make."
    assert not Path("out").exists()
    assert run("in/a.png", "-o", "out")[0] == 0
    code, said = report("in", "-o", "out", "--dry-run")
    assert code == 0
    assert statuses(said) == {
        "a-dream.mp4": "skipped",
        "b-dream.mp4": "planned",
        "c-dream.mp4": "failed",
    }
    assert set(tree()) == {"a-dream.mp4"}


def test_the_shards_films_are_those_of_its_pictures(report):
    films = []
    for index in (1, 2, 3):
        code, said = report("in", "-o", "out", "--shard", f"{index}/3")
        assert code == 0
        items = [Path(item["output"]).stem for item in said["items"]]
        films += [Path(film["output"]).stem for film in said["films"]]
        assert films[len(films) - len(items) :] == items
    assert sorted(films) == ["a-dream", "b-dream"]


def test_the_first_failure_ends_it_if_asked(report):
    Path("in/a.png").write_bytes(b"no picture")
    code, said = report("in", "-o", "out", "--fail-fast")
    assert code == 1
    assert set(statuses(said).values()) == {"waiting"}
    assert not tree()
    Path("in/a.png").write_bytes(Path("in/b.jpg").read_bytes())
    Path("out/a-dream.mp4").write_bytes(b"not ours")
    code, said = report("in", "-o", "out", "--fail-fast")
    assert code == 1
    assert statuses(said) == {"a-dream.mp4": "failed", "b-dream.mp4": "waiting"}
    assert Path("out/a-dream.mp4").read_bytes() == b"not ours"


def test_a_bug_in_one_film_does_not_end_the_others(report, monkeypatch):
    from dreamer.render import zoom_plan

    prepare = zoom_plan.prepare

    def failing(wanted):
        if wanted.delivery.output.name == "a-dream.mp4":
            raise ZeroDivisionError("by zero")
        return prepare(wanted)

    monkeypatch.setattr(zoom_plan, "prepare", failing)
    code, said = report("in", "-o", "out")
    assert code == 1
    assert statuses(said) == {"a-dream.mp4": "failed", "b-dream.mp4": "done"}
    assert "by zero" in said["films"][0]["error"]["message"]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_stopped_between_two_pictures_of_a_film_it_goes_on_there(run, capfd):
    # Many small pictures: there is time to stop it.
    arguments = ["batch", "in", "-o", "out", *FAST, "--zoom", "30"]
    running = subprocess.Popen(
        [sys.executable, "-m", "dreamer", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    work = Path("out/.a-dream.mp4.dreamer")
    until = time.monotonic() + 60
    while len(list(work.glob("keyframe-*.png"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "what is dreamed is kept" in err
    assert "run the command again" in err
    said = json.loads(out)
    assert said["status"] == "partial"
    assert said["result"]["counts"]["done"] == 2
    assert statuses(said["result"]) == {"a-dream.mp4": "waiting", "b-dream.mp4": "waiting"}
    kept = {path: path.stat().st_mtime_ns for path in work.glob("keyframe-*.png")}
    assert kept
    assert not Path("out/a-dream.mp4").exists()
    running = subprocess.Popen(
        [sys.executable, "-m", "dreamer", *arguments], stderr=subprocess.PIPE, text=True
    )
    seen = False
    while running.poll() is None and not seen:
        seen = len(list(work.glob("keyframe-*.png"))) > len(kept)
        time.sleep(0.01)
    if seen:  # what was there is what it went on from
        assert all(path.stat().st_mtime_ns == was for path, was in kept.items() if path.exists())
    _, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "Films: 2 made." in err
    assert len(clip_making.decoded("out/a-dream.mp4")) == 900
    assert not work.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--zoom", "0.05"), "--zoom"),
        (("--zoom", "86401"), "--zoom"),
        (("--zoom", "nan"), "--zoom"),
        (("--zoom", "long"), "--zoom"),
        (("--zoom", "0.3", "--cluster", "auto"), "on this machine"),
        (("--zoom", "0.3", "--no-metadata"), "--no-metadata"),
    ],
)
def test_films_that_cannot_be_are_refused_before_any_work(capfd, arguments, named):
    code = cli.run(["batch", "in", "-o", "out", *FAST, *arguments])
    out, err = capfd.readouterr()
    assert code == 2, err
    assert out == ""
    assert named in err
    assert len(err.splitlines()) == 2
    assert not Path("out").exists()


@pytest.mark.skipif(os.name == "nt", reason="links are POSIX's")
def test_no_film_takes_the_place_of_a_photo(run):
    Path("out").mkdir()
    Path("out/a-dream.mp4").symlink_to(Path("in/b.jpg").resolve())
    before = Path("in/b.jpg").read_bytes()
    code, out, err = run("in", "-o", "out", "--overwrite")
    assert code == 5, err
    assert out == ""
    assert "'a-dream.mp4' would replace a photo" in err
    assert Path("in/b.jpg").read_bytes() == before


def test_watch_makes_no_films(capfd):
    assert cli.run(["watch", "in", "-o", "out", "--zoom", "0.3"]) == 2
    assert "--zoom" in capfd.readouterr().err
