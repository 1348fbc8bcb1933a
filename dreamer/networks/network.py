"""A trained network, frozen: what the rest of the program sees of it."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from dreamer.networks import checkpoints, rows
from dreamer.networks import weights as files
from dreamer.networks.rows import Row, Weights

if TYPE_CHECKING:
    from dreamer.networks.efficientnet_lite import EfficientNetLite

KEPT_CUTS = 8
NOISE_SIDE = 64
# Keeps of a network what some layers need: names of layers -> normalised pixels -> activations.
Cut: TypeAlias = Callable[[Sequence[str]], nn.Module]


class Features(nn.Module):
    """A network cut after the deepest of the wanted layers.

    Args:
        body: maps normalised pixels to `(N, C, h, w)` by layer name.
        row: the network's row.
        published: the weights' row, for the normalisation.
        memory_format: of the pixels that the body is given.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        row: Row,
        published: Weights,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.body = body
        self.row = row
        self.memory_format = memory_format
        self.register_buffer("mean", torch.tensor(published.mean).view(1, 3, 1, 1), False)
        self.register_buffer("std", torch.tensor(published.std).view(1, 3, 1, 1), False)
        self.eval()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return what the wanted layers respond.

        Args:
            pixels: RGB in 0 to 1, `(N, 3, H, W)`, neither side below the row's minimum. Gradients
                flow to it, and to nothing else.

        Returns:
            `(N, C, h, w)` by layer name; `(N, 1000, 1, 1)` for "logits".
        """
        self.row.check_size(pixels.shape[3], pixels.shape[2], "The picture")
        x = (pixels - self.mean) / self.std
        activations: dict[str, Tensor] = self.body(x.contiguous(memory_format=self.memory_format))
        return activations


class Network:
    """A network with its weights, frozen and in evaluation mode.

    Attributes:
        row: what is known about it.
        published: the row of its weights; with a local checkpoint, of the default ones, whose
            normalisation it shares.
        weights_sha256: SHA-256 of the weights' file; "random:SEED" for random weights; of the
            state dict's names, shapes and bytes for a module of the user's own.
    """

    def __init__(
        self,
        row: Row,
        published: Weights,
        weights_sha256: str,
        cut: Cut,
        device: torch.device,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.row = row
        self.published = published
        self.weights_sha256 = weights_sha256
        self.device = device
        self.memory_format = memory_format
        self._cut = cut
        self._cuts: OrderedDict[tuple[str, ...], Features] = OrderedDict()
        self._rectified: dict[str, bool] = {}

    @classmethod
    @torch.inference_mode(False)
    def from_module(
        cls,
        module: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        name: str | None = None,
        size: int = 224,
        layers: Sequence[str] | None = None,
    ) -> Network:
        """Take any trained module: its layers are found by running it on pictures of noise.

        Layers are the submodules that are called once and answer with channels, in execution
        order, and "logits" if the module returns `(N, K)`. An activation `X` (ReLU, GELU, ...) is
        a layer after it, and `X.pre` is the layer before it. The module is never changed: in every
        forward it is frozen and in evaluation mode, nothing past the deepest wanted layer is
        computed, and then it is again as it was. The weights' hash is of the moment: call this
        again after training on.

        Args:
            module: maps pictures `(N, 3, H, W)`, normalised, to anything.
            mean: what is subtracted from RGB in 0 to 1.
            std: what it is then divided by.
            name: what to call it; its class's name by default.
            size: side of the pictures that it was trained with, px. A module that takes no other
                is shown larger pictures in windows of this size.
            layers: which to list; all by default.

        Raises:
            UsageError: what is given is no module, or not three numbers, or names no layer.
            NetworkError: the module fails on a picture, its weights or answers are not finite, it
                is spread over devices, or nothing in it can be a layer.
        """
        from dreamer.networks import modules

        found = modules.examine(module, mean, std, name=name, size=size, layers=layers)
        weights = found.row.published()
        return cls(
            found.row,
            weights,
            weights.sha256,
            found.cut,
            found.device,
            torch.contiguous_format,  # as the user's own code has it, which may call `view`
        )

    def __repr__(self) -> str:
        return f"Network({self.row.name}, {self.weights_sha256[:8]}, {self.device})"

    def features(self, layers: Sequence[str]) -> Features:
        """Cut the network after the deepest of `layers`; the weights are shared by all cuts.

        Args:
            layers: names or aliases; the activations come under the row's own names. `UsageError`
                for an unknown one.
        """
        wanted = {self.row.layer(name).name for name in layers}
        key = tuple(layer.name for layer in self.row.layers if layer.name in wanted)
        if not key:
            raise ValueError("a network is cut after at least one layer")
        if key not in self._cuts:
            body = self._cut(key)
            features = Features(body, self.row, self.published, self.memory_format)
            self._cuts[key] = features.to(self.device)
            if len(self._cuts) > KEPT_CUTS:
                self._cuts.popitem(last=False)
        self._cuts.move_to_end(key)
        return self._cuts[key]

    @torch.inference_mode(False)
    def rectified(self, layer: str) -> bool:
        """Tell whether a layer never answers below zero, as after a ReLU.

        Judged on one small picture of noise, once a layer.

        Args:
            layer: a name or an alias; `UsageError` for an unknown one.
        """
        name = self.row.layer(layer).name
        if name not in self._rectified:
            side = self.published.window or max(self.row.minimum, NOISE_SIDE)
            noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                maps = self.features([name])(noise.to(self.device))[name]
            self._rectified[name] = bool(maps.min() >= 0)
        return self._rectified[name]


class _LiteCut(nn.Module):
    """The embedded network up to the deepest of some layers."""

    def __init__(self, network: EfficientNetLite, layers: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.layers = tuple(layers)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.network(x, self.layers)  # type: ignore[no-any-return]


@torch.inference_mode(False)
def load(
    name: str,
    *,
    weights: str | Path | None = None,
    offline: bool = False,
    device: str | torch.device = "cpu",
    random_seed: int | None = None,
) -> Network:
    """Load a network, fetching its weights if they are not on this machine.

    Args:
        name: a row's name.
        weights: the name of published weights, or a local checkpoint; None for the default.
        offline: never fetch.
        device: where to put it.
        random_seed: take random weights instead of trained ones: for tests and benchmarks.

    Raises:
        UsageError: an unknown network, or unknown weights.
        NetworkError: the weights cannot be had, or are not of this network.
        OutputError: the cache cannot be written.
    """
    row = rows.row(name)
    published, path = files.choose(row, weights)
    if random_seed is not None:
        digest = f"random:{random_seed}"
        cut = _randomised(row, published, random_seed)
    else:
        verified = path is None
        if path is None:
            path = files.fetch(row, published, offline=offline)
            digest = files.verify(row, published)
        else:
            digest = files.sha256(path)
        cut = _trained(row, published, path, verified, (digest, str(device)))
    return Network(row, published, digest, cut, torch.device(device))


# Embedded networks that were read and folded, by name, SHA-256 and device: they are small.
_folded: dict[tuple[str, ...], EfficientNetLite] = {}


def _trained(row: Row, published: Weights, path: Path, verified: bool, key: tuple[str, ...]) -> Cut:
    if row.embedded:
        key = (row.name, *key)
        if key not in _folded:
            _folded[key] = _trained_lite(row, checkpoints.read(path, verified=verified), path)
        return partial(_LiteCut, _folded[key])
    state = checkpoints.read(path, verified=verified)
    from dreamer.networks import zoo

    published = replace(published, window=_window(row, published, state))
    network = zoo.skeleton(row, published)
    checkpoints.fill(network, state, row, path)
    return _torchvision(network, row, published)


def _window(row: Row, published: Weights, state: Mapping[str, Tensor]) -> int | None:
    """Read off a vision transformer's checkpoint the picture size that it was trained for."""
    positions = state.get("encoder.pos_embedding")
    if row.axis != "tokens" or positions is None or positions.ndim != 3:
        return published.window
    return math.isqrt(positions.shape[1] - 1) * row.layers[0].stride


