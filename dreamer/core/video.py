"""What a frame of a clip is dreamed on: itself, and the dream of the frame before, moved along."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import flow

# With less of a frame than this to be seen in the one before, it is another scene.
CUT = 0.3
# So is one less like the frame before, moved: 1 for the same picture, 0 for one of which it tells
# nothing. Between a plain picture and any other a flow means nothing and is never contradicted.
# Measured: 0 to 0.26 between a plain frame and photos, 0.5 and more in a fade, a flash or grain.
LIKE, FLOOR = 0.3, 0.03**2
# Of the steps that bring a dream back to its strength: how sharply, and how far at most.
GAIN_POWER, MOST_GAIN = 2.0, 2.5
NO_DREAM = 1e-3
SOFT = 5
"""How wide the border is of what was hidden before, px."""


def carried(
    before: Tensor, difference: Tensor, after: Tensor, keep: float, estimator: flow.Estimator
) -> Tensor | None:
    """Return what a frame is dreamed on; None if it shows another scene than the one before.

    Only the difference that the dream made moves along the flow, onto the new frame as it is: the
    clip's own detail never blurs, and a wrong flow drags no ghost of the clip with it. What was
    hidden, or outside, has no dream yet.

    Args:
        before: the frame before, `(1, 3, H, W)` in 0..1.
        difference: what the dream made of it, less what it was dreamed on.
        after: the frame, in 0..1.
        keep: the share of the difference that stays, 0..1.
        estimator: of the motion.

    Returns:
        `(1, 3, H, W)` in 0..1.
    """
    motion, seen = estimator.motion(before, after)
    if float(seen.mean()) < CUT or likeness(flow.warp(before, motion), after) < LIKE:
        return None
    moved = flow.warp(difference, motion)
    seen = F.avg_pool2d(seen, SOFT, 1, SOFT // 2, count_include_pad=False)
    return torch.add(after, moved * seen, alpha=keep).clamp_(0, 1)


def strength(difference: Tensor) -> float:
    """Return how large what a dream made is, `(1, 3, H, W)`: the root mean square."""
    return float(difference.square().mean().sqrt())


def gain(now: float, wanted: float) -> float:
    """Return how many times larger the next frame's steps are to be.

    How strong a dream becomes by being carried on depends on the preset, and on how the clip moves:
    what shrinks loses its detail. So it is brought back to that of the first frame.

    Args:
        now: how strong the last frame's dream is, see `strength`.
        wanted: how strong it is to be.
    """
    if min(now, wanted) < NO_DREAM:
        return 1.0
    return min(MOST_GAIN, max(1 / MOST_GAIN, float((wanted / now) ** GAIN_POWER)))


def likeness(one: Tensor, other: Tensor) -> float:
    """Return how alike two pictures are in what is light and what is dark in them.

    The contrast and structure of the structural similarity index, over all of the picture: Wang,
    Bovik, Sheikh and Simoncelli, "Image quality assessment", 2004. How light they are as a whole
    does not matter, nor do differences fainter than the root of `FLOOR`.

    Args:
        one: `(1, 3, H, W)` in 0..1.
        other: likewise.
    """
    one, other = (picture.mean(1) - picture.mean() for picture in (one, other))
    common = float((one * other).mean())
    return (2 * common + FLOOR) / (float(one.square().mean() + other.square().mean()) + FLOOR)
