"""The items of a batch on a Ray cluster.

Ray decides where a task runs, and runs it again when its node dies. Photos travel to the workers
and results back, so no disk is shared; the weights travel too, unless they come with the package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dreamer
from dreamer.errors import DeviceError, DreamerError
from dreamer.media import reading
from dreamer.networks import weights
from dreamer.recipe import ENGINE
from dreamer.render.batch.tasks import Dropped, Event, Failed, Lost, Task
from dreamer.render.look import Look
from dreamer.target_files import Like

if TYPE_CHECKING:
    from dreamer.render.batch.worker import Worker

VERSION = f"{dreamer.__version__} (engine {ENGINE})"
AT_HAND = 2  # tasks a slot that are on their way: one runs, one waits with its photo
TRIES = 1  # how often Ray itself runs a task again whose worker or node died
NODELESS = 30.0  # seconds without a node that could run a task until what waits is given back
ANSWERS_WITHIN = 10.0  # seconds
_INSTALL = 'Install it: pip install "dreamer[cluster]"'


class Cluster:
    """A Ray cluster as a runner, see `dreamer.render.batch.tasks.Runner`.

    Args:
        address: "auto" for the cluster that runs on this machine or is named by RAY_ADDRESS, or
            an address as `ray.init` takes it.
        look: whose network all tasks share.
        gpus: the share of a GPU that a task takes; none if it computes on processors.

    Raises:
        DeviceError: Ray is not installed, no cluster is there, or no node of it is large enough.
        NetworkError: the weights are not on this machine.
    """

    def __init__(self, address: str, look: Look, *, gpus: float | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # or it tries for minutes
        try:
            import ray
        except ImportError as error:
            raise DeviceError("A cluster needs an extra package.", _INSTALL) from error
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            self._connect(address)
        self._threads = look.threads
        self._gpus = (gpus or 1.0) if look.device.startswith("cuda") else 0.0
        self.problems: list[str] = []
        self._waiting: dict[Any, int] = {}
        self._early: list[Event] = []
        self._nodeless: float | None = None
        self._halted = False
        try:
            if self._slots() < 1:
                wanted = f"{self._threads} processors"
                wanted += f" and {self._gpus:g} of a GPU" if self._gpus else ""
                raise DeviceError(
                    f"No node of the cluster has {wanted} for a picture.",
                    "Ask for less with --threads or --gpus, or add a node.",
                )
            self._weights = ray.put(_weights_of(look))
            self._photos: dict[str, Any] = {}
        except DreamerError:
            self.close()
            raise
        self._make = ray.remote(max_retries=TRIES, num_cpus=self._threads)(make)

    def ready(self, left: int, memory: float) -> bool:
        """Whether it takes another task; Ray itself sees to the memory of its nodes."""
        del left, memory
        return len(self._waiting) + len(self._early) < max(1, self._slots() * AT_HAND)

    def submit(self, task: Task, memory: float) -> None:
        """Send a task with its photo."""
        try:
            data = reading.read(task.path) if task.start == "photo" else None
            photos = [self._photo(like) for like in task.look.files.photos.values()]
        except DreamerError as error:
            self._early.append(Failed(task.number, error.exit_code, error.message, error.advice))
            return
        # A task that asks for more than any node has would wait for ever.
        most = max((node.get("memory", 0.0) for node in self._fitting()), default=0.0)
        options = {"memory": int(min(memory, most))} if most else {}
        if self._gpus:
            options["num_gpus"] = self._gpus  # type: ignore[assignment]
        sent = self._make.options(**options).remote(
            replace(task, data=data), VERSION, self._weights, *photos
        )
        self._waiting[sent] = task.number

    def _photo(self, like: Like) -> Any:
        """Return a caricature's photo as it travels, once for all tasks: by the name of a file."""
        if like.sha256 not in self._photos:
            name = like.sha256 + Path(like.name).suffix
            self._photos[like.sha256] = self._ray.put({name: reading.read(like.path)})
        return self._photos[like.sha256]

    def wait(self, seconds: float) -> list[Event]:
        """Return what has come back."""
        events, self._early = self._early, []
        if not self._waiting or events:
            return events
        if self._fitting():
            self._nodeless = None
        elif self._nodeless is None:
            self._nodeless = time.monotonic()
        elif time.monotonic() - self._nodeless > NODELESS:
            return self._give_back("no node is left that could make it")
        # All that is there: one at a time would ask anew for each.
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
        for reference in dict.fromkeys([*ready, *more]):
            number = self._waiting.pop(reference)
            try:
                events.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                events.append(self._lost(number, error))
        return events

    def halt(self) -> None:
        """Take back what waits for a node: what was sent first is what runs."""
        if self._halted:
            return
        self._halted = True
        for reference in list(self._waiting)[self._slots() :]:
            self._ray.cancel(reference)

    def _lost(self, number: int, error: Exception) -> Event:
        if isinstance(error, self._ray.exceptions.TaskCancelledError):
            return Dropped(number)
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, ModuleNotFoundError):
            return Failed(
                number,
                DeviceError.exit_code,
                f"A node of the cluster lacks a package: {cause}.",
                "Install dreamer on every node.",
            )
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        return Lost(number, f"the cluster lost its worker ({reason[:200]})")

    def _give_back(self, reason: str) -> list[Event]:
        """Take back everything that waits."""
        for reference in self._waiting:
            self._ray.cancel(reference, force=True)
        lost: list[Event] = [Lost(number, reason) for number in self._waiting.values()]
        self._waiting, self._nodeless = {}, None
        return lost

    def close(self) -> None:
        """Cancel what runs, and leave the cluster."""
        with contextlib.suppress(self._ray.exceptions.RayError, ConnectionError):
            for reference in self._waiting:
                self._ray.cancel(reference, force=True)
        self._waiting = {}
        if self._ours:
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        environment = {"env_vars": {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000")}}
        try:
            _check_address(address)
            with _own_signals():
                self._ray.init(
                    address=address,
                    runtime_env=environment,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise DeviceError(
                f"There is no Ray cluster at '{address}'.",
                "Start one with `ray start --head`, or name its address: --cluster HOST:6379.",
            ) from error

    def _fitting(self) -> list[dict[str, float]]:
        """Return the resources of the nodes that can run a task."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [found for found in nodes if self._fit(found) > 0]

    def _fit(self, found: dict[str, float]) -> int:
        """Return how many tasks fit onto a node at once."""
        fit = found.get("CPU", 0.0) // self._threads
        if self._gpus:
            fit = min(fit, found.get("GPU", 0.0) // self._gpus)
        return int(fit)

    def _slots(self) -> int:
        """Return how many tasks the cluster can run at once."""
        return sum(map(self._fit, self._fitting()))


def make(task: Task, version: str, shipped: dict[str, bytes], *photos: dict[str, bytes]) -> Event:
    """Make one picture: what runs on a node.

    Args:
        task: with the photo's bytes.
        version: of the driver.
        shipped: the weights by the name of their file; empty if the node has them.
        photos: those that the target's caricatures are of, by their SHA-256 and suffix.
    """
    if version != VERSION:
        return Failed(
            task.number,
            DeviceError.exit_code,
            f"A node of the cluster has dreamer {VERSION}, not {version}.",
            "Install the same version on every node.",
        )
    paths = [_unpacked(photo) for photo in photos]
    files = task.look.files.moved({path.stem: str(path) for path in paths if path is not None})
    look = replace(task.look, chosen=_unpacked(shipped) or task.look.chosen, files=files)
    event = _here().make(replace(task, look=look))
    if isinstance(event, Lost):  # so is whatever this process would make next
        os._exit(1)
    return event


def _weights_of(look: Look) -> dict[str, bytes]:
    """Return the weights as they travel: nothing if the package brings them to every node."""
    published, checkpoint = weights.choose(look.row, look.chosen)
    if checkpoint is None and published.package is not None:
        return {}
    path = checkpoint or weights.fetch(look.row, published, offline=look.offline)
    return {path.name: path.read_bytes()}


_worker: Worker | None = None
_unpacking: tempfile.TemporaryDirectory[str] | None = None


def _here() -> Worker:
    """Return this process's worker, which keeps its network from task to task."""
    global _worker
    if _worker is None:
        from dreamer.render.batch.worker import Worker

        _worker = Worker()
    return _worker


def _unpacked(shipped: dict[str, bytes]) -> Path | None:
    """Write what travelled where it can be loaded from; it goes with the process."""
    global _unpacking
    for name, data in shipped.items():
        _unpacking = _unpacking or tempfile.TemporaryDirectory(prefix="dreamer-")
        path = Path(_unpacking.name) / name
        if not path.exists():
            path.write_bytes(data)
        return path
    return None


def _check_address(address: str) -> None:
    """Raise an OSError if nobody answers at an address of a host and a port: Ray would wait."""
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers that are set: Ray puts its own in their place."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread
            for number, handler in before.items():
                signal.signal(number, handler)
