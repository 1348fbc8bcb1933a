"""Any module of the user's own as a network: looked at once, described by a row, run as it is.

The user's module stays the user's: see `dreamer.networks.borrowing`. Its layers are all modules in
it that are called exactly once and answer with channels; an activation module `X` is a layer after
it, and the layer `X.pre` is what it was given.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import RLock

import torch
from torch import Tensor, nn

from dreamer.errors import NetworkError, UsageError, unknown
from dreamer.networks import borrowing, probing
from dreamer.networks.borrowing import PRE, Tap, Trace
from dreamer.networks.layouts import Layout
from dreamer.networks.probing import Found, shapes
from dreamer.networks.rows import LEVEL_DEPTHS, LEVELS, LOGITS, Axis, Layer, Row, Weights
from dreamer.networks.windows import in_windows

# Layers this near to a level's depth are as good as each other: the least nested stands for it.
NEAR = 0.05
# Hooks, modes and flags of a module are there once, whoever runs it: one run at a time.
_ALONE = RLock()


@dataclass(frozen=True)
class ModuleRow(Row):
    """A row that was found by running a module.

    Attributes:
        unlisted: what cannot be used as a layer -> why, as a predicate.
    """

    unlisted: Mapping[str, str] = field(default_factory=dict)

    @property
    def listing(self) -> str:
        """What lists its layers."""
        return "`network.row.layers`"

    def layer(self, name: str) -> Layer:
        """Look up a layer by its name or alias.

        Raises:
            NetworkError: the module has it, but it has no channels to look at; it says why.
            UsageError: there is none of that name.
        """
        found = self._by_name.get(self.aliases.get(name, name))
        if found is not None:
            return found
        if name in self.unlisted:
            raise NetworkError(
                f"'{name}' of {self.name} cannot be used as a layer: it {self.unlisted[name]}.",
                "Use a module in it or around it; `network.row.layers` lists the layers.",
            )
        names = [*self._by_name, *self.aliases]
        raise unknown(f"layer of {self.name}", name, names, f"{self.listing} shows them all")


@dataclass(frozen=True)
class Examined:
    """What is known of a module.

    Attributes:
        row: its layers, and its weights' row.
        cut: keeps of it what some layers need.
        device: where its parameters are.
    """

    row: ModuleRow
    cut: partial[ModuleCut]
    device: torch.device


def examine(
    module: nn.Module,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    name: str | None = None,
    size: int = 224,
    layers: Sequence[str] | None = None,
) -> Examined:
    """Run a module on a few pictures of noise, and describe it.

    The arguments and errors are those of `Network.from_module`.
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile: hooks would compile anew
    name = _check_arguments(module, name, size)
    statistics = (_three("mean", mean), _three("std", std))
    if min(statistics[1]) <= 0:
        raise UsageError(
            f"The std {statistics[1]} is not above zero.", "Give three numbers above zero."
        )
    device = _device(module, name)
    _check_values(module, name)
    probe = partial(probing.probe, module, *statistics)
    first = probe(size, size)
    _check_run(first, name, size)
    wide, odd = (shapes(probe(*sides)) for sides in ((size, 2 * size), (size + 1, size + 3)))
    found = Found(module, first, wide, odd, size)
    if not found.layouts:
        raise NetworkError(
            f"{name} has no layer with an axis of channels.",
            "Layers are its submodules: put what it computes into submodules, "
            "such as those of nn.Sequential.",
        )
    listed = _chosen(found, name, layers)
    fixed = frozenset(found.layouts) - found.free
    weights = Weights(
        name="MODULE",
        url="",
        sha256=digest(module),
        size=sum(each.numel() * each.element_size() for each in _state(module).values()),
        mean=statistics[0],
        std=statistics[1],
        licence="",
        window=size if fixed else None,
    )
    kinds = {layout.kind for layout in found.layouts.values()}
    axes: tuple[Axis, ...] = ("tokens", "nhwc")
    row = ModuleRow(
        name=name,
        minimum=probing.smallest(probe, found, size),
        axis=next((axis for axis in axes if axis in kinds), "nchw"),
        weights=(weights,),
        layers=listed,
        levels=_levels(listed, found),
        aliases={
            alias: layer
            for alias, layer in found.aliases.items()
            if layer in {each.name for each in listed}
        },
        unlisted=found.unlisted,
    )
    return Examined(row, partial(ModuleCut, module, row, found.layouts, fixed), device)


