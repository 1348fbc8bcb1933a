"""The Python interface: the same code as the command line, without files in between.

`dreamer.dream("photo.jpg", preset="eyes").save("out.png")`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from dreamer.core.ascent import Step
from dreamer.media import images
from dreamer.media.images import Photo
from dreamer.networks import rows
from dreamer.networks.network import Network
from dreamer.render import job as jobs
from dreamer.render import still
from dreamer.settings import all_settings


def dream(
    photo: str | os.PathLike[str] | bytes | Image.Image | Tensor | None = None,
    *,
    preset: str | os.PathLike[str] | None = None,
    network: str | Network = rows.DEFAULT,
    weights: str | Path | None = None,
    size: int | None = None,
    seed: int = 0,
    device: str = "auto",
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
        network: a network's name, or one that `dreamer.load_network` returned.
        weights: the name of published weights, or a checkpoint; not with a loaded network.
        size: the longer side of the result, px; None keeps the photo's.
        seed: decides all that is random.
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
    job = jobs.prepare(
        jobs.Request(
            photo=_photo(photo),
            preset=None if preset is None else str(preset),
            network=network,
            weights=weights,
            overrides=_paths(settings),
            size=size,
            seed=seed,
            device=device,
            threads=threads,
            to_file=False,
        )
    )
    return still.dream(job.recipe, job.photo, job.load_network(offline=offline), on_step=on_step)


def _photo(photo: object) -> str | bytes | Photo | None:
    """Take pictures of Pillow's and tensors for photos; the rest is for `prepare`."""
    if isinstance(photo, Tensor):
        return images.from_tensor(photo)
    if isinstance(photo, Image.Image):
        return images.load(photo)
    if isinstance(photo, os.PathLike):
        return str(os.fspath(photo))
    return photo  # type: ignore[return-value]


def _paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn keywords, named as the flags or as the paths, into the paths of settings.

    Unknown ones are left for the check, which offers the nearest.
    """
    by_name: dict[str, str] = {}
    for setting in all_settings():
        by_name[setting.path.replace(".", "_")] = setting.path
        if setting.flag is not None:
            by_name[setting.flag.removeprefix("--").replace("-", "_")] = setting.path
    return {by_name.get(name, name): value for name, value in settings.items()}
