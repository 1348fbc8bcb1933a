"""How a dream changes a photo: pixel by pixel, by waves, or by their phases alone.

A canvas holds what ascent changes and shows it as pixels; with nothing changed they are the photo
to the bit. What pictures from nothing are made of is in `dreamer.core.parametrisation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import bands, colour, gradients, resampling, spectra
from dreamer.core.tiles import Box

Read = Callable[[Box], Tensor]
"""Shows a part of a picture, `(1, 3, h, w)` in 0..1."""

# How near a dream brings a value to black or white, unless the photo is nearer.
MARGIN = 2 / 255


class Canvas(Protocol):
    """What the ascent loop needs of a parametrisation.

    Attributes:
        base: the photo at the octave's size, `(1, 3, H, W)` in 0..1.
        where: how much each pixel may change, `(1, 1, H, W)` in 0..1; all of them if None.
    """

    base: Tensor
    where: Tensor | None

    def pixels(self) -> Tensor:
        """Show the picture, `(1, 3, H, W)` in 0..1."""

    def reader(self) -> Read:
        """Return what shows parts of the picture as it stands."""

    def precondition(
        self, gradient: Tensor, *, tilt: float, grain: float, decorrelate: float
    ) -> Tensor:
        """Turn the raw gradient `(1, 3, H, W)` of the pixels into a direction to go.

        Args:
            gradient: of any scale, not zero; a large one may be written over.
            tilt: see `gradients.condition`.
            grain: the same.
            decorrelate: see `colour.decorrelate`.

        Returns:
            `(1, 3, H, W)` with mean 0 in every channel and root mean square 1 over all.
        """

    def ascend(self, direction: Tensor, step: float) -> None:
        """Move by a root mean square of `step` along a direction in pixel space of any scale."""

    def settle(self, hold: float) -> None:
        """Pull the broad light and colour back towards the photo's by a share of `hold`."""

    def onto(self, base: Tensor, where: Tensor | None = None) -> Canvas:
        """Carry what was dreamed to another size of the same photo.

        Args:
            base: `(1, 3, H', W')` in 0..1.
            where: how much each pixel may change, `(1, 1, H', W')` in 0..1; all of them if None.
        """

    def scaled(self, factor: float) -> Canvas:
        """Return what would be dreamed with the change that many times as large."""


