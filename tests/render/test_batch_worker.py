"""A worker: several pictures in flight, and what becomes of its device's errors."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batching import Batch, photo

from dreamer.errors import DeviceError
from dreamer.render import devices, still
from dreamer.render.batch import worker as workers
from dreamer.render.batch.tasks import Failed, Lost, Made, Task
from dreamer.render.batch.worker import Worker
from dreamer.render.job import Request

QUICK = {"ascent.steps": 2, "octaves.count": 1, "target": "block3"}


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    for index in range(3):
        photo(tmp_path / "in" / f"{index}.png", (64 + index, 48))
    return Batch(tmp_path / "in", tmp_path / "out", Request(device="cpu", overrides=QUICK))


def tasks(batch: Batch) -> list[Task]:
    return [
        Task(number, item.look, item.start, item.path, None, ".png", True)
        for number, item in enumerate(batch.items())
    ]


def test_while_one_is_dreamed_the_next_is_read_and_the_last_is_encoded(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three at once: each of them waits for the other two."""
    together = threading.Barrier(3, timeout=60)
    stages: dict[int, str] = {}
    read, write, ascend = workers._read, still.Dream.write, still._ascend

    def reading(task: Task) -> object:
        found = read(task)
        if task.number == 2:
            together.wait()
        return found

    def ascending(recipe: still.Recipe, *rest: object) -> object:
        number = recipe.size[0] - 64
        stages[number] = "dreamed"
        if number == 1:
            together.wait()
        return ascend(recipe, *rest)  # type: ignore[arg-type]

    def writing(made: still.Dream, *rest: object, **named: object) -> None:
        if made.recipe.size[0] == 64:
            together.wait()
        write(made, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "_read", reading)
    monkeypatch.setattr(still, "_ascend", ascending)
    monkeypatch.setattr(still.Dream, "write", writing)
    worker, made = Worker(), {}
    first, second, third = tasks(batch)
    going = []
    for task in (first, second, third):
        thread = threading.Thread(
            target=lambda each: made.update({each.number: worker.make(each)}), args=(task,)
        )
        thread.start()
        going.append(thread)
        while task.number not in stages and task.number < 2 and thread.is_alive():
            thread.join(0.01)
    for thread in going:
        thread.join(60)
    assert not together.broken
    monkeypatch.undo()
    for task in (first, second, third):
        alone = Worker().make(task)
        assert isinstance(alone, Made)
        found = made[task.number]
        assert isinstance(found, Made)
        assert found.data == alone.data


def on_cuda(task: Task) -> Task:
    return replace(task, look=replace(task.look, device="cuda:0"))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the first step of every dream fail."""

    def ascend(*_: object) -> object:
        raise error

    network = workers.Look.load_network
    monkeypatch.setattr(
        workers.Look, "load_network", lambda look: network(replace(look, device="cpu"))
    )
    monkeypatch.setattr(still, "_ascend", ascend)


def test_a_picture_whose_device_fails_is_lost_and_not_a_bug(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(
        monkeypatch, RuntimeError("CUDA error: an illegal memory access was encountered\nMore.")
    )
    event = Worker().make(on_cuda(tasks(batch)[0]))
    assert event == Lost(
        0, "The device failed: CUDA error: an illegal memory access was encountered"
    )


def test_a_device_that_fails_when_the_picture_is_fetched_has_failed_as_well(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetching(_: torch.Tensor) -> object:
        def fetched() -> None:
            raise RuntimeError("CUDA error: unspecified launch failure")

        return fetched

    monkeypatch.setattr(devices, "fetching", fetching)
    event = Worker().make(tasks(batch)[0])
    assert event == Lost(0, "The device failed: CUDA error: unspecified launch failure")


def test_after_too_little_memory_on_a_device_it_is_given_back_and_the_worker_goes_on(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    relieved = []
    monkeypatch.setattr(devices, "relieve", lambda: relieved.append(True))
    worker, (first, second, _) = Worker(), tasks(batch)
    with monkeypatch.context() as short:
        failing(short, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
        event = worker.make(on_cuda(first))
        assert isinstance(event, Failed)
        assert event.code == DeviceError.exit_code
        assert "not enough memory for 64x48 pixels" in event.message
        assert relieved == [True]
        worker.make(first)
        assert relieved == [True]  # a processor's memory comes back by itself
    assert isinstance(worker.make(second), Made)


def test_while_a_picture_comes_from_its_device_the_next_one_is_begun(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ascend, fetching = threading.Event(), still._ascend, devices.fetching

    def ascending(recipe: still.Recipe, *rest: object) -> object:
        if recipe.size[0] == 65:
            begun.set()
        return ascend(recipe, *rest)  # type: ignore[arg-type]

    def waiting(pixels: torch.Tensor) -> object:
        fetch = fetching(pixels)

        def fetched() -> torch.Tensor:
            if pixels.shape[2] == 64:
                assert begun.wait(60)
            return fetch()

        return fetched

    monkeypatch.setattr(still, "_ascend", ascending)
    monkeypatch.setattr(devices, "fetching", waiting)
    worker, (first, second, _) = Worker(), tasks(batch)
    made: list[object] = []
    thread = threading.Thread(target=lambda: made.append(worker.make(first)))
    thread.start()
    while not worker._busy.locked() and thread.is_alive():
        thread.join(0.01)
    made.append(worker.make(second))
    thread.join(60)
    assert [type(each) for each in made] == [Made, Made]
