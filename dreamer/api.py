"""The Python interface: the same code as the command line, without files in between.

    import dreamer
    dreamer.dream("photo.jpg", preset="eyes").save("out.png")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer import presets, recipe
from dreamer.media import images
from dreamer.networks import rows, weights as weight_files
from dreamer.networks import network as networks
from dreamer.render import devices, still
from dreamer.settings import all_settings

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from dreamer.core.ascent import Step

DEFAULT_PRESET = "dream"

Picture = "str | os.PathLike[str] | bytes | Image.Image | Tensor | None"


def dream(
    photo: str | os.PathLike[str] | bytes | Image.Image | Tensor | None = None,
    *,
    preset: str | os.PathLike[str] = DEFAULT_PRESET,
    network: str | networks.Network = rows.DEFAULT,
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
        preset: the name of a preset, or a preset file.
        network: a network's name, or one that `dreamer.load_network` returned.
        weights: the name of published weights, or a checkpoint; not with a loaded network.
        size: the longer side of the result, px; None keeps the photo's.
        seed: decides all that is random.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: to compute with; None takes all. Part of the recipe.
        offline: never fetch weights.
        on_step: called with a `Step` after every step; `step.picture()` shows the dream so far.
        **settings: settings over the preset's by their name or path with `_` for the dot, such
            as `target="block8:37"`, `steps=20`, `octaves_scale=1.3`; see `dreamer presets show`.

    Returns:
        A `Dream`: `.image`, `.pixels`, `.recipe`, `.save(path)`.

    Raises:
        DreamerError: one of its kinds in `dreamer.errors`, each with an advice.
    """
    chosen = presets.merge(presets.load(str(preset)), _paths(settings))
    place = devices.choose(device)
    loaded = network if isinstance(network, networks.Network) else None
    row = rows.row(network) if isinstance(network, str) else network.row
    picture = _photo(photo)
    origin = still.origin_of(picture) if picture else recipe.Origin(start=_start(photo))
    made = recipe.resolve(
        chosen.settings,
        row,
        preset=chosen.name,
        weights=loaded.weights_sha256 if loaded else weights_id(row, weights),
        origin=origin,
        size=result_size(picture.size if picture else None, size),
        choice=recipe.Choice(seed, threads or devices.default_threads(), place.type),
    )
    loaded = loaded or networks.load(row.name, weights=weights, offline=offline, device=place)
    return still.dream(made, picture, loaded, on_step=on_step)


def result_size(size: tuple[int, int] | None, long_edge: int | None) -> tuple[int, int]:
    """Return the width and height of the result.

    Args:
        size: the photo's, or None where there is none.
        long_edge: what the longer side is to be, or None.
    """
    size = size or still.DEFAULT_SIZE
    return size if long_edge is None else images.fitted(*size, long_edge)


def weights_id(row: rows.Row, weights: str | Path | None) -> str:
    """Return the hash that identifies weights in a recipe, without loading them."""
    published, path = networks.choose_weights(row, weights)
    return published.sha256 if path is None else weight_files.sha256(path)


def _paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn keyword names into the paths of settings; unknown ones are left for the check."""
    paths = [setting.path for setting in all_settings()]
    by_name = {path.rpartition(".")[2]: path for path in reversed(paths)}
    by_name |= {path.replace(".", "_"): path for path in paths}
    return {by_name.get(name, name): value for name, value in settings.items()}


def _photo(photo: Any) -> images.Photo | None:
    if photo is None or (isinstance(photo, str) and photo in ("sky", "noise")):
        return None
    if hasattr(photo, "ndim") and hasattr(photo, "dtype"):
        return images.from_tensor(photo)
    return images.load(photo)


def _start(photo: object) -> recipe.Start:
    return "noise" if photo == "noise" else "sky"
