"""What a recipe aims at in one picture: objectives, and the pictures and masks that steer them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dreamer import mask_text, targets
from dreamer.core import ascent, masks, palettes
from dreamer.core.ascent import Ascent, Goal, Likeness, Step
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.core.resampling import resample
from dreamer.errors import InputError
from dreamer.media import faces, files, images, reading
from dreamer.media.images import Photo
from dreamer.networks.rows import Row
from dreamer.recipe import Recipe, TermRecord, grid, likeness_layers
from dreamer.render import masks as picture_masks
from dreamer.settings import Settings
from dreamer.target_files import Like
from dreamer.visual_recipe import VisualRecipe

if TYPE_CHECKING:
    from dreamer.networks.network import Network

Box = tuple[int, int, int, int]
"""`(top, left, bottom, right)` of a part of a picture, px, ends excluded."""

CHROMA: Mapping[str, float] = {"keep": 0.25, "luma": 0.0}
"""The share of the dream's own colours, by what may happen to the photo's; 1 for the others."""

# What a style holds of the photo, and where: what is in the picture, not how it is painted.
_CONTENT, _CONTENT_AMOUNT = "patterns", 0.5
# Around a mask, so much of its own size, and at least so many pixels, are dreamed with it: what
# the network sees there counts.
_MARGIN, _LEAST_MARGIN = 0.12, 32
# A part larger than this share of the picture is not worth cutting out.
_WORTH_CUTTING = 0.75
_ONE_COLOUR = 2 / 255
_LONGEST_SHAPE = 16
_GLANCE = (256, 256)  # the size at which pictures are checked


class _CoversNothing(InputError):  # noqa: N818 - what was found, and a fault of stills only
    """Nothing of this picture may change; of another one it may."""


@dataclass(frozen=True)
class Aim:
    """What a recipe aims at in one picture, all files read.

    Attributes:
        photo: what it dreams on, `(1, 3, H, W)` in 0..1, as it is outside of the masks.
        base: the same with its colours changed before the dream, if they are.
        goals: what to maximise, and where.
        photos: see `dreamer.core.ascent.dream`.
        guides: the same.
        likeness: the same.
        where: how much each pixel may change, `(1, 1, H, W)`; all of them if None.
        box: the part of the picture that is dreamed; all of it if None.
        recolour: gives a dream its colours afterwards.
        notes: what the user should know.
    """

    photo: Tensor
    base: Tensor
    goals: tuple[Goal, ...]
    photos: dict[str, Tensor]
    guides: dict[str, Guide]
    likeness: Likeness | None
    where: Tensor | None
    box: Box | None
    recolour: Callable[[Tensor], Tensor] | None
    notes: tuple[str, ...]

    def on(self, pixels: Tensor) -> Aim:
        """Return the same for a picture that differs from the photo inside of the masks only."""
        if self.where is not None:
            pixels = self.photo + self.where * (pixels - self.photo)
        return replace(self, base=pixels)


def aim(
    recipe: Recipe,
    pixels: Tensor,
    network: Network,
    *,
    photo: Photo | None = None,
    filmed: bool = False,
) -> Aim:
    """Read and make all that steers a dream.

    Args:
        recipe: every number, and which files.
        pixels: what is dreamed on, `(1, 3, H, W)` in 0..1, on the network's device.
        network: loaded.
        photo: what it is from, with its transparency.
        filmed: whether it is one of many: where masks cover nothing it then stays as it is.

    Raises:
        InputError: a picture that is not there, cannot be used, or is another one by now; or
            masks that cover nothing.
        UsageError: a mask that is not for this photo or target.
    """
    size = (pixels.shape[3], pixels.shape[2])
    objectives = _objectives(recipe, network.row)
    try:
        wheres, notes = _wheres(recipe, pixels, network, objectives, photo)
    except _CoversNothing:
        if not filmed:
            raise
        wheres, notes = (torch.zeros_like(pixels[:, :1]),) * len(objectives), ()
    whole = ascent.union(wheres)
    base, recolour = _coloured(recipe, pixels, whole)
    return Aim(
        photo=pixels,
        base=base,
        goals=tuple(Goal(*pair) for pair in zip(objectives, wheres, strict=True)),
        photos={name: each.to(pixels) for name, each in references(recipe, size).items()},
        guides=_guides(recipe, network.row, pixels),
        likeness=_likeness(recipe, network),
        where=whole,
        box=None if whole is None else _box(whole, recipe, network.row),
        recolour=recolour,
        notes=notes,
    )


def dream(aimed: Aim, network: Network, loop: Ascent, seed: int) -> Iterator[Step]:
    """Dream towards an aim, only on the part of the picture that may change.

    Args:
        aimed: from `aim`.
        network: loaded.
        loop: the numbers, for the whole picture.
        seed: see `dreamer.core.ascent.generator`.
    """
    box, base, goals, photos = aimed.box, aimed.base, aimed.goals, aimed.photos
    if aimed.where is not None and not bool((aimed.where > 0).any()):
        return
    part = loop
    if box is not None:
        part = replace(loop, sizes=_sizes(box, loop, network.row.minimum))
        base = _cut(base, box)
        goals = tuple(
            replace(g, where=None if g.where is None else _cut(g.where, box)) for g in goals
        )
        photos = {name: _cut(photo, box) for name, photo in photos.items()}
    layers = dict.fromkeys(layer for goal in goals for layer in goal.objective.layers)
    found = ascent.dream(
        base,
        network.features(list(layers)),
        goals,
        part,
        seed,
        photos=photos,
        guides=aimed.guides,
        likeness=aimed.likeness,
    )
    for step in found:
        work = step.work if box is None else round(step.work * loop.work / part.work)
        yield replace(step, work=work, picture=functools.partial(_finished, aimed, step.picture))


def unmoved(aimed: Aim) -> Tensor:
    """Return the picture of no steps at all, `(1, 3, H, W)`."""
    return aimed.base if aimed.recolour is None else aimed.recolour(aimed.base)


def objective(recipe: Recipe | VisualRecipe, row: Row) -> Objective:
    """Compile all of a recipe's terms for the network of a row."""
    return _compiled(recipe.terms, row, recipe.size)


