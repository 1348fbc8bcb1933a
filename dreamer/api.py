"""The Python interface: the same code as the command line, without files in between.

`dreamer.dream("photo.jpg", preset="eyes").save("out.png")`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast, overload

import torch
from PIL import Image
from torch import Tensor

from dreamer.core.ascent import Step
from dreamer.errors import InputError, unknown
from dreamer.media import images
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.render import explain as explaining
from dreamer.render import job as jobs
from dreamer.render import still, visual_job
from dreamer.render import visualize as rendering
from dreamer.render.visualize import Visualization
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
    precision: str = "auto",
    tile: int | None = None,
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
        precision: what the network computes in: `float32`, `mixed` (16 bits where they suffice),
            or `auto`, which is mixed on CUDA. Part of the recipe.
        tile: the longest side of what the network is shown at once, px; 0 shows it all, None what
            suits the picture's size and the memory. Part of the recipe.
        threads: to compute with; None takes all. Part of the recipe.
        offline: never fetch weights.
        on_step: called with a `Step` after every step; `step.picture()` shows the dream so far.
        **settings: settings over the preset's, named as the flags are (`target="block8:37"`,
            `quality="draft"`, `steps=20`), or by their place in a preset (`gradient_tilt=2.0`).

    Returns:
        A `Dream`: `.image`, `.pixels`, `.recipe`, `.save(path)`.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    with torch.inference_mode(False):  # tensors that are made in it can have no gradients
        request = jobs.Request(
            photo=_photo(photo),
            recipe=None if recipe is None else os.fspath(recipe),
            preset=None if preset is None else str(preset),
            network=network,
            weights=weights,
            overrides=_paths(settings),
            size=size,
            seed=seed,
            device=str(device),
            precision=precision,
            tile=tile,
            threads=threads,
            offline=offline,
            to_file=False,
        )
        job = jobs.prepare(request)
        loaded = job.load_network()
    return still.dream(job.recipe, job.photo, loaded, on_step=on_step)


def explain(
    photo: str | os.PathLike[str] | bytes | Image.Image | Tensor,
    *,
    classes: int = 5,
    channels: int = 3,
    dream: bool = True,
    atlas: str | os.PathLike[str] | None = None,
    preset: str | os.PathLike[str] | None = None,
    network: str | Network | None = None,
    size: int | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    **settings: Any,
) -> explaining.Explanation:
    """Explain what a network sees in a photo, and where, before and after dreaming.

    `dreamer.explain("photo.jpg").save("explained.html")`

    Args:
        photo: as `dream` takes it.
        classes: how many to name of each picture, 1 to 20.
        channels: how many to show a layer, 1 to 8.
        dream: whether to dream at all.
        atlas: a folder that `atlas` made, for the channels' pictures.
        preset: of the dream, like all that follows; see `dream`.
        network: a network's name, or one that is loaded.
        size: the longer side of the dream, px.
        seed: decides all that is random.
        device: where to compute.
        **settings: settings over the preset's.

    Returns:
        An `Explanation`: its numbers, `.to_dict()`, `.save(path)`.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    request = jobs.Request(
        photo=_photo(photo),
        preset=None if preset is None else str(preset),
        network=network,
        overrides=_paths(settings),
        size=size,
        seed=seed,
        device=str(device),
        to_file=False,
    )
    with torch.inference_mode(False):
        return explaining.explain(
            request, classes=classes, channels=channels, dream=dream, atlas=atlas
        )


@overload
def visualize(
    target: str, *, diversity: None = None, **options: Unpack[VisualOptions]
) -> Visualization: ...


@overload
def visualize(
    target: str, *, diversity: int, **options: Unpack[VisualOptions]
) -> list[Visualization]: ...


@overload
def visualize(
    target: list[str] | tuple[str, ...],
    *,
    diversity: int | None = None,
    **options: Unpack[VisualOptions],
) -> list[Visualization]: ...


def visualize(
    target: str | list[str] | tuple[str, ...],
    *,
    diversity: int | None = None,
    **options: Unpack[VisualOptions],
) -> Visualization | list[Visualization]:
    """Show what a layer, a channel, a neuron, a class or a mixture of them looks for.

    `dreamer.visualize("block8:37").save("37.png")`

    Args:
        target: as on the command line; or several.
        diversity: so many pictures of each target, as different as can be.
        **options: see `VisualOptions`.

    Returns:
        A `Visualization` of one target: `.image`, `.pixels`, `.score`, `.recipe`, `.save(path)`; a
        list of them for several targets, or with `diversity`, a target's pictures in turn.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    given = dict(options)
    on_step: Any = given.pop("on_step", None)
    size = given.pop("size", None)
    spectrum: Any = given.pop("spectrum", None)
    names = ("network", "weights", "seed", "threads")
    place: dict[str, Any] = {name: given.pop(name, None) for name in names}
    request = visual_job.VisualRequest(
        targets=tuple(target) if isinstance(target, list | tuple) else (target,),
        method=cast("str | None", given.pop("method", None)),
        size=(size, size) if isinstance(size, int) else cast("tuple[int, int] | None", size),
        spectrum=None if spectrum is None else str(spectrum),
        diversity=diversity,
        restarts=cast("int | None", given.pop("restarts", None)),
        negative=bool(given.pop("negative", False)),
        look=jobs.Request(
            **place,
            device=str(given.pop("device", "auto")),
            offline=bool(given.pop("offline", False)),
            to_file=False,
        ),
        settings=given,
    )
    with torch.inference_mode(False):
        job = visual_job.prepare(request)
        network = job.load_network()
    made = rendering.make(job.recipes, network, on_step=on_step, workers=job.workers)
    return made[0] if isinstance(target, str) and diversity is None else made


class VisualOptions(TypedDict, total=False):
    """How `visualize` makes its pictures.

    Attributes:
        network: a network's name, or one that is loaded: `dreamer.Network.from_module` takes any.
        weights: the name of published weights, or a checkpoint; not with a loaded network.
        method: "dreamer", "lucid", "distill" or "maco"; the rest goes over it.
        canvas: "fourier", "maco" or "pixel".
        size: a side, or width and height, px.
        octaves: sizes to grow through, each half as large as the next.
        steps: of all octaves together.
        views: of the picture a step.
        transforms: that views go through: "dreamer", "lucid", "distill", "maco" or "none".
        border: what views see beyond the picture: "reflect", "mean" or "grey".
        optimiser: "adam" or "nadam".
        rate: the learning rate.
        decay: the share of it that is gone by an octave's last step.
        decorrelate: whether colours are decorrelated.
        neutral: whether a MACO picture has no colour cast.
        spectrum: a folder of photos whose spectrum a MACO picture is to have.
        redirect: for how many steps dead units are reached through their rectifiers.
        alpha: whether what does not matter is transparent.
        restarts: from how many starts; the best picture is kept.
        negative: show what the target responds to least.
        seed: decides all that is random.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: to compute with; part of the recipe.
        offline: never fetch weights.
        on_step: called with a `dreamer.render.visualize.Progress` after every step.
    """

    network: str | Network | None
    weights: str | Path | None
    method: str
    canvas: str
    size: int | tuple[int, int]
    octaves: int
    steps: int
    views: int
    transforms: str
    border: str
    optimiser: str
    rate: float
    decay: float
    decorrelate: bool
    neutral: bool
    spectrum: str | os.PathLike[str]
    redirect: int
    alpha: bool
    restarts: int
    negative: bool
    seed: int
    device: str | torch.device
    threads: int
    offline: bool
    on_step: Callable[[rendering.Progress], None]


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
