"""What `--quality` buys: activation gain and work of the default preset."""

from __future__ import annotations

import io
import math
import sys

from torch import Tensor

import dreamer
from benchmarks import strength
from benchmarks.rows import Row
from dreamer import settings
from dreamer.media import images
from dreamer.networks.network import Network

# A draft shows where things will be; what presets promise is for the usual quality to keep. More
# steps go on raising the gain, by less and less: see docs/performance.md.
GAINS = {"draft": 1.3, "normal": 2.0, "fine": 2.0}
MOST_WORK = {"draft": 0.45, "normal": None, "fine": 3.0}
# What of the logarithm of a fine dream's gain the usual one has, and so of what there is to gain.
REACHED = 0.7


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure the default preset with each quality on two photos, from the re-read file."""
    del repeats  # nothing here is noisy
    network = dreamer.load_network("efficientnet_lite0")
    photos = strength.PHOTOS[:1] if quick else strength.PHOTOS
    found, means, works = [], {}, {}
    for quality in settings.QUALITIES:
        gains, works[quality] = _gains(quality, photos, network)
        detail = " ".join(f"{gain:.2f}" for gain in gains)
        print(f"  {quality}: {detail}", file=sys.stderr, flush=True)
        found.append(Row(f"gain: {quality}", min(gains), "x", GAINS[quality], None, detail))
        means[quality] = sum(map(math.log, gains)) / len(gains)
    for quality, work in works.items():
        share = work / works["normal"]
        detail = f"{work / 1e6:.2f} megapixels x steps"
        found.append(Row(f"work: {quality}", share, "x", None, MOST_WORK[quality], detail))
    reached = means["normal"] / means["fine"]
    found.append(Row("gain of normal in fine's", reached, "", REACHED, None, "by logarithms"))
    return found


def _gains(quality: str, photos: tuple[str, ...], network: Network) -> tuple[list[float], int]:
    """Return the gain on each photo, and the work that each of them is."""
    gains, works = [], []
    usual = [_small(name) for name in strength.REFERENCES]
    for name in photos:
        path = strength.FOLDER / name
        made = dreamer.dream(path, quality=quality, network=network, size=strength.SIZE)
        saved = io.BytesIO()
        made.write(saved)
        after = images.load(saved.getvalue()).pixels
        ratios = strength.term_gains(made, network, _small(name), after, usual)
        gains.append(strength.together(ratios))
        works.append(made.recipe.work)
    return gains, max(works)


def _small(name: str) -> Tensor:
    return images.resize(images.load(strength.FOLDER / name), strength.SIZE).pixels
