"""What the saved file does to its target: activation gain and clipped pixels, preset by preset."""

from __future__ import annotations

import io
from pathlib import Path

import skimage.data
import torch
from torch import Tensor

import dreamer
from benchmarks.rows import Row
from dreamer import presets
from dreamer.core.objectives import Term
from dreamer.media import images
from dreamer.networks.network import Network
from dreamer.render import still
from dreamer.render.still import Dream

PHOTOS = ("chelsea.png", "coffee.png")
SIZE = 512


def measure(repeats: int) -> list[Row]:
    """Measure every built-in preset on two photos, from the re-read 8-bit file."""
    del repeats  # nothing here is noisy
    network = dreamer.load_network("efficientnet_lite0")
    found = []
    for name in presets.names():
        gains, clipped = [], []
        for photo in PHOTOS:
            path = Path(skimage.data.__file__).parent / photo
            before = images.resize(images.load(path), SIZE).pixels
            made = dreamer.dream(path, preset=name, network=network, size=SIZE)
            saved = io.BytesIO()
            made.write(saved)
            after = images.load(saved.getvalue()).pixels
            gains.append(gain(made, network, before, after))
            clipped.append(100 * (clipped_share(after) - clipped_share(before)))
        strong = made.recipe.settings.strong
        detail = " ".join(f"{value:.2f}" for value in gains)
        found.append(Row(f"gain: {name}", min(gains), "x", 2.0 if strong else None, None, detail))
        found.append(Row(f"clipped: {name}", max(clipped), "points", None, 2.0))
    return found


def gain(made: Dream, network: Network, before: Tensor, after: Tensor) -> float:
    """Return how many times more the target's wanted terms respond to the result.

    The mean over the terms with a positive weight, weighted. A layer's response is its mean
    square. A channel's or a logit's mean may be near zero or below on a photo, which makes a ratio
    of means mean nothing; its response is the mean square of its positive part.
    """
    terms = [term for term in still.objective(made.recipe).terms if term.weight > 0]
    features = network.features([term.layer for term in terms])
    with torch.no_grad():
        first, last = features(before[None]), features(after[None])
    total = sum(term.weight for term in terms)
    ratios = [term.weight * _response(term, last) / _response(term, first) for term in terms]
    return sum(ratios) / total


def _response(term: Term, activations: dict[str, Tensor]) -> float:
    values = activations[term.layer]
    if term.channel is not None:
        values = values[:, term.channel].clamp_min(0)
    return values.square().mean().clamp_min(1e-6).item()


def clipped_share(pixels: Tensor) -> float:
    """Return the share of values that are black or white in 8 bits."""
    levels = (pixels * 255).round()
    return ((levels == 0) | (levels == 255)).float().mean().item()
