"""What a recipe aims at in one picture: objectives, and the pictures and masks that steer them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from dreamer import mask_text, targets
from dreamer.core import ascent, masks, palettes
from dreamer.core.acceleration import Accelerated
from dreamer.core.ascent import Ascent, Goal, Likeness, Question, Step
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.errors import InputError
from dreamer.media.files import shown
from dreamer.media.images import Photo
from dreamer.networks.rows import Row
from dreamer.recipe import Precision, Recipe, TermRecord, grid, likeness_layers
from dreamer.render import accelerating, faces, memory, pictures
from dreamer.render import masks as picture_masks
from dreamer.settings import Settings
from dreamer.target_files import Like
from dreamer.visual_recipe import VisualRecipe

if TYPE_CHECKING:
    from dreamer.networks.network import Network

Box = tuple[int, int, int, int]
"""`(top, left, bottom, right)` of a part of a picture, px, ends excluded."""

_Said = TypeVar("_Said", Step, Question | Step)

CHROMA: Mapping[str, float] = {"keep": 0.25, "luma": 0.0}
"""The share of the dream's own colours, by what may happen to the photo's; 1 for the others."""

# What a style holds of the photo, and where: what is in the picture, not how it is painted.
_CONTENT, _CONTENT_AMOUNT = "patterns", 0.5
# Around a mask, so much of its own size, and at least so many pixels, are dreamed with it: what
# the network sees there counts.
_MARGIN, _LEAST_MARGIN = 0.12, 32
# A part larger than this share of the picture is not worth cutting out.
_WORTH_CUTTING = 0.75
_NEXT_TO_NOTHING = 0.05  # of a mask
_GLANCE = (256, 256)  # the size at which pictures are checked


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
        precision: the recipe's.
        tile: the recipe's.
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
    precision: Precision = "float32"
    tile: int = 0

    def on(self, pixels: Tensor) -> Aim:
        """Return the same for a picture that differs from the photo inside of the masks only."""
        if self.where is not None:
            pixels = torch.where(self.where > 0, pixels, self.photo)
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
        filmed: whether it is one of many: masks may then cover nothing of it.

    Raises:
        InputError: a picture that is not there, cannot be used, or is another one by now; or
            masks that cover nothing.
        UsageError: a mask that is not for this photo or target.
    """
    size = (pixels.shape[3], pixels.shape[2])
    objectives = _objectives(recipe, network.row)
    guides = _guides(recipe, network.row, pixels)
    makes = _Masks(recipe, pixels, network, guides, photo, filmed)
    wheres, notes = makes.wheres(objectives)
    whole = ascent.union(wheres)
    base, recolour = _coloured(recipe, pixels, whole)
    return Aim(
        photo=pixels,
        base=base,
        goals=tuple(Goal(*pair) for pair in zip(objectives, wheres, strict=True)),
        photos={name: each.to(pixels) for name, each in references(recipe, size).items()},
        guides=guides,
        likeness=_likeness(recipe, network),
        where=whole,
        box=None if whole is None else _box(whole, recipe, network.row),
        recolour=recolour,
        notes=notes,
        precision=recipe.precision,
        tile=recipe.tile,
    )


def dream(aimed: Aim, network: Network, loop: Ascent, seed: int) -> Iterator[Step]:
    """Dream towards an aim, only on the part of the picture that may change.

    Args:
        aimed: from `aim`.
        network: loaded.
        loop: the numbers, for the whole picture.
        seed: see `dreamer.core.ascent.generator`.
    """
    return _begun(ascent.dream, aimed, network, loop, seed)


def asking(
    aimed: Aim, network: Network, loop: Ascent, seed: int, others: Sequence[str] = ()
) -> Iterator[Question | Step]:
    """Do as `dream`, but ask for the gradients: see `dreamer.core.ascent.asking`.

    Args:
        aimed: from `aim`.
        network: loaded.
        loop: the numbers, for the whole picture.
        seed: see `dreamer.core.ascent.generator`.
        others: the layers that all dreams look at which share the network, in order of depth: then
            there are few cuts of it.
    """
    return _begun(ascent.asking, aimed, network, loop, seed, others)


