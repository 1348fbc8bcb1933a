"""What a network sees in a picture: classes, the channels that answer most, and where.

Tensors in, tensors out, but for the network. A picture is shown at the size that the network was
trained at: much larger ones look strange to it (measured here: a cat is 88% "Egyptian cat" with
224 px on its longer side, and 12% with 512).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F  # noqa: N812

from dreamer.core import ascent, sources
from dreamer.core.resampling import resample
from dreamer.errors import NetworkError
from dreamer.networks import imagenet
from dreamer.networks.network import Network
from dreamer.networks.rows import LOGITS, Row

SIGHT = 224
"""The longer side of what a network is shown, px, where nothing says what it was trained at."""
TOP = 0.1
"""The share of a channel's neurons, the strongest, that its response is the mean of."""
USUAL = 16
"""Pictures that a channel's usual response is measured on."""
MARGIN = 32
"""How far a picture is continued by its reflection where channels are asked, px at least. Along a
plain border, whose outside is zeros to a network, edges and textures light up that are not there.
"""
LEAVES = 500
ALIKE = 0.8
"""The correlation from which on two maps show the same."""
PATCHES = 9
"""Squares across the longer side that are covered in turn where there are no gradients."""
_BATCH = 8
_TINY = 1e-12
_SIGHTS = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


@dataclass(frozen=True)
class Usual:
    """How a layer answers usually.

    Attributes:
        mean: of single neurons, `(C,)`.
        spread: standard deviation of single neurons, `(C,)`.
        response: the mean response (see `responses`) to a picture, `(C,)`.
    """

    mean: Tensor
    spread: Tensor
    response: Tensor

    def above(self, maps: Tensor) -> Tensor:
        """Return how far each channel's response to a picture is above its usual one, `(C,)`.

        In standard deviations of the channel's single neurons. Raw activations cannot be compared:
        each channel has a scale and a bias of its own.

        Args:
            maps: `(C, h, w)`.
        """
        return (responses(maps[None])[0] - self.response) / self.spread.clamp_min(_TINY)


@dataclass(frozen=True)
class ClassSeen:
    """A class with its probability."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class ChannelSeen:
    """A channel, with how far its response is above its usual one, in standard deviations."""

    layer: str
    channel: int
    above: float


@dataclass(frozen=True)
class Seen:
    """What a network sees in one picture.

    Attributes:
        size: height and width that it was shown at, px.
        logits: `(1000,)`; None if the network does not tell ImageNet's classes.
        maps: what the layers answer, `(C, h, w)` by name.
        above: how far each channel is above its usual response, `(C,)` by layer: see
            `Usual.above`.
    """

    size: tuple[int, int]
    logits: Tensor | None
    maps: Mapping[str, Tensor]
    above: Mapping[str, Tensor]

    @cached_property
    def probabilities(self) -> Tensor | None:
        """The softmax of the logits, `(1000,)`."""
        return None if self.logits is None else self.logits.double().softmax(0)

    def classes(self, count: int) -> list[ClassSeen]:
        """Return the most probable classes, most probable first; none without ImageNet's."""
        if self.probabilities is None:
            return []
        return [self.of_class(index) for index in _largest(self.probabilities, count)]

    def of_class(self, index: int) -> ClassSeen:
        """Return one class of a network that tells ImageNet's."""
        assert self.probabilities is not None
        return ClassSeen(index, imagenet.name(index), self.probabilities[index].item())

    def strongest(self, layer: str, count: int) -> list[ChannelSeen]:
        """Return the channels of a layer that answer furthest above their usual, first first."""
        above = self.above[layer]
        return [ChannelSeen(layer, k, above[k].item()) for k in _largest(above, count)]


def sight(network: Network) -> int:
    """Return the longer side at which a network is shown a picture: what it was trained at, px."""
    published = network.published
    if published.window is not None:
        return published.window
    if network.row.name in _SIGHTS or not published.url:
        return _SIGHTS.get(network.row.name, SIGHT)
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(network.row.name)[published.name]
        return int(weights.transforms.keywords["crop_size"])
    except (ValueError, KeyError, AttributeError):
        return SIGHT


