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

from dreamer.core import bands as rows_of
from dreamer.core.bands import rms as rms
from dreamer.core.resampling import Enlarged, enlarge, halved

BANDS = 5
SMALLEST_BAND = 4


def laplacian(picture: Tensor, bands: int = BANDS) -> list[Tensor]:
    """Split `(N, C, H, W)` into at most `bands` bands, finest first; the last is what remains.

    `merge` of the bands is the picture again.
    """
    pyramid = []
    for _ in range(bands - 1):
        if min(picture.shape[2:]) < 2 * SMALLEST_BAND:
            break
        coarser = halved(picture)
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
        gradient: `(1, 3, H, W)`, any scale; a large one, see `dreamer.core.bands`, is written over.
        tilt: how many times stronger each band is than the next finer one; 1 is flat.
        grain: the share that is left of the finest band, 0..1.

    Returns:
        `(1, 3, H, W)` with mean 0 in every channel and root mean square 1 over all; all zeros if
        the gradient is.
    """
    if len(rows_of.bands(gradient)) > 1:
        return _conditioned(gradient, tilt, grain)
    pyramid = laplacian(gradient)
    for index, band in enumerate(pyramid):
        band.mul_(_strength(index, len(pyramid), tilt, grain) / rms(band))
    merged = merge(pyramid)
    merged -= merged.mean((2, 3), keepdim=True)
    return merged.div_(rms(merged))


def is_zero(gradient: Tensor) -> bool:
    """Whether nothing in the picture moves the target."""
    return not any(bool(torch.any(gradient[..., rows, :])) for rows in rows_of.bands(gradient))


def _strength(index: int, count: int, tilt: float, grain: float) -> float:
    """Return how strong a band of so many is made."""
    strength = tilt**index * (grain if index == 0 else 1.0)
    # What remains is the mean and a few waves: the colour cast rather than the dream.
    return strength * 0.5 if index == count - 1 else strength


def _conditioned(gradient: Tensor, tilt: float, grain: float) -> Tensor:
    """Condition a large gradient in place, beside its coarser versions.

    With `c_k` those versions, `E` to enlarge and `s_k` what each band is multiplied by, the sum of
    `s_k (c_k - E c_(k+1))` is `s_0 c_0 + E u_1`, where `u_k = (s_k - s_(k-1)) c_k + E u_(k+1)`.
    """
    pictures = [gradient]
    while len(pictures) < BANDS and min(pictures[-1].shape[2:]) >= 2 * SMALLEST_BAND:
        pictures.append(halved(pictures[-1]))
    scales = [0.0]
    for index, picture in enumerate(pictures):
        if index == len(pictures) - 1:
            found = rms(picture)
        else:
            coarser = Enlarged(pictures[index + 1], picture)
            parts = (picture[:, :, rows] - coarser[rows] for rows in rows_of.bands(picture))
            found = rows_of.rms_of(parts)
        scales.append(_strength(index, len(pictures), tilt, grain) / found.item())
    for index in range(len(pictures) - 1, -1, -1):
        picture, scale = pictures[index], scales[index + 1] - scales[index]
        if index == len(pictures) - 1:
            picture.mul_(scale)
            continue
        coarser = Enlarged(pictures.pop(), picture)
        for rows in rows_of.bands(picture):
            picture[:, :, rows] = coarser[rows].add_(picture[:, :, rows], alpha=scale)
    return rows_of.normalised(gradient)