def _begun(
    begin: Callable[..., Iterator[_Said]],
    aimed: Aim,
    network: Network,
    loop: Ascent,
    seed: int,
    others: Sequence[str] = (),
) -> Iterator[_Said]:
    box, base, goals, photos = aimed.box, aimed.base, aimed.goals, aimed.photos
    goals = tuple(g for g in goals if g.where is None or bool((g.where > 0).any()))
    if not goals:
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
    features = accelerating.features(network, _cut_with(layers, others), aimed.precision)
    found = begin(
        base,
        features,
        goals,
        part,
        seed,
        photos=photos,
        guides=aimed.guides,
        likeness=aimed.likeness,
        tiling=memory.tiling(network, layers, aimed.tile),
    )
    for said in found:
        if isinstance(said, Question):
            yield said
            continue
        work = said.work if box is None else round(said.work * loop.work / part.work)
        picture = functools.partial(_finished, aimed, said.picture)
        notes = tuple(features.notes) if isinstance(features, Accelerated) else ()
        yield replace(said, work=work, picture=picture, notes=notes)


def _cut_with(layers: Iterable[str], others: Sequence[str]) -> list[str]:
    """Return layers with those of the others that are no deeper."""
    last = max((others.index(layer) for layer in layers if layer in others), default=-1)
    return list(dict.fromkeys((*layers, *others[: last + 1])))


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
    return {like.sha256: pictures.reference(like, size) for like in likes}


def check(settings: Settings, named: Mapping[str, Like], row: Row) -> None:
    """Refuse pictures that cannot steer anything, before a dream or many are begun.

    Args:
        settings: how to dream.
        named: the pictures that it names, by their paths in it.
        row: the network's.

    Raises:
        InputError: one that cannot be read; a guide or style of one colour, or that is not to be
            seen; a mask that covers nothing.
        UsageError: a package is missing for what is to be kept.
    """
    for text in settings.targets_on(row.name).values():
        for term in targets.parse(text).terms:
            if term.kind in ("guide", "style"):
                pictures.guide(named[term.path], _GLANCE, row.minimum)
    for text in filter(None, (settings.mask.where, *settings.regions)):
        mask = mask_text.parse(text)
        if mask.kind == "file":
            invert = settings.mask.invert and text == settings.mask.where
            pictures.mask(named[mask.path], text, _GLANCE, 0.0, invert)
    colours = settings.colours
    if colours.path:
        found = pictures.colours(named[colours.path])
        if colours.kind == "match" and pictures.is_plain(found[0].flatten(1)):
            raise InputError(
                f"'{shown(named[colours.path].name)}' is of one colour: there are none to match.",
                "Give a picture of several, or tint with palette:FILE.",
            )
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


def _guides(recipe: Recipe, row: Row, pixels: Tensor) -> dict[str, Guide]:
    """Return the pictures to be guided by, by the names the objectives have for them."""
    size = (pixels.shape[2], pixels.shape[3])
    found = {}
    for like in dict.fromkeys(term.guide for term in recipe.terms if term.guide is not None):
        guide = pictures.guide(like, size, row.minimum)
        visible = None if guide.visible is None else guide.visible.to(pixels)
        found[_guide_name(like)] = replace(guide, pixels=guide.pixels.to(pixels), visible=visible)
    return found


def _likeness(recipe: Recipe, network: Network) -> Likeness | None:
    """Return what of the photo is held: a style holds what is in it."""
    amount = recipe.settings.likeness.amount
    if amount > 0:
        names = likeness_layers(recipe.settings, network.row)
        held = accelerating.features(network, list(names), recipe.precision)
        return Likeness(held, amount)
    weights = [abs(term.weight) for term in recipe.terms]
    styles = [abs(term.weight) for term in recipe.terms if term.by == "style"]
    # The maco canvas can hold nothing, and keeps the photo's spectrum as it is.
    if not styles or recipe.settings.ascent.canvas == "maco":
        return None
    # As much as there is of a style: in a fade it comes and goes with it.
    amount = _CONTENT_AMOUNT * math.fsum(styles) / math.fsum(weights)
    held = accelerating.features(network, list(network.row.level(_CONTENT)), recipe.precision)
    return Likeness(held, amount)


