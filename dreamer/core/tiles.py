"""Cut views that are too large for the memory into tiles, so that no seam is left.

Every place of the activation maps belongs to the core of one tile. The network sees a core with a
halo around it; an objective counts the places of the core only, and what it does to the pixels of
the whole tile is added up. With a halo of half the receptive field, tiles that begin at multiples
of the deepest stride, and sides that leave the same remainder as the whole view's, that is the
gradient of the whole to the last bits. Trained networks hardly look at the outer part of their
receptive field, so a much narrower halo does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

Box = tuple[int, int, int, int]
"""`(top, left, bottom, right)` of a part of a picture, px, ends excluded."""

SMALLEST = 128
"""The smallest side of a tile, px."""


@dataclass(frozen=True)
class Tile:
    """A part of a view that the network is shown at once.

    Attributes:
        view: height and width of the whole view, px.
        seen: what the network is shown.
        core: the part of it whose places count; the cores of all tiles are the view.
    """

    view: tuple[int, int]
    seen: Box
    core: Box

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is seen, px."""
        return self.seen[2] - self.seen[0], self.seen[3] - self.seen[1]

    @property
    def share(self) -> float:
        """The area that is seen, as a share of the whole view's."""
        return math.prod(self.size) / math.prod(self.view)

    @property
    def core_share(self) -> float:
        """The area of the core, as a share of the whole view's; all of them add up to 1."""
        top, left, bottom, right = self.core
        return (bottom - top) * (right - left) / math.prod(self.view)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the core in what is seen."""
        (top, left, _, _), core = self.seen, self.core
        return slice(core[0] - top, core[2] - top), slice(core[1] - left, core[3] - left)

    def places(self, shape: tuple[int, int], stride: int) -> Places:
        """Return which places of a layer's map count.

        Args:
            shape: height and width of the layer's map of the tile.
            stride: of the layer, px.
        """
        spans = [_span(self, axis, shape[axis], stride) for axis in (0, 1)]
        (rows, top, tall), (columns, left, wide) = spans
        return Places((rows, columns), (top, left), (tall, wide))


@dataclass(frozen=True)
class Places:
    """The places of a layer's map of a tile that belong to the core.

    Attributes:
        inner: their rows and columns in the tile's map.
        first: row and column of the first of them in the map of the whole view.
        whole: height and width of that map.
    """

    inner: tuple[slice, slice]
    first: tuple[int, int]
    whole: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns there are; 0 if none are the core's."""
        rows, columns = self.inner
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def share(self) -> float:
        """How many they are of all; those of all tiles add up to 1."""
        return math.prod(self.shape) / math.prod(self.whole)

    def within(self, y: float, x: float) -> tuple[float, float] | None:
        """Return where a place of the whole view, as shares 0..1, is among them; None if not."""
        found = []
        pairs = zip((y, x), self.first, self.shape, self.whole, strict=True)
        for share, first, count, whole in pairs:
            index = min(max(int(share * whole), 0), whole - 1) - first
            if not 0 <= index < count:
                return None
            found.append((index + 0.5) / count)
        return found[0], found[1]


