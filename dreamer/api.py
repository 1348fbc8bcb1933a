"""The Python interface: the same code as the command line, without files in between.

`dreamer.dream("photo.jpg", preset="eyes").save("out.png")`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dreamer.core.ascent import Step
from dreamer.errors import InputError, unknown
from dreamer.media import images
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.render import job as jobs
from dreamer.render import still
from dreamer.settings import all_settings


def dream(
    photo: str | os.PathLike[str] | bytes | Image.Image | Tensor | None = None,
    *,
    preset: str | os.PathLike[str] | None = None,
    recipe: str | os.PathLike[str] | None = None,
    network: str | Network | None = None,
    weights: str | Path | None = None,
    size: int | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    offline: bool = False,
    on_step: Callable[[Step], None] | None = None,
    **settings: Any,
) -> still.Dream:
    """Dream on a picture.

    Args:
        photo: a file, its bytes, a Pillow picture, or a tensor `(3, H, W)` or `(4, H, W)` in 0..1;
            "sky", "noise" or None (a sky) start from a picture made from the seed.
        preset: the name of a preset, or a preset file; None is the default, "dream".
        recipe: a picture whose recipe to use instead of a preset, as `--from` does.
        network: a network's name, or one that `dreamer.load_network` returned; None is the
            recipe's, or the embedded one.
        weights: the name of published weights, or a checkpoint; not with a loaded network.
        size: the longer side of the result, px; None keeps the photo's.
        seed: decides all that is random; None is the recipe's, or 0.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: to compute with; None takes all. Part of the recipe.
        offline: never fetch weights.
        on_step: called with a `Step` after every step; `step.picture()` shows the dream so far.
        **settings: settings over the preset's, named as the flags are (`target="block8:37"`,
            `steps=20`, `octave_scale=1.3`), or by their place in a preset (`gradient_tilt=2.0`).

    Returns:
        A `Dream`: `.image`, `.pixels`, `.recipe`, `.save(path)`.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    with torch.inference_mode(False):  # tensors that are made in it can have no gradients
        job = jobs.prepare(
            jobs.Request(
                photo=_photo(photo),
                recipe=None if recipe is None else os.fspath(recipe),
                preset=None if preset is None else str(preset),
                network=network,
                weights=weights,
                overrides=_paths(settings),
                size=size,
                seed=seed,
                device=str(device),
                threads=threads,
                offline=offline,
                to_file=False,
            )
        )
        loaded = job.load_network()
    return still.dream(job.recipe, job.photo, loaded, on_step=on_step)


def _photo(photo: object) -> str | bytes | Photo | None:
    """Take pictures of Pillow's and tensors for photos; the rest is for `prepare`."""
    if isinstance(photo, Tensor):
        return images.from_tensor(photo)
    if isinstance(photo, Image.Image):
        return images.load(photo)
    if isinstance(photo, os.PathLike):
        return str(os.fspath(photo))
    if photo is None or isinstance(photo, str | bytes):
        return photo
    raise InputError(
        f"A {type(photo).__name__} is no picture.",
        "Give a file's name or bytes, a Pillow picture, or a tensor (3, H, W).",
    )


def _paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn keywords, named as the flags or as the paths, into the paths of settings."""
    by_name: dict[str, str] = {}
    for setting in all_settings():
        by_name[setting.path.replace(".", "_")] = setting.path
        if setting.flag is not None:
            by_name[setting.flag.removeprefix("--").replace("-", "_")] = setting.path
    for name in settings:
        if name not in by_name:
            raise unknown("setting", name, by_name, f"There are {', '.join(sorted(by_name))}")
    return {by_name[name]: value for name, value in settings.items()}
