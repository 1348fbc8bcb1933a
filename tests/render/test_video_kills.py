"""A dreamed clip whose making is ended at any moment, and started again: it is the same film."""

import contextlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from clip_making import H264, beep, decoded, shown, sliding, sound_packets, write

from dreamer import cli
from dreamer.errors import InputError
from dreamer.media import films

OPTIONS = ["--steps", "1", "--octaves", "2", "--threads", "1"]
FRAMES = 6
random_moment = random.Random(7)

# Each is a process of its own, forked from one that has imported what takes seconds to import.
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["dreamer.cli", "dreamer.render.making", "dreamer.render.video", "torch", "tqdm", "cv2"]
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut, coffee):
    folder = tmp_path_factory.mktemp("films")
    sound = (*beep(FRAMES / 25), *H264, "-c:a", "aac")
    write(folder / "clip.mp4", sliding(astronaut, FRAMES, 2), *sound)
    write(folder / "other.mp4", sliding(coffee, FRAMES, 2), *sound)
    return folder


@pytest.fixture(scope="module")
def wanted(folder):
    """The film that nothing disturbs."""
    return undisturbed(folder, "whole")


def undisturbed(folder: Path, out: str, *more: str) -> bytes:
    running = start(folder, out, *more)
    running.join(120)
    assert running.exitcode == 0, said(folder, out)
    assert names(folder / out) == {"clip.mp4", "film.mp4"}
    film = folder / out / "film.mp4"
    assert len(shown(film)) == FRAMES
    assert sound_packets(film) == sound_packets(folder / "clip.mp4") != b""
    return film.read_bytes()


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    place = folder / out
    return ["video", str(place / "clip.mp4"), "-o", str(place / "film.mp4"), *OPTIONS, *more]


def start(folder: Path, out: str, *more: str):
    (folder / out).mkdir(exist_ok=True)
    if not (folder / out / "clip.mp4").exists():
        shutil.copy(folder / "clip.mp4", folder / out)
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


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob(".film.mp4.dreamer/keyframe-*.png"))