def _trained_lite(row: Row, state: Mapping[str, Tensor], path: Path) -> EfficientNetLite:
    from dreamer.networks import efficientnet_lite

    try:
        return efficientnet_lite.build(row.name, state)
    except KeyError as error:
        raise checkpoints.mismatch(row, path, "missing", [str(error.args[0])]) from error
    except RuntimeError as error:
        found = re.findall(r"for (\S+): .*?\[([\d, ]*)\].*?\[([\d, ]*)\]", str(error))
        reasons = [f"{name} ({given}) instead of ({wanted})" for name, given, wanted in found]
        raise checkpoints.mismatch(row, path, "differing", reasons or ["shapes"]) from error


def _randomised(row: Row, published: Weights, seed: int) -> Cut:
    if not row.embedded:
        from dreamer.networks import zoo

        return _torchvision(zoo.randomised(row, published, seed), row, published)
    from dreamer.networks import efficientnet_lite

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = efficientnet_lite.EfficientNetLite(row.name)
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if name.endswith("project"):  # no ReLU follows that would halve the power
                    module.weight.data.mul_(0.5**0.5)
    return partial(_LiteCut, network.requires_grad_(False).eval())


def _torchvision(network: nn.Module, row: Row, published: Weights) -> Cut:
    from dreamer.networks import zoo

    network = zoo.fold(network).to(memory_format=torch.channels_last)
    return partial(zoo.cut, network, row, published)
