"""A zoom: keyframes that are dreamed and kept, and the frames between them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import tone, zoom
from dreamer.core.ascent import Step
from dreamer.core.camera import Similarity
from dreamer.core.nest import Nest
from dreamer.core.tone import Tone
from dreamer.film.zoom import FACTOR, ZoomRecipe
from dreamer.media import files, images
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.recipe import Recipe
from dreamer.render import devices, steering, still
from dreamer.render.film_job import OnProgress, Progress, Stop

IMPLANTED = 5
"""How many doublings before its end a loop shows its beginning, small, in the middle."""


class Keyframes:
    """The keyframes of a zoom: see `dreamer.render.film_job.Pictures`.

    Args:
        recipe: the film's.
        folder: where they are kept.
        photo: what the first one is dreamed on; None if the recipe makes it itself.
        network: loaded.
    """

    def __init__(
        self, recipe: ZoomRecipe, folder: Path, photo: Photo | None, network: Network
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.photo = photo
        self.network = network
        width, height = recipe.size
        self.size = (height, width)
        self._tone: Tone | None = None

    def path(self, number: int) -> Path:
        """Return where a keyframe is kept."""
        return self.folder / f"keyframe-{number:05}.png"

    def kept(self) -> int:
        """Return how many are there, from the first on."""
        number = 0
        while number < self.recipe.keyframes and self.path(number).exists():
            number += 1
        return number

    def load(self, number: int) -> Tensor:
        """Return a keyframe that is kept, `(1, 3, H, W)` in 0..1."""
        if self.recipe.loop:
            number %= self.recipe.keyframes
        return images.load(str(self.path(number))).pixels[None]

    def make(
        self,
        number: int,
        *,
        on_progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> bool:
        """Dream a keyframe, the ones before it being there; returns whether it is whole.

        Raises:
            OutputError: it cannot be kept.
            DreamerError: as `dreamer.render.still.dream`.
        """
        recipe = self.recipe.recipe_at(number)
        with (
            devices.threads(recipe.threads),
            devices.memory_guard("{}x{} pixels".format(*recipe.size)),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            start = self._start(number)
            dreamed = self._dream(number, recipe, start, on_progress, stop)
            if dreamed is None:
                return False
            if number > 0 and self.recipe.method == "nested":
                dreamed = zoom.hold(dreamed, start, self.recipe.hold, FACTOR)
        data = images.encode(dreamed[0], ".png")
        with files.replacing(self.path(number)) as stream:
            stream.write(data)
        return True

    def dream(
        self, first: int, *, on_progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Iterator[int]:
        """Dream the keyframes from one on, see `Pictures.dream`."""
        for number in range(first, self.recipe.keyframes):
            if not self.make(number, on_progress=on_progress, stop=stop):
                return
            yield number

    def ready(self, kept: int) -> int:
        """Return how many frames, from the first, can be shown when so many keyframes are there."""
        return frames_ready(self.recipe, kept)

    def frames(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames from `first` to before `last` as RGB bytes; what they need is there."""
        nest: tuple[int, Nest] | None = None
        for number in range(first, last):
            outer = self.recipe.outer(number)
            if nest is None or nest[0] != outer:
                nest = outer, self.nest(outer)
            yield nest[1].levels(self._view(self.recipe.places(number)))

    def nest(self, number: int) -> Nest:
        """Return a keyframe with the one inside it, if it shows one."""
        last = self.recipe.keyframes - (0 if self.recipe.loop else 1)
        if self.recipe.method == "feedback" or number >= last:
            return Nest(self.load(number), None, self._view(Similarity()), self.size)
        step = self._view(self.recipe.step(number))
        return Nest(self.load(number), self.load(number + 1), step, self.size)

    def _start(self, number: int) -> Tensor:
        """Return what a keyframe is dreamed on."""
        if number == 0:
            return self._first()
        start = zoom.begin(self.load(number - 1), self._view(self.recipe.step(number - 1)))
        if self._tone is None:
            self._tone = tone.tone(self.load(0))
        start = tone.steady(start, self._tone, self.recipe.pull)
        left = self.recipe.keyframes - number
        if self.recipe.loop and left <= min(IMPLANTED, self.recipe.keyframes - 1):
            start = zoom.implant(start, self.load(0), self._view(self.recipe.ahead(number)))
        return start

    def _view(self, seen: Similarity) -> Tensor:
        return zoom.view(seen, self.size)

    def _first(self) -> Tensor:
        """Return the photo, cut to the shape of the keyframes about the place zoomed into."""
        height, width = zoom.canvas_size(self.size)
        recipe = self.recipe.recipe_at(0)
        if self.photo is None:
            return still.start(recipe, None).pixels[None]
        pixels = self.photo.pixels[None]
        scale = max(height / pixels.shape[2], width / pixels.shape[3])
        scaled = (
            max(height, round(pixels.shape[2] * scale)),
            max(width, round(pixels.shape[3] * scale)),
        )
        pixels = F.interpolate(pixels, size=scaled, mode="bicubic", antialias=True).clamp_(0, 1)
        top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
        return pixels[:, :, top : top + height, left : left + width].contiguous()

    def _dream(
        self,
        number: int,
        recipe: Recipe,
        start: Tensor,
        on_progress: OnProgress | None,
        stop: Stop | None,
    ) -> Tensor | None:
        seed = keyframe_seed(recipe.seed, number)
        step: Step | None = None
        pixels = devices.sent(start, self.network.device)
        aimed = steering.aim(recipe, pixels, self.network, filmed=True)
        # Later ones are dreamed on dreams: brought to a change of their own they would overgrow.
        for step in still.steps(recipe, aimed, self.network, seed, dial=number == 0):
            if on_progress is not None:
                count = self.recipe.keyframes
                last = self.path(number - 1) if number > 0 else None
                on_progress(Progress(number, count, step.work, recipe.work, step.notes, last))
            if stop is not None and stop():
                return None
        return (steering.unmoved(aimed) if step is None else step.picture()).cpu()


def keyframe_seed(seed: int, number: int) -> int:
    """Return a keyframe's own seed; the first one's is the film's."""
    if number == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/keyframe {number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def levels(frame: Tensor) -> bytes:
    """Return a frame, `(1, 3, H, W)` in 0..1, as RGB bytes, rows from the top."""
    rounded = frame[0].mul(255).round_().to(torch.uint8)
    return rounded.permute(1, 2, 0).contiguous().numpy().tobytes()


def frames_ready(recipe: ZoomRecipe, kept: int) -> int:
    """Return how many frames, from the first, can be shown when so many keyframes are there."""
    if kept >= recipe.keyframes:
        return recipe.frames
    if recipe.method == "feedback":
        return kept
    if recipe.outward:
        return 0
    # A frame needs the keyframe that it is inside of and the next one.
    low, high = 0, recipe.frames
    while low < high:
        middle = (low + high) // 2
        if recipe.outer(middle) + 1 < kept:
            low = middle + 1
        else:
            high = middle
    return low