class ModuleCut(nn.Module):
    """Runs the user's module up to the deepest of some layers.

    Args:
        module: the user's. It is kept in a tuple, where `eval()` and `to()` do not reach it.
        row: what is known about it.
        layouts: of all its layers.
        fixed: the layers that take pictures of the row's window only.
        layers: those wanted.
    """

    def __init__(
        self,
        module: nn.Module,
        row: ModuleRow,
        layouts: Mapping[str, Layout],
        fixed: frozenset[str],
        layers: Sequence[str],
    ) -> None:
        super().__init__()
        self._users = (module,)
        self.row = row
        self.layouts = {name: layouts[name] for name in layers}
        named = dict(module.named_modules())
        # A submodule of that name is what is meant, rather than what becomes of it.
        self.whole = LOGITS in layers and LOGITS not in named
        wanted = [name for name in layers if not (self.whole and name == LOGITS)]
        self.taps = {name: _tap(name, named) for name in wanted}
        self.window = row.window if fixed.intersection(layers) else None
        strides = [layout.stride for layout in layouts.values() if layout.stride]
        step = math.lcm(*strides)
        self.step = step if self.window and self.window % step == 0 else (self.window or step)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return `(N, C, h, w)` by layer, float32.

        Args:
            x: normalised pixels `(N, 3, H, W)`.

        Raises:
            NetworkError: a layer was not called, answered unlike it did in `examine`, or passes
                no gradient on.
        """
        if self.window is None:
            return self._run(x)
        return in_windows(self._run, x, self.window, self.step)

    def _run(self, x: Tensor) -> dict[str, Tensor]:
        (module,) = self._users
        with _ALONE:
            heard, output = borrowing.activations(
                module, probing.like(module, x), self.taps, whole=self.whole
            )
        if self.whole:
            heard[LOGITS] = borrowing.first_scores(output)
        maps = {}
        for name, layout in self.layouts.items():
            value = heard.get(name)
            if value is None:
                raise self._changed(name, "was not called this time")
            laid = layout.maps(value, *x.shape[2:]) if isinstance(value, Tensor) else None
            if laid is None or len(laid) != len(x):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise self._changed(
                    name,
                    f"changes shape: it returned {shape} instead of {layout.channels} channels "
                    f"({layout.kind}) for {len(x)} pictures of {x.shape[3]}x{x.shape[2]}",
                )
            if x.requires_grad and torch.is_grad_enabled() and not laid.requires_grad:
                raise NetworkError(
                    f"Layer '{name}' of {self.row.name} passes no gradient on to the picture.",
                    "Its module computes under torch.no_grad() or detaches what it computed: "
                    "take that out of its forward.",
                )
            maps[name] = laid.to(x.device, torch.float32)
        return maps

    def _changed(self, name: str, what: str) -> NetworkError:
        return NetworkError(
            f"Layer '{name}' of {self.row.name} {what}.",
            "Call Network.from_module again if the module was changed; otherwise choose a layer "
            "that answers alike every time.",
        )


def _tap(name: str, named: Mapping[str, nn.Module]) -> Tap:
    """Return where to listen for a layer."""
    return Tap(name) if name in named else Tap(name.removesuffix(PRE), before=True)


def digest(module: nn.Module) -> str:
    """Return the SHA-256 of a state dict: names, shapes and bytes, in order."""
    found = hashlib.sha256()
    for name, value in _state(module).items():
        found.update(f"{name} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: v for name, v in module.state_dict().items() if isinstance(v, Tensor)}


def _chosen(found: Found, name: str, wanted: Sequence[str] | None) -> tuple[Layer, ...]:
    """Return the layers to list: all, or those that were asked for."""
    every = tuple(
        Layer(layer, layout.channels, layout.stride, found.depths[layer])
        for layer, layout in found.layouts.items()
    )
    if wanted is None:
        return every
    whole = ModuleRow(name, 1, "nchw", (), every, {}, found.aliases, unlisted=found.unlisted)
    names = {whole.layer(layer).name for layer in wanted}
    if not names:
        raise UsageError("No layers were chosen.", "Name some, or leave `layers` out for all.")
    return tuple(layer for layer in every if layer.name in names)


def _levels(listed: Sequence[Layer], found: Found) -> dict[str, tuple[str, ...]]:
    """Choose for each detail level the layer at its depth: blocks rather than what is in them."""
    maps = [
        layer
        for layer in listed
        if layer.stride and not layer.name.endswith(PRE) and not found.layouts[layer.name].pooled
    ] or listed
    nested = {layer.name: layer.name.count(".") for layer in maps}
    for alias, name in found.aliases.items():
        if name in nested:
            nested[name] = min(nested[name], alias.count("."))
    levels: dict[str, tuple[str, ...]] = {}
    for level in LEVELS:
        off = {layer.name: abs(layer.depth - LEVEL_DEPTHS[level]) for layer in maps}
        near = [name for name in off if off[name] <= min(off.values()) + NEAR]
        least = min(nested[name] for name in near)
        near = [name for name in near if nested[name] == least]
        # After the activation rather than before it.
        levels[level] = (min(reversed(near), key=off.__getitem__),)
    return levels


def _check_arguments(module: object, name: str | None, size: object) -> str:
    """Return the name to use."""
    if not isinstance(module, nn.Module):
        what = f"The class {module.__name__}" if isinstance(module, type) else repr(module)[:60]
        raise UsageError(
            f"{what} is not an nn.Module.",
            "Give the network itself: an object made from its class, with its weights loaded.",
        )
    if type(size) is not int or size < 1:
        raise UsageError(
            f"{size!r} is not valid for size.", "Give the side of a picture in pixels, such as 224."
        )
    name = type(module).__name__ if name is None else name
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise UsageError(f"{name!r} is not valid for name.", "Give a word that names the network.")
    return name


def _three(what: str, values: Sequence[float]) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(map(math.isfinite, (red, green, blue))):
        raise UsageError(
            f"{values!r} is not valid for {what}.",
            "Give three numbers, one each for red, green and blue in 0..1, such as "
            "(0.485, 0.456, 0.406).",
        )
    return red, green, blue


def _device(module: nn.Module, name: str) -> torch.device:
    devices = {each.device for each in (*module.parameters(), *module.buffers())}
    if len(devices) > 1:
        spread = " and ".join(sorted(map(str, devices)))
        raise NetworkError(
            f"{name} is spread over several devices: {spread}.",
            "Move all of it to one, such as `module.to('cpu')`.",
        )
    return devices.pop() if devices else torch.device("cpu")


def _check_values(module: nn.Module, name: str) -> None:
    """Refuse modules that cannot be listened to, and weights that cannot be computed with."""
    if any(isinstance(each, torch.jit.ScriptModule) for each in module.modules()):
        raise NetworkError(
            f"{name} is compiled to TorchScript, where its layers cannot be heard.",
            "Give the module that it was made from, with its weights loaded.",
        )
    for path, each in (*module.named_parameters(), *module.named_buffers()):
        if each.is_meta or each.is_inference():
            place = "on the meta device" if each.is_meta else "in torch.inference_mode()"
            raise NetworkError(
                f"'{path}' of {name} was made {place}, so no gradients can be computed with it.",
                "Build the module and load its weights outside of that.",
            )
    for path, parameter in module.named_parameters():
        if parameter.is_floating_point() and not parameter.isfinite().all():
            raise NetworkError(
                f"The parameter '{path}' of {name} holds values that are not finite numbers.",
                "Load weights that are whole, or train again with a smaller learning rate.",
            )


def _check_run(trace: Trace, name: str, size: int) -> None:
    """Refuse a module that fails on an ordinary picture, or answers with what are no numbers."""
    if trace.error is not None:
        said = (str(trace.error).strip().splitlines() or [""])[0]
        raise NetworkError(
            f"{name} fails on a picture (1, 3, {size}, {size}): "
            f"{type(trace.error).__name__}: {said[:200].rstrip('.')}.",
            "It must take RGB pictures (N, 3, H, W) and nothing else; give the side that it was "
            "trained with as `size`.",
        ) from trace.error
    for tensor in borrowing.tensors(trace.output):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NetworkError(
                f"{name} answers a picture with values that are not finite numbers.",
                "Check its weights, and mean and std; in half precision large values overflow: "
                "try `module.float()`.",
            )
