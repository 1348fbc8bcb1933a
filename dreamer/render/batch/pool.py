"""Worker processes on this machine.

Each has a pipe to the driver. When the driver dies, by whatever, its pipes end and so do the
workers; when a worker dies, its tasks are reported as lost and another takes its place.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from dreamer.errors import DeviceError
from dreamer.render.batch.tasks import Broken, Dropped, Event, Failed, Lost, Progress

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from dreamer.render.batch.tasks import Task

AT_HAND = 2  # tasks that a worker holds: one in the network, one being read or encoded
AT_HAND_OF_DEVICE = 3  # one being read and one being encoded: a device is not to wait for either
PATIENCE = 10.0  # seconds that a worker is given to end by itself

# A server that has imported torch once, without a thread or a device in use, forks the workers;
# elsewhere each imports it anew. The first module makes it, and so them, deaf to Ctrl-C.
_SERVED = sys.platform == "linux"
_PRELOADED = ["dreamer.render.batch.undisturbed", "dreamer.render.batch.worker"]


def warm_up() -> None:
    """Start importing what the workers need, beside whatever this process does meanwhile."""
    if _SERVED:
        multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()


@dataclass(eq=False)
class _Hand:
    """A worker process as the driver sees it."""

    process: BaseProcess
    pipe: Connection
    device: str
    tasks: dict[int, float] = field(default_factory=dict)  # number -> memory
    begun: set[int] = field(default_factory=set)
    halted: bool = False
    lost: bool = False
    broken: str = ""


class Pool:
    """Processes that each make a picture at a time.

    Args:
        workers: how many.
        memory: tells what all together may use, bytes. A task that needs more runs alone.
        devices: the devices they compute on, in turn.

    Attributes:
        problems: see `Runner`.
    """

    def __init__(
        self, workers: int, memory: Callable[[], float], devices: Sequence[str] = ("cpu",)
    ) -> None:
        self.workers = workers
        self._free = memory
        self._memory = 0.0
        self._devices = [devices[index % len(devices)] for index in range(workers)]
        self._at_hand = AT_HAND if "cpu" in devices else AT_HAND_OF_DEVICE
        # Workers that have a device each for themselves make every picture alone there.
        self._apart = "cpu" not in devices and workers <= len(set(devices))
        self.problems: list[str] = []
        method: Literal["forkserver", "spawn"] = "forkserver" if _SERVED else "spawn"
        self._context: Any = multiprocessing.get_context(method)  # typed without Process
        self._hands: list[_Hand] = []
        warm_up()

    def ready(self, left: int, memory: float) -> bool:
        """Whether it takes another task, see `Runner`.

        Raises:
            DeviceError: no device is left that works.
        """
        if not self._devices:
            raise DeviceError(
                f"No device is left to compute on: {self.problems[-1].partition(': ')[2]}.",
                "See what works with `dreamer doctor`, then run the command again: it goes on.",
            )
        memory = self._counted(memory)
        running = [need for hand in self._hands for need in hand.tasks.values()]
        if not running:
            self._memory = self._free()  # anew whenever nothing of ours counts
            return True
        if sum(running) + memory > self._memory:
            return False
        # The last ones go to idle workers only, or one would wait behind another at the end.
        return self._room() > (self._at_hand - 1 if left <= self.workers else 0)

    def submit(self, task: Task, memory: float) -> None:
        """Hand a task to the worker that has least to do."""
        for idle in [each for each in self._hands if not each.tasks and each.pipe.poll()]:
            self._heard(idle)  # it has died meanwhile, which is no fault of this task
        hand = self._least()
        if hand is None or (hand.tasks and len(self._hands) < self.workers):
            hand = self._start()
        hand.tasks[task.number] = self._counted(memory)
        if hand.device != task.look.device:
            task = replace(task, look=replace(task.look, device=hand.device))
        with contextlib.suppress(OSError):  # it has died, which `wait` will tell
            hand.pipe.send(task)

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened, see `Runner`."""
        pipes = [hand.pipe for hand in self._hands]  # which end when their workers do
        ready = connection.wait(pipes, seconds) if pipes else []
        heard = [hand for hand in self._hands if hand.pipe in ready]
        return [event for hand in heard for event in self._heard(hand)]

    def halt(self) -> None:
        """Begin nothing that has not begun, see `Runner`."""
        for hand in self._hands:
            if not hand.halted and len(hand.tasks) > 1:
                hand.halted = True
                with contextlib.suppress(OSError):
                    hand.pipe.send(None)

    def close(self) -> None:
        """End the workers, see `Runner`."""
        for hand in self._hands:
            hand.pipe.close()  # which ends them, whatever they are doing
        for hand in self._hands:
            hand.process.join(PATIENCE)
            if hand.process.exitcode is None:
                hand.process.kill()
                hand.process.join()
            hand.process.close()
        self._hands = []

    def _counted(self, memory: float) -> float:
        """Return what a task takes of the memory that all share: one on its own device needs it."""
        return 0.0 if self._apart and math.isinf(memory) else memory

    def _room(self) -> int:
        """Return how many more tasks the worker with least to do can hold."""
        if len(self._hands) < self.workers:
            return self._at_hand
        return self._at_hand - min(len(hand.tasks) for hand in self._hands)

    def _do_without(self, hand: _Hand) -> None:
        """Use the device of a worker no more."""
        left = [device for device in self._devices if device != hand.device]
        if len(left) < len(self._devices):
            self.problems.append(f"a device was left out: {hand.broken}")
        self._devices, self.workers = left, len(left)

    def _least(self) -> _Hand | None:
        return min(self._hands, key=lambda hand: len(hand.tasks), default=None)

    def _start(self) -> _Hand:
        taken = [hand.device for hand in self._hands]
        device = min(self._devices, key=taken.count)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs,), daemon=True)
        with _without_main():
            process.start()
        theirs.close()
        hand = _Hand(process, ours, device)
        self._hands.append(hand)
        return hand

    def _heard(self, hand: _Hand) -> list[Event]:
        """Read what a worker has sent; if it has died, its tasks are lost."""
        events: list[Event] = []
        try:
            while hand.pipe.poll():
                event = hand.pipe.recv()
                if isinstance(event, Broken):
                    hand.broken = event.reason
                    continue
                if isinstance(event, Progress):
                    hand.begun.add(event.number)
                else:
                    hand.lost = hand.lost or isinstance(event, Lost)
                    del hand.tasks[event.number]
                events.append(event)
        except (EOFError, OSError):
            hand.process.join(PATIENCE)
            reason = _reason(hand.process.exitcode)
            # What was in the network is at fault; without any, all that it held may be.
            blamed = hand.begun.intersection(hand.tasks) or set(hand.tasks)
            if hand.lost or hand.broken:  # by which that has been told, or it is not their fault
                blamed = set()
            if hand.broken:
                self._do_without(hand)
            events += [
                Lost(number, reason) if number in blamed else Dropped(number)
                for number in hand.tasks
            ]
            hand.pipe.close()
            hand.process.kill()
            self._hands.remove(hand)
        return events


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program that is run: a worker would run it again, and needs nothing of it."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__spec__ = None
    with contextlib.suppress(AttributeError):
        del main.__file__
    try:
        yield
    finally:
        vars(main).update(hidden)


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its worker was killed ({signal.Signals(-code).name})"
    return f"its worker ended by itself (exit code {code})"


