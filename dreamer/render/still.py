"""One picture: a recipe and a photo in, a dream out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image
from torch import Tensor

from dreamer.core import ascent, sources
from dreamer.core.ascent import Ascent, Question, Step
from dreamer.core.bands import LARGE
from dreamer.core.transforms import View
from dreamer.errors import InputError, NetworkError
from dreamer.media import images
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.recipe import Recipe
from dreamer.render import devices, heap, steering
from dreamer.render.steering import Aim

# The share of the change that a full likeness goes without: brought to all of it, what the photo's
# early layer does not mind is mostly noise.
_LIKENESS_COST = 0.45

OnStep = Callable[[Step], None]
Stop = Callable[[], bool]


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
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        metadata: bool = True,
        depth: int = 8,
    ) -> Path:
        """Write the picture in the format of the suffix, whole or not at all.

        Args:
            target: PNG, JPEG, WebP, AVIF or TIFF.
            overwrite: whether a file that exists is replaced.
            metadata: whether the recipe is embedded.
            depth: bits a colour: 8, or 16 in PNG and TIFF.

        Raises:
            UsageError: an unknown suffix, or one of a format without so many bits.
            OutputError: it exists, or cannot be written.
        """
        text = self.recipe.to_json() if metadata else None
        images.save(
            self.pixels, target, alpha=self.alpha, recipe=text, overwrite=overwrite, depth=depth
        )
        return Path(target)

    def write(
        self, stream: BinaryIO, suffix: str = ".png", *, metadata: bool = True, depth: int = 8
    ) -> None:
        """Write the picture's bytes to a stream in the format of `suffix`; see `save`."""
        text = self.recipe.to_json() if metadata else None
        images.write(stream, self.pixels, suffix, alpha=self.alpha, recipe=text, depth=depth)


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
    left = 1 - _LIKENESS_COST * settings.likeness.amount
    sizes = tuple((height, width) for width, height in recipe.octaves)
    view = settings.view
    return Ascent(
        sizes=sizes,
        steps=recipe.steps,
        step_size=settings.ascent.step_size * settings.ascent.strength,
        decay=settings.ascent.decay,
        momentum=settings.ascent.momentum,
        view=View(view.jitter, view.rotate, view.zoom, sizes[-1] if len(sizes) > 1 else None),
        tilt=settings.gradient.tilt,
        grain=settings.gradient.grain,
        decorrelate=settings.gradient.decorrelate,
        chroma=steering.CHROMA.get(settings.colours.kind, 1.0),
        hold=settings.colour.hold,
        blend=settings.mix.blend,
        canvas=settings.ascent.canvas,
        change=settings.ascent.change * settings.ascent.strength * left,
    )


def dream(
    recipe: Recipe,
    photo: Photo | None,
    network: Network,
    *,
    on_step: OnStep | None = None,
    stop: Stop | None = None,
    on_free: Callable[[], None] | None = None,
) -> Dream:
    """Make the picture of a recipe.

    Args:
        recipe: every number.
        photo: what it dreams on, of any size; None if the recipe makes it itself.
        network: loaded, of the recipe's name, on the device to use.
        on_step: called after every step.
        stop: asked after every step; the picture is then finished as it stands.
        on_free: called as soon as the network may be used for another picture.

    Raises:
        InputError: the recipe needs a photo and there is none; or a picture that steers it, see
            `steering.aim`.
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
        pixels = devices.sent(base.pixels[None], network.device)
        aimed = steering.aim(recipe, pixels, network, photo=base)
        dreamed, how, notes = _ascend(recipe, aimed, network, on_step, stop)
        fetched = devices.fetching(dreamed)
    if on_free is not None:
        on_free()
    with devices.memory_guard(f"{width}x{height} pixels"):  # a device may fail as late as here
        pixels = fetched()
    return Dream(
        pixels=pixels,
        alpha=base.alpha,
        recipe=recipe.model_copy(update=how),
        seconds=time.perf_counter() - began,
        notes=base.notes + notes,
    )


def steps(
    recipe: Recipe,
    aimed: Aim,
    network: Network,
    seed: int,
    *,
    gain: float = 1.0,
    dial: bool = True,
) -> Iterator[Step]:
    """Dream towards an aim, one step an iteration.

    Args:
        recipe: every number but the seed.
        aimed: where to, and on what: see `steering.aim`.
        network: loaded.
        seed: see `dreamer.core.ascent.generator`.
        gain: how many times larger the steps are.
        dial: whether steps are brought to the change that the recipe says; else they are taken as
            they are, as on a picture that is a dream already.

    Raises:
        NetworkError: the network answers with values that are not numbers.
    """
    loop = plan(recipe)
    loop = replace(
        loop, step_size=loop.step_size * gain, change=loop.change * gain if dial else 0.0
    )
    for step in steering.dream(aimed, network, loop, seed):
        _check(recipe, step)
        yield step
        if math.prod(step.size) > LARGE:
            heap.trim()


def asking(
    recipe: Recipe, aimed: Aim, network: Network, others: Sequence[str] = ()
) -> Iterator[Question | Step]:
    """Do as `steps`, but ask for the gradients: see `steering.asking`."""
    for said in steering.asking(aimed, network, plan(recipe), recipe.seed, others):
        if isinstance(said, Step):
            _check(recipe, said)
        yield said


def _check(recipe: Recipe, step: Step) -> None:
    if step.score != step.score:
        raise NetworkError(
            f"{recipe.network} answers with values that are not numbers.",
            "Check its weights with `dreamer networks verify`.",
        )


def _ascend(
    recipe: Recipe, aimed: Aim, network: Network, on_step: OnStep | None, stop: Stop | None
) -> tuple[Tensor, dict[str, Any], tuple[str, ...]]:
    """Run the loop; return the pixels, how it went in the recipe's words, and in the user's."""
    step: Step | None = None
    moved, partial = False, False
    for step in steps(recipe, aimed, network, recipe.seed):
        moved = moved or step.moved
        if on_step is not None:
            on_step(step)
        if stop is not None and step.work < recipe.work and stop():
            partial = True
            break
    pixels = steering.unmoved(aimed) if step is None else step.picture()
    notes = aimed.notes + (() if step is None else step.notes)
    tile = recipe.tile if step is None else step.tile
    if tile != recipe.tile:
        notes += (f"memory was short: tiles of {tile} px",)
    if step is not None and not moved and not partial:
        left = "it is unchanged" if aimed.recolour is None else "only its colours change"
        notes += (f"nothing in this picture moves '{recipe.target}': {left}",)
    elif step is not None and step.idle:
        idle = ", ".join(f"'{label}'" for label in step.idle)
        notes += (f"nothing in this picture moves {idle}: the rest of the target dreams alone",)
    return pixels[0], {"partial": partial, "tile": tile}, notes
