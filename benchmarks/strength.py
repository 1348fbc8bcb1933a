"""What the saved file does to its target: activation gain and clipped pixels, preset by preset."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import skimage.data
import torch
from torch import Tensor

import dreamer
from benchmarks.rows import Row
from dreamer import presets
from dreamer.core import judging
from dreamer.core.objectives import Term
from dreamer.media import images
from dreamer.networks import imagenet
from dreamer.networks.network import Network
from dreamer.networks.rows import LOGITS
from dreamer.render import steering
from dreamer.render.still import Dream

FOLDER = Path(skimage.data.__file__).parent
PHOTOS = ("chelsea.png", "coffee.png")
# What a channel or a class usually responds to photos.
REFERENCES = ("astronaut.png", "rocket.jpg", "motorcycle_left.png", "ihc.png")
SIZE = 512
NEARLY = 4


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure every built-in preset on two photos, from the re-read 8-bit file."""
    del repeats  # nothing here is noisy
    network = dreamer.load_network("efficientnet_lite0")
    ordinary = [images.resize(images.load(FOLDER / name), SIZE).pixels for name in REFERENCES]
    found = []
    for name in presets.names():
        gains, clipped, nearly, weakest = [], [], [], []
        for photo in PHOTOS[:1] if quick else PHOTOS:
            path = FOLDER / photo
            before = images.resize(images.load(path), SIZE).pixels
            made = dreamer.dream(path, preset=name, network=network, size=SIZE)
            saved = io.BytesIO()
            made.write(saved)
            after = images.load(saved.getvalue()).pixels
            ratios = term_gains(made, network, before, after, ordinary)
            gains.append(together(ratios))
            weakest.append(min(r for _, r in ratios))
            for kept, levels in ((clipped, 0), (nearly, NEARLY)):
                kept.append(
                    100 * (judging.clipped(after, levels) - judging.clipped(before, levels))
                )
        strong = made.recipe.settings.strong
        detail = "; weakest term ".join(" ".join(f"{v:.2f}" for v in vs) for vs in (gains, weakest))
        print(f"  {name}: {detail}", file=sys.stderr, flush=True)
        found.append(Row(f"gain: {name}", min(gains), "x", 2.0 if strong else None, None, detail))
        # Clipped alone can be had by a trick; what is nearly burnt out tells whether it was one.
        detail = f"{max(nearly):.1f} points within {NEARLY} levels of black or white"
        found.append(Row(f"clipped: {name}", max(clipped), "points", None, 2.0, detail))
    return found


def term_gains(
    made: Dream, network: Network, before: Tensor, after: Tensor, ordinary: Sequence[Tensor]
) -> list[tuple[float, float]]:
    """Return how many times more each wanted term responds to the result, after its weight.

    Only terms with a positive weight count. The photo's response to a channel or a class may be
    next to nothing; it is taken to be at least the mean over `ordinary` photos, so that the gain
    does not grow without bounds.
    """
    terms = [term for term in steering.objective(made.recipe, network.row).terms if term.weight > 0]
    features = network.features([term.layer for term in terms])
    with torch.no_grad():
        first, last = features(before[None]), features(after[None])
        usual = [features(photo[None]) for photo in ordinary]
    found = []
    for term in terms:
        base = _response(term, first)
        if term.channel is not None:
            base = max(base, sum(_response(term, each) for each in usual) / len(usual))
        found.append((term.weight, _response(term, last) / base))
    return found


def together(ratios: Sequence[tuple[float, float]]) -> float:
    """Return the weighted geometric mean, which no single term can carry alone."""
    logs = sum(weight * math.log(ratio) for weight, ratio in ratios)
    return math.exp(logs / sum(weight for weight, _ in ratios))


def _response(term: Term, activations: dict[str, Tensor]) -> float:
    """Return a layer's mean square, a channel's over its positive part, a class's probability.

    The means of a channel and a logit may be near zero or below, and have no ratios. A class has
    at least the probability of a blind guess.
    """
    values = activations[term.layer]
    if term.layer == LOGITS:
        return values.softmax(1)[:, term.channel].mean().clamp_min(1 / imagenet.COUNT).item()
    if term.channel is not None:
        values = values[:, term.channel].clamp_min(0)
    return values.square().mean().clamp_min(1e-6).item()