def shown(pixels: Tensor, longer: int, minimum: int) -> Tensor:
    """Scale a picture `(3, H, W)` to what the network is shown, `(1, 3, H', W')`.

    Args:
        pixels: in 0..1.
        longer: the longer side, px.
        minimum: what the shorter side has at least, at the expense of `longer`.
    """
    height, width = pixels.shape[1:]
    scale = max(longer / max(height, width), minimum / min(height, width))
    size = (max(minimum, round(height * scale)), max(minimum, round(width * scale)))
    return resample(pixels[None], size).clamp(0, 1)


def responses(maps: Tensor) -> Tensor:
    """Return the response of each channel, `(N, C)`: the mean of its strongest neurons.

    Not of all neurons: what a channel looks for seldom fills the picture.

    Args:
        maps: `(N, C, h, w)`.
    """
    values = maps.flatten(2)
    return values.topk(max(1, round(TOP * values.shape[2])), dim=2).values.mean(2)


def usual_pictures(side: int, count: int) -> Tensor:
    """Make the pictures that the usual responses are measured on, `(N, 3, side, side)` in 0..1.

    The same every time: half of them dead leaves, the others skies and noise. With skies and noise
    alone, channels that every photo excites (edges, corners) come first in every photo. Measured
    with the embedded network, five layers and three photos: what `Usual.above` says correlates with
    what it would say after a dozen other real photos by .59 without the leaves, by .72 with them.
    """
    paint = (dead_leaves, sources.sky, dead_leaves, sources.noise)
    drawn = [paint[k % 4]((side, side), ascent.generator(k, -2)) for k in range(count)]
    return torch.cat(drawn)


