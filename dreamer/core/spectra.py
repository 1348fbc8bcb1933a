"""The spectrum of a picture: its frequencies, and what natural pictures have of each.

Spectra are those of `torch.fft.rfft2`: `(H, W // 2 + 1)` coefficients a channel, for even and odd
sides alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from dreamer.core import colour

# (A, b, f1, s) of `exp(A) f^-b / (1 + (f / f1)^s)`, a fit to ImageNet in decorrelated colours.
_NATURAL = ((3.28, 1.33, 0.283, 4.2), (3.12, 1.37, 0.263, 4.5), (3.14, 1.32, 0.281, 4.7))
Profile = tuple[tuple[float, ...], ...]
"""Logarithms of a magnitude at the frequencies `RINGS`, in each of three decorrelated colours."""
RINGS = tuple(0.005 * (0.7 / 0.005) ** (k / 23) for k in range(24))
"""Radial frequencies, cycles a pixel; evenly in their logarithms, up to the corner's."""

# How near to black and white a photo's values count, so that their logits are finite.
_LOGIT_MARGIN = 1 / 510


def frequencies(size: tuple[int, int]) -> Tensor:
    """Return the radial frequency of each coefficient, `(H, W // 2 + 1)` in cycles a pixel.

    Args:
        size: height and width of the picture, px.
    """
    height, width = size
    return torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])


def clamped(size: tuple[int, int]) -> Tensor:
    """Return `frequencies`, with the lowest that a picture of `size` can hold in place of zero."""
    return frequencies(size).clamp_min(1 / max(size))


def inverse(size: tuple[int, int]) -> Tensor:
    """Return lucid's scale of a Fourier canvas, `(H, W // 2 + 1)`: `sqrt(H W) / f`.

    From the Distill article's code (Olah et al., "Feature Visualization", 2017): an optimiser that
    moves all coefficients alike then moves the coarse ones more.
    """
    return math.sqrt(size[0] * size[1]) / clamped(size)


def natural(size: tuple[int, int]) -> Tensor:
    """Return the magnitude of natural pictures, `(3, H, W // 2 + 1)`, in decorrelated colours.

    An analytic fit to the mean spectrum of ImageNet; any factor common to all is without meaning.
    """
    f = clamped(size)
    return torch.stack([math.exp(a) * f**-b / (1 + (f / knee) ** s) for a, b, knee, s in _NATURAL])


def measured(photos: Iterable[Tensor]) -> Profile:
    """Return the mean spectrum of photos in decorrelated colours, ring by ring.

    As MACO's authors measured theirs: the mean of `|rfft2(C^-1 logit(rgb))|` (Fel et al.,
    "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization",
    2023); but for the direction of a frequency, so that it holds for pictures of any shape.

    Args:
        photos: at least one, each `(1, 3, H, W)` in 0..1, of any size.

    Raises:
        ValueError: there are none, or nothing is to be seen in any of them.
    """
    total, count = torch.zeros(3, len(RINGS), dtype=torch.float64), 0
    for photo in photos:
        values = colour.uncorrelate(photo.clamp(_LOGIT_MARGIN, 1 - _LOGIT_MARGIN).logit())
        size = (photo.shape[2], photo.shape[3])
        # A frame that does not wrap around has a cross of high frequencies; a window takes it out.
        values = (values - values.mean((2, 3), keepdim=True)) * _window(size).to(values)
        magnitude = torch.fft.rfft2(values[0]).abs().double().cpu() / math.prod(size) ** 0.5
        total += _rings(magnitude, size)
        count += 1
    if count == 0 or not bool((total > 0).all()):
        raise ValueError("a spectrum is measured from at least one photo that shows something")
    rows = (total / count).log().tolist()
    return tuple(tuple(round(value, 4) for value in row) for row in rows)


def from_profile(profile: Profile, size: tuple[int, int]) -> Tensor:
    """Return the magnitude that `measured` found, for pictures of `size`: `(3, H, W // 2 + 1)`."""
    rings = torch.tensor(RINGS, dtype=torch.float64).log()
    at = clamped(size).double().log().clamp(rings[0], rings[-1])
    upper = torch.searchsorted(rings, at).clamp(1, len(RINGS) - 1)
    share = (at - rings[upper - 1]) / (rings[upper] - rings[upper - 1])
    values = torch.tensor(profile, dtype=torch.float64)
    return torch.lerp(values[:, upper - 1], values[:, upper], share).exp().float()


def _rings(magnitude: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mean magnitude about each of `RINGS`; an empty ring is like the one beside it."""
    rings = torch.tensor(RINGS, dtype=torch.float64).log()
    f = frequencies(size).double()
    place = ((f.clamp_min(1e-9).log() - rings[0]) / (rings[1] - rings[0])).round().long()
    used = (f > 0) & (place < len(RINGS))
    place = place.clamp_min(0)[used]
    count = torch.zeros(len(RINGS), dtype=torch.float64)
    count.index_add_(0, place, torch.ones_like(place, dtype=torch.float64))
    total = torch.zeros(len(magnitude), len(RINGS), dtype=torch.float64)
    total.index_add_(1, place, magnitude[:, used])
    known = count.nonzero()[:, 0]
    nearest = known[(torch.arange(len(RINGS))[:, None] - known).abs().argmin(1)]
    return (total / count.clamp_min(1))[:, nearest]


def levelled(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring every frequency of a picture to about the same strength, whatever its direction.

    Args:
        spectrum: `(N, 3, H, W // 2 + 1)`, complex; what is zero stays zero.
        size: height and width of the picture, px.
    """
    strength = spectrum.abs().square().mean((0, 1)).double().cpu()
    rings = _rings(strength[None], size)[0].clamp_min(1e-30).log() / 2
    level = from_profile((tuple(rings.tolist()),), size)[0]
    return spectrum / level.to(spectrum.real).clamp_min(1e-20)


def resized(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry coefficients to another size of the same picture: `irfft2` of them, resampled exactly.

    Frequencies that the other size cannot hold are dropped, those that are new are zero.

    Args:
        spectrum: `(..., H, W // 2 + 1)`, real or complex, of a picture of any size.
        size: height and width to carry them to, px.

    Returns:
        `(..., H', W' // 2 + 1)`; not scaled, so divide by the old and multiply by the new number of
        pixels if the picture is to keep its values.
    """
    rows, columns = size[0], size[1] // 2 + 1
    result = spectrum.new_zeros((*spectrum.shape[:-2], rows, columns))
    tall, wide = min(rows, spectrum.shape[-2]), min(columns, spectrum.shape[-1])
    top, bottom = (tall + 1) // 2, tall // 2
    result[..., :top, :wide] = spectrum[..., :top, :wide]
    if bottom:
        result[..., -bottom:, :wide] = spectrum[..., -bottom:, :wide]
    return result


def _window(size: tuple[int, int]) -> Tensor:
    """Return a Hann window of mean square 1, `(H, W)`."""
    height, width = (torch.hann_window(side, periodic=False).clamp_min(1e-3) for side in size)
    window = height[:, None] * width[None]
    return window / window.square().mean().sqrt()
