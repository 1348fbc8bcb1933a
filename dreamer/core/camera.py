"""How a camera moves: its path over time, and the similarities between its views.

A place is a complex number here: right along the real axis, down along the imaginary one, in half
heights of a frame. Every motion is then one multiplication and one shift. There are no coordinates
of a whole world, in which a zoom of hundreds of doublings would run out of digits: only the maps
from one view to another.
"""

from __future__ import annotations

import cmath
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Ease = Literal["smooth", "linear", "hold"]

# While the centre moves, it moves in so many small steps a second, and at least and at most so
# many between two keys; all else is exact.
MOMENTS, FEWEST, MOST = 120, 64, 2048


@dataclass(frozen=True, slots=True)
class Similarity:
    """The map from a place `p` of one view to the place `factor * p + shift` of another."""

    factor: complex = 1.0
    shift: complex = 0.0

    def __call__(self, place: complex) -> complex:
        """Return where a place is in the other view."""
        return self.factor * place + self.shift

    def __matmul__(self, inner: Similarity) -> Similarity:
        """Return the map that is `inner` and then this one."""
        return Similarity(self.factor * inner.factor, self(inner.shift))

    @property
    def inverse(self) -> Similarity:
        """The map back."""
        return Similarity(1 / self.factor, -self.shift / self.factor)


def about(centre: complex, factor: complex) -> Similarity:
    """Return the map that leaves `centre` where it is; a factor of less than 1 looks closer."""
    return Similarity(factor, centre * (1 - factor))


def motion(centre: complex, depth: float, angle: float) -> Similarity:
    """Return the map from the places of a later view to those of an earlier one.

    Args:
        centre: the place that stays where it is between the two.
        depth: how far it zooms in, doublings.
        angle: how far it turns, radians, clockwise.
    """
    return about(centre, 2.0**-depth * cmath.exp(-1j * angle))


@dataclass(frozen=True)
class Key:
    """How the camera moves at one time.

    Attributes:
        at: seconds.
        rate: doublings a second, at least 0.
        turn: radians a second, clockwise.
        centre: the place that stays where it is.
        ease: how it goes from here to the next key.
    """

    at: float
    rate: float
    turn: float = 0.0
    centre: complex = 0.0
    ease: Ease = "smooth"


@dataclass(frozen=True)
class _Segment:
    """What lies between two keys: from `start` to `end`, eased as if it lasted `length`."""

    start: float
    end: float
    length: float
    first: Key
    second: Key
    depth: float  # at its start, as the angle
    angle: float

    @property
    def steady(self) -> bool:
        """Whether the centre stays."""
        return self.first.ease == "hold" or self.first.centre == self.second.centre

    def depth_at(self, time: float) -> float:
        return self.depth + self._integral(time, self.first.rate, self.second.rate)

    def angle_at(self, time: float) -> float:
        return self.angle + self._integral(time, self.first.turn, self.second.turn)

    def centre_at(self, time: float) -> complex:
        if self.steady:
            return self.first.centre
        share = (time - self.start) / self.length
        if self.first.ease == "smooth":
            share = share * share * (3 - 2 * share)
        return self.first.centre + share * (self.second.centre - self.first.centre)

    def time_of(self, depth: float) -> float:
        """Return when it comes to a depth that it does come to."""
        if self.first.ease == "hold" or self.first.rate == self.second.rate:
            return self.start + (depth - self.depth) / self.first.rate
        low, high = self.start, self.end
        while low < (middle := (low + high) / 2) < high:
            if self.depth_at(middle) < depth:
                low = middle
            else:
                high = middle
        return high

    def moments(self, start: float, end: float) -> Iterator[tuple[float, complex]]:
        """Yield the ends and the centres of the small steps from `start` to `end`."""
        if self.steady:
            yield end, self.first.centre
            return
        count = min(MOST, max(FEWEST, math.ceil(self.length * MOMENTS)))
        step = self.length / count
        # Fixed, wherever it is begun and ended: what is put together from parts is the whole.
        for index in range(int((start - self.start) / step), count):
            until = self.start + (index + 1) * step
            if until > start:
                yield min(until, end), self.centre_at(self.start + (index + 0.5) * step)
            if until >= end:
                return

    def _integral(self, time: float, first: float, second: float) -> float:
        passed = time - self.start
        if self.first.ease == "hold" or first == second:
            return first * passed
        share = passed / self.length
        area = share * share / 2 if self.first.ease == "linear" else share**3 - share**4 / 2
        return first * passed + (second - first) * self.length * area


class Path:
    """How the camera moves over a film.

    Before the first key it moves as at the first, after the last one as at the last; after the
    film's end it goes straight in, so that every depth is come to.

    Args:
        keys: in the order of their times, at least one.
        seconds: the film's length.
    """

    def __init__(self, keys: Sequence[Key], seconds: float) -> None:
        self.seconds = seconds
        self._segments: list[_Segment] = []
        if keys[0].at > 0:
            self._add(0.0, keys[0].at, keys[0], keys[0])
        for first, second in pairwise(keys):
            self._add(first.at, second.at, first, second)
        self._add(keys[-1].at, max(seconds, keys[-1].at), keys[-1], keys[-1])
        straight = Key(seconds, 1.0, centre=self._segments[-1].centre_at(seconds))
        self._add(seconds, math.inf, straight, straight)
        self._starts = [segment.start for segment in self._segments]
        self._depths = [segment.depth for segment in self._segments]

    def depth(self, time: float) -> float:
        """Return how far it has zoomed in, doublings; never less at a later time."""
        return self._at(time).depth_at(time)

    def angle(self, time: float) -> float:
        """Return how far it has turned, radians."""
        return self._at(time).angle_at(time)

    def time(self, depth: float) -> float:
        """Return the first time at which it has come to a depth."""
        if depth <= 0:
            return 0.0
        return self._segments[bisect_left(self._depths, depth) - 1].time_of(depth)

    def between(self, start: float, end: float) -> Similarity:
        """Return the map from the places of the view at `end` to those of the one at `start`."""
        if end < start:
            return self.between(end, start).inverse
        whole = Similarity()
        depth, angle = self.depth(start), self.angle(start)
        for segment in self._segments[self._index(start) :]:
            if segment.start >= end:
                break
            begin = max(start, segment.start)
            for until, centre in segment.moments(begin, min(end, segment.end)):
                later = segment.depth_at(until), segment.angle_at(until)
                whole @= motion(centre, later[0] - depth, later[1] - angle)
                depth, angle = later
        return whole

    def _add(self, start: float, end: float, first: Key, second: Key) -> None:
        depth = angle = 0.0
        if self._segments:
            last = self._segments[-1]
            depth, angle = last.depth_at(last.end), last.angle_at(last.end)
        cut = end if end == math.inf else min(end, self.seconds)
        if cut > start:
            self._segments.append(_Segment(start, cut, end - start, first, second, depth, angle))

    def _index(self, time: float) -> int:
        return max(0, bisect_right(self._starts, time) - 1)

    def _at(self, time: float) -> _Segment:
        return self._segments[self._index(time)]
