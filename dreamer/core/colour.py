"""What a dream may do to the colours of a picture."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# The colour covariance square root of ImageNet that the field uses (Olah et al., "Feature
# Visualization", Distill 2017, via lucid), scaled so that its longest column has norm 1.
_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
_LONGEST_COLUMN = 0.46195

# Rec. 709 luminance weights.
_LUMA = (0.2126, 0.7152, 0.0722)


@cache
def _root() -> Tensor:
    return torch.tensor(_CORRELATION) / _LONGEST_COLUMN


@cache
def _covariance() -> Tensor:
    covariance = _root() @ _root().T
    return covariance / covariance.diagonal().mean()


def decorrelate(gradient: Tensor, amount: float) -> Tensor:
    """Take the gradient as if the picture were painted in decorrelated colours.

    Ascent in the decorrelated space `rgb = C t` moves the pixels along `C C^T g`: colours change
    as they do in photographs, mostly together. That takes the rainbow out of a dream.

    Args:
        gradient: `(N, 3, H, W)`.
        amount: 0 leaves the gradient, 1 is the whole change of space.

    Returns:
        `(N, 3, H, W)`.
    """
    if amount == 0:
        return gradient
    matrix = torch.lerp(torch.eye(3), _covariance(), amount).to(gradient)
    return mix_channels(matrix, gradient)


def correlate(values: Tensor) -> Tensor:
    """Turn decorrelated colours `t` into those of pictures, `C t`: `(N, 3, H, W)` both."""
    return mix_channels(_root().to(values), values)


def uncorrelate(values: Tensor) -> Tensor:
    """Undo `correlate`: `C^-1` of `(N, 3, H, W)`."""
    return mix_channels(torch.linalg.inv(_root()).to(values), values)


def mute(gradient: Tensor, chroma: float) -> Tensor:
    """Scale the part of a change that is not the same for red, green and blue.

    Args:
        gradient: `(N, 3, H, W)`.
        chroma: 1 leaves the change, 0 keeps only its luminance (Rec. 709).
    """
    if chroma == 1:
        return gradient
    matrix = chroma * torch.eye(3) + (1 - chroma) * torch.tensor(_LUMA).expand(3, 3)
    return mix_channels(matrix.to(gradient), gradient)


def mix_channels(matrix: Tensor, picture: Tensor) -> Tensor:
    """Apply a `(3, 3)` matrix to the colours of `(N, 3, H, W)`."""
    return torch.einsum("ij,njhw->nihw", matrix, picture)
