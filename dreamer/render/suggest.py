"""What would suit a photo: channels that answer it more than usual, classes that it looks like.

A dream brings out most easily what a network sees already. Each suggestion is a target to dream
for, with the reason for it and a small dream that shows what it does to the photo.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dreamer import targets
from dreamer.errors import InputError, Interrupted, OutputError, UsageError
from dreamer.media import files, formats
from dreamer.networks import rows
from dreamer.networks.rows import LOGITS
from dreamer.render import job as jobs
from dreamer.render.job import MADE, OUTPUTS, Job
from dreamer.render.look import Request

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from dreamer.core.ascent import Step
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network
    from dreamer.render.explaining.seeing import ChannelSeen, ClassSeen, Seen, Usual

SIZE = 256
"""The longer side of a thumbnail, px."""
MOST = 24
LEVELS = {"textures": "texture", "patterns": "pattern", "parts": "part"}
"""The detail levels whose channels are suggested, with what one of their channels is called.

Edges look alike in every photo, and for objects there are the classes.
"""
LIKELY = 0.01
"""The probability from which on a class is suggested."""
LEAST = 0.5
"""The standard deviations above usual from which on a channel is suggested."""
ALIKE = 0.7
"""The correlation of their gradients from which on dreams of two classes look alike. Measured with
the embedded network: tabby and tiger cat .73, cup and coffee mug .72, but espresso and cup .64.
"""
STAGES = ("looking", "dreaming")

OnProgress = Callable[[str, float], None]
Stop = Callable[[], bool]
Unit = tuple[str, int]

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
_EVEN = 0.2  # of nine squares, the share of the strongest up to which there is no one place
_FLAT = 1e-5  # of the widest spread in a layer: channels below hardly answer anything


@dataclass(frozen=True)
class Suggestion:
    """A target that suits a photo.

    Attributes:
        target: as `-t` and presets take it, such as "block8:37" or "class:Egyptian_cat".
        kind: what it is.
        why: the reason, in one line.
        score: of a channel how far its response is above its usual one, in standard deviations;
            of a class its probability.
        level: the detail level of a channel; "" of a class.
        place: where in the picture it is seen most, such as "middle left"; "" if all over it.
    """

    target: str
    kind: Literal["channel", "class"]
    why: str
    score: float
    level: str = ""
    place: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "target": self.target,
            "kind": self.kind,
            "why": self.why,
            "score": round(self.score, 4),
            "level": self.level or None,
            "place": self.place or None,
        }


OnTile = Callable[[Suggestion, "Image.Image"], None]


@dataclass(frozen=True, repr=False)
class Suggestions:
    """What would suit a photo.

    Attributes:
        name: the photo's.
        network: its name.
        suggestions: the strongest texture, pattern, part and class, then the second of each, and
            so on: fewer of them are the first of more.
        sheet: the photo, then a small dream for each suggestion, labelled; None without thumbnails.
        notes: what the user should know.
    """

    name: str
    network: str
    suggestions: tuple[Suggestion, ...]
    sheet: Image.Image | None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        named = ", ".join(each.target for each in self.suggestions)
        return f"Suggestions({self.name}, {self.network}: {named})"

    def to_dict(self) -> dict[str, Any]:
        """Return all but the sheet as plain values."""
        return {
            "photo": self.name,
            "network": self.network,
            "suggestions": [each.to_dict() for each in self.suggestions],
            "notes": list(self.notes),
        }

    def save(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the sheet in the format of the suffix, whole or not at all.

        Args:
            target: PNG, JPEG, WebP, AVIF or TIFF.
            overwrite: whether a file that exists is replaced.

        Raises:
            UsageError: an unknown suffix, or there are no thumbnails.
            OutputError: it exists, or cannot be written.
        """
        from dreamer.render import sheets

        if self.sheet is None:
            raise UsageError(
                "These suggestions have no thumbnails to save.", "Ask for them with thumbnails."
            )
        sheets.save(self.sheet, Path(target), overwrite=overwrite)
        return Path(target)