def dead_leaves(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Paint opaque leaves over each other, `(1, 3, H, W)` in 0..1: the statistics of photos.

    Objects of all sizes that hide each other have the edges, the spectrum and the heavy tails of
    natural pictures (Lee, Mumford and Huang, "Occlusion Models for Natural Images", 2001): radii
    are distributed as `r^-3`. Ellipses and rectangles, shaded, with a little texture.
    """
    height, width = size
    smallest, largest = 0.012, 0.5  # of the shorter side
    draw = torch.rand(LEAVES, 9, generator=generator).double()
    spread = largest**-2 - smallest**-2
    radii = min(size) * (smallest**-2 + draw[:, 0] * spread).rsqrt()
    # A few large ones first cover the ground; what comes later hides what was there.
    radii[:8] = min(size) * largest
    texture = 0.06 * sources.power_law(size, 1.0, generator)
    picture = torch.full((3, height, width), 0.5)
    for k, (radius, values) in enumerate(zip(radii.tolist(), draw.tolist(), strict=True)):
        _, down, across, turn, flat, grey, *colour = values
        y, x = down * height, across * width
        top, bottom = max(0, math.floor(y - 1.5 * radius)), math.ceil(y + 1.5 * radius)
        left, right = max(0, math.floor(x - 1.5 * radius)), math.ceil(x + 1.5 * radius)
        part = picture[:, top:bottom, left:right]
        dy = (torch.arange(part.shape[1])[:, None] + top + 0.5 - y) / radius
        dx = (torch.arange(part.shape[2])[None] + left + 0.5 - x) / radius
        cos, sin = math.cos(math.pi * turn), math.sin(math.pi * turn)
        along, beside = dx * cos + dy * sin, (dy * cos - dx * sin) / (0.4 + 0.6 * flat)
        ellipse = along.square() + beside.square() < 1
        inside = ellipse if k % 2 else torch.maximum(along.abs(), beside.abs()) < 0.9
        paint = torch.tensor(colour).sub(0.5).mul(0.35).add(grey)[:, None, None]
        leaf = paint * (1 + 0.18 * (along + beside)) + texture[top:bottom, left:right]
        part.copy_(torch.where(inside, leaf, part))
    return picture.clamp(0, 1)[None]


@torch.no_grad()
def usual(network: Network, layers: Sequence[str], longer: int) -> dict[str, Usual]:
    """Measure how layers answer to `usual_pictures`.

    Args:
        network: loaded.
        layers: names.
        longer: side of the pictures, px; the network's minimum at least.
    """
    side = max(longer, network.row.minimum)
    pictures = usual_pictures(side, USUAL).to(network.device)
    answers = [inside(layers, some, network) for some in torch.split(pictures, _BATCH)]
    found = {}
    for name in layers:
        maps = torch.cat([answer[name] for answer in answers])
        neurons = maps.transpose(0, 1).flatten(1)
        found[name] = Usual(neurons.mean(1), neurons.std(1, correction=0), responses(maps).mean(0))
    return found


def tells_classes(row: Row) -> bool:
    """Whether a network ends in the logits of ImageNet's classes."""
    last = row.layers[-1]
    return last.name == LOGITS and last.channels == imagenet.COUNT


@torch.no_grad()
def see(
    pixels: Tensor,
    network: Network,
    layers: Sequence[str],
    *,
    usual: Mapping[str, Usual],
    longer: int | None = None,
) -> Seen:
    """Look at a picture with a network.

    Args:
        pixels: `(3, H, W)` in 0..1.
        network: loaded.
        layers: names of layers with maps.
        usual: how they answer usually.
        longer: the longer side at which it is shown, px; `sight` by default.

    Raises:
        NetworkError: it answers with values that are not numbers.
    """
    longer = longer or sight(network)
    picture = shown(pixels, longer, network.row.minimum).to(network.device)
    answers = inside(layers, picture, network)
    if tells_classes(network.row):
        answers |= network.features([LOGITS])(picture)
    if not all(bool(answer.isfinite().all()) for answer in answers.values()):
        raise NetworkError(
            f"{network.row.name} answers with values that are not numbers.",
            "Check its weights with `dreamer networks verify`.",
        )
    logits = answers.get(LOGITS)
    return Seen(
        size=(picture.shape[2], picture.shape[3]),
        logits=None if logits is None else logits.flatten(),
        maps={name: answers[name][0] for name in layers},
        above={name: usual[name].above(answers[name][0]) for name in layers},
    )


@dataclass(frozen=True)
class Places:
    """Where in a picture a network sees classes.

    Attributes:
        maps: `(K, h, w)`, from 0, one a class, in the units of its logit.
        stride: pixels of what was shown from one value to the next.
        how: by the gradients of `layer`, or by covering the picture piece by piece.
        layer: "" if no layer was used.
    """

    maps: Tensor
    stride: int
    how: Literal["Grad-CAM", "occlusion"]
    layer: str = ""


@torch.inference_mode(False)
def places(
    pixels: Tensor, network: Network, classes: Sequence[int], *, longer: int | None = None
) -> Places:
    """Find where in a picture a network sees classes.

    Grad-CAM (Selvaraju et al. 2017, section 3) at the deepest layer with a map: its channels,
    weighted with the mean gradient of the class's logit, summed, negative values cut off. Networks
    whose maps do not lead to the logits (vision transformers: only their class token does) are
    shown the picture with one square after another covered instead (Zeiler and Fergus 2013): what
    the logit loses by that.

    Args:
        pixels: `(3, H, W)` in 0..1.
        network: loaded, telling ImageNet's classes.
        classes: their indices, at least one.
        longer: the longer side at which it is shown, px; `sight` by default.
    """
    longer = longer or sight(network)
    picture = shown(pixels, longer, network.row.minimum).to(network.device)
    for layer in reversed(network.row.layers):
        if not layer.stride:
            continue
        # The maps of windows are put together only for us: no logit comes of what is returned.
        if network.published.window is not None:
            break
        with torch.enable_grad():
            asked = picture.clone().requires_grad_()
            answers = network.features([layer.name, LOGITS])(asked)
            maps, logits = answers[layer.name], answers[LOGITS].flatten()
            if maps.shape[2] * maps.shape[3] == 1:
                continue
            gradients = [_gradient(logits[index], maps) for index in classes]
        if any(each is None for each in gradients):
            break
        found = torch.stack([grad_cam(maps[0], each[0]) for each in gradients if each is not None])
        return Places(found.detach(), layer.stride, "Grad-CAM", layer.name)
    side = math.ceil(max(picture.shape[2:]) / PATCHES)
    return Places(_occluded(picture, network, classes, side), side, "occlusion")


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Return the Grad-CAM of one class, `(h, w)` from 0.

    Args:
        maps: a layer's, `(C, h, w)`.
        gradient: of the class's logit by them, of the same shape.
    """
    weights = gradient.mean((1, 2), keepdim=True)
    return (weights * maps).sum(0).clamp_min(0)


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two maps `(h, w)` show the same: a residual layer may only pass a channel on."""
    if first.shape != second.shape:
        return False
    both = torch.stack([first.flatten(), second.flatten()])
    return bool(torch.corrcoef(both)[0, 1] > ALIKE)


def spread(maps: Tensor, stride: int, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Lay the maps of what was shown over a picture, `(K, H, W)`.

    Args:
        maps: `(K, h, w)`.
        stride: pixels of what was shown from one neuron to the next; the last row and column may
            reach beyond its border.
        size: height and width of what was shown, px.
        to: height and width of the picture, px.
    """
    height, width = maps.shape[1:]
    whole = resample(maps[None], (height * stride, width * stride))
    inside = whole[:, :, : size[0], : size[1]]
    return resample(inside, to)[0]


def inside(layers: Sequence[str], pictures: Tensor, network: Network) -> dict[str, Tensor]:
    """Return the maps of pictures `(N, 3, H, W)` that are shown with a margin, without it."""
    features = network.features(layers)
    strides = {name: network.row.layer(name).stride for name in layers}
    margin = math.ceil(MARGIN / max(strides.values())) * max(strides.values())
    height, width = pictures.shape[2:]
    if network.published.window is not None or min(height, width) <= margin:
        whole: dict[str, Tensor] = features(pictures)
        return whole
    found = {}
    for name, maps in features(F.pad(pictures, (margin,) * 4, mode="reflect")).items():
        skipped = margin // strides[name]
        rows, columns = (math.ceil(side / strides[name]) for side in (height, width))
        found[name] = maps[:, :, skipped : skipped + rows, skipped : skipped + columns]
    return found


def _gradient(logit: Tensor, maps: Tensor) -> Tensor | None:
    """Return the gradient of a logit by maps, `(1, C, h, w)`; None if it does not depend on them.

    Networks return copies of what they go on with, as that may be changed in place: then the
    gradient is taken where the copy was made.
    """
    edge = get_gradient_edge(maps)
    while True:
        (found,) = torch.autograd.grad(logit, [edge], retain_graph=True, allow_unused=True)
        if found is not None:
            same = found.shape == maps.shape and bool(found.any())
            return found if same else None
        if edge.node.name() != "CloneBackward0":
            return None
        edge = GradientEdge(*edge.node.next_functions[0])


@torch.no_grad()
def _occluded(picture: Tensor, network: Network, classes: Sequence[int], side: int) -> Tensor:
    """Return what each class's logit loses when squares of a picture are grey, `(K, h, w)`."""
    features = network.features([LOGITS])
    height, width = picture.shape[2:]
    grey = picture.mean((2, 3), keepdim=True)
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    chosen = torch.tensor(classes, device=picture.device)
    whole = features(picture)[LOGITS].flatten()[chosen]
    covered = []
    for row in range(rows):
        pictures = picture.repeat(columns, 1, 1, 1)
        for column in range(columns):
            top, left = row * side, column * side
            pictures[column, :, top : top + side, left : left + side] = grey[0]
        covered.append(features(pictures)[LOGITS].flatten(1)[:, chosen])
    lost = whole - torch.stack(covered)  # (rows, columns, K)
    places: Tensor = lost.permute(2, 0, 1).clamp_min(0)
    return places


def _largest(values: Tensor, count: int) -> list[int]:
    """Return where the largest values are, the first of equal ones first."""
    order: list[int] = values.argsort(descending=True, stable=True)[:count].tolist()
    return order
