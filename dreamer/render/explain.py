"""What a network sees in a photo, before and after a dream: classes, channels, and where."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer.errors import Interrupted, OutputError, UsageError
from dreamer.media import files, reading
from dreamer.networks import rows
from dreamer.render import job as jobs
from dreamer.render.job import OUTPUTS, Job
from dreamer.render.look import Request

if TYPE_CHECKING:
    from torch import Tensor

    from dreamer.core.ascent import Step
    from dreamer.networks.network import Network
    from dreamer.recipe import Recipe
    from dreamer.render.explaining.pictures import ChannelPicture
    from dreamer.render.explaining.seeing import Places, Seen, Usual

SIZE = 512
MOST_CLASSES, MOST_CHANNELS = 20, 8
SUFFIXES = (".html", ".htm")
STAGES = ("looking", "dreaming", "picturing channels")

Unit = tuple[str, int]
OnProgress = Callable[[str, float], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Level:
    """A layer that stands for a detail level, or for several in a network of few layers."""

    names: tuple[str, ...]
    layer: str

    @property
    def name(self) -> str:
        """The detail levels as text."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class Plan:
    """What to explain, all checks passed.

    Attributes:
        job: the dream; without it, still the photo and the network.
        levels: the layers to look at, in execution order.
        classes: how many to name.
        channels: how many to show a layer.
        dream: whether to dream at all.
        atlas: a folder that may have pictures of channels.
        output: the page.
        overwrite: whether a file that exists is replaced.
        metadata: whether the page tells the recipe.
        numbered: whether the page may get another number, if its name is taken meanwhile.
    """

    job: Job
    levels: tuple[Level, ...]
    classes: int
    channels: int
    dream: bool
    atlas: Path | None
    output: Path
    overwrite: bool
    metadata: bool
    numbered: bool