def serve(pipe: Connection) -> None:
    """Be a worker: make what comes through the pipe until it ends."""
    from dreamer.render import devices
    from dreamer.render.batch import undisturbed  # noqa: F401 - where no server has done so
    from dreamer.render.batch.worker import Worker

    os.dup2(2, 1)  # nothing that a library prints here may get into the driver's results
    worker, sending = Worker(), Lock()

    def send(event: Event | Broken) -> None:
        try:
            with sending:
                pipe.send(event)
        except OSError:
            os._exit(1)  # nobody is there to take it

    def make(task: Task) -> None:
        try:
            event = worker.make(task, lambda share: send(Progress(task.number, share)))
            send(event)
            if isinstance(event, Lost):
                with sending:  # what another thread is just saying is still to be heard
                    os._exit(1)  # another process may find the device in order again
        except BaseException:  # such as too little memory to send it: it must not be waited for
            send(Failed(task.number, 6, "There is not enough memory.", "Use fewer --workers."))

    settled = False
    with ThreadPoolExecutor(AT_HAND_OF_DEVICE) as threads:
        while True:
            try:
                task = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # nothing is written here, so nothing is lost
            if task is None:
                worker.halted = True
                continue
            try:
                if not settled:
                    devices.settle(task.look.device)
                    settled = True
            except DeviceError as error:
                send(Broken(error.message.rstrip(".")))
                os._exit(1)
            threads.submit(make, task)