class PixelCanvas:
    """A photo and the difference that was dreamed onto it.

    Only the difference is resampled between octaves, so the photo's fine detail is never lost and
    a difference of zero shows exactly the photo. The difference itself is unbounded; `soft_clip`
    keeps the picture inside 0..1 without flat, posterised areas. Of a large picture the difference
    is changed in place, band by band: see `dreamer.core.bands`.

    Args:
        base: the photo at this octave's size, `(1, 3, H, W)` in 0..1.
        difference: what was dreamed so far, of the same shape; none yet if None.
        together: limit red, green and blue as one, so that a grey change stays grey.
        where: how much each pixel may change, `(1, 1, H, W)` in 0..1; where it is 0 the picture is
            the photo to the bit. All of them if None.
    """

    def __init__(
        self,
        base: Tensor,
        difference: Tensor | None = None,
        *,
        together: bool = False,
        where: Tensor | None = None,
    ) -> None:
        self.base = base
        self.difference = bands.zeros(base) if difference is None else difference
        self.together = together
        self.where = where

    def pixels(self) -> Tensor:
        """Show the picture, `(1, 3, H, W)` in 0..1."""
        parts = bands.bands(self.base)
        if len(parts) == 1:
            return self._shown(parts[0], slice(None))
        shown = bands.zeros(self.base)
        for rows in parts:
            shown[:, :, rows] = self._shown(rows, slice(None))
        return shown

    def reader(self) -> Read:
        """Return what shows parts of the picture as it stands, of a large one when asked."""
        if len(bands.bands(self.base)) == 1:
            return _parts(self.pixels())
        return lambda box: self._shown(slice(box[0], box[2]), slice(box[1], box[3]))

    def _shown(self, rows: slice, columns: slice) -> Tensor:
        base, difference = self.base[:, :, rows, columns], self.difference[:, :, rows, columns]
        return soft_clip(base, difference, together=self.together)

    def precondition(
        self, gradient: Tensor, *, tilt: float, grain: float, decorrelate: float
    ) -> Tensor:
        """Decorrelate colours, then bring the gradient's bands to the strengths asked for."""
        decorrelated = bands.mapped(lambda part: colour.decorrelate(part, decorrelate), gradient)
        return gradients.condition(decorrelated, tilt, grain)

    def ascend(self, direction: Tensor, step: float) -> None:
        """Move by a root mean square of `step` along a direction in pixel space of any scale.

        What pushes a value further towards black or white is weakened by as much as `soft_clip`
        takes from its difference, and the step moves the rest by so much more: the picture goes
        on to grow where there is room for it, and burns out nowhere. Where only a part may change
        that part moves as far as it would in a whole picture.
        """
        if self.where is not None:
            step = step * gradients.rms(self.where).item()
        parts = bands.bands(self.base)
        if len(parts) == 1:
            pushed = self._pushed(direction, parts[0])
            self.difference = self.difference + pushed * (step / gradients.rms(pushed))
            return
        # What may change may be all in one band.
        some = bands.sample(self.base) if self.where is None else parts
        length = bands.rms_of(self._pushed(direction, rows) for rows in some).item()
        for rows in parts:
            self.difference[:, :, rows] += self._pushed(direction, rows).mul_(step / length)

    def _pushed(self, direction: Tensor, rows: slice) -> Tensor:
        """Return what is left of some rows of a direction."""
        direction, difference = direction[:, :, rows], self.difference[:, :, rows]
        spent = _share_left(self.base[:, :, rows], difference, self.together)
        pushed = torch.where(difference * direction > 0, direction * spent, direction)
        return pushed if self.where is None else pushed * self.where[:, :, rows]

    def settle(self, hold: float) -> None:
        """Pull the broad light and colour back towards the photo's by a share of `hold`."""
        if hold == 0:
            return
        cells = resampling.seen_through(self.difference)
        parts = bands.bands(self.base)
        if len(parts) == 1:
            broad = resampling.enlarge(cells, self.difference)
            broad = broad if self.where is None else broad * self.where
            self.difference = self.difference - hold * broad
            return
        enlarged = resampling.Enlarged(cells, self.difference)
        for rows in parts:
            broad = enlarged[rows]
            broad = broad if self.where is None else broad * self.where[:, :, rows]
            self.difference[:, :, rows] -= broad.mul_(hold)

    def onto(self, base: Tensor, where: Tensor | None = None) -> PixelCanvas:
        """Carry the dreamed difference to another size of the same photo."""
        size = (base.shape[2], base.shape[3])
        difference = resampling.resample(self.difference, size)
        if where is not None:
            difference = difference * (where > 0)  # resampled, it reaches beyond its edge
        return type(self)(base, difference, together=self.together, where=where)

    def scaled(self, factor: float) -> PixelCanvas:
        """Return the canvas with a difference that many times as large."""
        difference = torch.mul(self.difference, factor, out=bands.zeros(self.difference))
        return type(self)(self.base, difference, together=self.together, where=self.where)


class FourierCanvas(PixelCanvas):
    """A difference that is made of waves, those of low frequency moving the most.

    Steepest ascent on Fourier coefficients that are divided by their frequency and brought to one
    strength, as an optimiser such as Adam does; in decorrelated colours. For that the gradient is
    all that has to change: what is dreamed is the same kind of difference.
    """

    def precondition(
        self, gradient: Tensor, *, tilt: float, grain: float, decorrelate: float
    ) -> Tensor:
        """Bring all frequencies to one strength and divide them by it; `tilt` is not needed.

        Args:
            gradient: see `Canvas`.
            tilt: of no effect: waves have theirs.
            grain: the share that is left of the highest frequencies.
            decorrelate: see `Canvas`.
        """
        height, width = gradient.shape[2:]
        down, across = (height - 1) // 2, (width - 1) // 2
        # Waves wrap around; a picture and its reflection do without an edge.
        padded = F.pad(gradient, (across, across, down, down), mode="reflect")
        size = (padded.shape[2], padded.shape[3])
        spectrum = spectra.levelled(torch.fft.rfft2(padded), size)
        f = spectra.clamped(size).to(gradient)
        fine = 1 - (1 - grain) * (f / 0.5).clamp(max=1)
        waves = torch.fft.irfft2(spectrum * fine / f, s=size)
        inner = waves[:, :, down : down + height, across : across + width]
        return _normalised(colour.decorrelate(inner, decorrelate))