@dataclass(frozen=True)
class ClassChange:
    """A class in the photo and in the dream of it.

    Attributes:
        index: ImageNet's.
        name: in words.
        before: its probability in the photo.
        after: in the dream; None without one.
        heat: where it is seen, strengths `(H, W)` in 0..1 for the photo, then the dream; on one
            scale, which ends at the strongest place in either. None for those that are only told.
    """

    index: int
    name: str
    before: float
    after: float | None
    heat: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class ChannelChange:
    """A channel in the photo and in the dream of it.

    Attributes:
        layer: its layer.
        level: the detail levels that the layer stands for.
        channel: its number.
        before: how far its response to the photo is above its usual one, in standard deviations.
        after: the same of the dream; None without one.
        heat: as of a `ClassChange`; 0 is one standard deviation above what is usual.
        picture: what it looks for.
    """

    layer: str
    level: str
    channel: int
    before: float
    after: float | None
    heat: tuple[Tensor, ...]
    picture: ChannelPicture


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a network sees in a photo, and in a dream of it.

    Attributes:
        name: the photo's.
        network: its name.
        weights: their hash.
        photo: `(3, H, W)` in 0..1, as it was dreamed on.
        dream: the same of the dream, or None.
        recipe: of the dream, or None.
        seen_at: width and height at which the network was shown both, px.
        classes: those most probable in either picture, by the larger of both; None if the network
            does not tell ImageNet's classes.
        levels: the layers that were looked at.
        channels: those that answer most to the photo, layer by layer.
        gained: those that gained most by the dream, of all layers; none without a dream.
        places: how places of classes were found, in words; "" if they were not.
        notes: what the user should know.
    """

    name: str
    network: str
    weights: str
    photo: Tensor
    dream: Tensor | None
    recipe: Recipe | None
    seen_at: tuple[int, int]
    classes: tuple[ClassChange, ...] | None
    levels: tuple[Level, ...]
    channels: tuple[ChannelChange, ...]
    gained: tuple[ChannelChange, ...]
    places: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Explanation({self.name}, {self.network}, {len(self.channels)} channels)"

    @property
    def gained_classes(self) -> tuple[ClassChange, ...]:
        """The classes that became more probable, by how much."""
        more = [each for each in self.classes or () if (each.after or 0.0) > each.before]
        return tuple(sorted(more, key=lambda each: each.before - (each.after or 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        classes = None if self.classes is None else [_class(each) for each in self.classes]
        return {
            "photo": self.name,
            "network": self.network,
            "weights": self.weights,
            "seen_at": list(self.seen_at),
            "recipe": None if self.recipe is None else self.recipe.to_dict(),
            "recipe_hash": None if self.recipe is None else self.recipe.hash,
            "layers": [{"layer": each.layer, "levels": list(each.names)} for each in self.levels],
            "classes": classes,
            "channels": [_channel(each) for each in self.channels],
            "gained": {
                "classes": [each.index for each in self.gained_classes],
                "channels": [_channel(each) for each in self.gained],
            },
            "places": self.places,
            "notes": list(self.notes),
        }

    def page(self, *, metadata: bool = True) -> str:
        """Return the page: HTML that holds all its pictures, and the recipe if it is to."""
        from dreamer.render.explaining import page

        return page.page(self, metadata=metadata)

    def save(
        self, target: str | os.PathLike[str], *, overwrite: bool = False, metadata: bool = True
    ) -> Path:
        """Write the page, whole or not at all.

        Args:
            target: a name that ends in .html.
            overwrite: whether a file that exists is replaced.
            metadata: whether the page tells the recipe.

        Raises:
            UsageError: another suffix.
            OutputError: it exists, or cannot be written.
        """
        check_suffix(target)
        data = self.page(metadata=metadata).encode()
        with files.replacing(target, overwrite=overwrite) as stream:
            stream.write(data)
        return Path(target)


def prepare(
    request: Request,
    *,
    classes: int = 5,
    channels: int = 3,
    dream: bool = True,
    atlas: str | os.PathLike[str] | None = None,
) -> Plan:
    """Resolve and check a request: no work.

    Args:
        request: the photo, how to dream, and the page to write. Without a size, photos of more
            than 512 px are made that small.
        classes: how many to name of each picture, 1 to 20.
        channels: how many to show a layer, 1 to 8.
        dream: whether to dream at all.
        atlas: a folder of `dreamer atlas` that has pictures of channels.

    Raises:
        UsageError: names, values or their combination.
        InputError: the photo or the atlas.
        NetworkError: a checkpoint that is not there.
        OutputError: the page exists, or cannot be written.
        DeviceError: the device.
    """
    for name, count, most in (
        ("classes", classes, MOST_CLASSES),
        ("channels", channels, MOST_CHANNELS),
    ):
        if type(count) is not int or not 1 <= count <= most:
            raise UsageError(
                f"{count!r} is not valid for {name}.", f"It can be a whole number from 1 to {most}."
            )
    if request.output is not None:
        check_suffix(request.output)
    job = jobs.prepare(replace(request, to_file=False, output=None, size=_size(request)))
    row = job.look.row
    if atlas is not None:
        from dreamer.render.explaining import pictures

        pictures.check_atlas(Path(atlas), row)
    name = job.photo.name if job.photo is not None else job.recipe.origin.start
    output = request.output
    if output is None:
        output = OUTPUTS / files.fitting_name(Path(name).stem or "photo", "-explained.html")
        output = output if request.overwrite else files.free_name(output)
    if request.to_file:
        files.check(output, overwrite=request.overwrite)
    return Plan(
        job=job,
        levels=levels(row),
        classes=classes,
        channels=channels,
        dream=dream,
        atlas=None if atlas is None else Path(atlas),
        output=output,
        overwrite=request.overwrite,
        metadata=request.metadata,
        numbered=request.output is None and not request.overwrite,
    )


def explain(
    request: Request,
    *,
    classes: int = 5,
    channels: int = 3,
    dream: bool = True,
    atlas: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> Explanation:
    """Explain what a network sees in a photo; see `prepare` and `run`."""
    plan = prepare(request, classes=classes, channels=channels, dream=dream, atlas=atlas)
    return run(plan, on_progress=on_progress, stop=stop)


def run(
    plan: Plan, *, on_progress: OnProgress | None = None, stop: Stop | None = None
) -> Explanation:
    """Look at the photo, dream on it, look again, and picture the channels.

    Args:
        plan: all checks passed.
        on_progress: told of the stage, one of `STAGES`, and of the share of it that is done.
        stop: asked after every step.

    Raises:
        NetworkError: the network answers with values that are not numbers.
        Interrupted: `stop` said so.
        DeviceError: the memory does not suffice.
    """
    from dreamer.render import devices, still
    from dreamer.render.explaining import pictures, seeing

    job, recipe = plan.job, plan.job.recipe
    tell = on_progress or (lambda _stage, _share: None)
    tell(STAGES[0], 0.0)
    network = job.load_network()
    longer, layers = seeing.sight(network), [level.layer for level in plan.levels]
    with devices.threads(recipe.threads), devices.memory_guard(f"'{recipe.network}'"):
        usual = seeing.usual(network, layers, longer)
        base = still.start(recipe, job.photo)
        shown, notes = [base.pixels], (*job.notes, *base.notes)
        if plan.dream:
            made = _dream(job, network, tell, stop)
            shown.append(made.pixels)
            notes = (*notes, *made.notes)
        tell(STAGES[0], 0.5)
        seen = [seeing.see(each, network, layers, usual=usual) for each in shown]
        named, how = _classes(plan, shown, seen, network)
    units = _strongest(plan, seen[0])
    gained = _gained(plan, seen) if plan.dream else []
    found = pictures.channel_pictures(
        [*units, *gained],
        network,
        atlas=plan.atlas,
        workers=recipe.threads,
        on_share=lambda share: tell(STAGES[2], share),
        stop=stop,
    )
    if stop is not None and stop():
        raise Interrupted("Interrupted.", "Nothing was written.")
    size = (base.pixels.shape[1], base.pixels.shape[2])

    def change(unit: Unit) -> ChannelChange:
        return _channel_change(unit, plan.levels, seen, usual[unit[0]], size, network, found[unit])

    return Explanation(
        name=base.name,
        network=network.row.name,
        weights=network.weights_sha256,
        photo=base.pixels,
        dream=shown[1] if plan.dream else None,
        recipe=recipe if plan.dream else None,
        seen_at=(seen[0].size[1], seen[0].size[0]),
        classes=named,
        levels=plan.levels,
        channels=tuple(change(unit) for unit in units),
        gained=tuple(change(unit) for unit in gained),
        places=how,
        notes=tuple(dict.fromkeys(notes)),
    )


def save(plan: Plan, explanation: Explanation) -> Path:
    """Write the page of a plan; a default name that was taken meanwhile gets a number.

    Raises:
        OutputError: it cannot be written, or a name that was asked for is taken.
    """
    path = plan.output
    while True:
        try:
            return explanation.save(path, overwrite=plan.overwrite, metadata=plan.metadata)
        except OutputError as error:
            if not plan.numbered or not isinstance(error.__cause__, FileExistsError):
                raise
        path = files.free_name(path)


def levels(row: rows.Row) -> tuple[Level, ...]:
    """Return the layer of each detail level: the deepest where it stands for several."""
    order = [layer.name for layer in row.layers]
    found: dict[str, list[str]] = {}
    for level in rows.LEVELS:
        layer = max((row.layer(name).name for name in row.level(level)), key=order.index)
        found.setdefault(layer, []).append(level)
    return tuple(Level(tuple(names), layer) for layer, names in found.items())


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse a page that is not called one: `UsageError`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"'{files.shown(path)}' is no name for a page.", "Give it one that ends in .html."
        )


def _size(request: Request) -> int | None:
    """Return the longer side to dream at: what was said, the recipe's, or 512 px at most."""
    photo = request.photo
    if request.size is not None or request.recipe is not None:
        return request.size
    if photo is None or (photo in jobs.MADE and not Path(str(photo)).exists()):
        return SIZE
    own = reading.probe(photo) if isinstance(photo, str | bytes) else photo.size
    return min(SIZE, max(own))


