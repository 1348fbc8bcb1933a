"""What a frame of a clip is dreamed on: itself, and the dream of the frame before, moved along."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import flow

# With less of a frame than this to be seen in the one before, it is another scene.
CUT = 0.3
SOFT = 5
"""How wide the border is of what was hidden before, px."""


def carried(
    before: Tensor, dreamed: Tensor, after: Tensor, keep: float, estimator: flow.Estimator
) -> Tensor | None:
    """Return what a frame is dreamed on; None if it shows another scene than the one before.

    Only the difference that the dream made moves along the flow, onto the new frame as it is: the
    clip's own detail never blurs, and a wrong flow drags no ghost of the clip with it. What was
    hidden, or outside, has no dream yet.

    Args:
        before: the frame before, `(1, 3, H, W)` in 0..1.
        dreamed: its dream, in 0..1.
        after: the frame, in 0..1.
        keep: the share of the difference that stays, 0..1.
        estimator: of the motion.

    Returns:
        `(1, 3, H, W)` in 0..1.
    """
    motion, seen = estimator.motion(before, after)
    if float(seen.mean()) < CUT:
        return None
    moved = flow.warp(dreamed - before, motion)
    seen = F.avg_pool2d(seen, SOFT, 1, SOFT // 2, count_include_pad=False)
    return torch.add(after, moved * seen, alpha=keep).clamp_(0, 1)
