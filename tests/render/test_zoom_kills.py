"""A film whose making is ended at any moment, and started again: it is the same film."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.media import footage

OPTIONS = ["--size", "96x64", "--fps", "24", "--seconds", "3", "--steps", "2", "--octaves", "2"]
OPTIONS += ["--threads", "1", "--rotate", "20"]
KEYFRAMES, FRAMES = 4, 72
# All its frames are made after the last keyframe, and there are enough of them to be stopped at.
OUT = ("--direction", "out", "--fps", "240")
KILLS = 14
random_moment = random.Random(4)

# Each is a process of its own, forked from one that has imported what takes seconds to import.
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["dreamer.cli", "dreamer.render.making", "torch", "tqdm"])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("films")
    with Image.open(astronaut) as photo:
        photo.convert("RGB").resize((160, 160)).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def wanted(folder):
    """The film that nothing disturbs."""
    return undisturbed(folder, "whole")


@pytest.fixture(scope="module")
def outward(folder):
    """One whose frames are all made after the last keyframe."""
    return undisturbed(folder, "outward", *OUT)


def undisturbed(folder: Path, out: str, *more: str) -> bytes:
    running = start(folder, out, *more)
    running.join(120)
    assert running.exitcode == 0, said(folder, out)
    film = folder / out / "film.mp4"
    assert names(film.parent) == {"film.mp4"}
    assert footage.probe(film).frames == (FRAMES if not more else 10 * FRAMES)
    return film.read_bytes()


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    film = folder / out / "film.mp4"
    return ["zoom", str(folder / "photo.png"), "-o", str(film), *OPTIONS, *more]


def start(folder: Path, out: str, *more: str):
    (folder / out).mkdir(exist_ok=True)
    given = (arguments(folder, out, *more), str(folder / f"{out}.txt"))
    running = server.Process(target=run, args=given, daemon=True)
    running.start()
    return running


def run(given: list[str], said: str) -> None:
    os.setsid()
    # The server may be one that was started for workers, which signals do not reach.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    torch.set_num_threads(1)
    with open(said, "ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.exit(cli.run(given))


def said(folder: Path, out: str) -> str:
    return (folder / f"{out}.txt").read_text()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def until(running, folder: Path, keyframes: int) -> None:
    """Wait until so many keyframes are there, or, if none are to be, until it has begun."""
    end = time.monotonic() + 60
    while time.monotonic() < end and running.is_alive():
        work = folder / ".film.mp4.dreamer"
        if work.exists() and len(list(work.glob("keyframe-*.png"))) >= keyframes:
            return
        time.sleep(0.002)
    raise AssertionError("it was done, or never began")


def check(folder: Path, out: str, wanted: bytes, capfd, *more: str) -> None:
    """Go on, and find the film that was wanted, and nothing else."""
    assert cli.run([*arguments(folder, out, *more), "-q"]) == 0, capfd.readouterr().err
    assert (folder / out / "film.mp4").read_bytes() == wanted
    assert names(folder / out) == {"film.mp4"}
    assert "Traceback" not in said(folder, out)


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_and_started_again_it_is_the_same_film(
    folder, wanted, outward, number, capfd
):
    out = f"kill-{number}"
    # Before the first keyframe, while others are dreamed and frames encoded, and after the last.
    keyframes = number * (KEYFRAMES + 1) // KILLS
    more = OUT if keyframes == KEYFRAMES else ()
    running = start(folder, out, *more)
    until(running, folder / out, keyframes)
    time.sleep(random_moment.uniform(0, 0.12))
    running.kill()
    running.join()
    assert running.exitcode == -signal.SIGKILL, "it was done before it was killed"
    assert "film.mp4" not in names(folder / out)
    kept = {path: path.stat().st_mtime_ns for path in (folder / out).glob(".film*/keyframe-*.png")}
    assert len(kept) >= keyframes
    check(folder, out, outward if more else wanted, capfd, *more)


def test_killed_again_and_again_it_gets_there_at_last(folder, wanted, capfd):
    for keyframes in range(1, KEYFRAMES + 1):
        running = start(folder, "again")
        until(running, folder / "again", keyframes)
        running.kill()
        running.join()
    check(folder, "again", wanted, capfd)


def test_what_was_dreamed_is_not_dreamed_again(folder, wanted, capfd, monkeypatch):
    from dreamer.render import zoom

    running = start(folder, "kept")
    until(running, folder / "kept", 3)
    running.kill()
    running.join()
    made = []
    real = zoom.Keyframes.make
    monkeypatch.setattr(
        zoom.Keyframes,
        "make",
        lambda self, number, **more: made.append(number) or real(self, number, **more),
    )
    check(folder, "kept", wanted, capfd)
    assert made == [3]


@pytest.mark.parametrize("keyframes", [0, 1, KEYFRAMES])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_told_to_stop_it_says_how_to_go_on(folder, wanted, outward, name, keyframes, capfd):
    out = f"{name}-{keyframes}"
    more = OUT if keyframes == KEYFRAMES else ()
    running = start(folder, out, *more)
    until(running, folder / out, keyframes)
    os.killpg(running.pid, getattr(signal, name))
    running.join(30)
    assert running.exitcode == 130, said(folder, out)
    assert "run the command again to go on" in said(folder, out)
    assert names(folder / out) <= {".film.mp4.dreamer"}
    assert not list((folder / out).rglob(".*.part"))
    check(folder, out, outward if more else wanted, capfd, *more)


@pytest.mark.parametrize("keyframes", [1, KEYFRAMES])
def test_told_twice_it_stops_at_once_and_says_so_as_well(folder, wanted, outward, keyframes, capfd):
    out = f"twice-{keyframes}"
    more = OUT if keyframes == KEYFRAMES else ()
    running = start(folder, out, *more)
    until(running, folder / out, keyframes)
    os.kill(running.pid, signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGINT)
    running.join(30)
    assert running.exitcode == 130, said(folder, out)
    assert "un the command again to go on" in said(folder, out)
    assert "film.mp4" not in names(folder / out)
    assert not list((folder / out).rglob(".*.part"))
    check(folder, out, outward if more else wanted, capfd, *more)


def test_another_film_of_that_name_does_not_go_on_from_what_was_dreamed_for_the_first(
    folder, wanted, capfd
):
    running = start(folder, "other", "--seed", "5")
    until(running, folder / "other", 2)
    running.kill()
    running.join()
    check(folder, "other", wanted, capfd)


def test_two_at_once_on_one_film_are_told_apart(folder, wanted, capfd):
    running = start(folder, "two")
    until(running, folder / "two", 1)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        assert cli.run(arguments(folder, "two")) == 5
        err = capfd.readouterr().err
        assert "Another dreamer is making" in err
        assert len(err.splitlines()) == 2
        assert cli.run(arguments(folder, "two", "--seed", "9", "--overwrite")) == 5
    finally:
        os.kill(running.pid, signal.SIGCONT)
    running.join(60)
    assert running.exitcode == 0, said(folder, "two")
    check(folder, "two", wanted, capfd)


def test_killed_after_the_film_was_there_the_rest_is_tidied_up(folder, wanted, capfd):
    running = start(folder, "late", "--keep-frames")
    running.join(60)
    assert running.exitcode == 0, said(folder, "late")
    assert names(folder / "late") == {"film.mp4", ".film.mp4.dreamer"}
    check(folder, "late", wanted, capfd)  # without --keep-frames


def test_what_another_film_has_dreamed_under_that_name_survives_when_this_one_is_kept(
    folder, wanted, capfd
):
    running = start(folder, "both")
    running.join(60)
    running = start(folder, "both", "--seed", "5", "--overwrite")
    until(running, folder / "both", 2)
    running.kill()
    running.join()
    assert cli.run(arguments(folder, "both")) == 0
    assert len(list((folder / "both").glob(".film.mp4.dreamer/keyframe-*"))) >= 2
    assert (folder / "both" / "film.mp4").read_bytes() == wanted
