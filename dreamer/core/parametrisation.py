"""Pictures from nothing, for feature visualization: what an optimiser changes, and how it is shown.

The same ascent on other parameters finds other pictures (Mordvintsev et al., "Differentiable Image
Parameterizations", Distill 2018). There are three: pixels; Fourier coefficients, by which coarse
structure is found first; and MACO's phases, with the magnitude of natural pictures for good. All
are in decorrelated colours unless told otherwise, and hold several pictures at once, which have
nothing to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from dreamer.core import colour, spectra
from dreamer.core.resampling import resample

Size = tuple[int, int]
START = 0.01
"""Standard deviation of the parameters that a picture starts from."""
# Lucid's, which brings its pictures to ordinary contrast.
_FOURIER_DIVISOR = 4.0
_TINY = 1e-6

Self = TypeVar("Self", bound="Parametrisation")


class Parametrisation(Protocol):
    """Some pictures as an optimiser sees them.

    Attributes:
        parameters: `(N, ...)`, a leaf that asks for gradients.
        size: height and width of the pictures, px.
    """

    parameters: Tensor
    size: Size

    def show(self, parameters: Tensor | None = None) -> Tensor:
        """Return the pictures `(N, 3, H, W)` in 0..1, differentiable in the parameters.

        Args:
            parameters: to show instead of its own, of the same shape but for their number.
        """

    def enlarged(self: Self, size: Size) -> Self:
        """Return the same pictures at another height and width, px."""

    def to(self: Self, device: torch.device) -> Self:
        """Return the same pictures on a device."""

    def between(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Return parameters of pictures on the way from one to another.

        Args:
            first: parameters `(M, ...)`.
            second: as many.
            share: `(M,)`, 0 for the first, 1 for the second.
        """