def _dream(job: Job, network: Network, tell: OnProgress, stop: Stop | None) -> Any:
    from dreamer.render import still

    work = max(1, still.plan(job.recipe).work)

    def on_step(step: Step) -> None:
        tell(STAGES[1], step.work / work)

    made = still.dream(job.recipe, job.photo, network, on_step=on_step, stop=stop)
    if made.recipe.partial:
        raise Interrupted("Interrupted.", "Nothing was written.")
    return made


def _classes(
    plan: Plan, shown: Sequence[Tensor], seen: Sequence[Seen], network: Network
) -> tuple[tuple[ClassChange, ...] | None, str]:
    """Return the classes, and how their places were found; those at the top have a heat map."""
    from dreamer.render.explaining import seeing

    if seen[0].probabilities is None:
        return None, ""
    tops = [[found.index for found in each.classes(plan.classes)] for each in seen]

    def largest(index: int) -> float:
        return -max(each.of_class(index).probability for each in seen)

    listed = sorted({index for top in tops for index in top}, key=largest)
    placed = [index for index in listed if any(index in top[:3] for top in tops)]
    spots = [seeing.places(each, network, placed) for each in shown]
    heats = _class_heats(spots, seen, shown)
    changes = []
    for index in listed:
        before, *after = (each.of_class(index) for each in seen)
        heat = None
        if index in placed:
            heat = tuple(each[placed.index(index)] for each in heats)
        changes.append(
            ClassChange(
                index,
                before.name,
                before.probability,
                after[0].probability if after else None,
                heat,
            )
        )
    how = spots[0].how + (f" at {spots[0].layer}" if spots[0].layer else "")
    return tuple(changes), how


