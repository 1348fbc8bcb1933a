"""What a module's layers are, found by showing it a few pictures of noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from dreamer.networks import borrowing, layouts
from dreamer.networks.borrowing import PRE, Call, Trace
from dreamer.networks.layouts import Layout, Shape
from dreamer.networks.rows import LOGITS

# Networks run on smaller pictures than this, but nothing is to be seen in them.
SMALLEST = 32
_DONE = ""  # among what a run has done: it came to its end


def like(module: nn.Module, x: Tensor) -> Tensor:
    """Bring pixels to where a module is, in its precision."""
    for each in (*module.parameters(), *module.buffers()):
        if each.is_floating_point():
            return x.to(each.device, each.dtype)
    return x


def probe(
    module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], height: int, width: int
) -> Trace:
    """Show a module one picture of noise; `mean` and `std` normalise it."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, height, width, generator=random)
    x = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    return borrowing.trace(module, like(module, x))


def shapes(trace: Trace) -> dict[str, tuple[Shape, int]]:
    """Return the shapes that tensors had and how often each layer was called."""
    found = {
        name: (tuple(call.value.shape), call.times)
        for name, call in trace.calls.items()
        if isinstance(call.value, Tensor)
    }
    if trace.error is None:
        found[_DONE] = ((), 1)
        scores = borrowing.first_scores(trace.output)
        if scores is not None:
            found.setdefault(LOGITS, (tuple(scores.shape), 1))
    return found


class Found:
    """What the runs of a module tell together.

    Attributes:
        layouts: by the layer's name, in execution order, "logits" last.
        depths: by the layer's name.
        aliases: other names of layers -> their names.
        unlisted: what is no layer -> why.
        free: the layers that take pictures of any size.
    """

    def __init__(
        self,
        module: nn.Module,
        first: Trace,
        wide: Mapping[str, tuple[Shape, int]],
        odd: Mapping[str, tuple[Shape, int]],
        size: int,
    ) -> None:
        self.layouts: dict[str, Layout] = {}
        self.depths: dict[str, float] = {}
        self.aliases: dict[str, str] = {}
        self.unlisted: dict[str, str] = {}
        named = dict(module.named_modules())
        calls = dict(first.calls)
        names: dict[tuple[int, int] | None, str] = {}
        scores = borrowing.first_scores(first.output)
        if scores is not None and LOGITS not in named:
            last = Call(scores, (id(scores), scores._version), first.weighted)
            same = wide[LOGITS][0] if LOGITS in wide else None
            if isinstance(layouts.read(tuple(scores.shape), same, size, module), Layout):
                names[last.key] = LOGITS
                calls[LOGITS] = last
        whole = first.weighted or len(calls)
        for order, (name, call) in enumerate(calls.items(), 1):
            times = max(call.times, *(run.get(name, ((), 1))[1] for run in (wide, odd)))
            reason = _no_layer(call.value, times)
            key = None if name.endswith(PRE) else call.key
            if reason is None and key is not None and names.get(key, name) != name:
                self.aliases[name] = names[key]
                continue
            shape = wide[name][0] if name in wide else None
            layer = named.get(name.removesuffix(PRE), module)
            read = reason or layouts.read(tuple(call.value.shape), shape, size, layer)
            if isinstance(read, str):
                self.unlisted[name] = read
                continue
            if key is not None:
                names.setdefault(key, name)
            self.layouts[name] = read
            done = call.weighted if first.weighted else order
            self.depths[name] = 1.0 if name == LOGITS else round(done / whole, 4)
        if LOGITS in self.layouts:
            self.layouts[LOGITS] = self.layouts.pop(LOGITS)
        self._drop_attention(calls)
        for path, each in module.named_modules(remove_duplicate=False):
            self._add_other_names(path, each, named)
        self.free = frozenset(name for name in self.layouts if name in wide and name in odd)

    def _drop_attention(self, calls: Mapping[str, Call]) -> None:
        """Take out what has a row and a column for every token: it looks like a map."""
        tokens = {
            calls[name].value.shape[1 if layout.kind == "tokens" else 2]
            for name, layout in self.layouts.items()
            if layout.kind in ("tokens", "sequence")
        }
        for name in list(self.layouts):
            shape = calls[name].value.shape
            if len(shape) == 4 and shape[2] == shape[3] and shape[2] in tokens:
                del self.layouts[name]
                self.unlisted[name] = f"returns {tuple(shape)}: what tokens have to do with another"

    def _add_other_names(self, path: str, each: nn.Module, named: Mapping[str, nn.Module]) -> None:
        """Enter a module that is not called, or that is registered under two names."""
        if not path or path in self.layouts or path in self.aliases or path in self.unlisted:
            return
        main = path if path in named else next(key for key in named if named[key] is each)
        if main in self.layouts:
            self.aliases[path] = main
        elif main in self.aliases:
            self.aliases[path] = self.aliases[main]
        else:
            self.unlisted[path] = self.unlisted.get(main, "is not called by the network")


def _no_layer(value: object, times: int) -> str | None:
    if times > 1:
        return f"is called {times} times in one run, so which of them is meant is ambiguous"
    if not isinstance(value, Tensor):
        kind = next((k.__name__ for k in (tuple, list, dict) if isinstance(value, k)), None)
        return f"returns a {kind or type(value).__name__}"
    if not value.is_floating_point():
        return f"returns {str(value.dtype).removeprefix('torch.')} numbers"
    return None


def smallest(probe: partial[Trace], found: Found, size: int) -> int:
    """Return the smallest side of a square that what takes any size takes.

    What takes a side takes all longer ones, so halving the range finds it.
    """
    coarsest = max((found.layouts[name].stride for name in found.free), default=1)
    low = high = min(size, max(SMALLEST, coarsest))
    if not found.free or found.free <= shapes(probe(low, low)).keys():
        return low
    high = size
    while low + 1 < high:
        middle = (low + high) // 2
        if found.free <= shapes(probe(middle, middle)).keys():
            high = middle
        else:
            low = middle
    return high