@dataclass(frozen=True)
class Plan:
    """What to look at, all checks passed.

    Attributes:
        request: what was asked for, without its photo.
        job: a dream of the photo at the size of a thumbnail, whatever its target.
        photo: at its own size.
        count: how many suggestions to make.
        thumbnails: whether to dream of each.
        output: the sheet to write; None without thumbnails, or if no file is written.
        numbered: whether the sheet may get another number, if its name is taken meanwhile.
        notes: what the user should know.
    """

    request: Request
    job: Job
    photo: Photo
    count: int
    thumbnails: bool
    output: Path | None
    numbered: bool
    notes: tuple[str, ...]

    def describe(self) -> str:
        """Say in a few lines what will be done."""
        recipe = self.job.recipe
        lines = [("photo", self.photo.name), ("network", recipe.network)]
        lines.append(("suggest", f"up to {self.count} channels and classes"))
        if self.thumbnails:
            lines.append(("preset", recipe.preset))
            lines.append(("size", f"{recipe.size[0]}x{recipe.size[1]} a thumbnail"))
            lines.append(("output", "-" if self.output is None else str(self.output)))
        return "\n".join(f"{name:8} {value}" for name, value in lines)


def prepare(request: Request, *, count: int = 9, thumbnails: bool = True) -> Plan:
    """Resolve and check a request: no work.

    Args:
        request: the photo, how to dream, and the sheet to write. Its size is that of a thumbnail,
            256 px at most by default.
        count: how many suggestions to make, 1 to 24.
        thumbnails: whether to dream of each.

    Raises:
        UsageError: names, values or their combination; there is no photo, or there is a target.
        InputError: the photo.
        NetworkError: a checkpoint that is not there.
        OutputError: the sheet exists, or cannot be written.
        DeviceError: the device.
    """
    if type(count) is not int or not 1 <= count <= MOST:
        raise UsageError(
            f"{count!r} is not valid for count.", f"It can be a whole number from 1 to {MOST}."
        )
    if request.overrides.get("target") is not None:
        raise UsageError(
            f"The target '{request.overrides['target']}' was given, and suggestions of others "
            "asked for.",
            "Leave one of them out.",
        )
    if request.overrides.get("regions"):
        raise UsageError(
            "Regions were given, and suggestions of other targets asked for.",
            "Leave one of them out.",
        )
    made = request.photo in MADE and not Path(str(request.photo)).exists()
    if made or (request.photo is None and request.recipe is None):
        raise _no_photo()
    if request.output is not None:
        formats.by_suffix(request.output)
    # Any target will do: that of the preset may need files, or layers of another network.
    asked = _aimed(replace(request, output=None, to_file=False), next(iter(LEVELS)))
    job = jobs.prepare(asked)
    if job.photo is None:
        raise _no_photo()
    from dreamer.render import pictures

    if pictures.is_plain(job.photo.pixels.flatten(1)):
        raise InputError(
            f"'{files.shown(job.photo.name)}' is of one colour: nothing in it stands out.",
            "Give a photo that shows something.",
        )
    photo, asked = job.photo, replace(asked, photo=None)
    size = request.size or _size(photo.size, job.look.row)
    job = jobs.prepare(replace(asked, photo=photo, size=size))
    output = _output(request, photo, job, count) if thumbnails and request.to_file else None
    return Plan(
        request=replace(asked, overwrite=request.overwrite),
        job=job,
        photo=photo,
        count=count,
        thumbnails=thumbnails,
        output=output,
        numbered=request.output is None and not request.overwrite,
        # Not the job's: they tell what is unlike the recipe in a file, as the target has to be.
        notes=(*job.look.notes, *photo.notes),
    )


