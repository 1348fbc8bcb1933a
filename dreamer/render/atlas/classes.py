"""The classes that a channel feeds: how much of a class's logit comes by way of it.

Linear attribution as in Olah et al., "The Building Blocks of Interpretability" (Distill 2018): the
gradient of the logit by the channel's activations, times the activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from dreamer.networks import imagenet
from dreamer.networks.network import Network
from dreamer.networks.rows import LOGITS

CANDIDATES = 12
NOISES = 8
"""Pictures of noise that a batch's logits are compared with, beside each other."""


def fed(
    network: Network, layer: str, channels: Sequence[int], pictures: Tensor, count: int = 3
) -> list[list[tuple[str, float]]]:
    """Name the classes that channels feed, on their own pictures.

    Of each picture the classes are looked at whose logits rise most above what the other pictures,
    and noise, bring them to.

    Args:
        network: which knows ImageNet's classes; others feed none.
        layer: its name.
        channels: the numbers of its channels.
        pictures: one a channel, `(N, 3, H, W)` in 0..1.
        count: classes of a channel, at most.

    Returns:
        For each channel the names of classes and the part of their logit that is due to the
        channel, the most first: only what is above zero.
    """
    if network.row.layers[-1].name != LOGITS or network.row.layers[-1].channels != imagenet.COUNT:
        return [[] for _ in channels]
    pictures = pictures.to(network.device)
    if network.row.layer(layer).name == LOGITS:
        return [[(imagenet.name(channel), 1.0)] for channel in channels]
    with torch.inference_mode(False), torch.enable_grad():
        # Nobody asks for the gradient of the pixels: they have the network keep its graph.
        both = network.features([layer, LOGITS])(pictures.clone().requires_grad_())
        activations, logits = both[network.row.layer(layer).name], both[LOGITS].flatten(1)
        rises = logits.detach() - _usual(network, pictures, logits.detach())
        candidates = rises.topk(CANDIDATES, dim=1).indices
        path = _Path(activations, logits, channels)
        shares = torch.stack(
            [path.shares(logits.gather(1, each[:, None]).sum()) for each in candidates.unbind(1)], 1
        )
    return [
        _named(classes, values, count)
        for classes, values in zip(candidates.tolist(), shares.tolist(), strict=True)
    ]


@torch.no_grad()
def _usual(network: Network, pictures: Tensor, logits: Tensor) -> Tensor:
    """Return what the classes' logits are without the channel: the mean of others', `(1, 1000)`."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(NOISES, *pictures.shape[1:], generator=generator).to(pictures)
    plain = network.features([LOGITS])(noise)[LOGITS].flatten(1)
    return torch.cat([logits, plain]).mean(0, keepdim=True)


class _Path:
    """The way from channels of a layer to the logits.

    What a network returns of a layer may be a copy, in another layout, of what it went on with,
    which it may since have worked on in place. So the gradient is taken where the two part, and so
    is what the channels bring there.

    Args:
        activations: `(N, C, h, w)`, of a graph.
        logits: `(N, K)`, of the same graph.
        channels: one a picture.
    """

    def __init__(self, activations: Tensor, logits: Tensor, channels: Sequence[int]) -> None:
        own = torch.zeros_like(activations)
        each = torch.arange(len(own)), torch.as_tensor(tuple(channels))
        own[each] = activations.detach()[each]
        self._pictures = len(own)
        self._places = _partings(activations, logits)
        self._parts = torch.autograd.grad(activations, self._places, own, retain_graph=True)

    def shares(self, logit: Tensor) -> Tensor:
        """Return what the channels bring to a logit of each picture, `(N,)`.

        Args:
            logit: the sum of the pictures': none has a say in another's.
        """
        gradients = torch.autograd.grad(logit, self._places, retain_graph=True)
        found = torch.zeros(self._pictures, device=logit.device)
        for gradient, part in zip(gradients, self._parts, strict=True):
            # Of windows, one after another, the first of all pictures come first.
            products = (gradient * part).flatten(1).sum(1)
            found += products.view(-1, self._pictures).sum(0)
        return found


def _partings(activations: Tensor, logits: Tensor) -> list[GradientEdge]:
    """Return the last places on the way to activations that are on the way to the logits too."""
    on_the_way, waiting = set(), [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in on_the_way:
            on_the_way.add(node)
            waiting += [before for before, _ in node.next_functions]
    found: dict[GradientEdge, None] = {}
    edges = [get_gradient_edge(activations)]
    while edges:
        edge = edges.pop()
        if edge.node in on_the_way:
            found[edge] = None
        else:
            edges += [
                GradientEdge(node, output)
                for node, output in edge.node.next_functions
                if node is not None
            ]
    return list(found)


def _named(classes: Sequence[int], values: Sequence[float], count: int) -> list[tuple[str, float]]:
    order = sorted(range(len(classes)), key=lambda at: -values[at])[:count]
    return [(imagenet.name(classes[at]), values[at]) for at in order if values[at] > 0]
