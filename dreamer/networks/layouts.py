"""How the activations of any module are laid out, found by showing it two pictures.

A layer's axes are told apart by what they do when the picture becomes twice as wide: the one that
grows is the width, or counts the tokens; the channels stay as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

Shape: TypeAlias = tuple[int, ...]
Kind = Literal["nchw", "nhwc", "tokens", "sequence", "flat"]
# Tokens that are no places: a class token, one for distillation, registers (DINOv2 has four).
MOST_EXTRA = 8
# How far the rows and columns that tokens are read as may be from the picture's aspect.
ASPECT = math.log(1.5)


@dataclass(frozen=True)
class Layout:
    """Where a layer's channels and places are.

    Attributes:
        kind: "nchw" `(N, C, h, w)`; "nhwc" `(N, h, w, C)`; "tokens" `(N, extra + h * w, C)`;
            "sequence" `(N, C, h * w)`; "flat" `(N, C)`.
        channels: number of channels.
        stride: pixels from one neuron to the next; 0 with a single neuron a channel.
        extra: how many tokens come before those that are places.
        pooled: whether the map is as large whatever the picture's size.
    """

    kind: Kind
    channels: int
    stride: int
    extra: int = 0
    pooled: bool = False

    def maps(self, x: Tensor, height: int, width: int) -> Tensor | None:
        """Lay out an activation as `(N, C, h, w)`, or return None if it is none of this layout.

        Args:
            x: what the layer returned.
            height: of the picture that the module was shown, px.
            width: likewise.
        """
        if x.ndim != {"nchw": 4, "nhwc": 4, "flat": 2}.get(self.kind, 3):
            return None
        if self.kind in ("nhwc", "tokens"):
            x = x.movedim(-1, 1)
        if x.shape[1] != self.channels:
            return None
        if self.kind == "flat":
            return x[:, :, None, None]
        if x.ndim == 3:
            places = grid(x.shape[2] - self.extra, height, width, self.stride)
            return None if places is None else x[:, :, self.extra :].reshape(len(x), -1, *places)
        return x


def grid(places: int, height: int, width: int, stride: int) -> tuple[int, int] | None:
    """Return the rows and columns of tokens of a picture, or None if no grid has so many places."""
    for down, across in ((height, width), (height + stride - 1, width + stride - 1)):
        if stride and (down // stride) * (across // stride) == places:
            return down // stride, across // stride
    wanted = height / width

    def distance(rows: int) -> float:
        return abs(math.log(rows * rows / places / wanted))

    divisors = [rows for rows in range(1, places + 1) if places % rows == 0]
    rows = min(divisors, key=distance, default=0)
    return (rows, places // rows) if rows and distance(rows) < ASPECT else None


def read(one: Shape, wide: Shape | None, size: int, module: nn.Module) -> Layout | str:
    """Find a layer's layout, or say in a predicate why it has none.

    Args:
        one: what it returned for one square picture.
        wide: for a picture twice as wide, or None if it takes no other size.
        size: side of the square, px.
        module: the layer; its kind decides where shapes do not.
    """
    written = f"({', '.join(map(str, one))})"
    if not 2 <= len(one) <= 4:
        return f"returns {written}, which has no axis of channels or one too many"
    if one[0] != 1 or (wide is not None and wide[0] != 1):
        return f"returns {written} for one picture: its first axis does not count pictures"
    if wide is not None and len(wide) != len(one):
        return "changes its number of axes with the picture's size"
    grown = () if wide is None else tuple(i for i, n in enumerate(one) if wide[i] != n)
    if len(one) == 2:
        if grown:
            return "has no axis of channels: its width changes with the picture's size"
        return Layout("flat", one[1], 0)
    if len(grown) > 1 or (grown == (1,) and len(one) == 4):
        return "changes its number of channels with the picture's size"
    if len(one) == 3:
        return _tokens(one, wide, grown, size, written)
    if grown:
        last = grown == (2,)
    elif one[1] == one[2] == one[3]:
        # Exactly these: subclasses may put the channels elsewhere, as torchvision's LayerNorm2d.
        last = type(module) in (nn.Linear, nn.LayerNorm)
    else:
        last = one[1] == one[2]
    channels, rows, columns = (one[3], one[1], one[2]) if last else one[1:]
    if max(rows, columns) > size:
        return f"returns {written}, which is finer than the picture"
    if wide is None and rows != columns:
        return f"returns {written} for a square picture, which holds no square map"
    gained = wide[grown[0]] - one[grown[0]] if wide is not None and grown else None
    pooled = wide is not None and not grown
    stride = stride_of(size, rows, gained)
    return Layout("nhwc" if last else "nchw", channels, stride, pooled=pooled)


def _tokens(
    one: Shape, wide: Shape | None, grown: tuple[int, ...], size: int, written: str
) -> Layout | str:
    _, first, second = one
    refused = f"returns {written}: tokens that are no square grid of places"
    if wide is not None:
        if not grown:
            return f"returns {written} whatever the picture's size: its tokens are no places"
        (axis,) = grown
        places = wide[axis] - one[axis]
        kind: Kind = "tokens" if axis == 1 else "sequence"
        extra = one[axis] - places
        side = math.isqrt(places) if extra >= 0 else 0
        if side < 1 or side * side != places or extra > MOST_EXTRA:
            return refused
        return Layout(kind, one[3 - axis], stride_of(size, side, side), extra)
    for kind, count, channels in (("tokens", first, second), ("sequence", second, first)):
        for extra in range(min(MOST_EXTRA + 1, count)):
            side = math.isqrt(count - extra)
            usual = extra < 2 or (side > 3 and size % side == 0)
            if side * side == count - extra and usual:
                return Layout(kind, channels, stride_of(size, side), extra)
    return refused


def stride_of(size: int, neurons: int, gained: int | None = None) -> int:
    """Return how many pixels are between neighbours of so many neurons; 0 for one neuron.

    Unpadded convolutions lose a few rows; strides are powers of two all the same, but for the
    patches of a vision transformer, which divide its window, and where `gained` says otherwise.

    Args:
        size: side of the picture, px.
        neurons: on that side.
        gained: how many more there are on a side twice as long, if that is known.
    """
    if gained is None and neurons == 1:
        return 0
    if size % neurons == 0 and (gained is None or abs(gained - neurons) <= 1):
        return size // neurons
    power = 1 << max(0, round(math.log2(size / neurons)))
    if gained is None or abs(gained - size / power) <= 1:
        return power
    return max(1, round(size / gained))
