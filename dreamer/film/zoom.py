"""The recipe of a zoom: the recipes of its keyframes, and how the camera moves between them."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from dreamer.core import camera as geometry
from dreamer.core.camera import Ease, Path, Similarity
from dreamer.film import fades
from dreamer.film.base import FilmRecipe, Part
from dreamer.recipe import Recipe

FACTOR = 2.0
"""How many times a keyframe is enlarged to become the next, but by feedback."""
# Doublings and seconds that make no difference.
_NOTHING = 1e-9

Place = Annotated[float, Field(ge=-1, le=1)]


class Stretch(Part):
    """A part of a film with one look.

    Attributes:
        until: where it ends, seconds.
        recipe: of its keyframes; the seed of each is drawn from the recipe's.
        again: of the frames after the first, by feedback; None for keyframes.
        fade: how long it comes up out of the one before, seconds, half of it on either side; for
            the first one that is the last, and only in a loop.
    """

    until: float = Field(gt=0)
    recipe: Recipe
    again: Recipe | None = None
    fade: float = Field(default=0.0, ge=0)


class Key(Part):
    """How the camera moves at one time.

    Attributes:
        at: seconds.
        speed: how many times a second enlarges.
        rotate: degrees a second, clockwise.
        centre: the place that stays where it is, from -1 to 1 each way.
        ease: how it goes from here to the next key.
    """

    at: float = Field(default=0.0, ge=0)
    speed: float = Field(default=2.0, ge=1)
    rotate: float = 0.0
    centre: tuple[Place, Place] = (0.0, 0.0)
    ease: Ease = "smooth"

    @property
    def motion(self) -> tuple[float, float, tuple[float, float]]:
        """How it moves, without when and what then."""
        return self.speed, self.rotate, self.centre


class ZoomRecipe(FilmRecipe):
    """Every number that decides a zoom.

    Attributes:
        film: what kind of film.
        method: nested: a picture is dreamed for every doubling, and the frames between follow from
            them; feedback: every frame is dreamed on the one before, moved.
        stretches: the looks, in their order.
        fps: frames a second.
        camera: how it moves, in the order of time, into the dream.
        outward: whether it is played backwards.
        ease: whether it starts and ends slowly.
        loop: whether the last frame flows into the first.
        hold: how strongly a keyframe is held to the one around it, 0..1.
        pull: how strongly its light and colour are held to the first one's, 0..1.
    """

    film: Literal["zoom"] = "zoom"
    method: Literal["nested", "feedback"] = "nested"
    stretches: Annotated[tuple[Stretch, ...], Field(min_length=1)]
    fps: float = Field(ge=1e-3)
    camera: Annotated[tuple[Key, ...], Field(min_length=1)] = (Key(),)
    outward: bool = False
    ease: bool = False
    loop: bool = False
    hold: float = Field(default=0.8, ge=0, le=1)
    pull: float = Field(default=0.4, ge=0, le=1)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.fps

    @property
    def path(self) -> Path:
        """How the camera moves into the dream, at its own time."""
        width, height = self.size
        return camera_path(self.camera, self.seconds, width / height)

    @property
    def doublings(self) -> float:
        """How far it zooms in all; every whole one is a keyframe."""
        return self.path.depth(self.seconds)

    @property
    def turn(self) -> float:
        """How far it turns in all, degrees, clockwise."""
        return math.degrees(self.path.angle(self.seconds))

    @property
    def keyframes(self) -> int:
        """How many pictures are dreamed."""
        if self.method == "feedback":
            return self.frames
        whole = math.ceil(self.doublings - _NOTHING)
        return whole if self.loop else whole + 1

    def moment(self, frame: int) -> float:
        """Return the time of the path that a frame shows, seconds."""
        last = self.frames if self.loop else max(1, self.frames - 1)
        share = (last - frame if self.outward else frame) / last
        if self.ease:
            share = share * share * (3 - 2 * share)
        return share * self.seconds

    def depth(self, frame: int) -> float:
        """Return how far a frame has zoomed, doublings."""
        return self.path.depth(self.moment(frame))

    def outer(self, frame: int) -> int:
        """Return the keyframe that a frame lies inside of."""
        if self.method == "feedback":
            return frame
        times = _times(self.path, self.keyframes)
        return bisect_right(times, self._shown(frame) + _NOTHING) - 1

    def places(self, frame: int) -> Similarity:
        """Return the map from a frame's places to those of its `outer` keyframe."""
        return self.path.between(self._time(self.outer(frame)), self._shown(frame))

    def step(self, keyframe: int) -> Similarity:
        """Return the map from the places of the next keyframe to those of this one."""
        return self.path.between(self._time(keyframe), self._time(keyframe + 1))

    def ahead(self, keyframe: int) -> Similarity:
        """Return the map from the places of the last view of a loop to those of a keyframe."""
        return self.path.between(self._time(keyframe), self.seconds)

    def recipe_at(self, keyframe: int) -> Recipe:
        """Return the recipe of a keyframe: the look of the film when it is whole."""
        if self.method == "feedback":
            return self._look(keyframe / self.fps, again=keyframe > 0)
        share = min(1.0, self._time(keyframe) / self.seconds)
        if self.ease:  # the other way round
            share = 0.5 - math.sin(math.asin(1 - 2 * share) / 3)
        return self._look(self.seconds * (1 - share if self.outward else share))

    def fade_at(self, time: float) -> tuple[int, int, float]:
        """Return the stretches that fade at a time, and how much there is of the second, 0..1."""
        ends = [*(stretch.until for stretch in self.stretches[:-1]), self.seconds]
        count = len(ends)
        this = min(sum(end < time for end in ends), count - 1)
        for second in (this, this + 1):
            begins = 0.0 if second == 0 else ends[second - 1]
            fade = self.stretches[second % count].fade
            within = abs(time - begins) < fade / 2
            if within and (self.loop or 0 < second < count):
                return (second - 1) % count, second % count, 0.5 + (time - begins) / fade
        return this, this, 0.0

    def facts(self) -> dict[str, str]:
        """Return what sets a zoom apart from another, in the user's words."""
        first = self.camera[0]
        across, down = ((place + 1) / 2 for place in first.centre)
        motion = {
            "camera": "steady",
            "speed": f"{first.speed:g}",
            "rotate": f"{first.rotate:g}",
            "center": f"{across:g},{down:g}",
        }
        if len(self.camera) > 1:
            keys = ", ".join(f"{key.at:g} s" for key in self.camera)
            motion = {"camera": f"a path with keys at {keys}"}
        presets = [stretch.recipe.preset for stretch in self.stretches]
        journey = {"journey": "none", "preset": presets[0]}
        if len(self.stretches) > 1:
            until = [f"{stretch.until:g}s" for stretch in self.stretches]
            looks = ", ".join(map(" to ".join, zip(presets, until, strict=True)))
            fades = ", ".join(f"{stretch.fade:g}" for stretch in self.stretches)
            journey = {"journey": looks, "fade": fades}
        return {
            **super().facts(),
            "seconds": f"{self.seconds:.4g}",
            "fps": f"{self.fps:g}",
            "method": self.method,
            **motion,
            "direction": "out" if self.outward else "in",
            "ease": "yes" if self.ease else "no",
            "loop": "yes" if self.loop else "no",
            **journey,
        }

    def pictures(self) -> tuple[Recipe, ...]:
        """Return the recipes of the looks."""
        return tuple(stretch.recipe for stretch in self.stretches)

    def _shown(self, frame: int) -> float:
        """Return the time of the path that a frame is made for: a loop's end is its beginning."""
        time = self.moment(frame)
        return 0.0 if self.loop and time > self.seconds - _NOTHING else time

    def _time(self, keyframe: int) -> float:
        """Return the time of the path at which a keyframe is seen whole."""
        if self.method == "feedback":
            return self.moment(keyframe)
        times = _times(self.path, self.keyframes)
        return times[keyframe] if keyframe < len(times) else self.path.time(keyframe)

    def _look(self, time: float, *, again: bool = False) -> Recipe:
        first, second, weight = self.fade_at(time)
        one, two = (
            (stretch.again if again else None) or stretch.recipe
            for stretch in (self.stretches[first], self.stretches[second])
        )
        return fades.mixed(one, two, weight)


@lru_cache(maxsize=8)
def camera_path(keys: tuple[Key, ...], seconds: float, aspect: float = 1.0) -> Path:
    """Return the path of a recipe's keys.

    Args:
        keys: in the order of time.
        seconds: the film's length.
        aspect: the width of a frame over its height.
    """
    moved = [
        geometry.Key(
            at=key.at,
            rate=math.log2(key.speed),
            turn=math.radians(key.rotate),
            centre=complex(key.centre[0] * aspect, key.centre[1]),
            ease=key.ease,
        )
        for key in keys
    ]
    return Path(moved, seconds)


@lru_cache(maxsize=8)
def _times(path: Path, keyframes: int) -> tuple[float, ...]:
    return tuple(path.time(keyframe) for keyframe in range(keyframes))
