"""Torchvision's classification networks: built, frozen, folded, and cut after a layer.

Importing this module imports torchvision; nothing that only needs the embedded network does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from dreamer.networks.fused import CEILING, Convolution, ConvolutionReLU
from dreamer.networks.rows import LOGITS, Axis, Row, Weights
from dreamer.networks.windows import in_windows

# The published weights of these two expect RGB in -1 to 1, which the row's mean and std give;
# torchvision would convert from ImageNet's statistics once more. Auxiliary heads are for training.
_INCEPTION: Mapping[str, Any] = {
    "transform_input": False,
    "aux_logits": False,
    "init_weights": True,
}
BUILDER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": _INCEPTION,
    "inception_v3": _INCEPTION,
}
CALIBRATION_SIZE = 128
# The activations that can be computed with a convolution, and where they end.
_CEILINGS: Mapping[object, float] = {
    **dict.fromkeys((nn.ReLU, functional.relu, torch.relu, torch.relu_), math.inf),
    **dict.fromkeys((nn.ReLU6, functional.relu6), CEILING),
}


class _EmptyOnMeta(TorchFunctionMode):
    """Allocate `torch.empty` without memory.

    That is where parameters come from. All else is computed: the `meta` device itself would also
    take the arithmetic by which RegNet finds its widths.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def _build(row: Row, weights: Weights) -> nn.Module:
    options = dict(BUILDER_OPTIONS.get(row.name, {}))
    if row.name.startswith("vit_"):
        options["image_size"] = weights.window
    network: nn.Module = models.get_model(row.name, weights=None, **options)
    return network.requires_grad_(False).eval()


def skeleton(row: Row, weights: Weights) -> nn.Module:
    """Build a network whose parameters take no memory, to load a checkpoint into.

    Args:
        row: which network.
        weights: decides the window of the networks that take one size only.
    """
    with _EmptyOnMeta():
        return _build(row, weights)


def randomised(row: Row, weights: Weights, seed: int) -> nn.Module:
    """Build a network with random weights whose activations are of ordinary size at every depth.

    Initialised as torchvision does, but for classifiers that it sets to zero; then every BatchNorm
    takes its statistics from a few pictures of noise, without which activations fade or burst from
    block to block.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _build(row, weights)
        for module in network.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.kaiming_normal_(module.weight)
        side = weights.window or max(CALIBRATION_SIZE, row.minimum)
        # Each of its own colour, or the deepest maps would be all alike.
        noise = torch.randn(4, 3, side, side) + torch.randn(4, 3, 1, 1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = None  # the plain mean over the batches seen: this one
        with torch.no_grad():
            network(noise)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval().momentum = momentum
    return network


def fold(network: nn.Module) -> nn.Module:
    """Fold every BatchNorm that directly follows a convolution into it, in place.

    An identity takes the BatchNorm's place, so that every module keeps its name. What such a
    convolution itself returns changes, which is why no row lists one as a layer.
    """
    graph = fx.symbolic_trace(network).graph
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(
            norm := network.get_submodule(node.target), nn.BatchNorm2d
        ):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) > 1:
            continue
        convolution = network.get_submodule(source.target)
        if type(convolution) is nn.Conv2d and calls[source.target] == calls[node.target] == 1:
            folded = nn.utils.fuse_conv_bn_eval(convolution, norm)
            network.set_submodule(source.target, folded.requires_grad_(False))
            network.set_submodule(node.target, nn.Identity())
    return network


def cut(network: nn.Module, row: Row, weights: Weights, layers: Sequence[str]) -> nn.Module:
    """Keep of a network what its deepest wanted layer needs; the parameters are shared.

    Args:
        network: from `skeleton` with weights loaded, or from `randomised`.
        row: its row.
        weights: its weights' row.
        layers: names from the row, without aliases.

    Returns:
        A module that maps normalised pixels `(N, 3, H, W)` to `(N, C, h, w)` by layer name.
    """
    nodes = {name: name for name in layers if name != LOGITS}
    if LOGITS in layers:
        nodes[get_graph_node_names(network, suppress_diff_warning=True)[1][-1]] = LOGITS
    body = create_feature_extractor(network, nodes, suppress_diff_warning=True)
    _keep_taps(body)
    _fuse(body)
    step = max(layer.stride for layer in row.layers)
    return _Maps(body, row.axis, weights.window, step)


def _keep_taps(body: fx.GraphModule) -> None:
    """Copy every wanted activation that is used further on: what follows may work in place."""
    (output,) = (node for node in body.graph.nodes if node.op == "output")
    for node in list(output.all_input_nodes):
        if len(node.users) > 1:
            with body.graph.inserting_after(node):
                kept = body.graph.call_function(torch.clone, (node,))
            output.replace_input_with(node, kept)
    body.recompile()


def _fuse(body: fx.GraphModule) -> None:
    """Let every ReLU or ReLU6 that alone reads a convolution be computed with it."""
    modules = dict(body.named_modules())

    def module(node: fx.Node) -> nn.Module | None:
        return modules[str(node.target)] if node.op == "call_module" else None

    for node in list(body.graph.nodes):
        here = module(node)
        if isinstance(here, nn.Sequential):  # torchvision's blocks of convolution, norm, activation
            *before, last = [each for each in here if not isinstance(each, nn.Identity)] or [here]
            convolution, source = before[0] if len(before) == 1 else None, node
            ceiling = _CEILINGS.get(type(last))
        else:
            ceiling = _CEILINGS.get(node.target if node.op == "call_function" else type(here))
            if ceiling is None:
                continue
            source = node.args[0]
            while len(source.users) == 1 and isinstance(module(source), nn.Identity):
                source = source.args[0]  # where a BatchNorm was
            convolution = module(source) if len(source.users) == 1 else None
        if ceiling is None or convolution is None or not Convolution.possible(convolution):
            continue
        name = f"{node.name}_fused"
        body.add_module(name, ConvolutionReLU(convolution, ceiling))
        with body.graph.inserting_before(node):
            node.replace_all_uses_with(body.graph.call_module(name, (source.args[0],)))
        body.graph.erase_node(node)
    body.graph.eliminate_dead_code()
    body.recompile()


class _Maps(nn.Module):
    """Runs a cut network and lays out what it returns as `(N, C, h, w)`."""

    def __init__(self, body: nn.Module, axis: Axis, window: int | None, step: int) -> None:
        super().__init__()
        self.body = body
        self.axis = axis
        self.window = window
        self.step = step

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.window is None:
            return self._run(x)
        return in_windows(self._run, x, self.window, self.step)

    def _run(self, x: Tensor) -> dict[str, Tensor]:
        return {name: as_maps(value, self.axis) for name, value in self.body(x).items()}


def as_maps(x: Tensor, axis: Axis) -> Tensor:
    """Lay out an activation as `(N, C, h, w)`.

    Args:
        x: `(N, C)`; or `(N, 1 + h * h, C)`, tokens of which the first, the class token, is
            dropped; or `(N, C, h, w)`, for "nhwc" `(N, h, w, C)`.
        axis: the layout of the network's maps.
    """
    if x.ndim == 2:
        return x[:, :, None, None]
    if x.ndim == 3:
        side = round((x.shape[1] - 1) ** 0.5)
        return x[:, 1:].transpose(1, 2).reshape(len(x), -1, side, side)
    return x.permute(0, 3, 1, 2) if axis == "nhwc" else x