def programs(folder: Path) -> list[bytes]:
    """Return the programs that run with a file of the folder."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            if b"ffmpeg" in words and os.fsencode(folder) in words:
                found.append(words)
    return found


def until(running, folder: Path, frames: int) -> None:
    """Wait until so many frames are there; -1: until the clip is looked at."""
    end = time.monotonic() + 60
    while time.monotonic() < end and running.is_alive():
        begun = folder.joinpath(".film.mp4.dreamer").exists()
        if (begun or frames < 0) and len(kept(folder)) >= frames and programs(folder):
            return
        time.sleep(0.002)
    raise TimeoutError("it was done, or never began")


def check(folder: Path, out: str, wanted: bytes, capfd, *more: str) -> list[int]:
    """Go on, and find the film that was wanted, and nothing else; return what was dreamed."""
    code = cli.run([*arguments(folder, out, *more), "-v"])
    err = capfd.readouterr().err
    assert code == 0, err
    assert (folder / out / "film.mp4").read_bytes() == wanted
    assert names(folder / out) == {"clip.mp4", "film.mp4"}
    assert "Traceback" not in said(folder, out)
    return [int(number) for number in re.findall(rf"^frame (\d+)/{FRAMES}$", err, re.M)]


def stopped_at(folder: Path, out: str, frames: int, *more: str, wait: float = 0.0) -> None:
    """Start, and kill it when so many frames are kept and a moment has passed."""
    place = folder / out
    for _ in range(5):
        running = start(folder, out, *more)
        with contextlib.suppress(TimeoutError):
            until(running, place, frames)
            time.sleep(wait)
        running.kill()
        running.join()
        if "film.mp4" not in names(place):
            break
        assert frames == FRAMES, "it was done before it was killed"
        (place / "film.mp4").unlink()  # in the last few moments this may happen
    assert running.exitcode == -signal.SIGKILL, said(folder, out)
    assert "film.mp4" not in names(place)


@pytest.mark.parametrize("number", range(FRAMES + 4))
def test_killed_at_any_moment_and_started_again_it_is_the_same_film(folder, wanted, number, capfd):
    out = f"kill-{number}"
    # While the clip is looked at, in the first frame, in others and between them, and at the end.
    frames = max(-1, number - 3)
    longest = {-1: 0.3, FRAMES: 0.005}.get(frames, 0.08)
    stopped_at(folder, out, frames, wait=random_moment.uniform(0, longest))
    there = len(kept(folder / out))
    assert there >= frames
    # What it had started ends by itself, and writes no film.
    end = time.monotonic() + 10
    while programs(folder / out) and time.monotonic() < end:
        time.sleep(0.01)
    assert not programs(folder / out)
    assert "film.mp4" not in names(folder / out)
    assert check(folder, out, wanted, capfd) == list(range(there + 1, FRAMES + 1))


def test_killed_again_and_again_it_gets_there_at_last(folder, wanted, capfd):
    for frames in (1, 3, FRAMES):
        stopped_at(folder, "again", frames)
    assert check(folder, "again", wanted, capfd) == []


@pytest.mark.parametrize(
    ("name", "frames"),
    [("SIGINT", -1), ("SIGINT", 0), ("SIGINT", 3), ("SIGINT", FRAMES), ("SIGTERM", 2)],
)
def test_told_to_stop_it_says_how_to_go_on(folder, wanted, name, frames, capfd):
    out = f"{name}-{frames}"
    running = start(folder, out)
    place = folder / out
    until(running, place, frames)
    os.killpg(running.pid, getattr(signal, name))
    running.join(30)
    if frames == FRAMES and running.exitcode == 0:  # it had nothing left to stop
        assert (place / "film.mp4").read_bytes() == wanted
        return
    assert running.exitcode == 130, said(folder, out)
    assert ("run the command again to go on" in said(folder, out)) == (frames >= 0)
    assert names(place) <= {"clip.mp4", ".film.mp4.dreamer"}
    assert len(kept(place)) >= frames
    assert not list(place.rglob(".*.part"))
    check(folder, out, wanted, capfd)


def test_a_stop_that_ends_a_program_as_well_is_no_error(folder, wanted, capfd, monkeypatch):
    (folder / "both").mkdir()
    shutil.copy(folder / "clip.mp4", folder / "both")
    real = films.Writer.add

    def failing(self, frame):
        if self.count == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            raise InputError("It was ended.", "Run it again.")
        real(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(films.Writer, "add", failing)
        assert cli.run(arguments(folder, "both")) == 130
    err = capfd.readouterr().err
    assert "run the command again to go on" in err
    assert "It was ended" not in err
    assert len(kept(folder / "both")) >= 3
    (folder / "both.txt").touch()
    check(folder, "both", wanted, capfd)


def test_told_twice_it_stops_at_once(folder, wanted, capfd):
    running = start(folder, "twice")
    until(running, folder / "twice", 2)
    os.kill(running.pid, signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGINT)
    running.join(30)
    assert running.exitcode == 130, said(folder, "twice")
    assert "un the command again to go on" in said(folder, "twice")
    assert "film.mp4" not in names(folder / "twice")
    check(folder, "twice", wanted, capfd)


def test_what_was_dreamed_of_another_clip_or_otherwise_is_not_used(folder, wanted, capfd):
    stopped_at(folder, "steadier", 3, "--steadiness", "0.5")
    assert check(folder, "steadier", wanted, capfd) == list(range(1, FRAMES + 1))
    # The clip is replaced, under its name, by another one of that size and length.
    (folder / "swapped").mkdir()
    shutil.copy(folder / "other.mp4", folder / "swapped" / "clip.mp4")
    stopped_at(folder, "swapped", 4)
    shutil.copy(folder / "clip.mp4", folder / "swapped" / "clip.mp4")
    assert check(folder, "swapped", wanted, capfd) == list(range(1, FRAMES + 1))


def test_a_clip_that_is_moved_elsewhere_is_gone_on_with(folder, wanted, capfd):
    stopped_at(folder, "moved", 4)
    os.rename(folder / "moved" / "clip.mp4", folder / "moved.mp4")
    given = arguments(folder, "moved")
    given[1] = str(folder / "moved.mp4")
    dreamed = len(kept(folder / "moved"))
    assert cli.run([*given, "-v"]) == 0
    assert f"frame {dreamed}/{FRAMES}" not in capfd.readouterr().err
    # It differs by the name of the clip in its recipe alone.
    (folder / "wanted.mp4").write_bytes(wanted)
    assert decoded(folder / "moved" / "film.mp4") == decoded(folder / "wanted.mp4")


def test_two_at_once_on_one_film_are_told_apart(folder, wanted, capfd):
    running = start(folder, "two")
    until(running, folder / "two", 1)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        assert cli.run(arguments(folder, "two")) == 5
        err = capfd.readouterr().err
        assert "Another dreamer is making" in err
        assert len(err.splitlines()) == 2
        assert cli.run(arguments(folder, "two", "--steadiness", "0.5", "--overwrite")) == 5
    finally:
        os.kill(running.pid, signal.SIGCONT)
    running.join(60)
    assert running.exitcode == 0, said(folder, "two")
    check(folder, "two", wanted, capfd)


def test_killed_after_the_film_was_there_the_rest_is_tidied_up(folder, wanted, capfd):
    running = start(folder, "late", "--keep-frames")
    running.join(60)
    assert running.exitcode == 0, said(folder, "late")
    assert names(folder / "late") == {"clip.mp4", "film.mp4", ".film.mp4.dreamer"}
    assert len(kept(folder / "late")) == FRAMES
    assert check(folder, "late", wanted, capfd) == []  # without --keep-frames
