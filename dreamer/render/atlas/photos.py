"""Where a user's own photos excite channels most: people read those better than made pictures.

Borowski et al., "Exemplary Natural Images Explain CNN Activations Better than State-of-the-Art
Feature Visualization" (ICLR 2021).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamer.errors import InputError, OutputError
from dreamer.media import gathering, images
from dreamer.media.files import shown
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.networks.rows import Row

SHOWN = 224  # px: the side of the crops' files

OnPhoto = Callable[[int, int, str], None]
"""Told how many photos are done, of how many, and what was wrong with the last one, or ""."""
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Crop:
    """The place of a photo where a channel answers most.

    Attributes:
        photo: the file.
        value: what the strongest neuron answers.
        box: left, top, right and bottom of a square round it, as shares 0..1 of the photo.
    """

    photo: Path
    value: float
    box: tuple[float, float, float, float]


def find(folders: Sequence[str], *, without: Path) -> tuple[list[Path], list[str]]:
    """Find the photos of an atlas, and say what cannot be looked at.

    Args:
        folders: photos, folders (all that is below them) and patterns.
        without: the atlas's own folder.

    Raises:
        InputError: one of them is not there, or there are no photos.
        OutputError: the atlas would land among the photos.
    """
    gathered = gathering.gather(folders, recursive=True, without=[without])
    if os.path.realpath(without) in gathered.folders:
        raise OutputError(
            f"'{shown(without)}' is where the photos are.", "Choose another folder with -o."
        )
    if not gathered.photos:
        raise gathered.refused[0].error
    notes = [each.error.message.rstrip(".") for each in gathered.refused]
    return [Path(found.path) for found in gathered.photos], notes


def strongest(
    photos: Sequence[Path],
    network: Network,
    channels: Mapping[str, Sequence[int]],
    *,
    per_channel: int = 4,
    size: int = 512,
    on_photo: OnPhoto | None = None,
    stop: Stop | None = None,
) -> dict[str, dict[int, list[Crop]]]:
    """Look through photos for those that excite channels most: one look at each, for all layers.

    A photo counts once to a channel, by its best place. Of equals, the earlier one is taken.

    Args:
        photos: the files; one that cannot be read or shown to the network is passed over.
        network: which looks.
        channels: numbers of channels by the layer's name.
        per_channel: how many photos each of them gets, at most.
        size: the longer side that photos are looked at with, px; smaller ones are as they are.
        on_photo: told after each photo.
        stop: asked after each photo; what is found by then is returned.

    Returns:
        Crops, the strongest first, by layer and channel.
    """
    wanted = {name: torch.as_tensor(tuple(each)) for name, each in channels.items() if each}
    best = {name: _Best(len(each), per_channel) for name, each in wanted.items()}
    sizes: dict[int, tuple[int, int]] = {}
    for number, path in enumerate(photos if wanted else ()):
        wrong = ""
        try:
            picture = _fitted(images.load(path), network.row, size)
            network.row.check_size(*picture.size, f"'{shown(path.name)}'")
            activations = _answers(network, tuple(wanted), picture)
        except InputError as error:
            wrong = error.message.rstrip(".")
        else:
            sizes[number] = picture.size
            for name, numbers in wanted.items():
                best[name].see(activations[name][0, numbers.to(network.device)].cpu(), number)
        if on_photo is not None:
            on_photo(number + 1, len(photos), wrong)
        if stop is not None and stop():
            break
    return {
        name: {
            channel: [
                Crop(photos[photo], value, _box(network.row, name, sizes[photo], at, size // 2))
                for value, photo, at in found
            ]
            for channel, found in zip(numbers.tolist(), best[name].found(), strict=True)
        }
        for name, numbers in wanted.items()
    }


def cut(crops: Iterable[tuple[Crop, Path]], *, stop: Stop | None = None) -> set[Path]:
    """Write crops as pictures, photo by photo, each of which is opened once.

    Args:
        crops: with the file each goes to.
        stop: asked after each photo.

    Returns:
        The files that were written: not those of photos that cannot be read any more.

    Raises:
        OutputError: a file cannot be written.
    """
    by_photo: dict[Path, list[tuple[Crop, Path]]] = defaultdict(list)
    for crop, target in crops:
        by_photo[crop.photo].append((crop, target))
    written = set()
    for path, wanted in by_photo.items():
        if stop is not None and stop():
            break
        try:
            photo = images.load(path)
        except InputError:  # it was there a moment ago: another program's doing
            continue
        for crop, target in wanted:
            images.save(_cut(photo, crop), target, overwrite=True)
            written.add(target)
    return written


class _Best:
    """The strongest places so far, of some channels of one layer."""

    def __init__(self, channels: int, keep: int) -> None:
        self._keep = keep
        self._values = torch.zeros(channels, 0)
        self._photos = torch.zeros(channels, 0, dtype=torch.long)
        self._places = torch.zeros(channels, 0, 2)

    def see(self, answers: Tensor, photo: int) -> None:
        """Take in what the channels answer to a photo, `(C, h, w)`."""
        height, width = answers.shape[1:]
        values, at = answers.flatten(1).max(1)
        place = torch.stack([(at // width + 0.5) / height, (at % width + 0.5) / width], 1)
        photos = torch.full_like(at, photo)
        values = torch.cat([self._values, values[:, None]], 1)
        values, order = values.sort(dim=1, descending=True, stable=True)
        kept = order[:, : self._keep]
        self._values = values[:, : self._keep]
        self._photos = torch.cat([self._photos, photos[:, None]], 1).gather(1, kept)
        places = torch.cat([self._places, place[:, None]], 1)
        self._places = places.gather(1, kept[:, :, None].expand(-1, -1, 2))

    def found(self) -> list[list[tuple[float, int, tuple[float, float]]]]:
        """Return the value, the photo's number and the place `(y, x)` of what each channel has."""
        kept = (self._values.tolist(), self._photos.tolist(), self._places.tolist())
        return [
            [(value, photo, (y, x)) for value, photo, (y, x) in zip(*each, strict=True)]
            for each in zip(*kept, strict=True)
        ]


