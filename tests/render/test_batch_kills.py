"""A batch that is ended at any moment, by anything, and started again: nothing is lost."""

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from dreamer import cli
from dreamer.render.batch import journal

OPTIONS = ["--size", "96", "--steps", "2", "--octaves", "2", "--seeds", "3", "--workers", "2"]
KILLS = 30
random_moment = random.Random(20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """Six small photos in a folder and one below it."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "in" / "below").mkdir(parents=True)
    for index, name in enumerate(("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")):
        with Image.open(photos / name) as photo:
            small = photo.convert("RGB").resize((128, 96 + 8 * index))
        small.save(folder / "in" / name)
        if index % 2:
            small.save(folder / "in" / "below" / f"{index}.webp")
    return folder


@pytest.fixture(scope="module")
def wanted(folder):
    """The tree of a run that nothing disturbs, and how many seconds that takes."""
    began = time.monotonic()
    assert start(folder, "whole").wait() == 0
    return tree(folder / "whole"), time.monotonic() - began


def arguments(out: str) -> list[str]:
    return ["batch", "in", "-r", "-o", f"{out}/dreams", *OPTIONS]


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    (folder / out).mkdir(exist_ok=True)
    with open(folder / out / "said.txt", "ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "dreamer", *arguments(out)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def tree(out: Path) -> dict[str, bytes]:
    """Return every file of a batch but its journal, whose lines tell of times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / "dreams").rglob("*"))
        if path.is_file() and path.suffix != journal.SUFFIX
    }


def told(out: Path) -> dict[str, journal.Record]:
    """Return what the journal says in the end, without times."""
    timeless = {"time": "", "seconds": 0.0, "output_stat": None, "attempts": 1}
    records = journal.read(out / "dreams")
    return {key: dataclasses.replace(record, **timeless) for key, record in records.items()}


def go_on(folder: Path, out: str, monkeypatch) -> int:
    monkeypatch.chdir(folder)
    return cli.run([*arguments(out), "-q"])


def wait_until_gone(group: int) -> None:
    """Wait until no process of a group is left; one that stays fails the test."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        alive = [
            process
            for process in psutil.process_iter(["status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE and _group(process.pid) == group
        ]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {[process.cmdline() for process in alive]}")


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def check(folder: Path, out: str, wanted: dict[str, bytes]) -> None:
    assert tree(folder / out) == wanted
    assert told(folder / out) == told(folder / "whole")
    assert "Traceback" not in (folder / out / "said.txt").read_text()


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_and_started_again_the_folder_is_the_same(
    folder, wanted, number, monkeypatch, capfd
):
    files, _ = wanted
    out = f"kill-{number}"
    running = start(folder, out)
    # Once some files are there, and then somewhere within the time that the next few take.
    until_files(running, folder / out / "dreams", number * len(files) // 2 // KILLS)
    time.sleep(random_moment.uniform(0, 0.1))
    running.kill()
    assert running.wait() == -signal.SIGKILL, "it was done before it was killed"
    wait_until_gone(running.pid)
    assert tree(folder / out) != files
    assert go_on(folder, out, monkeypatch) == 0
    check(folder, out, files)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize(
    ("name", "everybody"), [("SIGINT", True), ("SIGTERM", False), ("SIGTERM", True)]
)
def test_told_to_stop_it_ends_soon_and_loses_nothing(
    folder, wanted, number, name, everybody, monkeypatch, capfd
):
    files, seconds = wanted
    out = f"{name}-{everybody}-{number}"
    running = start(folder, out)
    time.sleep(seconds * random_moment.uniform(0.05, 0.9))
    # A terminal signals every process of the command, a service manager often as well.
    (os.killpg if everybody else os.kill)(running.pid, getattr(signal, name))
    # Before its handlers are set a program ends by the signal itself; torch, while it is imported,
    # may abort instead, as an exception that Ctrl-C raises there has nobody to go to.
    assert running.wait(60) in (0, 130, -getattr(signal, name), -signal.SIGABRT)
    wait_until_gone(running.pid)
    assert not list(folder.joinpath(out).rglob(".*.part"))
    assert go_on(folder, out, monkeypatch) == 0
    check(folder, out, files)


def test_told_twice_it_stops_at_once_and_says_how_to_go_on(folder, wanted, monkeypatch, capfd):
    files, _ = wanted
    for _ in range(10):
        shutil.rmtree(folder / "twice", ignore_errors=True)
        running = start(folder, "twice")
        until_working(running)
        os.killpg(running.pid, signal.SIGINT)
        time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        code, said = running.wait(30), (folder / "twice" / "said.txt").read_text()
        assert code == 130, said
        wait_until_gone(running.pid)
        if "run the command again" in said:
            break  # else the pictures at hand were finished before it was told twice
    assert "run the command again" in said
    assert go_on(folder, "twice", monkeypatch) == 0
    check(folder, "twice", files)


@pytest.mark.parametrize("number", range(3))
def test_a_worker_that_is_killed_costs_no_picture(folder, wanted, number, capfd):
    files, _ = wanted
    out = f"worker-{number}"
    running = start(folder, out)
    worker = until_working(running)
    time.sleep(0.2 * number)
    worker.kill()
    assert running.wait(120) == 0
    check(folder, out, files)


def test_when_the_driver_is_killed_its_workers_end(folder, wanted):
    running = start(folder, "orphans")
    worker = until_working(running)
    running.kill()
    running.wait()
    wait_until_gone(running.pid)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("workers", ["1", "3"])
def test_neither_the_order_nor_the_workers_change_a_byte(
    folder, wanted, workers, monkeypatch, capfd
):
    files, _ = wanted
    monkeypatch.chdir(folder)
    out = f"order-{workers}"
    below = sorted(Path("in/below").iterdir(), reverse=True)
    top = [path for path in sorted(Path("in").iterdir(), reverse=True) if path.is_file()]
    options = [*OPTIONS[:-1], workers, "-q"]
    dreams = f"{out}/dreams"
    assert cli.run(["batch", *map(str, top), "-o", dreams, *options]) == 0
    names = ["--name", "below/{stem}-{preset}-{seed}"]
    assert cli.run(["batch", *map(str, below), "-o", dreams, *names, *options]) == 0
    results = {name: data for name, data in files.items() if name.endswith(".png")}
    assert {name: data for name, data in tree(Path(out)).items() if name in results} == results


def test_a_picture_of_a_batch_is_the_one_that_a_single_dream_makes(folder, wanted, capfd):
    files, _ = wanted
    made = folder / "single.png"
    options = [*OPTIONS[:6], "--seed", "1", "--threads", "1", "-o", str(made)]
    assert cli.run(["dream", str(folder / "in" / "coffee.png"), *options]) == 0
    assert made.read_bytes() == files["dreams/coffee-dream-1.png"]


def until_files(running: subprocess.Popen[bytes], out: Path, count: int) -> None:
    """Wait until so many files of the batch are there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert running.poll() is None
        if sum(path.suffix in (".png", ".jpg") for path in out.rglob("*")) >= count:
            return
        time.sleep(0.002)
    raise AssertionError("nothing is made")


def until_working(running: subprocess.Popen[bytes]) -> psutil.Process:
    """Wait until a worker computes, and return it."""
    driver = psutil.Process(running.pid)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert running.poll() is None
        with contextlib.suppress(psutil.NoSuchProcess):  # some come and go
            for server in driver.children():
                for worker in server.children():
                    if worker.cpu_times().user > 0.05:
                        return worker
        time.sleep(0.02)
    raise AssertionError("no worker has begun to work")
