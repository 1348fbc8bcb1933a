"""Optical flow: how a film's pictures move, so that what was dreamed moves with them.

A flow is `(1, 2, H, W)`: how far right and down from each pixel of a picture, in px, the same
thing was in the picture before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Motion is estimated on a picture of at most this many pixels along its longer side: it is smooth,
# and finer ones show the same motion for more work.
LONGEST = 640
# Forward and backward flow agree where |w + w'|^2 < SHARE (|w|^2 + |w'|^2) + FLOOR (px^2):
# Sundaram, Brox and Keutzer, "Dense point trajectories by GPU-accelerated large displacement
# optical flow", 2010.
SHARE, FLOOR = 0.01, 0.5
SMALLEST = 12
"""The shortest side of a picture whose motion can be estimated, px."""


class Estimator:
    """Finds how two pictures move into each other, with OpenCV's dense inverse search.

    Kroeger et al., "Fast optical flow using dense inverse search", 2016.
    """

    def __init__(self) -> None:
        import cv2

        # Results must not depend on whether there is a GPU.
        cv2.ocl.setUseOpenCL(False)
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def motion(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the pixels of a picture were in the one before, and how surely.

        Args:
            before: `(1, 3, H, W)` in 0..1.
            after: the next picture, of the same shape.

        Returns:
            The flow, `(1, 2, H, W)`, and a mask `(1, 1, H, W)`: 1 where it can be trusted, 0 where
            a pixel was hidden or outside.
        """
        height, width = after.shape[2:]
        scale = min(1.0, LONGEST / max(height, width))
        size = max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))
        old, new = _grey(before, size), _grey(after, size)
        back = torch.from_numpy(self._search.calc(new, old, None)).permute(2, 0, 1)[None]
        forth = torch.from_numpy(self._search.calc(old, new, None)).permute(2, 0, 1)[None]
        seen = agreement(back, forth)
        ratio = back.new_tensor([width / size[1], height / size[0]])[:, None, None]
        flow = F.interpolate(back, size=(height, width), mode="bilinear") * ratio
        return flow, F.interpolate(seen, size=(height, width), mode="bilinear")


def _grey(picture: Tensor, size: tuple[int, int]) -> Any:
    small = F.interpolate(picture, size=size, mode="bilinear", antialias=True)
    weights = small.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return (small[0] * weights).sum(0).mul(255).round().clamp(0, 255).byte().numpy()


def agreement(back: Tensor, forth: Tensor) -> Tensor:
    """Return 1 where a flow and the one the other way round lead back to where they began, else 0.

    Args:
        back: of the later picture, `(1, 2, H, W)`.
        forth: of the earlier one: where its pixels are in the later one.

    Returns:
        `(1, 1, H, W)`; 0 as well where the pixel was outside of the earlier picture.
    """
    returned = warp(forth, back)
    apart = (back + returned).square().sum(1, keepdim=True)
    length = back.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    inside = _grid(back).abs().amax(3)[:, None] <= 1
    return ((apart < SHARE * length + FLOOR) & inside).to(back)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Move a picture along a flow, bicubically; beyond its edges it goes on as at the edge.

    Args:
        picture: `(1, C, H, W)`, any values.
        flow: where each pixel of the result is taken from, `(1, 2, H, W)`.
    """
    return F.grid_sample(
        picture, _grid(flow), mode="bicubic", padding_mode="border", align_corners=False
    )


def _grid(flow: Tensor) -> Tensor:
    """Return where a flow leads, as `grid_sample` counts: `(1, H, W, 2)`, -1 to 1 inside."""
    height, width = flow.shape[2:]
    across = (torch.arange(width) + 0.5 + flow[0, 0]) * (2 / width) - 1
    down = (torch.arange(height)[:, None] + 0.5 + flow[0, 1]) * (2 / height) - 1
    return torch.stack([across, down], -1)[None]