@dataclass(frozen=True)
class _Masks:
    """Makes the masks of one picture: see `aim`."""

    recipe: Recipe
    pixels: Tensor
    network: Network
    guides: Mapping[str, Guide]
    photo: Photo | None
    filmed: bool

    def wheres(
        self, objectives: Sequence[Objective]
    ) -> tuple[tuple[Tensor | None, ...], tuple[str, ...]]:
        """Return the mask of each region, and what the user should know.

        None is all of the picture: the only one without regions, or a rest of nothing else.
        """
        settings, notes = self.recipe.settings, list[str]()
        notes += self._itself()
        limit = self._limit(notes)
        if not settings.regions:
            self._check(limit, f"With --keep {settings.mask.keep} there is nothing to dream on.")
            return (limit,), tuple(notes)
        found = {
            text: self._made(text, wanted, notes)
            for text, wanted in zip(settings.regions, objectives, strict=True)
            if mask_text.parse(text).kind != "rest"
        }
        own = list(found.values())
        if len(own) > 1 and (share := masks.overlap(own)) > 0:
            notes.append(
                f"regions overlap in {share:.0%} of the picture, where they share the dream"
            )
        divided = dict(zip(found, masks.shares(own), strict=True)) if own else {}
        rest = masks.rest(own) if own else None
        wheres = [divided.get(text, rest) for text in settings.regions]
        if limit is not None:
            wheres = [limit if each is None else limit * each for each in wheres]
        for text, each in zip(settings.regions, wheres, strict=True):
            self._check(each, f"The mask, or other regions, leave nothing of the region '{text}'.")
        return tuple(wheres), tuple(notes)

    def _limit(self, notes: list[str]) -> Tensor | None:
        """Return what holds for all regions."""
        mask, limits = self.recipe.settings.mask, list[Tensor]()
        if mask.where:
            wanted = objective(self.recipe, self.network.row)
            limits.append(self._made(mask.where, wanted, notes, invert=mask.invert))
        if mask.keep:
            kept, more = picture_masks.keep(mask.keep.split(","), self.pixels.cpu())
            limits.append(kept.to(self.pixels))
            notes += more
        if not limits:
            return None
        limit = functools.reduce(torch.mul, limits)
        if len(limits) > 1 and float(limit.mean()) < _NEXT_TO_NOTHING * float(limits[0].mean()):
            notes.append(f"--keep {mask.keep} leaves next to nothing of the mask")
        # With all of it there is no mask, to the bit.
        return None if bool((limit >= 1).all()) else limit

    def _made(
        self, text: str, wanted: Objective, notes: list[str], *, invert: bool = False
    ) -> Tensor:
        """Return one mask."""
        mask, feather = mask_text.parse(text), self.recipe.settings.mask.feather
        size = (self.pixels.shape[3], self.pixels.shape[2])
        if mask.kind == "file":
            found, more = pictures.mask(self.recipe.file(mask.path), text, size, feather, invert)
            notes += more
            return found.to(self.pixels)
        heat = None
        if mask.kind == "auto":
            heat = picture_masks.heat(wanted, self.network, self.pixels, self.guides)
            notes += picture_masks.unseen(wanted, self.network, self.pixels)
        try:
            found, more = picture_masks.make(
                mask, size, photo=self.photo, heat=heat, feather=feather, invert=invert
            )
        except InputError:
            if not self.filmed:
                raise
            return torch.zeros_like(self.pixels[:, :1])
        notes += more
        return found.to(self.pixels)

    def _check(self, where: Tensor | None, what: str) -> None:
        if where is not None and not self.filmed and not bool((where > 0).any()):
            raise InputError(what, "Change the mask or what is kept.")

    def _itself(self) -> list[str]:
        """Say that a guide is the photo itself: it is there already."""
        own = self.recipe.origin.sha256
        names = {t.guide.name for t in self.recipe.terms if t.guide and t.guide.sha256 == own}
        return [
            f"'{name}' is the photo itself: like:{name}@LEVEL makes more of what is in it"
            for name in sorted(names)
            if own
        ]


def _coloured(
    recipe: Recipe, pixels: Tensor, where: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
    """Return what is dreamed on, and what is done to the colours of the dream."""
    colours = recipe.settings.colours
    if not colours.path:
        return pixels, None
    recolour = functools.partial(
        _recoloured,
        pictures.colours(recipe.file(colours.path)).to(pixels),
        colours.kind == "match",
        where,
    )
    if recipe.settings.colour.when == "after":
        return pixels, recolour
    return recolour(pixels), None


def _recoloured(reference: Tensor, of_all: bool, where: Tensor | None, picture: Tensor) -> Tensor:
    """Give a picture another's colours: as many of each, or its main ones."""
    if of_all:
        coloured = palettes.match(picture, reference, where)
    else:
        coloured = palettes.paint(picture, palettes.extract(reference))
    return coloured if where is None else picture + where * (coloured - picture)


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