def _class_heats(
    spots: Sequence[Places], seen: Sequence[Seen], shown: Sequence[Tensor]
) -> list[Tensor]:
    """Return the heat of classes, `(K, H, W)` a picture, each class on one scale in both."""
    import torch

    from dreamer.render.explaining import heat, seeing

    peak = torch.stack([each.maps.amax((1, 2)) for each in spots]).amax(0)[:, None, None]
    found = []
    for spot, what, picture in zip(spots, seen, shown, strict=True):
        size = (picture.shape[1], picture.shape[2])
        strength = heat.strength(spot.maps, 0.0, peak).cpu()
        found.append(seeing.spread(strength, spot.stride, what.size, size).clamp(0, 1))
    return found


def _strongest(plan: Plan, seen: Seen) -> list[Unit]:
    """Return the channels that answer most, layer by layer, but for what a layer passes on."""
    found: list[Unit] = []
    for level in plan.levels:
        every = seen.strongest(level.layer, len(seen.above[level.layer]))
        order = [(each.layer, each.channel) for each in every]
        found += _different(order, plan.channels, seen, found)
    return found


def _gained(plan: Plan, seen: Sequence[Seen]) -> list[Unit]:
    """Return the channels whose responses grew most from the photo to the dream."""
    grown = [
        (-growth, level.layer, channel)
        for level in plan.levels
        for channel, growth in enumerate(
            (seen[1].above[level.layer] - seen[0].above[level.layer]).tolist()
        )
        if growth > 0
    ]
    order = [(layer, channel) for _, layer, channel in sorted(grown)]
    return _different(order, plan.channels, seen[1], [])


def _different(order: Sequence[Unit], count: int, seen: Seen, others: Sequence[Unit]) -> list[Unit]:
    """Return the first channels that do not show what one of another layer shows already."""
    from dreamer.render.explaining import seeing

    def shows(unit: Unit, other: Unit) -> bool:
        same = unit[0] == other[0]
        return not same and seeing.alike(seen.maps[unit[0]][unit[1]], seen.maps[other[0]][other[1]])

    found: list[Unit] = []
    for unit in order:
        if len(found) == count:
            break
        if not any(shows(unit, other) for other in (*others, *found)):
            found.append(unit)
    return found


def _channel_change(
    unit: Unit,
    levels: Sequence[Level],
    seen: Sequence[Seen],
    usual: Usual,
    size: tuple[int, int],
    network: Network,
    picture: ChannelPicture,
) -> ChannelChange:
    import torch

    from dreamer.render.explaining import heat, seeing

    layer, channel = unit
    maps = [each.maps[layer][channel] for each in seen]
    floor = usual.mean[channel] + usual.spread[channel]
    peak = torch.stack([each.amax() for each in maps]).amax()
    stride = network.row.layer(layer).stride
    heats = []
    for each, what in zip(maps, seen, strict=True):
        strength = heat.strength(each, floor, peak).cpu()[None]
        heats.append(seeing.spread(strength, stride, what.size, size)[0].clamp(0, 1))
    before, *after = (each.above[layer][channel].item() for each in seen)
    return ChannelChange(
        layer=layer,
        level=next(level.name for level in levels if level.layer == layer),
        channel=channel,
        before=before,
        after=after[0] if after else None,
        heat=tuple(heats),
        picture=picture,
    )


def _class(each: ClassChange) -> dict[str, Any]:
    return {
        "index": each.index,
        "name": each.name,
        "photo": each.before,
        "dream": each.after,
    }


def _channel(each: ChannelChange) -> dict[str, Any]:
    return {
        "layer": each.layer,
        "level": each.level,
        "channel": each.channel,
        "photo": round(each.before, 4),
        "dream": None if each.after is None else round(each.after, 4),
        "picture": each.picture.source,
        "score": each.picture.score,
    }
