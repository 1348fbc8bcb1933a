"""A strip: one photo with every preset, as small drafts that are made together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dreamer import presets
from dreamer.core.ascent import Step
from dreamer.core.together import Layers, together
from dreamer.errors import InputError, UsageError, unknown
from dreamer.media import files, images
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.networks.rows import Row
from dreamer.recipe import Recipe
from dreamer.render import devices, steering, still
from dreamer.render import job as jobs
from dreamer.render.look import check_numbers
from dreamer.render.steering import Aim
from dreamer.settings import QUALITIES

SIZE = 160
"""The longer side of a draft, px."""

Stop = Callable[[], bool]


@dataclass(frozen=True, repr=False)
class Draft:
    """A small dream of one preset.

    Attributes:
        preset: its name, or its file's path, as it was asked for.
        image: the picture.
        recipe: makes it again.
    """

    preset: str
    image: Image.Image
    recipe: Recipe


@dataclass(frozen=True, repr=False)
class Strip:
    """One photo with several presets.

    Attributes:
        drafts: those that were made, in the order that was asked for.
        failed: the presets that cannot be used, with the reason.
        partial: whether it was stopped before the last draft.
    """

    drafts: tuple[Draft, ...]
    failed: Mapping[str, UsageError]
    partial: bool


def make(
    photo: Photo | str | bytes | None,
    *,
    network: Network,
    names: Sequence[str] | None = None,
    size: int = SIZE,
    seed: int = 0,
    threads: int | None = None,
    quality: str | None = None,
    check: Callable[[Recipe], None] | None = None,
    on_draft: Callable[[Draft], None] | None = None,
    on_step: Callable[[float], None] | None = None,
    stop: Stop | None = None,
) -> Strip:
    """Dream one photo with several presets, each as `dreamer dream PHOTO -p NAME --size SIZE` does.

    Args:
        photo: a photo, its file or the bytes of one; "sky", "noise" or None (a sky) for a picture
            that is made from the seed.
        network: loaded.
        names: of presets, or their files; None takes all.
        size: the longer side of a draft, px.
        seed: the same for all.
        threads: to compute with; None takes all.
        quality: one of `settings.QUALITIES`; None is as each preset has it.
        check: raises a `UsageError` for a recipe that is not wanted; its preset then failed.
        on_draft: called with each draft as soon as it is finished, whatever its place.
        on_step: called after every step of any draft with the share that is done, 0..1. Other
            dreams may be made in it, with other threads as well.
        stop: asked after every step; the strip then has the drafts that are finished.

    Raises:
        InputError: the photo cannot be read, or is too small at that size.
        UsageError: a size, a seed, a number of threads or a quality that is none.
        NetworkError: the network answers with values that are not numbers.
        DeviceError: the memory does not suffice.
    """
    names = tuple(dict.fromkeys(presets.names() if names is None else names))
    if quality is not None and quality not in QUALITIES:
        raise unknown("quality", quality, QUALITIES, f"There are {', '.join(QUALITIES)}")
    with (
        devices.threads(threads or devices.default_threads()),
        devices.memory_guard(f"drafts of {size} pixels"),
        torch.inference_mode(False),
        torch.enable_grad(),  # a caller may have turned gradients off
    ):
        request = jobs.Request(
            photo=_read(photo),
            network=network,
            overrides={"ascent.quality": quality},
            size=size,
            seed=seed,
            threads=threads,
            to_file=False,
        )
        making = _Making(request, network, names, check or _ignore, on_draft or _ignore)
        making.run(on_step or _ignore, stop or (lambda: False))
    drafts = tuple(making.drafts[name] for name in names if name in making.drafts)
    partial = len(drafts) + len(making.failed) < len(names)
    return Strip(drafts, making.failed, partial)


def side(own: tuple[int, int], row: Row) -> int:
    """Return the longer side of drafts of a photo, px: small, but not too small for the network.

    Args:
        own: the photo's width and height, px.
        row: the network's.
    """
    longer, shorter = max(own), min(own)
    return max(min(SIZE, longer), math.ceil(row.minimum * longer / shorter))


@dataclass(frozen=True)
class _Begun:
    """A draft to be: what is asked for, on what and where to."""

    name: str
    recipe: Recipe
    base: Photo
    aimed: Aim

    @property
    def layers(self) -> set[str]:
        return {layer for goal in self.aimed.goals for layer in goal.objective.layers}

    def finished(self, step: Step | None) -> Draft:
        """Return the draft after its last step, if it has any."""
        pixels = steering.unmoved(self.aimed) if step is None else step.picture()
        tile = self.recipe.tile if step is None else step.tile
        return Draft(
            self.name,
            images.to_image(pixels[0].cpu(), self.base.alpha),
            self.recipe.model_copy(update={"tile": tile}),
        )


class _Making:
    """Makes the drafts of one strip.

    Args:
        request: what is asked for, but for the preset.
        network: loaded.
        names: of the presets.
        check: see `make`.
        on_draft: see `make`.
    """

    def __init__(
        self,
        request: jobs.Request,
        network: Network,
        names: Sequence[str],
        check: Callable[[Recipe], None],
        on_draft: Callable[[Draft], None],
    ) -> None:
        self.request = request
        self.network = network
        self.names = names
        self.check = check
        self.on_draft = on_draft
        self.drafts: dict[str, Draft] = {}
        self.failed: dict[str, UsageError] = {}

    def run(self, on_step: Callable[[float], None], stop: Stop) -> None:
        """Make all of them; see `make`."""
        check_numbers(self.request)
        begun = self._begun()
        layers = [layer.name for layer in self.network.row.layers]
        wanted = set[str]().union(*(each.layers for each in begun))
        used = [name for name in layers if name in wanted]
        # What is under way together then looks about as deep, and what comes first is quick.
        begun.sort(key=lambda each: (max(map(used.index, each.layers)), -each.recipe.work))
        loops = [still.asking(each.recipe, each.aimed, self.network, used) for each in begun]
        whole = sum(each.recipe.work for each in begun)
        done = [0] * len(begun)
        last: dict[int, Step] = {}
        for index, step in together(loops, Layers(used, self.network.features)):
            if step is not None:
                last[index], done[index] = step, step.work
                on_step(sum(done) / whole)
                if stop():
                    return
                continue
            draft = begun[index].finished(last.pop(index, None))
            self.drafts[draft.preset] = draft
            self.on_draft(draft)

    def _begun(self) -> list[_Begun]:
        """Prepare all drafts that can be made; remember the others."""
        found = list[_Begun]()
        self._check_size()
        base: Photo | None = None
        pixels: Tensor | None = None
        for name in self.names:
            try:
                job = jobs.prepare(replace(self.request, preset=name))
                self.check(job.recipe)
                if base is None or pixels is None:  # the same for all
                    base = still.start(job.recipe, job.photo)
                    pixels = devices.sent(base.pixels[None], self.network.device)
                aimed = steering.aim(job.recipe, pixels, self.network, photo=base)
            except UsageError as error:
                self.failed[name] = error
            except InputError as error:  # the photo is fine: a file of the preset's is not
                self.failed[name] = UsageError(error.message, error.advice)
            else:
                found.append(_Begun(name, job.recipe, base, aimed))
        return found

    def _check_size(self) -> None:
        photo, long_edge = self.request.photo, self.request.size
        own = photo.size if isinstance(photo, Photo) else None
        subject = (
            f"A draft of '{files.shown(photo.name)}'" if isinstance(photo, Photo) else "A draft"
        )
        self.network.row.check_size(*jobs.planned_size(own, long_edge), subject)


def _read(photo: Photo | str | bytes | None) -> Photo | str | None:
    """Read a photo, once for all drafts; what is made from the seed stays a name."""
    if photo is None or isinstance(photo, Photo):
        return photo
    if isinstance(photo, str) and photo in jobs.MADE and not Path(photo).exists():
        return photo
    return images.load(photo)


def _ignore(_: object) -> None:
    """Tell nobody."""