@torch.no_grad()
def _answers(network: Network, layers: Sequence[str], picture: Photo) -> Mapping[str, Tensor]:
    activations: Mapping[str, Tensor] = network.features(layers)(
        picture.pixels[None].to(network.device)
    )
    return activations


def _fitted(photo: Photo, row: Row, size: int) -> Photo:
    """Scale a photo down to the size that is looked at, or up to what the network needs."""
    longer, shorter = max(photo.size), min(photo.size)
    if shorter < row.minimum <= shorter * size / longer:
        return images.resize(photo, size)
    return images.resize(photo, min(size, longer))


def _box(
    row: Row, layer: str, size: tuple[int, int], at: tuple[float, float], most: int
) -> tuple[float, float, float, float]:
    """Return the square round a neuron, within the photo, as shares of its width and height.

    A neuron sees more than its stride, and the middle of what it sees counts most: about eight
    strides; but of the first layers' nobody could tell what so small a piece shows.

    Args:
        row: the network's.
        layer: its name.
        size: width and height of the photo as it was looked at, px.
        at: the neuron's `(y, x)`, as shares of the photo.
        most: the longest side of the square, px.
    """
    stride = row.layer(layer).stride
    if stride == 0:  # its one neuron sees all
        return 0.0, 0.0, 1.0, 1.0
    width, height = size
    side = min(max(48, 8 * stride), most, width, height)
    left = min(max(0.0, at[1] * width - side / 2), width - side)
    top = min(max(0.0, at[0] * height - side / 2), height - side)
    return left / width, top / height, (left + side) / width, (top + side) / height


def _cut(photo: Photo, crop: Crop) -> Tensor:
    """Return a crop of a photo, a square of at most `SHOWN` pixels a side, `(3, side, side)`."""
    width, height = photo.size
    left, top, right, bottom = crop.box
    side = max(1, min(round((right - left) * width), round((bottom - top) * height)))
    x = min(max(0, round((left + right) / 2 * width - side / 2)), width - side)
    y = min(max(0, round((top + bottom) / 2 * height - side / 2)), height - side)
    piece = images.from_tensor(photo.pixels[:, y : y + side, x : x + side])
    return images.resize(piece, min(side, SHOWN)).pixels
