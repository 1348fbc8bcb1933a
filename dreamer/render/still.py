"""One picture: a recipe and a photo in, a dream out."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor

from dreamer.core import ascent, sources
from dreamer.core.ascent import Ascent, Step
from dreamer.core.objectives import Objective, Term
from dreamer.core.resampling import resample
from dreamer.core.transforms import View
from dreamer.errors import InputError, NetworkError
from dreamer.media import files, images, reading
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.networks.rows import Row
from dreamer.recipe import Recipe, grid
from dreamer.render import devices
from dreamer.visual_recipe import VisualRecipe

OnStep = Callable[[Step], None]
Stop = Callable[[], bool]

CHROMA = {"free": 1.0, "keep": 0.25, "luma": 0.0}


@dataclass(frozen=True, repr=False)
class Dream:
    """A finished picture, or one that was stopped early.

    Attributes:
        pixels: `(3, H, W)` float32 in 0..1, sRGB.
        alpha: `(H, W)` in 0..1, or None.
        recipe: makes it again; `recipe.partial` if it was stopped.
        seconds: of gradient ascent.
        notes: what the user should know about it.
    """

    pixels: Tensor
    alpha: Tensor | None
    recipe: Recipe
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        width, height = self.recipe.size
        return f"Dream({width}x{height}, {self.recipe.target}, {self.seconds:.1f} s)"

    @property
    def image(self) -> Image.Image:
        """The picture as Pillow's: RGB, or RGBA with transparency."""
        return images.to_image(self.pixels, self.alpha)

    def save(
        self, target: str | os.PathLike[str], *, overwrite: bool = False, metadata: bool = True
    ) -> Path:
        """Write the picture in the format of the suffix, whole or not at all.

        Args:
            target: PNG, JPEG, WebP, AVIF or TIFF.
            overwrite: whether a file that exists is replaced.
            metadata: whether the recipe is embedded.

        Raises:
            UsageError: an unknown suffix.
            OutputError: it exists, or cannot be written.
        """
        text = self.recipe.to_json() if metadata else None
        images.save(self.pixels, target, alpha=self.alpha, recipe=text, overwrite=overwrite)
        return Path(target)

    def write(self, stream: BinaryIO, suffix: str = ".png", *, metadata: bool = True) -> None:
        """Write the picture's bytes to a stream in the format of `suffix`."""
        text = self.recipe.to_json() if metadata else None
        stream.write(images.encode(self.pixels, suffix, alpha=self.alpha, recipe=text))


def start(recipe: Recipe, photo: Photo | None) -> Photo:
    """Return what the recipe dreams on: the photo at its size, or the picture it makes itself.

    Raises:
        InputError: the recipe needs a photo and there is none.
    """
    if recipe.origin.start == "photo":
        if photo is None:
            raise InputError(
                f"The recipe was made for the photo '{recipe.origin.name}'.", "Give that photo."
            )
        return images.resize(photo, max(recipe.size))
    width, height = recipe.size
    paint = sources.sky if recipe.origin.start == "sky" else sources.noise
    # Octaves count from 0, and the balance of a sum's terms has -1.
    pixels = paint((height, width), ascent.generator(recipe.seed, -2))
    return Photo(pixels[0], None, "", recipe.origin.start)


def plan(recipe: Recipe) -> Ascent:
    """Return the numbers of the loop."""
    settings = recipe.settings
    return Ascent(
        sizes=tuple((height, width) for width, height in recipe.octaves),
        steps=recipe.steps,
        step_size=settings.ascent.step_size * settings.ascent.strength,
        decay=settings.ascent.decay,
        momentum=settings.ascent.momentum,
        view=View(settings.view.jitter, settings.view.rotate, settings.view.zoom),
        tilt=settings.gradient.tilt,
        grain=settings.gradient.grain,
        decorrelate=settings.gradient.decorrelate,
        chroma=CHROMA[settings.colour.mode],
        hold=settings.colour.hold,
        blend=settings.mix.blend,
        canvas=settings.ascent.canvas,
    )


def objective(recipe: Recipe | VisualRecipe, row: Row) -> Objective:
    """Compile the recipe's terms for the network of a row."""
    terms = []
    for term in recipe.terms:
        at = None
        if term.at is not None:
            columns, lines = grid(row, term.layer, recipe.size)
            at = ((term.at[0] + 0.5) / lines, (term.at[1] + 0.5) / columns)
        like = None if term.like is None else term.like.sha256
        terms.append(
            Term(term.layer, term.channel, at, term.weight, term.label, term.direction, like)
        )
    return Objective(tuple(terms))


