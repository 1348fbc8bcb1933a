"""Pictures to dream on when there is no photo: a sky of clouds, and noise."""

from __future__ import annotations

import torch
from torch import Tensor

# An hour before sunset: warm against blue, and nothing near white. A noon sky dreams pale.
_ZENITH = (0.11, 0.22, 0.48)
_HORIZON = (0.76, 0.56, 0.42)
_SUNLIT = (0.93, 0.81, 0.64)
_SHADED = (0.34, 0.30, 0.37)


def power_law(size: tuple[int, int], exponent: float, generator: torch.Generator) -> Tensor:
    """Draw a random field `(H, W)` with the spectrum `1 / f^exponent`, mean 0 and variance 1."""
    height, width = size
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = torch.hypot(fy, fx).clamp_min(1 / max(height, width))
    # White noise in pixels keeps the conjugate symmetries right for every size.
    spectrum = torch.fft.rfft2(torch.randn(size, generator=generator))
    field = torch.fft.irfft2(spectrum * frequency**-exponent, s=size)
    field -= field.mean()
    scaled: Tensor = field / field.std(correction=0).clamp_min(1e-12)
    return scaled


def noise(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw grey with a little coloured noise, `(1, 3, H, W)` in 0..1: a start without content."""
    fields = [power_law(size, 0.7, generator) for _ in range(3)]
    return (0.5 + 0.06 * torch.stack(fields)[None]).clamp(0, 1)


def sky(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Paint an evening sky, `(1, 3, H, W)` in 0..1: clouds are what dreams grow from best."""

    def colour(values: tuple[float, float, float]) -> Tensor:
        return torch.tensor(values).view(1, 3, 1, 1)

    height, width = size
    # Drawn wider than it is high, as clouds are, from a field with a fixed number of waves.
    body = power_law(size, 1.9, generator)
    billow = power_law(size, 1.7, generator)
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    cover = torch.sigmoid(2.4 * body + 0.5 * billow - 0.2)
    light = torch.sigmoid(1.2 * billow - 0.7 * body + 0.6)
    blue = torch.lerp(colour(_ZENITH), colour(_HORIZON), down)
    cloud = torch.lerp(colour(_SHADED), colour(_SUNLIT), light)
    return torch.lerp(blue, cloud, cover).clamp(0, 1)
