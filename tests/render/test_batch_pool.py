"""Workers by device, with threads in the place of processes and devices that only have names."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from batching import ASKED, Batch, make, photo, tree

from dreamer.errors import DeviceError
from dreamer.render import devices
from dreamer.render.batch import pool
from dreamer.render.batch.pool import AT_HAND, AT_HAND_OF_DEVICE, Pool
from dreamer.render.batch.session import Session, Wanted
from dreamer.render.batch.tasks import Broken, Dropped, Event, Failed, Lost, Progress, Task

GPUS = ("cuda:0", "cuda:1")
FAULT = "The device failed: CUDA error: an illegal memory access was encountered"


class Dies(Exception):  # noqa: N818 - what a worker does
    """A worker that ends, with an exit code; it may say something last."""

    def __init__(self, code: int, *last: object) -> None:
        super().__init__(code)
        self.code = code
        self.last = last


@dataclass
class Workers:
    """What the workers of a pool do, in threads; `work` answers to a task of a worker."""

    work: Callable[[Task, int], Event]
    begun: list[tuple[str, int]] = field(default_factory=list)  # device and task
    held: list[tuple[str, int]] = field(default_factory=list)  # device and tasks at hand
    most: dict[str, int] = field(default_factory=dict)

    Pipe = staticmethod(Pipe)

    def Process(self, *, target: object, args: tuple[Connection], daemon: bool) -> Any:  # noqa: N802
        assert target is pool.serve
        assert daemon
        return _Process(self, args[0])


class _Process:
    def __init__(self, workers: Workers, theirs: Connection) -> None:
        self._workers = workers
        self._pipe = Connection(os.dup(theirs.fileno()))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.exitcode: int | None = None
        self.start, self.join = self._thread.start, self._thread.join

    def kill(self) -> None:
        """Nothing: it ends with its pipe."""

    def close(self) -> None:
        """Nothing is held."""

    def _serve(self) -> None:
        with self._pipe as pipe:
            try:
                while True:
                    task = pipe.recv()
                    if task is None:
                        continue
                    self._workers.begun.append((task.look.device, task.number))
                    pipe.send(Progress(task.number, 0.0))
                    pipe.send(self._workers.work(task, len(self._workers.begun)))
            except Dies as death:
                for event in death.last:
                    pipe.send(event)
                self.exitcode = death.code
            except (EOFError, OSError):
                self.exitcode = 0


def of_threads(workers: Workers, places: tuple[str, ...], count: int | None = None) -> Pool:
    made = Pool(count or len(places), lambda: 1e12, places)
    made._context = workers
    return made


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.setattr(pool, "warm_up", lambda: None)
    for index in range(8):
        photo(tmp_path / "in" / f"{index}.png", (60 + index, 48))
    return Batch(tmp_path / "in", tmp_path / "out")


def made(task: Task, _: int) -> Event:
    """The picture of a pixel, as it is on any device."""
    time.sleep(0.02)
    return make(replace(task, look=replace(task.look, device="cpu")))


def run(batch: Batch, workers: Workers, places: tuple[str, ...] = GPUS) -> tuple[list[str], Pool]:
    pool = of_threads(workers, places)
    results = batch.run(pool)  # type: ignore[arg-type]
    batch.going.close()
    return [each.status for each in results], pool


def task(batch: Batch, number: int) -> Task:
    item = batch.items()[number % 8]
    return Task(number, item.look, item.start, item.path, None, ".png", True)


def test_each_device_has_a_worker_and_a_share_of_the_items(batch: Batch) -> None:
    workers = Workers(made)
    assert run(batch, workers)[0] == ["done"] * 8
    shares = [sum(device == each for device, _ in workers.begun) for each in GPUS]
    assert sum(shares) == 8
    assert min(shares) >= 2


def test_more_workers_than_devices_use_them_in_turn(batch: Batch) -> None:
    pool = of_threads(Workers(made), GPUS, 5)
    for number in range(5):
        pool.submit(task(batch, number), 0)
    assert sorted(hand.device for hand in pool._hands) == ["cuda:0"] * 3 + ["cuda:1"] * 2
    pool.close()


@pytest.mark.parametrize(
    ("place", "most"), [("cpu", AT_HAND), ("cuda:0", AT_HAND_OF_DEVICE), ("mps", AT_HAND_OF_DEVICE)]
)
def test_a_device_waits_neither_for_a_photo_nor_for_a_file(
    batch: Batch, place: str, most: int
) -> None:
    going = threading.Event()

    def waits(task: Task, begun: int) -> Event:
        going.wait(10)
        return made(task, begun)

    pool = of_threads(Workers(waits), (place,))
    number = 0
    while pool.ready(20, 1000):
        pool.submit(task(batch, number), 1000)
        number += 1
    assert number == most
    going.set()
    pool.close()


def test_a_picture_that_is_to_be_alone_is_so_on_a_device_of_its_own(batch: Batch) -> None:
    pool = of_threads(Workers(made), GPUS)
    assert pool.ready(5, 1000)
    pool.submit(task(batch, 0), 1000)
    assert pool.ready(5, float("inf"))
    pool.submit(task(batch, 1), float("inf"))
    assert pool.ready(5, 1000)
    pool.close()
    shared = of_threads(Workers(made), GPUS, 3)
    assert shared.ready(5, 1000)
    shared.submit(task(batch, 0), 1000)
    assert not shared.ready(5, float("inf"))
    shared.close()


def test_a_device_without_memory_for_one_picture_makes_the_others(batch: Batch) -> None:
    def short(task: Task, begun: int) -> Event:
        if task.path.endswith("3.png"):
            return Failed(task.number, 6, "There is not enough memory for 63x48 pixels.", "Less.")
        return made(task, begun)

    workers = Workers(short)
    assert run(batch, workers)[0] == ["done"] * 3 + ["failed"] + ["done"] * 4
    assert len(workers.begun) == 7 + 3


def test_a_device_that_fails_once_costs_no_picture(batch: Batch) -> None:
    """Its process ends, another one takes its place, and only the picture at fault counts it."""

    def fails(task: Task, begun: int) -> Event:
        if begun == 3:
            raise Dies(1, Lost(task.number, FAULT))
        return made(task, begun)

    workers = Workers(fails)
    statuses, pool = run(batch, workers)
    assert statuses == ["done"] * 8
    assert pool.problems == []
    attempts = sorted(record.attempts for record in batch.records().values())
    assert attempts == [1] * 7 + [2]


def test_a_picture_that_its_device_always_fails_on_is_the_only_one_that_fails(batch: Batch) -> None:
    def fails(task: Task, begun: int) -> Event:
        if task.path.endswith("3.png"):
            raise Dies(1, Lost(task.number, FAULT))
        return made(task, begun)

    statuses, _ = run(batch, Workers(fails))
    assert statuses == ["done"] * 3 + ["failed"] + ["done"] * 4
    errors = [record.error for record in batch.records().values() if record.status == "failed"]
    assert len(errors) == 1
    assert FAULT in errors[0]


def test_a_device_that_does_not_work_is_left_out_and_said(batch: Batch) -> None:
    def broken(task: Task, begun: int) -> Event:
        if task.look.device == "cuda:1":
            raise Dies(1, Broken("The device 'cuda:1' cannot be used: it fell off the bus"))
        return made(task, begun)

    workers = Workers(broken)
    statuses, pool = run(batch, workers)
    assert statuses == ["done"] * 8
    assert sum(device == "cuda:1" for device, _ in workers.begun) == 1
    assert pool.problems == [
        "a device was left out: The device 'cuda:1' cannot be used: it fell off the bus"
    ]
    assert batch.going.problems == pool.problems
    assert {record.attempts for record in batch.records().values()} == {1}


def test_without_any_device_that_works_the_run_ends_and_goes_on_later(batch: Batch) -> None:
    def broken(task: Task, begun: int) -> Event:
        if begun > 5:
            raise Dies(1, Broken(f"The device '{task.look.device}' cannot be used: gone"))
        return made(task, begun)

    with pytest.raises(DeviceError, match=r"No device is left to compute on: .* gone\."):
        run(batch, Workers(broken))
    batch.going.close()
    kept = {name: data for name, data in tree(batch.out).items() if name.endswith(".png")}
    statuses, _ = run(batch, Workers(made))
    assert sorted(statuses) == ["done"] * (8 - len(kept)) + ["skipped"] * len(kept)
    assert kept.items() <= tree(batch.out).items()


def test_the_devices_make_what_one_processor_makes(batch: Batch) -> None:
    run(batch, Workers(made))
    other = Batch(batch.photos, batch.out.parent / "other")
    run(other, Workers(made), ("cpu",))
    names = [name for name in tree(batch.out) if name.endswith(".png")]
    assert len(names) == 8
    assert all(tree(batch.out)[name] == tree(other.out)[name] for name in names)


def test_a_batch_uses_all_devices_of_a_kind_and_one_that_was_named(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "choose", lambda name: torch.device(name.replace("auto", "cuda")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    started = []
    monkeypatch.setattr(pool, "Pool", lambda *given: started.append(given))
    for asked, places in (("auto", [*GPUS]), ("cuda", [*GPUS]), ("cuda:1", ["cuda:1"])):
        wanted = Wanted(batch.out, (str(batch.photos),), request=replace(ASKED, device=asked))
        with Session(wanted) as session:
            assert session.workers(100) == len(places)
            session._started()
        count, _, used = started.pop()
        assert (count, used) == (len(places), places)


IMPORTS = """
from multiprocessing.connection import Connection
from dreamer.errors import DeviceError
from dreamer.render import devices
from dreamer.render.batch import pool, worker
from dreamer.render.batch.tasks import Failed, Lost
"""


def served(code: str, *tasks: Task, ends: bool) -> tuple[list[object], int]:
    """Serve tasks in a process of its own, after `code`; returns what it says and its exit code.

    Args:
        code: put before it.
        tasks: to be served.
        ends: whether it ends by itself; else when nobody listens any more.
    """
    ours, theirs = Pipe()
    program = f"{IMPORTS}\n{code}\npool.serve(Connection({theirs.fileno()}))"
    with subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        for each in tasks:
            ours.send(each)
        said: list[object] = []
        try:
            while len(said) < len(tasks):
                said.append(ours.recv())
        except EOFError:
            pass
        if not ends:
            ours.close()
        return said, process.wait(60)


def test_a_worker_proves_its_device_before_it_begins(batch: Batch) -> None:
    code = """
