"""The frames between two keyframes that lie inside each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import zoom
from dreamer.core.zoom import MARGIN

# A keyframe appears inside the one before over this share of a doubling, so that what it changed
# comes up smoothly.
APPEARING = 0.6

# A frame is made in tiles of at most so many pixels each way: a keyframe is looked at only in those
# where it is seen, and what is worked on stays in a processor's cache.
TILE = 104

# Torch shares out work on more values than this among its threads. Here whole tiles are shared out
# instead, and each is worked on in pieces that small: threads that wait for each other after every
# operation get nowhere while a video encoder is busy too.
PIECE = 32767

Corner = tuple[int, int]
"""A tile: the row and the column of its first pixel in the frame."""

Put = Callable[[slice, slice, Tensor], None]
"""Sets pixels `(1, 3, h, w)` in 0..1, which it may change, into rows and columns of a frame."""


class Nest:
    """Two keyframes, and every frame between them.

    Args:
        outer: `(1, 3, H, W)` in 0..1, of `canvas_size`.
        inner: the next one; None shows the outer one alone.
        step: where the inner one lies: the map `(2, 3)` from its places to those of the outer one.
        size: height and width of a frame, px.
    """

    def __init__(
        self, outer: Tensor, inner: Tensor | None, step: Tensor, size: tuple[int, int]
    ) -> None:
        self.outer = outer
        self.inner = inner
        self.size = size
        self._factor = 1 / zoom.scale(step)
        self._into = zoom.inverse(step)
        self._smooth = None if inner is None else zoom.smooth(inner, self._factor)

    def frame(self, places: Tensor) -> Tensor:
        """Return the frame of a view between the two keyframes.

        Args:
            places: the map from the frame's places to those of the outer keyframe, `(2, 3)`.

        Returns:
            `(1, 3, h, w)` in 0..1.
        """
        frame = torch.empty(1, 3, *self.size)

        def put(rows: slice, columns: slice, pixels: Tensor) -> None:
            frame[:, :, rows, columns] = pixels

        self._make(places, put)
        return frame

    def levels(self, places: Tensor) -> bytes:
        """Return the same frame as RGB bytes, rows from the top."""
        frame = torch.empty(*self.size, 3, dtype=torch.uint8)

        def put(rows: slice, columns: slice, pixels: Tensor) -> None:
            rounded = pixels.mul_(255).round_().to(torch.uint8)
            frame[rows, columns] = rounded[0].permute(1, 2, 0)

        self._make(places, put)
        return frame.numpy().tobytes()

    def _make(self, places: Tensor, put: Put) -> None:
        """Make a frame, tile by tile."""
        (height, width), inference = self.size, torch.is_inference_mode_enabled()
        down, across = tile = _tile(height), _tile(width)
        corners = iter([(y, x) for y in range(0, height, down) for x in range(0, width, across)])

        def work(corners: Iterator[Corner]) -> None:
            # Which thread makes a tile, and what it made before, changes nothing in it.
            with torch.inference_mode(inference):
                outer = _Grid(places / MARGIN, self.size, tile)
                inner = self._within(places, tile)
                for y, x in corners:
                    pixels = self._pixels(outer, inner, (y, x))
                    bottom, right = min(y + down, height), min(x + across, width)
                    shown = pixels[:, :, : bottom - y, : right - x]
                    put(slice(y, bottom), slice(x, right), shown)

        threads = torch.get_num_threads()
        if threads == 1:
            work(corners)
            return
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work, corners) for _ in range(threads)]:
                done.result()

    def _within(self, places: Tensor, tile: tuple[int, int]) -> _Inner | None:
        """Return how the inner keyframe is seen, if it is."""
        scale = zoom.scale(places)
        if self.inner is None or self._smooth is None or scale >= 1:
            return None
        amount = -math.log(scale) / math.log(self._factor)
        opacity = float(zoom.ease(torch.tensor(amount / APPEARING)))
        # Between full size and the size at which the smoothed one has all there is to show.
        share = min(1.0, max(0.0, (scale * self._factor - 1) / (self._factor - 1)))
        grid = _Grid(zoom.after(self._into, places) / MARGIN, self.size, tile)
        return _Inner(self.inner, self._smooth, share, grid, opacity)

    def _pixels(self, outer: _Grid, inner: _Inner | None, corner: Corner) -> Tensor:
        """Return the pixels of a tile, `(1, 3, h, w)`."""
        if inner is not None and inner.covers(corner):
            return inner.pixels(corner)
        padding = "reflection" if outer.reach(corner) > _edge(self.outer) else "zeros"
        pixels = _sampled(self.outer, outer.places(corner), padding)
        if inner is not None and inner.appears(corner):
            pixels.lerp_(inner.pixels(corner), inner.opacity(corner))
        return pixels


class _Inner:
    """The inner keyframe as a view sees it, shrunken; for one thread.

    Args:
        sharp: the keyframe.
        smooth: the same without what is too fine to be seen at its smallest.
        share: how much of the smooth one is shown.
        grid: where the tiles look.
        opacity: of the whole.
    """

    def __init__(
        self, sharp: Tensor, smooth: Tensor, share: float, grid: _Grid, opacity: float
    ) -> None:
        self._sharp, self._smooth, self._share = sharp, smooth, share
        self._grid, self._opacity = grid, opacity
        height, width = sharp.shape[2:]
        # A tile looks at a part of this size, with the pixels about what it shows.
        across = min(width, math.ceil(grid.spread.real / 2 * width) + 6)
        down = min(height, math.ceil(grid.spread.imag / 2 * height) + 6)
        self._part = sharp.new_empty(1, 3, down, across)
        self._in_part = grid.scaled(width / across, height / down)

    def covers(self, corner: Corner) -> bool:
        """Return whether a tile shows nothing else."""
        return self._opacity == 1 and self._grid.reach(corner) <= 1 / MARGIN

    def appears(self, corner: Corner) -> bool:
        """Return whether a tile shows anything of it."""
        return self._opacity > 0 and not self._grid.beyond(corner)

    def opacity(self, corner: Corner) -> Tensor:
        """Return the opacity of a tile's pixels, `(1, 1, h, w)`.

        It is whole within a frame of the keyframe, and falls to 0 at the keyframe's own edge, so
        that no edge is seen.
        """
        if self._grid.reach(corner) <= 1 / MARGIN:
            return torch.tensor(self._opacity)
        across, down = self._grid.places(corner).abs_().unbind(-1)
        within = (1 - torch.maximum(across, down)) * (MARGIN / (MARGIN - 1))
        return zoom.ease(within)[:, None].mul_(self._opacity)

    def pixels(self, corner: Corner) -> Tensor:
        """Return the pixels of a tile, `(1, 3, h, w)`."""
        (height, width), (down, across) = self._sharp.shape[2:], self._part.shape[2:]
        low = self._grid.low(corner)
        left = max(0, min(width - across, math.floor((low.real + 1) / 2 * width - 0.5) - 2))
        top = max(0, min(height - down, math.floor((low.imag + 1) / 2 * height - 0.5) - 2))
        # The part is copied, as that reads memory in the order in which it lies; sampling a turned
        # view does not.
        rows = max(1, PIECE // (3 * across))
        for first in range(0, down, rows):
            end = min(first + rows, down)
            seen = (..., slice(top + first, top + end), slice(left, left + across))
            out = self._part[:, :, first:end]
            torch.lerp(self._sharp[seen], self._smooth[seen], self._share, out=out)
        shift = complex((width - 2 * left) / across - 1, (height - 2 * top) / down - 1)
        padding = "border" if self._grid.reach(corner) > _edge(self._sharp) else "zeros"
        return _sampled(self._part, self._in_part.places(corner, shift), padding)


class _Grid:
    """Where the tiles of a frame look in a picture.

    A place is `x + iy` here, as pairs are added as fast as numbers; the edges of the picture are
    at -1 and 1.

    Args:
        places: the map `(2, 3)` from the frame's places to those of the picture.
        size: height and width of the frame, px.
        tile: those of a tile.

    Attributes:
        spread: how much of the picture a tile looks at.
    """

    def __init__(self, places: Tensor, size: tuple[int, int], tile: tuple[int, int]) -> None:
        self._given = places, size, tile
        (xx, xy, x), (yx, yy, y) = places.tolist()
        self._right, self._down = complex(xx, yx) * 2 / size[1], complex(xy, yy) * 2 / size[0]
        self._first = complex(x - xx - xy, y - yx - yy) + (self._right + self._down) / 2
        right = torch.arange(tile[1], dtype=torch.float64) * self._right
        down = torch.arange(tile[0], dtype=torch.float64) * self._down
        self._ways = (right + down[:, None]).to(torch.complex64)
        last = [self._right * (tile[1] - 1), self._down * (tile[0] - 1)]
        xs, ys = [way.real for way in last], [way.imag for way in last]
        self._low = complex(sum(min(0.0, x) for x in xs), sum(min(0.0, y) for y in ys))
        self.spread = complex(sum(map(abs, xs)), sum(map(abs, ys)))

    def scaled(self, across: float, down: float) -> _Grid:
        """Return the same with all places multiplied, x and y each."""
        places, size, tile = self._given
        return _Grid(places * places.new_tensor([[across], [down]]), size, tile)

    def low(self, corner: Corner) -> complex:
        """Return the least x and y of a tile's places."""
        return self._start(corner) + self._low

    def reach(self, corner: Corner) -> float:
        """Return how far from the middle a tile looks: the greatest x or y, whatever the sign."""
        low, high = self.low(corner), self.low(corner) + self.spread
        return max(-low.real, -low.imag, high.real, high.imag)

    def beyond(self, corner: Corner) -> bool:
        """Return whether all of a tile looks beyond one of the edges."""
        low, high = self.low(corner), self.low(corner) + self.spread
        return max(low.real, low.imag, -high.real, -high.imag) >= 1

    def places(self, corner: Corner, shift: complex = 0) -> Tensor:
        """Return the places of a tile's pixels, all moved by `shift`, `(1, h, w, 2)`."""
        return torch.view_as_real(self._ways + (self._start(corner) + shift))[None]

    def _start(self, corner: Corner) -> complex:
        return self._first + self._down * corner[0] + self._right * corner[1]


def _tile(side: int) -> int:
    """Return the side of equal tiles of a frame, the last of which may reach beyond it, px."""
    return math.ceil(side / math.ceil(side / TILE))


def _edge(picture: Tensor) -> float:
    """Return how far out pixels beyond the edge start to count, which takes longer."""
    return 1 - 4 / min(picture.shape[2:])


def _sampled(picture: Tensor, places: Tensor, padding: str) -> Tensor:
    """Resample `(1, 3, H, W)` in 0..1 at places `(1, h, w, 2)`, bicubically."""
    seen = F.grid_sample(picture, places, mode="bicubic", padding_mode=padding, align_corners=False)
    # Before it is blended, or a bright edge in one keyframe would darken the other beside it.
    return seen.clamp_(0, 1)