def references(recipe: Recipe | VisualRecipe, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the photos that a recipe's caricatures are of, as its objective names them.

    Args:
        recipe: with the photos' paths; one that was read from a file has only their names, which
            are then looked for in the folder one is in.
        size: width and height of the picture, px, whose shape each photo's middle is cut to.

    Returns:
        `(1, 3, H, W)` in 0..1 by SHA-256.

    Raises:
        InputError: a photo that is not there, cannot be read, or is another one by now.
    """
    likes = dict.fromkeys(term.like for term in recipe.terms if term.like is not None)
    return {like.sha256: _reference(_path(like), like.sha256, size) for like in likes}


def check(settings: Settings, pictures: Mapping[str, Like], row: Row) -> None:
    """Refuse pictures that cannot steer anything, before a dream or many are begun.

    Args:
        settings: how to dream.
        pictures: those that it names, by their paths in it.
        row: the network's.

    Raises:
        InputError: one that cannot be read; a guide or style of one colour, or that is not to be
            seen; a mask that covers nothing.
        UsageError: a package is missing for what is to be kept.
    """
    for text in settings.targets_on(row.name).values():
        for term in targets.parse(text).terms:
            if term.kind in ("guide", "style"):
                like = pictures[term.path]
                _guide(_path(like), like.sha256, _GLANCE, row.minimum)
    for path in settings.files:
        _loaded(_path(pictures[path]), pictures[path].sha256)
    for index, mask in enumerate(settings.masks):
        if mask.kind == "file":
            invert = settings.mask.invert and index == 0 and bool(settings.mask.where)
            path = _path(pictures[mask.path])
            picture_masks.make(mask, _GLANCE, path=path, invert=invert)
    if "faces" in settings.mask.keep:
        faces.library()


def _objectives(recipe: Recipe, row: Row) -> tuple[Objective, ...]:
    return tuple(_compiled(terms, row, recipe.size) for terms in recipe.by_region)


def _compiled(terms: Iterable[TermRecord], row: Row, size: tuple[int, int]) -> Objective:
    return Objective(tuple(_term(term, row, size) for term in terms))


def _term(term: TermRecord, row: Row, size: tuple[int, int]) -> Term:
    at = None
    if term.at is not None:
        columns, lines = grid(row, term.layer, size)
        at = ((term.at[0] + 0.5) / lines, (term.at[1] + 0.5) / columns)
    some = targets.choice(term.choice) if term.choice else None
    pick, channels = None, tuple[int, ...]()
    if some is not None and some.rank:
        pick = Pick(some.rank, some.count, some.anew)
    elif some is not None:
        channels = some.among(row.layer(term.layer).channels)
    return Term(
        layer=term.layer,
        channel=term.channel,
        at=at,
        weight=term.weight,
        label=term.label,
        direction=term.direction,
        like=None if term.like is None else term.like.sha256,
        channels=channels,
        pick=pick,
        guide=None if term.guide is None else _guide_name(term.guide),
        by=term.by or "best",
    )


def _guide_name(like: Like) -> str:
    """Name a guide: not as a caricature of the same picture is named."""
    return f"guide:{like.sha256}"


def _path(like: Like) -> str:
    """Return where a picture is; one of a recipe from a file is looked for where one is."""
    return like.path or Path(like.name).name


def _shown(path: str) -> str:
    return files.shown(Path(path).name)


@functools.lru_cache(maxsize=4)  # the frames of a film and the pictures of a batch share them
def _loaded(path: str, sha256: str) -> Photo:
    photo = images.load(reading.read(path), name=Path(path).name)
    if photo.sha256 != sha256:
        raise InputError(
            f"'{_shown(path)}' has changed: it is not the picture that the dream was planned with.",
            "Put that picture back, or ask for the new one.",
        )
    return photo


@functools.lru_cache(maxsize=4)
def _reference(path: str, sha256: str, size: tuple[int, int]) -> Tensor:
    pixels = _loaded(path, sha256).pixels[None]
    height, width = pixels.shape[2:]
    scale = min(width / size[0], height / size[1])
    wide, high = (max(1, round(scale * side)) for side in size)
    top, left = (height - high) // 2, (width - wide) // 2
    cut = pixels[:, :, top : top + high, left : left + wide]
    return resample(cut, (size[1], size[0])).clamp(0, 1)


def _guides(recipe: Recipe, row: Row, pixels: Tensor) -> dict[str, Guide]:
    """Return the pictures to be guided by, by the names the objectives have for them."""
    size = (pixels.shape[2], pixels.shape[3])
    found = {}
    for like in dict.fromkeys(term.guide for term in recipe.terms if term.guide is not None):
        guide = _guide(_path(like), like.sha256, size, row.minimum)
        visible = None if guide.visible is None else guide.visible.to(pixels)
        found[_guide_name(like)] = replace(guide, pixels=guide.pixels.to(pixels), visible=visible)
    return found


@functools.lru_cache(maxsize=4)
def _guide(path: str, sha256: str, size: tuple[int, int], least: int) -> Guide:
    photo = _loaded(path, sha256)
    visible = None if photo.alpha is None else photo.alpha[None, None]
    seen = photo.pixels if photo.alpha is None else photo.pixels[:, photo.alpha > 0.5]
    if seen.numel() == 0:
        raise InputError(
            f"'{_shown(path)}' is transparent all over: there is nothing to go towards.",
            "Give a picture that shows something.",
        )
    seen = seen.flatten(1)
    if float((seen.amax(1) - seen.amin(1)).amax()) <= _ONE_COLOUR:
        raise InputError(
            f"'{_shown(path)}' is of one colour: there is nothing to go towards.",
            "Give a picture that shows something.",
        )
    if max(photo.size) > _LONGEST_SHAPE * min(photo.size):
        raise InputError(
            f"'{_shown(path)}' is {photo.size[0]}x{photo.size[1]} pixels: too narrow "
            "to go towards.",
            f"Give a picture that is at most {_LONGEST_SHAPE} times as long as wide.",
        )
    return Guide(photo.pixels[None], visible, least).at(size)


def _likeness(recipe: Recipe, network: Network) -> Likeness | None:
    """Return what of the photo is held: a style holds what is in it."""
    amount = recipe.settings.likeness.amount
    if amount > 0:
        names = likeness_layers(recipe.settings, network.row)
    elif any(term.by == "style" for term in recipe.terms):
        names, amount = network.row.level(_CONTENT), _CONTENT_AMOUNT
    else:
        return None
    return Likeness(network.features(list(names)), amount)


def _wheres(
    recipe: Recipe,
    pixels: Tensor,
    network: Network,
    objectives: tuple[Objective, ...],
    photo: Photo | None,
) -> tuple[tuple[Tensor | None, ...], tuple[str, ...]]:
    """Make the masks of all regions; None for all of the picture."""
    settings = recipe.settings
    notes: list[str] = []

    def made(text: str, wanted: Objective, *, invert: bool = False) -> Tensor:
        mask = mask_text.parse(text)
        heat = picture_masks.heat(wanted, network, pixels) if mask.kind == "auto" else None
        path = ""
        if mask.path:
            path = _path(recipe.file(mask.path))
            _loaded(path, recipe.file(mask.path).sha256)
        size, feather = (pixels.shape[3], pixels.shape[2]), settings.mask.feather
        try:
            found, more = picture_masks.make(
                mask, size, path=path, photo=photo, heat=heat, feather=feather, invert=invert
            )
        except InputError as error:
            if mask.kind != "auto":
                raise
            raise _CoversNothing(error.message, error.advice) from error
        notes.extend(more)
        return found

    limits = []
    if settings.mask.where:
        wanted = objective(recipe, network.row)
        limits.append(made(settings.mask.where, wanted, invert=settings.mask.invert))
    if settings.mask.keep:
        kept, more = picture_masks.keep(settings.mask.keep.split(","), pixels.cpu())
        limits.append(kept)
        notes.extend(more)
    limit = functools.reduce(torch.mul, limits).to(pixels) if limits else None
    if not settings.regions:
        what = "The mask" if settings.mask.where else "The photo but for what is kept"
        _check_covers(limit, what, "what is kept leaves nothing of it")
        return (limit,), tuple(notes)
    found: dict[str, Tensor] = {}
    for text, wanted in zip(settings.regions, objectives, strict=True):
        if mask_text.parse(text).kind != "rest":
            found[text] = made(text, wanted).to(pixels)
    wheres = _shared(list(settings.regions), found, notes)
    if limit is not None:
        wheres = [limit if each is None else limit * each for each in wheres]
    for text, each in zip(settings.regions, wheres, strict=True):
        _check_covers(
            each, f"The region '{text}'", "the mask, or other regions, leave nothing of it"
        )
    return tuple(wheres), tuple(notes)


def _shared(
    regions: list[str], found: Mapping[str, Tensor], notes: list[str]
) -> list[Tensor | None]:
    """Divide the picture among its regions: those that overlap share, rest gets what is left."""
    own = list(found.values())
    if len(own) > 1 and (share := masks.overlap(own)) > 0:
        notes.append(f"regions overlap in {share:.0%} of the picture, where they share the dream")
    divided = dict(zip(found, masks.shares(own), strict=True)) if own else {}
    rest = masks.rest(own) if own else None
    return [divided.get(text, rest) for text in regions]


def _check_covers(where: Tensor | None, what: str, why: str) -> None:
    if where is not None and not bool((where > 0).any()):
        raise _CoversNothing(f"{what} covers nothing: {why}.", "Change the mask or what is kept.")


def _coloured(
    recipe: Recipe, pixels: Tensor, where: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
    """Return what is dreamed on, and what is done to the colours of the dream."""
    colours = recipe.settings.colours
    if not colours.path:
        return pixels, None
    like = recipe.file(colours.path)
    recolour = functools.partial(
        _recoloured, _loaded(_path(like), like.sha256), colours.kind == "match", where
    )
    if recipe.settings.colour.when == "after":
        return pixels, recolour
    return recolour(pixels), None


def _recoloured(source: Photo, of_all: bool, where: Tensor | None, picture: Tensor) -> Tensor:
    """Give a picture another's colours: as many of each, or its main ones."""
    reference = _opaque(source).to(picture)
    if of_all:
        coloured = palettes.match(picture, reference, where)
    else:
        coloured = palettes.paint(picture, palettes.extract(reference))
    return coloured if where is None else picture + where * (coloured - picture)


def _opaque(photo: Photo) -> Tensor:
    """Return the colours that are seen of a picture, `(1, 3, h, w)`: as a line, if it has holes."""
    if photo.alpha is None or not bool((photo.alpha > 0.5).any()):
        return photo.pixels[None]
    return photo.pixels[:, photo.alpha > 0.5][None, :, None]


def _box(where: Tensor, recipe: Recipe, row: Row) -> Box | None:
    """Return the part of a picture that has to be dreamed; None for all of it."""
    if any(term.at is not None for term in recipe.terms):
        return None  # a neuron is one of the whole picture
    inner = masks.box(where)
    if inner is None:
        return None
    height, width = where.shape[2:]
    coarsest = max(min(recipe.octaves[0]) / min(recipe.size), 1e-6)
    least = math.ceil(row.minimum / coarsest)
    top, bottom = _reach(inner[0], inner[2], height, least)
    left, right = _reach(inner[1], inner[3], width, least)
    if (bottom - top) * (right - left) > _WORTH_CUTTING * height * width:
        return None
    return top, left, bottom, right


def _reach(first: int, last: int, side: int, least: int) -> tuple[int, int]:
    """Widen a span of pixels by the margin, and to what the network needs."""
    margin = max(_LEAST_MARGIN, round(_MARGIN * (last - first)))
    first, last = first - margin, last + margin
    more = max(0, least - (last - first))
    first, last = first - (more + 1) // 2, last + (more + 1) // 2
    if first < 0:
        first, last = 0, last - first
    if last > side:
        first, last = first - (last - side), side
    return max(0, first), last


def _sizes(box: Box, loop: Ascent, minimum: int) -> tuple[tuple[int, int], ...]:
    """Return the octaves of a part of the picture: each as fine as that of the whole."""
    height, width = loop.sizes[-1]
    high, wide = box[2] - box[0], box[3] - box[1]
    coarser = (
        (max(minimum, round(high * y / height)), max(minimum, round(wide * x / width)))
        for y, x in loop.sizes[:-1]
    )
    return (*coarser, (high, wide))


def _cut(picture: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    return picture[:, :, top:bottom, left:right].contiguous()


def _finished(aimed: Aim, picture: Callable[[], Tensor]) -> Tensor:
    """Return the whole picture, `(1, 3, H, W)`, in its colours."""
    dreamed = picture()
    if aimed.box is not None:
        top, left, bottom, right = aimed.box
        whole = aimed.base.clone()
        whole[:, :, top:bottom, left:right] = dreamed
        dreamed = whole
    return dreamed if aimed.recolour is None else aimed.recolour(dreamed)