def settle(name):
    raise DeviceError(f"The device '{name}' cannot be used: gone.", "Use another.")
devices.settle = settle
"""
    cuda = replace(task(batch, 1), look=replace(task(batch, 1).look, device="cuda:1"))
    said, code_of = served(code, cuda, ends=True)
    assert said == [Broken("The device 'cuda:1' cannot be used: gone")]
    assert code_of == 1


def test_a_worker_whose_device_failed_says_so_and_ends(batch: Batch) -> None:
    code = f"""worker.Worker.make = lambda self, task, on_progress: Lost(task.number, "{FAULT}")"""
    said, code_of = served(code, task(batch, 7), ends=True)
    assert said == [Lost(7, FAULT)]
    assert code_of == 1


def test_a_worker_on_a_processor_goes_on_after_what_failed(batch: Batch) -> None:
    code = (
        """worker.Worker.make = lambda self, task, _: Failed(task.number, 6, "Short.", "Less.")"""
    )
    said, code_of = served(code, task(batch, 1), task(batch, 2), ends=False)
    assert {each.number for each in said} == {1, 2}
    assert code_of == 0


def test_what_waited_behind_a_device_that_failed_is_not_counted_as_tried(batch: Batch) -> None:
    def fails(task: Task, _: int) -> Event:
        raise Dies(1, Lost(task.number, FAULT))

    pool = of_threads(Workers(fails), ("cuda:0",))
    for number in (1, 2, 3):
        pool.submit(task(batch, number), 1000)
    events: list[Event] = []
    while len(events) < 4:
        events += pool.wait(1)
    told = [event for event in events if not isinstance(event, Progress)]
    assert told == [Lost(1, FAULT), Dropped(2), Dropped(3)]
    pool.close()
