"""What stands for `torch.cuda` where there is none: graphs that are recorded and replayed on CPU.

Recording notes every operation with the very tensors that it was called with, as CUDA notes
kernels with their addresses; replaying calls them again on whatever these hold by then. Waiting
for the device, and numbers that would come from the host, are refused while recording.
"""

import contextlib
from dataclasses import dataclass, field

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

REFUSED = "operation not permitted when stream is capturing"
WAITS = ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal")


class CUDAGraph:
    """A list of operations."""

    def __init__(self):
        self.calls = []
        self.replays = 0

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for function, arguments, named, results in self.calls:
            again = function(*arguments, **named)
            for old, new in zip(tensors(results), tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():  # else it is a view, or was changed in place
                    old.copy_(new)


def tensors(results):
    some = results if isinstance(results, list | tuple) else [results]
    return [each for each in some if isinstance(each, torch.Tensor)]


class _Recording(TorchDispatchMode):
    def __init__(self, graph, allocations):
        super().__init__()
        self.graph = graph
        self.left = allocations

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function.__name__.partition(".")[0] in WAITS:
            raise RuntimeError(f"CUDA error: {REFUSED}\nCompile with TORCH_USE_CUDA_DSA.")
        self.left -= 1
        if self.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        results = function(*arguments, **(named or {}))
        # The same memory, without what autograd knows of it.
        noted = tree_map_only(torch.Tensor, torch.Tensor.detach, (arguments, named or {}, results))
        self.graph.calls.append((function, *noted))
        return results


@dataclass(eq=False)
class Stream:
    """Notes what waits for what."""

    name: str = "beside"
    waited: list = field(default_factory=list)

    def wait_stream(self, other):
        self.waited.append(other.name)


class Cuda:
    """The part of `torch.cuda` that is used; `allocations` is what a recording may have."""

    def __init__(self, allocations=float("inf")):
        self.allocations = allocations
        self.graphs = []
        self.pools = []
        self.emptied = 0
        self.modes = []
        self.devices = []
        self.beside = []
        self.here = Stream("current")
        self.streams = [self.here]

    def Stream(self):  # noqa: N802
        self.beside.append(Stream())
        return self.beside[-1]

    def current_stream(self):
        return self.streams[-1]

    @contextlib.contextmanager
    def stream(self, stream):
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams.pop()

    @contextlib.contextmanager
    def device(self, device):
        self.devices.append(device)
        yield

    def CUDAGraph(self):  # noqa: N802
        return CUDAGraph()

    @contextlib.contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode):
        assert isinstance(stream, Stream)
        self.modes.append(capture_error_mode)
        self.pools.append(pool)
        try:
            with self.stream(stream), _Recording(graph, self.allocations):
                yield
        except RuntimeError as error:
            raise RuntimeError("CUDA error: a previous error ended the capture") from error
        self.graphs.append(graph)

    def graph_pool_handle(self):
        return object()

    def empty_cache(self):
        self.emptied += 1