def _span(tile: Tile, axis: int, length: int, stride: int) -> tuple[slice, int, int]:
    """Return the core's places along an axis, the first of them in the whole, and how many it has.

    Place `i` is at the pixel `i * stride` and what unpadded convolutions take off before it.
    """
    side = tile.view[axis]
    begin, end = tile.seen[axis], tile.seen[axis + 2]
    off = max(0, end - begin - length * stride) // (2 * stride)
    core = tile.core[axis], tile.core[axis + 2]
    first = 0 if core[0] == 0 else min(max((core[0] - begin) // stride - off, 0), length)
    last = length if core[1] == side else min(max((core[1] - begin) // stride - off, 0), length)
    whole = length + (side - (end - begin)) // stride
    return slice(first, max(first, last)), first + begin // stride, whole


def halo(stride: int) -> int:
    """Return how much is to be seen around a core for layers of a stride at least, both px.

    Measured with the embedded network: near a seam the gradient of its levels is then within 1% of
    as strong as it is there in the whole view.
    """
    return max(min(4 * stride, 32), 2 * stride)


@dataclass(frozen=True)
class Tiling:
    """How views are cut into tiles for one network.

    Attributes:
        side: the longest side of what the network is shown at once, px; views that are no larger
            are seen whole, and with 0 all are.
        halo: how much is seen around each core at least, px; at most a quarter of the side.
        stride: of the network's deepest layer in use, px: tiles begin at its multiples.
        strides: px from one place to the next by layer; 0 where a layer has no places.
        least: the shortest side of a picture that the network takes, px.
    """

    side: int
    halo: int
    stride: int
    strides: Mapping[str, int]
    least: int = 1

    def whole(self, view: tuple[int, int]) -> bool:
        """Whether a view of `(height, width)` is seen at once."""
        return self.side == 0 or max(view) <= self.side

    def smaller(self, view: tuple[int, int]) -> Tiling | None:
        """Return the same with tiles of half the side, or of half a whole view's; None at last."""
        side = (max(view) if self.whole(view) else self.side) // 2
        # A side of one core of the stride and its halo, and what the network takes, is the least.
        if side < max(SMALLEST, 2 * self.least, 4 * self.stride):
            return None
        return replace(self, side=side)

    def tiles(self, view: tuple[int, int], random: torch.Generator) -> Iterator[Tile]:
        """Cut a view into tiles of one size, row by row.

        They are of one size at every step, since networks take their time to prepare for another.

        Args:
            view: its height and width, px.
            random: chooses at which of two multiples of the stride the seam of two tiles is. Views
                are shifted, turned and scaled besides: no seam is at one place in every step.
        """
        if self.whole(view):
            whole = (0, 0, *view)
            yield Tile(view, whole, whole)
            return
        rows, columns = (self._spans(side, random) for side in view)
        for (top, bottom), (high, low) in rows:
            for (left, right), (near, far) in columns:
                yield Tile(view, (high, near, low, far), (top, left, bottom, right))

    def _spans(
        self, side: int, random: torch.Generator
    ) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Return the cores along a side, each with what is seen of it."""
        if side <= self.side:
            return [((0, side), (0, side))]
        unit = self.stride
        halo = min(-(-self.halo // unit), self.side // 4 // unit) * unit
        length, starts = self._starts(side, halo)
        edges = [0]
        for start, following in pairwise(starts):
            first, last = following + halo, (start + length - halo) // unit * unit
            first = max(first, edges[-1] + unit)
            draw = torch.rand(1, generator=random, dtype=torch.float64).item()
            edges.append(first + int(draw * (max(0, last - first) // unit + 1)) * unit)
        seen = [(start, start + length) for start in starts]
        return list(zip(pairwise([*edges, side]), seen, strict=True))

    def _starts(self, side: int, halo: int) -> tuple[int, list[int]]:
        """Return how long tiles are along a side, and where they begin.

        As short as so few of them can be; all begin at a multiple of the stride, and so does what
        the view has more than one of them.
        """
        unit = self.stride
        play = min(unit, max(0, self.side - 2 * halo - 2 * unit)) // unit * unit
        overlap = 2 * halo + play
        least = side - (side - min(self.least, side)) // unit * unit
        count = 2
        while True:
            length = -(-(side + (count - 1) * overlap) // count)
            length = max(least, side - (side - length) // unit * unit)
            steps = (side - length) // unit
            if -(-steps // (count - 1)) * unit > length - overlap:
                length, steps = length + unit, steps - 1
            if length <= self.side or length <= least:
                return length, [index * steps // (count - 1) * unit for index in range(count)]
            count += 1


def generator(seed: int, octave: int, step: int) -> torch.Generator:
    """Return the CPU generator that shifts a step's tiles; nothing else draws from it."""
    digest = hashlib.sha256(f"{seed}/{octave}/tiles/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
