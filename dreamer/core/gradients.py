"""Turn a raw gradient into a step that looks the same for every network, layer and size.

The raw gradient of a deep layer is mostly fine noise: its spectrum is far flatter than a picture's.
The Gaussian smoothing that is common in the field removes the noise and with it the detail. Here
the gradient is split into the bands of a Laplacian pyramid, every band is brought to the same
strength, and coarse bands are then favoured by a chosen tilt. This is steepest descent in a
whitened space (Olah et al., "Feature Visualization", Distill 2017, on preconditioning) without a
Fourier transform, so nothing wraps around the borders of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core.resampling import enlarge

BANDS = 5
SMALLEST_BAND = 4
_TINY = 1e-20


def laplacian(picture: Tensor, bands: int = BANDS) -> list[Tensor]:
    """Split `(N, C, H, W)` into at most `bands` bands, finest first; the last is what remains.

    `merge` of the bands is the picture again.
    """
    pyramid = []
    for _ in range(bands - 1):
        height, width = picture.shape[2:]
        if min(height, width) < 2 * SMALLEST_BAND:
            break
        coarser = F.interpolate(
            picture,
            size=((height + 1) // 2, (width + 1) // 2),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        pyramid.append(picture - enlarge(coarser, picture))
        picture = coarser
    return [*pyramid, picture]


def merge(pyramid: list[Tensor]) -> Tensor:
    """Add the bands of `laplacian` together again."""
    picture = pyramid[-1]
    for band in pyramid[-2::-1]:
        picture = enlarge(picture, band).add_(band)
    return picture


def condition(gradient: Tensor, tilt: float, grain: float) -> Tensor:
    """Whiten the bands of a gradient, tilt them towards the coarse, and normalise the whole.

    Args:
        gradient: `(1, 3, H, W)`, any scale.
        tilt: how many times stronger each band is than the next finer one; 1 is flat.
        grain: the share that is left of the finest band, 0..1.

    Returns:
        `(1, 3, H, W)` with mean 0 in every channel and root mean square 1 over all; all zeros if
        the gradient is.
    """
    pyramid = laplacian(gradient)
    for index, band in enumerate(pyramid):
        strength = tilt**index * (grain if index == 0 else 1.0)
        if index == len(pyramid) - 1:
            # What remains is the mean and a few waves: the colour cast rather than the dream.
            strength *= 0.5
        band.mul_(strength / rms(band))
    merged = merge(pyramid)
    merged -= merged.mean((2, 3), keepdim=True)
    return merged.div_(rms(merged))


def rms(values: Tensor) -> Tensor:
    """Root mean square of all values, kept from zero so that it can be divided by."""
    return values.square().mean().add(_TINY).sqrt()


def is_zero(gradient: Tensor) -> bool:
    """Whether nothing in the picture moves the target."""
    return not bool(torch.any(gradient))