class MacoCanvas:
    """A photo whose waves are moved, none made stronger or weaker: its spectrum stays.

    MACO (Fel et al. 2023) on a photo: what changes are the phases of its Fourier coefficients.

    Args:
        base: the photo at this octave's size, `(1, 3, H, W)` in 0..1.
        phases: how far each coefficient has turned, `(1, 3, H, W // 2 + 1)`; not yet if None.
        together: whether only the light changes.
        where: how much of the change each pixel shows, see `PixelCanvas`.
    """

    def __init__(
        self,
        base: Tensor,
        phases: Tensor | None = None,
        *,
        together: bool = False,
        where: Tensor | None = None,
    ) -> None:
        self.base = base
        self.together = together
        self.where = where
        self._size = (base.shape[2], base.shape[3])
        self._spectrum = torch.fft.rfft2(base)
        self.phases = torch.zeros_like(self._spectrum.real) if phases is None else phases

    def pixels(self) -> Tensor:
        """Show the picture, `(1, 3, H, W)` in 0..1."""
        turned = self._spectrum * (torch.polar(torch.ones_like(self.phases), self.phases) - 1)
        difference = torch.fft.irfft2(turned, s=self._size)
        if self.together:
            difference = colour.mute(difference, 0.0)
        if self.where is not None:  # a wave is everywhere
            difference = difference * self.where
        return soft_clip(self.base, difference, together=self.together)

    def reader(self) -> Read:
        """Return what shows parts of the picture as it stands: all of it is made at once."""
        return _parts(self.pixels())

    def precondition(
        self, gradient: Tensor, *, tilt: float, grain: float, decorrelate: float
    ) -> Tensor:
        """Bring all frequencies to one strength; the photo itself decides what each can do."""
        spectrum = spectra.levelled(torch.fft.rfft2(gradient), self._size)
        flat = torch.fft.irfft2(spectrum, s=self._size)
        return _normalised(colour.decorrelate(flat, decorrelate))

    def ascend(self, direction: Tensor, step: float) -> None:
        """Turn the phases so that pixels move by a root mean square of `step`."""
        wanted = torch.fft.rfft2(direction)
        turned = self._spectrum * torch.polar(torch.ones_like(self.phases), self.phases)
        # What a small turn of each does for the direction: at most its own length.
        gain = (torch.conj(1j * turned) * wanted).real
        turn = gain / (turned.abs() * wanted.abs()).clamp_min(1e-12)
        moved = gradients.rms(torch.fft.irfft2(1j * turned * turn, s=self._size))
        self.phases = self.phases + turn * (step / moved).clamp(max=math.pi)

    def settle(self, hold: float) -> None:
        """Turn the lowest frequencies back by a share of `hold`."""
        if hold > 0:
            low = spectra.frequencies(self._size) * max(self._size) <= 16
            share = torch.where(low, 1 - hold, 1.0).to(self.phases)
            self.phases = self.phases * share

    def onto(self, base: Tensor, where: Tensor | None = None) -> MacoCanvas:
        """Turn the same waves of another size of the photo."""
        phases = spectra.resized(self.phases, (base.shape[2], base.shape[3]))
        return MacoCanvas(base, phases, together=self.together, where=where)

    def scaled(self, factor: float) -> MacoCanvas:
        """Turn the waves that many times as far."""
        return MacoCanvas(self.base, factor * self.phases, together=self.together, where=self.where)


Kind = Literal["pixel", "fourier", "maco"]


def start(
    kind: Kind, base: Tensor, *, together: bool = False, where: Tensor | None = None
) -> Canvas:
    """Return a canvas on which nothing is dreamed yet.

    Args:
        kind: which.
        base: the photo, `(1, 3, H, W)` in 0..1.
        together: whether red, green and blue are to change as one.
        where: how much each pixel may change, `(1, 1, H, W)` in 0..1; all of them if None.
    """
    if kind == "maco":
        return MacoCanvas(base, together=together, where=where)
    made = FourierCanvas if kind == "fourier" else PixelCanvas
    return made(base, together=together, where=where)


def _parts(pixels: Tensor) -> Read:
    return lambda box: pixels[:, :, box[0] : box[2], box[1] : box[3]]


def _normalised(direction: Tensor) -> Tensor:
    direction = direction - direction.mean((2, 3), keepdim=True)
    return direction / gradients.rms(direction)


def soft_clip(base: Tensor, difference: Tensor, *, together: bool = False) -> Tensor:
    """Add a difference to a photo so that the sum nears black and white but never reaches them.

    `base + d * room / (room + |d|)`, where room is the way from the photo to black or white, but
    for a `MARGIN`. A small difference is added as it is, a zero difference is exactly the photo,
    and highlights fill up as slowly as on film.

    Args:
        base: the photo, `(N, 3, H, W)` in 0..1.
        difference: any values, of the same shape.
        together: use the least room of the three colours for all of them.

    Returns:
        `(N, 3, H, W)` in 0..1.
    """
    return base + difference * _share_left(base, difference, together)


def _share_left(base: Tensor, difference: Tensor, together: bool) -> Tensor:
    """Return the share of a difference that there is room for: 1 for none, 0 where none is."""
    up, down = 1 - MARGIN - base, base - MARGIN
    room = torch.where(difference > 0, up, down).clamp_min_(0)
    if together:
        room = room.amin(1, keepdim=True)
    return room / difference.abs().add_(room).clamp_min_(1e-12)
