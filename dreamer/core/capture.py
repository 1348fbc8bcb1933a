"""A function of tensors as a CUDA graph: recorded once for each shape, then replayed.

A step of ascent on a small picture is hundreds of small kernels, and starting them takes longer
than running them. A graph starts all of them at once.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WARM = 3
"""How often a function runs as it is before it is recorded: libraries choose their ways, and
allocate what they need, in the first runs."""
MOST = 16
"""How many graphs are kept: those of a picture's octaves, for the next one of its size."""

Function = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass
class _Recorded:
    """A graph, and the tensors that it reads and writes wherever it is replayed.

    Attributes:
        function: what was recorded, which holds on to all other tensors that the graph reads.
    """

    graph: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    function: Function


@dataclass
class _Entry:
    """What is known of a function with arguments of some shapes."""

    runs: int = 0
    recorded: _Recorded | None = None


class Graphs:
    """Runs functions of tensors, as graphs where that can be.

    A function is run as it is for `WARM` times, in a stream beside the current one as capturing
    demands, and its results are used; then it is recorded, and from then on replayed. One that
    cannot be recorded, since it waits for the device for instance, goes on as it is. All graphs
    share their memory, since no two of them run at once and results are copied out.

    Args:
        api: `torch.cuda`, or what behaves like it.
        most: how many graphs are kept; of more, those that were used last.
    """

    def __init__(self, api: Any = torch.cuda, *, most: int = MOST) -> None:
        self._api = api
        self._most = most
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._refused: dict[Hashable, str] = {}
        self._beside: Any = None
        self._pool: Any = None

    def __len__(self) -> int:
        return sum(entry.recorded is not None for entry in self._entries.values())

    def __call__(
        self, key: Hashable, function: Function, inputs: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], str]:
        """Return what `function` makes of `inputs`, and why it is no graph if it cannot be one.

        Args:
            key: stands for all that `function` does; the shapes of the inputs are added to it.
            function: computes with its inputs and what `key` stands for, and with nothing that
                changes from call to call.
            inputs: all on one device.
        """
        shaped = (key, *((each.shape, each.dtype) for each in inputs))
        entry = self._entries.setdefault(shaped, _Entry())
        self._entries.move_to_end(shaped)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        with self._api.device(inputs[0].device):
            refused = self._refused.get(key) or self._refused.get(shaped, "")
            if entry.recorded is None and not refused and entry.runs >= WARM:
                try:
                    entry.recorded = self._record(function, inputs)
                except torch.OutOfMemoryError:
                    refused = self._refused[shaped] = "there is not enough memory"
                    self.release()
                except RuntimeError as error:  # as CUDA says that something cannot be captured
                    refused = self._refused[key] = _first_line(error)
            if entry.recorded is not None:
                return self._replay(entry.recorded, inputs), ""
            entry.runs += 1
            return self._run(function, inputs, beside=not refused), refused

    def release(self) -> None:
        """Give up the graphs and their memory; what could not be recorded stays known."""
        for entry in self._entries.values():
            entry.recorded, entry.runs = None, 0
        self._pool = None
        self._api.empty_cache()

    def _run(
        self, function: Function, inputs: Sequence[Tensor], *, beside: bool
    ) -> tuple[Tensor, ...]:
        """Run a function as it is; if the graphs' memory is what is missing, without them."""
        try:
            with self._stream() if beside else contextlib.nullcontext():
                return tuple(function(inputs))
        except torch.OutOfMemoryError:
            if not len(self):
                raise
        self.release()
        with self._stream() if beside else contextlib.nullcontext():
            return tuple(function(inputs))

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """Work in the stream beside the current one, and in turn with it."""
        if self._beside is None:
            self._beside = self._api.Stream()
        current = self._api.current_stream()
        self._beside.wait_stream(current)
        try:
            with self._api.stream(self._beside):
                yield
        finally:
            current.wait_stream(self._beside)

    def _record(self, function: Function, inputs: Sequence[Tensor]) -> _Recorded:
        """Record a function.

        Raises:
            RuntimeError: it cannot be captured; an `OutOfMemoryError` if memory is what is missing.
        """
        if self._pool is None:
            self._pool = self._api.graph_pool_handle()
        static = tuple(each.detach().clone() for each in inputs)
        graph = self._api.CUDAGraph()
        try:
            # Other threads of a batch use the device meanwhile: only this one is restricted.
            with self._api.graph(
                graph, pool=self._pool, stream=self._beside, capture_error_mode="thread_local"
            ):
                outputs = tuple(function(static))
        except RuntimeError as error:
            # What a broken capture leaves behind is not used again; and ending it is an error of
            # its own, which says less than the first.
            self._pool = self._beside = None
            raise _cause(error) from None
        return _Recorded(graph, static, outputs, function)

    @staticmethod
    def _replay(recorded: _Recorded, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for static, given in zip(recorded.inputs, inputs, strict=True):
            static.copy_(given, non_blocking=True)
        recorded.graph.replay()
        return tuple(each.clone() for each in recorded.outputs)


def _cause(error: BaseException) -> BaseException:
    """Return the error that came first, of those that were raised while others were handled."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