class PixelParametrisation:
    """Every value of every pixel for itself.

    Args:
        values: logits `(N, 3, H, W)`, in decorrelated colours if those are used.
        decorrelate: whether they are.
    """

    def __init__(self, values: Tensor, *, decorrelate: bool = True) -> None:
        self.parameters = values.detach().requires_grad_()
        self.size: Size = (values.shape[2], values.shape[3])
        self.decorrelate = decorrelate

    @classmethod
    def start(
        cls, size: Size, generators: Sequence[torch.Generator], *, decorrelate: bool = True
    ) -> PixelParametrisation:
        """Begin one picture a generator with faint noise."""
        noise = [torch.randn(3, *size, generator=each) for each in generators]
        return cls(START * torch.stack(noise), decorrelate=decorrelate)

    def show(self, parameters: Tensor | None = None) -> Tensor:
        """Return the pictures `(N, 3, H, W)` in 0..1."""
        return _coloured(self.parameters if parameters is None else parameters, self.decorrelate)

    def enlarged(self, size: Size) -> PixelParametrisation:
        """Return the same pictures at another size."""
        return PixelParametrisation(
            resample(self.parameters.detach(), size), decorrelate=self.decorrelate
        )

    def to(self, device: torch.device) -> PixelParametrisation:
        """Return the same pictures on a device."""
        return PixelParametrisation(self.parameters.to(device), decorrelate=self.decorrelate)

    def between(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Return parameters on the way, of as much contrast as both have."""
        return _blend(first, second, share)


class FourierParametrisation:
    """Fourier coefficients, each divided by its frequency: lucid's FFT image.

    Args:
        coefficients: `(N, 3, H, W // 2 + 1, 2)`, real and imaginary parts, before the scale.
        size: height and width, px.
        decorrelate: whether colours are.
    """

    def __init__(self, coefficients: Tensor, size: Size, *, decorrelate: bool = True) -> None:
        self.parameters = coefficients.detach().requires_grad_()
        self.size = size
        self.decorrelate = decorrelate
        self._scale = (spectra.inverse(size) / _FOURIER_DIVISOR).to(coefficients.device)

    @classmethod
    def start(
        cls, size: Size, generators: Sequence[torch.Generator], *, decorrelate: bool = True
    ) -> FourierParametrisation:
        """Begin one picture a generator with faint clouds."""
        shape = (3, size[0], size[1] // 2 + 1, 2)
        noise = [torch.randn(shape, generator=each) for each in generators]
        return cls(START * torch.stack(noise), size, decorrelate=decorrelate)

    def show(self, parameters: Tensor | None = None) -> Tensor:
        """Return the pictures `(N, 3, H, W)` in 0..1."""
        values = self.parameters if parameters is None else parameters
        spectrum = torch.view_as_complex(values) * self._scale
        return _coloured(torch.fft.irfft2(spectrum, s=self.size), self.decorrelate)

    def enlarged(self, size: Size) -> FourierParametrisation:
        """Return the same pictures at another size, their new frequencies empty."""
        spectrum = torch.view_as_complex(self.parameters.detach()) * self._scale
        grown = spectra.resized(spectrum, size) * (math.prod(size) / math.prod(self.size))
        scale = (spectra.inverse(size) / _FOURIER_DIVISOR).to(grown.device)
        return FourierParametrisation(
            torch.view_as_real(grown / scale), size, decorrelate=self.decorrelate
        )

    def to(self, device: torch.device) -> FourierParametrisation:
        """Return the same pictures on a device."""
        return FourierParametrisation(
            self.parameters.to(device), self.size, decorrelate=self.decorrelate
        )

    def between(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Return parameters on the way, of as much contrast as both have."""
        return _blend(first, second, share)


class MacoParametrisation:
    """The phases of a spectrum whose magnitude is that of natural pictures.

    Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
    Optimization" (2023): with the energy of every frequency given, high frequencies cannot be
    used to fool the network.

    Args:
        phases: `(N, 3, H, W // 2 + 1)`, radians.
        size: height and width, px.
        profile: of the magnitude, see `spectra.measured`; None for `spectra.natural`.
        neutral: whether the mean colour is kept at grey, so that there is no colour cast.
        decorrelate: whether colours are.
    """

    def __init__(
        self,
        phases: Tensor,
        size: Size,
        profile: spectra.Profile | None = None,
        *,
        neutral: bool = True,
        decorrelate: bool = True,
    ) -> None:
        self.parameters = phases.detach().requires_grad_()
        self.size = size
        self.profile = profile
        self.neutral = neutral
        self.decorrelate = decorrelate
        magnitude = (
            spectra.natural(size) if profile is None else spectra.from_profile(profile, size)
        )
        if neutral:
            magnitude[:, 0, 0] = 0
        self._magnitude = magnitude.to(phases)

    @classmethod
    def start(
        cls,
        size: Size,
        generators: Sequence[torch.Generator],
        profile: spectra.Profile | None = None,
        *,
        neutral: bool = True,
        decorrelate: bool = True,
    ) -> MacoParametrisation:
        """Begin one picture a generator with phases anywhere.

        Args:
            size: height and width, px.
            generators: one a picture.
            profile: see the class.
            neutral: see the class.
            decorrelate: see the class.
        """
        shape = (3, size[0], size[1] // 2 + 1)
        phases = [math.tau * torch.rand(shape, generator=each) for each in generators]
        return cls(torch.stack(phases), size, profile, neutral=neutral, decorrelate=decorrelate)

    def show(self, parameters: Tensor | None = None) -> Tensor:
        """Return the pictures `(N, 3, H, W)` in 0..1."""
        phases = self.parameters if parameters is None else parameters
        # One at a time: last bits, of a sum over all and of what ends a batch, depend on how many
        # there are.
        values = torch.stack([self._standardised(each) for each in phases])
        return _coloured(values, self.decorrelate)

    def _standardised(self, phases: Tensor) -> Tensor:
        """Return one picture with mean 0 and standard deviation 1, its colours' shares kept."""
        values = torch.fft.irfft2(torch.polar(self._magnitude, phases), s=self.size)
        values = values - values.mean()
        standardised: Tensor = values / (values.square().mean().sqrt() + _TINY)
        return standardised

    def enlarged(self, size: Size) -> MacoParametrisation:
        """Return the same pictures at another size; the phases of new frequencies are anywhere."""
        new = MacoParametrisation.start(
            size,
            [torch.Generator().manual_seed(k) for k in range(len(self.parameters))],
            self.profile,
            neutral=self.neutral,
            decorrelate=self.decorrelate,
        )
        old = self.parameters.detach()
        known = spectra.resized(torch.ones_like(old), size) > 0
        phases = torch.where(known, spectra.resized(old, size), new.parameters.detach().to(old))
        return MacoParametrisation(
            phases, size, self.profile, neutral=self.neutral, decorrelate=self.decorrelate
        )

    def to(self, device: torch.device) -> MacoParametrisation:
        """Return the same pictures on a device."""
        return MacoParametrisation(
            self.parameters.to(device),
            self.size,
            self.profile,
            neutral=self.neutral,
            decorrelate=self.decorrelate,
        )

    def between(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Return phases on the way, each round the shorter arc."""
        arc = torch.remainder(second - first + math.pi, math.tau) - math.pi
        return first + share.view(-1, 1, 1, 1) * arc


def _coloured(values: Tensor, decorrelate: bool) -> Tensor:
    return torch.sigmoid(colour.correlate(values) if decorrelate else values)


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return a mix of parameters that does not lose contrast where the two differ."""
    share = share.view(-1, *[1] * (first.ndim - 1))
    mixed = torch.lerp(first, second, share)
    ends = torch.lerp(_norm(first), _norm(second), share)
    scaled: Tensor = mixed * (ends / _norm(mixed).clamp_min(_TINY))
    return scaled


def _norm(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms.view(-1, *[1] * (values.ndim - 1))