def references(recipe: Recipe | VisualRecipe, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the photos that a recipe's caricatures are of, as its objective names them.

    Args:
        recipe: with the photos' paths; one that was read from a file has only their names, which
            are then looked for in the folder one is in.
        size: width and height of the picture, px, whose shape each photo's middle is cut to.

    Returns:
        `(1, 3, H, W)` in 0..1 by SHA-256.

    Raises:
        InputError: a photo that is not there, cannot be read, or is another one by now.
    """
    likes = dict.fromkeys(term.like for term in recipe.terms if term.like is not None)
    return {
        like.sha256: _reference(like.path or Path(like.name).name, like.sha256, size)
        for like in likes
    }


@functools.lru_cache(maxsize=4)  # the frames of a film and the pictures of a batch share them
def _reference(path: str, sha256: str, size: tuple[int, int]) -> Tensor:
    photo = images.load(reading.read(path), name=Path(path).name)
    if photo.sha256 != sha256:
        raise InputError(
            f"'{files.shown(path)}' is not the photo that the caricature is of: it has changed.",
            "Put the photo back that it was, or ask for the new one with -t.",
        )
    pixels = photo.pixels[None]
    height, width = pixels.shape[2:]
    scale = min(width / size[0], height / size[1])
    wide, high = (max(1, round(scale * side)) for side in size)
    top, left = (height - high) // 2, (width - wide) // 2
    cut = pixels[:, :, top : top + high, left : left + wide]
    return resample(cut, (size[1], size[0])).clamp(0, 1)


def dream(
    recipe: Recipe,
    photo: Photo | None,
    network: Network,
    *,
    on_step: OnStep | None = None,
    stop: Stop | None = None,
) -> Dream:
    """Make the picture of a recipe.

    Args:
        recipe: every number.
        photo: what it dreams on, of any size; None if the recipe makes it itself.
        network: loaded, of the recipe's name, on the device to use.
        on_step: called after every step.
        stop: asked after every step; the picture is then finished as it stands.

    Raises:
        InputError: the recipe needs a photo and there is none; or the photo of a caricature.
        NetworkError: the network answers with values that are not numbers.
        DeviceError: the memory does not suffice.
    """
    width, height = recipe.size
    with (
        devices.threads(recipe.threads),
        devices.memory_guard(f"{width}x{height} pixels"),
        torch.inference_mode(False),
        torch.enable_grad(),  # a caller may have turned gradients off
    ):
        base = start(recipe, photo)
        began = time.perf_counter()
        pixels, partial, moved = _ascend(recipe, base, network, on_step, stop)
    notes = base.notes
    if not moved and sum(recipe.steps) > 0 and not partial:
        notes += (f"nothing in this picture moves '{recipe.target}': it is unchanged",)
    return Dream(
        pixels=pixels,
        alpha=base.alpha,
        recipe=recipe.model_copy(update={"partial": partial}),
        seconds=time.perf_counter() - began,
        notes=notes,
    )


def steps(
    recipe: Recipe, pixels: Tensor, network: Network, seed: int, *, gain: float = 1.0
) -> Iterator[Step]:
    """Dream on a picture, one step an iteration.

    Args:
        recipe: every number but the seed.
        pixels: what is dreamed on, `(1, 3, H, W)` in 0..1, on the network's device.
        network: loaded.
        seed: see `dreamer.core.ascent.generator`.
        gain: how many times larger the steps are.

    Raises:
        InputError: the photo of a caricature.
        NetworkError: the network answers with values that are not numbers.
    """
    goal, loop = objective(recipe, network.row), plan(recipe)
    photos = references(recipe, (pixels.shape[3], pixels.shape[2]))
    photos = {name: photo.to(pixels.device) for name, photo in photos.items()}
    loop = replace(loop, step_size=loop.step_size * gain)
    features = network.features(goal.layers)
    for step in ascent.dream(pixels, features, goal, loop, seed, photos=photos):
        if step.score != step.score:
            raise NetworkError(
                f"{recipe.network} answers with values that are not numbers.",
                "Check its weights with `dreamer networks verify`.",
            )
        yield step


def _ascend(
    recipe: Recipe, base: Photo, network: Network, on_step: OnStep | None, stop: Stop | None
) -> tuple[Tensor, bool, bool]:
    """Run the loop; return the pixels, whether it was stopped, and whether anything moved."""
    pixels = base.pixels[None].to(network.device)
    step: Step | None = None
    moved = False
    for step in steps(recipe, pixels, network, recipe.seed):
        moved = moved or step.moved
        if on_step is not None:
            on_step(step)
        if stop is not None and step.work < recipe.work and stop():
            return step.picture()[0].cpu(), True, moved
    return (pixels if step is None else step.picture())[0].cpu(), False, moved
