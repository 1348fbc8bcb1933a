"""How results are judged: tensors in, numbers out.

What is judged is the picture that was saved, as 8 bits hold it and as it is read again, not what
the loop saw last.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import colour, spectra
from dreamer.core.objectives import Activations

# The smallest held-out crop, as a share of the picture's sides.
SMALLEST_CROP = 0.75
# Below this standard deviation, in units of the whole range, a picture shows nothing.
FLAT = 4 / 255
# Black and white count as half a level away from themselves, so that their logits are finite.
_MARGIN = 1 / 510
# What rounding to 8 bits adds to a logit around 1/2 (whose slope is 4 there), root mean square.
_ROUNDING = 4 / 255 / math.sqrt(12)


@torch.no_grad()
def held_out(
    pixels: Tensor,
    network: Callable[[Tensor], Activations],
    objective: Callable[[Activations, Callable[[float, float], Tensor]], Tensor],
    *,
    crops: int = 64,
    seed: int = 64,
    batch: int = 16,
) -> float:
    """Return the mean value of an objective over random crops that no ascent has seen.

    Of each crop the side is uniform in 0.75..1 of the picture's and the place uniform among those
    inside the picture, to a part of a pixel; it is enlarged bilinearly to the picture's size. So a
    crop is a shift of up to a quarter of the picture and a zoom of up to a third, without borders.
    They come from a generator of their own and are the same every time: two results of any recipes
    are shown alike.

    Args:
        pixels: `(1, 3, H, W)` in 0..1.
        network: maps `(N, 3, H, W)` in 0..1 to the activations of the objective's layers.
        objective: such as an `Objective`: the mean over a batch. Its second argument maps a place
            of the picture to that in each crop, `(N, 2)`; outside a crop it is beyond 0..1.
        crops: how many.
        seed: of the generator.
        batch: how many are shown at once.
    """
    random = torch.Generator().manual_seed(seed)
    draw = torch.rand(crops, 3, generator=random, dtype=torch.float64)
    sides = SMALLEST_CROP + (1 - SMALLEST_CROP) * draw[:, :1]
    corners = (1 - sides) * draw[:, 1:]  # (y, x), shares of the picture
    total = 0.0
    for first in range(0, crops, batch):
        side, corner = sides[first : first + batch], corners[first : first + batch]
        locate = functools.partial(_place, side, corner)
        seen = _crops(pixels, side, corner)
        total += objective(network(seen), locate).item() * len(side)
    return total / crops


def radial_spectrum(pixels: Tensor) -> Tensor:
    """Return the log mean magnitude of each ring of frequencies, in decorrelated colours.

    Ring `k` is what lies around `k` cycles over the shorter side, `k` from 1 to half of that side.
    Magnitudes are those of `C^-1 logit(rgb)`, what the natural ones were measured of, under a Hann
    window, and at least what rounding to 8 bits leaves, so that a colour that is absent has a
    finite logarithm. The mean over octaves and colours is 0: contrast does not count, how
    colourful a picture is does.

    Args:
        pixels: `(1, 3, H, W)` in 0..1, no side below 2.

    Returns:
        `(3, min(H, W) // 2)`, natural logarithms.
    """
    size = (pixels.shape[2], pixels.shape[3])
    values = colour.uncorrelate(pixels.clamp(_MARGIN, 1 - _MARGIN).logit())
    values = (values - values.mean((2, 3), keepdim=True)) * _window(size).to(pixels)
    magnitude = torch.fft.rfft2(values[0]).abs().cpu()
    return _balanced(_rings(magnitude.clamp_min(_ROUNDING * math.sqrt(math.prod(size))), size))


def spectrum_distance(pixels: Tensor, reference: Tensor | None = None) -> float:
    """Return how far a picture's radial spectrum is from a natural one, 0 for the same.

    The mean absolute difference of the two `radial_spectrum`, in natural logarithms, in which each
    octave of frequencies counts the same. The colours' finest half octave hardly counts, and it is
    mostly rounding in any 8-bit file.

    Args:
        pixels: `(1, 3, H, W)` in 0..1, no side below 2.
        reference: magnitudes `(3, H, W // 2 + 1)` of pictures of this size, of any scale, as from
            `spectra.from_profile`; `spectra.natural` if None.
    """
    size = (pixels.shape[2], pixels.shape[3])
    natural = spectra.natural(size) if reference is None else reference
    difference = (radial_spectrum(pixels) - _balanced(_rings(natural, size))).abs()
    return (difference @ _octaves(difference.shape[1])).mean().item()


def clipped(pixels: Tensor, levels: int = 0) -> float:
    """Return the share of values that 8 bits hold as black or white, or within `levels` of it.

    Args:
        pixels: in 0..1, of any shape.
        levels: of 255.
    """
    values = (pixels * 255).round()
    return ((values <= levels) | (values >= 255 - levels)).float().mean().item()


def is_grey(pixels: Tensor) -> bool:
    """Tell whether a picture shows nothing: no colour varies by more than `FLAT`, 4 of 255 levels.

    A dead unit, which has no gradient, leaves its canvas as it began. lucid's start has a standard
    deviation of .8 levels; a photo, and a unit that a usual recipe found, one of 20 and more. A
    canvas that begins with its full contrast, as MACO's does, does not tell its dead units so.

    Args:
        pixels: `(1, 3, H, W)` in 0..1.
    """
    return pixels.std(dim=(2, 3), correction=0).amax().item() < FLAT


def _crops(pixels: Tensor, side: Tensor, corner: Tensor) -> Tensor:
    """Enlarge square shares of a picture to its size, `(N, 3, H, W)`; see `held_out`."""
    maps = torch.zeros(len(side), 2, 3, dtype=torch.float64)
    maps[:, 0, :1] = maps[:, 1, 1:2] = side
    maps[:, :, 2] = (2 * corner + side - 1).flip(1)  # from -1 to 1, x first
    shown = pixels.expand(len(side), -1, -1, -1)
    grid = F.affine_grid(maps, list(shown.shape), align_corners=False).to(pixels)
    return F.grid_sample(shown, grid, padding_mode="border", align_corners=False)


def _place(side: Tensor, corner: Tensor, y: float, x: float) -> Tensor:
    return (torch.tensor([y, x], dtype=torch.float64) - corner) / side


def _window(size: tuple[int, int]) -> Tensor:
    """Return a Hann window of mean square 1, `(H, W)`, that is zero nowhere."""
    height, width = (torch.hann_window(side + 2, periodic=False)[1:-1] for side in size)
    window = height[:, None] * width
    return window / window.square().mean().sqrt()


def _rings(magnitude: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the log mean over each ring, `(3, min(size) // 2)`, of `(3, H, W // 2 + 1)`."""
    count = min(size) // 2
    ring = (spectra.frequencies(size) * min(size)).round().long().flatten()
    # All columns but the first, and the last of an even width, stand for their mirror image too.
    twice = torch.full((size[1] // 2 + 1,), 2.0)
    twice[0] = 1
    if size[1] % 2 == 0:
        twice[-1] = 1
    weight = twice.repeat(size[0])
    total = magnitude.new_zeros(3, int(ring.max()) + 1)
    total.index_add_(1, ring, magnitude.flatten(1) * weight)
    return (total / torch.bincount(ring, weight))[:, 1 : count + 1].log()


def _octaves(rings: int) -> Tensor:
    """Return the share of each ring if all octaves count the same."""
    share = 1 / torch.arange(1.0, rings + 1)
    return share / share.sum()


def _balanced(spectrum: Tensor) -> Tensor:
    """Take out the mean over octaves and colours."""
    return spectrum - (spectrum @ _octaves(spectrum.shape[1])).mean()