def suggest(
    request: Request,
    *,
    count: int = 9,
    thumbnails: bool = True,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> Suggestions:
    """Suggest channels and classes that would suit a photo; see `prepare` and `run`."""
    plan = prepare(request, count=count, thumbnails=thumbnails)
    return run(plan, on_progress=on_progress, stop=stop)


def run(
    plan: Plan,
    *,
    on_progress: OnProgress | None = None,
    on_tile: OnTile | None = None,
    stop: Stop | None = None,
) -> Suggestions:
    """Look at the photo, choose, and dream a thumbnail of each choice.

    Args:
        plan: all checks passed.
        on_progress: told of the stage, one of `STAGES`, and of the share of it that is done.
        on_tile: given each suggestion with its small dream, as soon as that is there.
        stop: asked after every step.

    Raises:
        InputError: nothing in the photo stands out to the network.
        NetworkError: it answers with values that are not numbers.
        Interrupted: `stop` said so.
        DeviceError: the memory does not suffice.
    """
    tell = on_progress or (lambda _stage, _share: None)
    tell(STAGES[0], 0.0)
    network = plan.job.load_network()
    found = _suggestions(plan, network)
    if stop is not None and stop():
        raise _interrupted()
    if not found:
        raise InputError(
            f"Nothing in '{files.shown(plan.photo.name)}' stands out to {network.row.name}.",
            "Try another photo, or another network with --network.",
        )
    sheet, notes = None, plan.notes
    if plan.thumbnails:
        sheet, more = _sheet(plan, network, found, tell, on_tile, stop)
        notes = tuple(dict.fromkeys((*notes, *more)))
    return Suggestions(plan.photo.name, network.row.name, tuple(found), sheet, notes)


def save(plan: Plan, made: Suggestions) -> Path | None:
    """Write the sheet of a plan, if it has one; a default name that was taken gets a number.

    Raises:
        OutputError: it cannot be written, or a name that was asked for is taken.
    """
    path = plan.output
    while path is not None:
        try:
            return made.save(path, overwrite=plan.request.overwrite)
        except OutputError as error:
            if not plan.numbered or not isinstance(error.__cause__, FileExistsError):
                raise
        path = files.free_name(path)
    return None


def _no_photo() -> UsageError:
    return UsageError(
        "There is no photo to make suggestions for.",
        "Name a photo: `dreamer dream PHOTO --suggest`.",
    )


def _interrupted() -> Interrupted:
    return Interrupted("Interrupted.", "Nothing was written.")


def _aimed(request: Request, target: str) -> Request:
    return replace(request, overrides={**request.overrides, "target": target, "regions": {}})


def _size(own: tuple[int, int], row: rows.Row) -> int:
    """Return the longer side of a thumbnail: small, but not too small for the network."""
    longer, shorter = max(own), min(own)
    return max(min(SIZE, longer), math.ceil(row.minimum * longer / shorter))


def _output(request: Request, photo: Photo, job: Job, count: int) -> Path:
    """Return the sheet to write after checking it."""
    from dreamer.render import sheets

    output, (width, height) = request.output, job.recipe.size
    if output is None:
        stem = Path(photo.name).stem or "photo"
        output = OUTPUTS / files.fitting_name(stem, "-suggestions.png")
    columns = _columns(count + 1, (width, height))
    lines = math.ceil((count + 1) / columns)
    gap, cell = sheets.GAP, height + sheets.LABEL + sheets.GAP
    formats.check_size(output, columns * (width + gap) + gap, lines * cell + gap)
    return sheets.target(output, numbered=request.output is None, overwrite=request.overwrite)


def _suggestions(plan: Plan, network: Network) -> list[Suggestion]:
    """Look at the photo, and choose."""
    from dreamer.media import images
    from dreamer.render import devices, explain
    from dreamer.render.explaining import seeing

    row, recipe = network.row, plan.job.recipe
    levels = {
        level: list(dict.fromkeys(row.layer(name).name for name in row.level(level)))
        for level in LEVELS
    }
    layers = list(dict.fromkeys(name for names in levels.values() for name in names))
    with devices.threads(recipe.threads), devices.memory_guard(f"'{recipe.network}'"):
        usual = seeing.usual(network, layers, seeing.sight(network))
        # Made as small as `dreamer explain` makes it first, so that both tell the same numbers.
        photo = images.resize(plan.photo, min(explain.SIZE, max(plan.photo.size)))
        seen = seeing.see(photo.pixels, network, layers, usual=usual)
        taken: dict[Unit, Tensor] = {}
        kinds: dict[str, Iterator[ChannelSeen | ClassSeen]] = {
            level: _channels(names, seen, usual, taken) for level, names in levels.items()
        }
        kinds[""] = _classes(photo.pixels, network, seen)
        chosen = _in_turn(kinds, plan.count)
        places = _class_places(photo.pixels, network, seen, [each for _, each in chosen])
    return [
        _class(each, places[each.index])
        if isinstance(each, seeing.ClassSeen)
        else _channel(each, level, network, seen, usual[each.layer])
        for level, each in chosen
    ]


def _in_turn(
    kinds: Mapping[str, Iterator[ChannelSeen | ClassSeen]], count: int
) -> list[tuple[str, ChannelSeen | ClassSeen]]:
    """Take the first of each kind, then the second of each, until there are enough."""
    waiting = set(kinds)
    chosen: list[tuple[str, ChannelSeen | ClassSeen]] = []
    while waiting and len(chosen) < count:
        for kind, some in kinds.items():
            found = next(some, None) if kind in waiting else None
            if found is None:
                waiting.discard(kind)
            else:
                chosen.append((kind, found))
    return chosen[:count]


def _channels(
    layers: Sequence[str], seen: Seen, usual: Mapping[str, Usual], taken: dict[Unit, Tensor]
) -> Iterator[ChannelSeen]:
    """Yield the channels of layers that answer well above usual, the strongest first.

    Args:
        layers: their names.
        seen: the photo.
        usual: how the layers answer usually.
        taken: maps of the channels that were yielded so far, of any level: none like them follows.
    """
    from dreamer.render.explaining import seeing

    found: list[ChannelSeen] = []
    for layer in layers:
        spread = usual[layer].spread
        lively = (spread > _FLAT * spread.amax()).tolist()
        every = seen.strongest(layer, len(lively))
        found += [each for each in every if lively[each.channel] and each.above >= LEAST]
    for each in sorted(found, key=lambda each: -each.above):
        unit, maps = (each.layer, each.channel), seen.maps[each.layer][each.channel]
        if unit not in taken and not any(seeing.alike(maps, other) for other in taken.values()):
            taken[unit] = maps
            yield each


def _classes(pixels: Tensor, network: Network, seen: Seen) -> Iterator[ClassSeen]:
    """Yield the classes that are likely, but none whose dream would look like a former one's."""
    likely = [each for each in seen.classes(MOST) if each.probability >= LIKELY]
    if not likely:
        return
    same = _alike(pixels, network, [each.index for each in likely])
    yielded: list[int] = []
    for place, each in enumerate(likely):
        if not any(same[place][former] for former in yielded):
            yielded.append(place)
            yield each


def _alike(pixels: Tensor, network: Network, classes: Sequence[int]) -> list[list[bool]]:
    """Say of each two classes whether dreams of them look alike.

    They do if the gradients of their logits by the picture go the same way: a dream follows
    nothing else. That both are seen in the same place would say little.
    """
    import torch

    from dreamer.render.explaining import seeing

    picture = seeing.shown(pixels, seeing.sight(network), network.row.minimum)
    with torch.inference_mode(False), torch.enable_grad():
        asked = picture.to(network.device).clone().requires_grad_()
        logits = network.features([LOGITS])(asked)[LOGITS].flatten()
        gradients = [
            torch.autograd.grad(logits[index], asked, retain_graph=True)[0].flatten()
            for index in classes
        ]
    alike = torch.corrcoef(torch.stack(gradients)).reshape(len(classes), -1) >= ALIKE
    found: list[list[bool]] = alike.tolist()
    return found


def _channel(
    each: ChannelSeen, level: str, network: Network, seen: Seen, usual: Usual
) -> Suggestion:
    from dreamer.render.explaining import heat

    maps = seen.maps[each.layer][each.channel]
    floor = usual.mean[each.channel] + usual.spread[each.channel]
    strengths = heat.strength(maps, floor, maps.amax())
    place = _place(strengths, network.row.layer(each.layer).stride, seen)
    why = f"{LEVELS[level]}, {each.above:.1f} deviations above usual{_most(place)}"
    label = targets.Term(1.0, "layer", each.layer, each.channel).label
    return Suggestion(label, "channel", why, each.above, level, place)


def _class(each: ClassSeen, place: str) -> Suggestion:
    from dreamer.render.explaining.page import percent

    why = f"class, {percent(each.probability)} probable{_most(place)}"
    label = targets.Term(1.0, "class", each.name, each.index).label
    return Suggestion(label, "class", why, each.probability, place=place)


def _class_places(
    pixels: Tensor, network: Network, seen: Seen, chosen: Sequence[ChannelSeen | ClassSeen]
) -> dict[int, str]:
    """Find where the classes among those chosen are seen, by their indices."""
    from dreamer.render.explaining import seeing

    classes = [each.index for each in chosen if isinstance(each, seeing.ClassSeen)]
    if not classes:
        return {}
    spots = seeing.places(pixels, network, classes)
    named = [_place(maps, spots.stride, seen) for maps in spots.maps]
    return dict(zip(classes, named, strict=True))


def _place(strengths: Tensor, stride: int, seen: Seen) -> str:
    """Name the ninth of the picture where strengths `(h, w)` are highest; "" if there is none."""
    from torch.nn import functional

    from dreamer.render.explaining import seeing

    whole = seeing.spread(strengths.cpu()[None], stride, seen.size, seen.size).clamp_min(0)
    squares = functional.adaptive_avg_pool2d(whole, (3, 3)).flatten()
    if squares.amax() <= _EVEN * squares.sum():
        return ""
    row, column = divmod(int(squares.argmax()), 3)
    return "centre" if row == column == 1 else f"{_ROWS[row]} {_COLUMNS[column]}"


def _most(place: str) -> str:
    return f", most in the {place}" if place else ", all over"


def _sheet(
    plan: Plan,
    network: Network,
    found: Sequence[Suggestion],
    tell: OnProgress,
    on_tile: OnTile | None,
    stop: Stop | None,
) -> tuple[Image.Image, list[str]]:
    """Dream a thumbnail of each suggestion; return the sheet, and what the user should know."""
    from dreamer.media import images
    from dreamer.render import sheets, still

    recipe = plan.job.recipe
    photo = images.resize(plan.photo, max(recipe.size))  # once, not for each of them
    tiles = [(photo.name, images.to_image(photo.pixels, photo.alpha))]
    notes: list[str] = []
    # The network is loaded: what it was chosen by has been said.
    base = replace(plan.request, photo=photo, network=network, weights=None, size=max(recipe.size))
    for index, each in enumerate(found):
        job = jobs.prepare(_aimed(base, each.target))
        work = max(1, still.plan(job.recipe).work)

        def on_step(step: Step, done: int = index, work: int = work) -> None:
            tell(STAGES[1], (done + step.work / work) / len(found))

        made = still.dream(job.recipe, job.photo, network, on_step=on_step, stop=stop)
        if made.recipe.partial or (stop is not None and stop()):
            raise _interrupted()
        tiles.append((each.target, made.image))
        if on_tile is not None:
            on_tile(each, made.image)
        notes += made.notes
    wide = _widened(tiles)
    return sheets.grid(wide, _columns(len(wide), wide[0][1].size)), notes


def _columns(count: int, tile: tuple[int, int]) -> int:
    """Return in how many columns tiles look best: wider than high, the last row as full as can be.

    Args:
        count: of tiles, two at least.
        tile: width and height of one, px.
    """
    from dreamer.render import sheets

    width, height = tile[0] + sheets.GAP, tile[1] + sheets.LABEL + sheets.GAP
    fewest = max(2, round(math.sqrt(count * 1.4 * height / width)))
    return min(range(fewest, fewest + 3), key=lambda columns: 2 * (-count % columns) + columns)


def _widened(tiles: Sequence[tuple[str, Image.Image]]) -> list[tuple[str, Image.Image]]:
    """Make room for the labels beside narrow pictures: half a target is of no use."""
    from PIL import Image, ImageFont

    from dreamer.render import sheets

    font = ImageFont.load_default(size=15)
    room = max(math.ceil(font.getlength(label)) for label, _ in tiles[1:]) + 2
    wide = []
    for label, picture in tiles:
        paper = Image.new("RGB", (max(room, picture.width), picture.height), sheets.PAPER)
        paper.paste(picture.convert("RGB"), (0, 0))
        wide.append((label, paper))
    return wide
