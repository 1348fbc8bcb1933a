"""A picture of what each channel looks for: from an atlas, or made on the spot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from torch import Tensor

from dreamer.errors import InputError, Interrupted
from dreamer.media import files, images
from dreamer.networks.network import Network
from dreamer.networks.rows import Row
from dreamer.render import visual_job, visualize
from dreamer.render.atlas import plan as atlases
from dreamer.render.atlas import store
from dreamer.render.look import Request
from dreamer.render.visual_job import VisualJob, VisualRequest
from dreamer.render.visualize import Visualization

SIDE, STEPS = 128, 64
"""Small: on the page they are small too, and many are made while somebody waits."""

Unit = tuple[str, int]
OnShare = Callable[[float], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class ChannelPicture:
    """What a channel looks for.

    Attributes:
        pixels: `(3, H, W)` in 0..1.
        source: whether it was made on the spot or is an atlas's.
        score: see `Visualization.score`; None for an atlas's.
    """

    pixels: Tensor
    source: Literal["made", "atlas"]
    score: float | None = None


def check_atlas(folder: Path, row: Row) -> None:
    """Refuse a folder that is no atlas of a network.

    Raises:
        InputError: it is not there, is no atlas, or one of another network.
    """
    if not folder.is_dir():
        raise InputError(
            f"There is no folder '{files.shown(folder)}'.",
            "Give the folder of an atlas, or leave --atlas out: the pictures are made then.",
        )
    record = store.read(folder) if (folder / store.ATLAS).exists() else None
    if record is not None and record.recipe.network != row.name:
        raise InputError(
            f"'{files.shown(folder)}' is an atlas of {record.recipe.network}, not of {row.name}.",
            f"Give --network {record.recipe.network}, or another atlas.",
        )


def channel_pictures(
    units: Iterable[Unit],
    network: Network,
    *,
    atlas: Path | None = None,
    workers: int,
    on_share: OnShare | None = None,
    stop: Stop | None = None,
) -> dict[Unit, ChannelPicture]:
    """Return a picture of each channel.

    Args:
        units: layers' own names, and channels.
        network: loaded.
        atlas: a folder that may have some of them.
        workers: layers whose pictures are made at once.
        on_share: told after every step which share is done.
        stop: asked after every step.

    Raises:
        InputError: a picture of the atlas is damaged.
        Interrupted: `stop` said so.
    """
    wanted = sorted(set(units))
    found = {} if atlas is None else _kept(atlas, network.row, wanted)
    missing = [unit for unit in wanted if unit not in found]
    return found | _made(missing, network, workers, on_share, stop)


def _kept(atlas: Path, row: Row, units: Sequence[Unit]) -> dict[Unit, ChannelPicture]:
    folders: Mapping[str, str] = atlases.folder_names(row)
    found = {}
    for layer, channel in units:
        digits = max(3, len(str(row.layer(layer).channels - 1)))
        path = atlas / folders[layer] / f"{channel:0{digits}}.png"
        if path.is_file():
            found[layer, channel] = ChannelPicture(images.load(str(path)).pixels, "atlas")
    return found


def _made(
    units: Sequence[Unit],
    network: Network,
    workers: int,
    on_share: OnShare | None,
    stop: Stop | None,
) -> dict[Unit, ChannelPicture]:
    """Make pictures, several layers at once, each on one processor: the cut for each is short."""
    jobs = [_job(list(group), network) for _, group in groupby(units, key=lambda unit: unit[0])]
    whole = sum(recipe.work for job in jobs for recipe in job.recipes)
    works = [0] * len(jobs)
    ending = threading.Event()
    told = threading.Lock()
    for layer in dict.fromkeys(layer for layer, _ in units):
        network.features([layer])  # networks keep their cuts, but not for several threads at once

    def make(index: int) -> list[Visualization]:
        def on_step(progress: visualize.Progress) -> None:
            with told:
                works[index] = progress.work
                if on_share is not None:
                    on_share(sum(works) / whole)

        def stopping() -> bool:
            if stop is not None and stop():
                ending.set()
            return ending.is_set()

        return visualize.make(jobs[index].recipes, network, on_step=on_step, stop=stopping)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            made = [each for some in pool.map(make, range(len(jobs))) for each in some]
        except BaseException:
            ending.set()  # or the pool would finish all that was begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if ending.is_set():
        raise Interrupted("Interrupted.", "Nothing was written.")
    return {
        unit: ChannelPicture(each.pixels, "made", each.score)
        for unit, each in zip(units, made, strict=True)
    }


def _job(units: Sequence[Unit], network: Network) -> VisualJob:
    side = max(SIDE, network.row.minimum)
    return visual_job.prepare(
        VisualRequest(
            targets=tuple(f"{layer}:{channel}" for layer, channel in units),
            size=(side, side),
            settings={"steps": STEPS},
            look=Request(network=network, seed=0, threads=1),
        )
    )
