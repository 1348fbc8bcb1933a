"""A clip that is dreamed: frame by frame, each on the one before, moved along the flow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamer.core import flow, resampling, video
from dreamer.core.ascent import Step
from dreamer.film.video import VideoRecipe
from dreamer.media import clips, files, images
from dreamer.media.clips import Clip
from dreamer.networks.network import Network
from dreamer.recipe import Recipe
from dreamer.render import devices, steering, still
from dreamer.render.film_job import OnProgress, Progress, Stop
from dreamer.render.steering import Aim
from dreamer.render.zoom import keyframe_seed, levels


class Frames:
    """The frames of a film: see `dreamer.render.film_job.Pictures`.

    Args:
        recipe: the film's.
        folder: where they are kept.
        clip: what is dreamed.
        network: loaded.
    """

    def __init__(self, recipe: VideoRecipe, folder: Path, clip: Clip, network: Network) -> None:
        self.recipe = recipe
        self.folder = folder
        self.clip = clip
        self.network = network
        self._estimator = flow.Estimator()
        self._first: float | None = None

    def path(self, number: int) -> Path:
        """Return where a frame is kept."""
        return self.folder / f"keyframe-{number:06}.png"

    def kept(self) -> int:
        """Return how many are there, from the first on."""
        number = 0
        while number < self.recipe.frames and self.path(number).exists():
            number += 1
        return number

    def load(self, number: int) -> Tensor:
        """Return a frame that is kept, `(1, 3, H, W)` in 0..1."""
        return images.load(str(self.path(number))).pixels[None]

    def dream(
        self, first: int, *, on_progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Iterator[int]:
        """Dream the frames from one on, see `Pictures.dream`."""
        before: Aim | None = None
        back = max(0, first - 1)
        with contextlib.closing(clips.frames(self.clip, back)) as pictures:  # type: ignore[type-var]
            for number, data in enumerate(pictures, back):
                with self._computing():
                    aimed = self._aim(data)
                    if number >= first:
                        dreamed = self._dream(number, before, aimed, on_progress, stop)
                        if dreamed is None:
                            return
                        self._keep(number, dreamed, aimed)
                if number >= first:
                    yield number
                before = aimed

    def ready(self, kept: int) -> int:
        """Return how many frames can be shown: those that are there."""
        return kept

    def frames(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames from `first` to before `last` as RGB bytes, rows from the top."""
        for number in range(first, last):
            yield levels(self.load(number))

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        with (
            devices.threads(self.recipe.whole.threads),
            devices.memory_guard("{}x{} pixels".format(*self.recipe.size)),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield

    def _photo(self, data: bytes) -> Tensor:
        """Return a frame of the clip at the film's size, `(1, 3, H, W)` in 0..1."""
        shape = (self.clip.height, self.clip.width, 3)
        pixels = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())
        width, height = self.recipe.size
        photo = pixels.permute(2, 0, 1)[None].float().div_(255)
        if 0 <= photo.shape[2] - height <= 1 and 0 <= photo.shape[3] - width <= 1:
            # An odd side that is made even loses a line: no reason to blur all of it.
            return photo[:, :, :height, :width].contiguous()
        return resampling.resample(photo, (height, width)).clamp(0, 1)

    def _aim(self, data: bytes) -> Aim:
        """Return what steers a frame of the clip: masks are of it, as is what is around them."""
        photo = devices.sent(self._photo(data), self.network.device)
        return steering.aim(self.recipe.whole, photo, self.network, filmed=True)

    def _dream(
        self,
        number: int,
        before: Aim | None,
        aimed: Aim,
        on_progress: OnProgress | None,
        stop: Stop | None,
    ) -> Tensor | None:
        """Return a frame's dream; None if it was to stop."""
        recipe, aimed, gain = self._start(number, before, aimed)
        seed = keyframe_seed(recipe.seed, number)
        step: Step | None = None
        aimed = replace(aimed, recolour=None)
        for step in still.steps(recipe, aimed, self.network, seed, gain=gain):
            if on_progress is not None:
                count = self.recipe.frames
                on_progress(Progress(number, count, step.work, recipe.work, step.notes))
            if stop is not None and stop():
                return None
        return (steering.unmoved(aimed) if step is None else step.picture()).cpu()

    def _start(self, number: int, before: Aim | None, aimed: Aim) -> tuple[Recipe, Aim, float]:
        """Return how a frame is dreamed, on what, and how much stronger than that."""
        keep = self.recipe.keep
        if before is not None and keep > 0:
            difference = self._dreamed(number - 1) - before.base.cpu()
            photo = aimed.photo.cpu()
            start = video.carried(before.photo.cpu(), difference, photo, keep, self._estimator)
            if start is not None:
                if aimed.base is not aimed.photo:
                    start = (start + (aimed.base - aimed.photo).cpu()).clamp(0, 1)
                gain = video.gain(video.strength(difference), self._reference())
                return self.recipe.again, aimed.on(devices.sent(start, self.network.device)), gain
        return self.recipe.whole, aimed, 1.0

    def _reference(self) -> float:
        """Return how strong the first frame's dream is."""
        if self._first is None:
            with contextlib.closing(clips.frames(self.clip)) as pictures:  # type: ignore[type-var]
                base = self._aim(next(pictures)).base.cpu()
            self._first = video.strength(self._dreamed(0) - base)
        return self._first

    def _keep(self, number: int, dreamed: Tensor, aimed: Aim) -> None:
        """Keep a frame as it is shown, and what the next one is dreamed on, if that is another."""
        if aimed.recolour is not None:
            # Carried on in its new colours it would be given them again and again.
            _write(self._uncoloured(number), dreamed)
            dreamed = aimed.recolour(dreamed.to(self.network.device)).cpu()
        _write(self.path(number), dreamed)

    def _dreamed(self, number: int) -> Tensor:
        """Return a frame as it was dreamed, `(1, 3, H, W)` in 0..1."""
        path = self._uncoloured(number)
        return images.load(str(path)).pixels[None] if path.exists() else self.load(number)

    def _uncoloured(self, number: int) -> Path:
        return self.folder / f"uncoloured-{number:06}.png"


def _write(path: Path, picture: Tensor) -> None:
    data = images.encode(picture[0], ".png")
    with files.replacing(path) as stream:
        stream.write(data)
