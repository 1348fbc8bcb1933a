"""From the text of a mask to the mask of one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dreamer.core import guidance, masks
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Term
from dreamer.core.tone import LUMA
from dreamer.errors import InputError, UsageError
from dreamer.mask_text import Mask
from dreamer.media.files import shown
from dreamer.media.images import Photo
from dreamer.networks.network import Network
from dreamer.networks.rows import LOGITS
from dreamer.render import faces
from dreamer.render.explaining import seeing
from dreamer.target_files import file_name

LIKELY = 0.01
"""The probability below which a class is taken to be absent."""
SIGHT = 512
"""The longer side, px, at which a network is asked where layers answer, whatever a picture has: so
that a mask is the same for a small dream and a large one."""
ZOOMS = (1.0, 1.4, 2.0)
"""Classes are looked for at these multiples of the size that a network was trained at. The maps of
one have few places, and miss parts: together they tell the outline of a thing better."""
STRETCHED = 0.02
"""How far the shape of a mask's file may be off the picture's before that is said."""
_NOISE = 4 / 255  # of black and white in JPEGs
_EVEN = 8 / 255  # brightnesses that differ less are one
_VISIBLE = 0.5
_TINY = 1e-6


def make(
    mask: Mask,
    size: tuple[int, int],
    *,
    file: Photo | None = None,
    photo: Photo | None = None,
    heat: Tensor | None = None,
    feather: float = 0.0,
    invert: bool = False,
) -> tuple[Tensor, tuple[str, ...]]:
    """Make the mask of one picture.

    Args:
        mask: any kind but "rest", which other masks make: `dreamer.core.masks.rest`.
        size: width and height of the picture, px.
        file: the mask's picture: needed for a file.
        photo: needed for "alpha".
        heat: where the network sees the target, `(1, 1, h, w)`: needed for "auto", see `heat`.
        feather: how wide the soft edge is, as a share of the longer side; it lies inside.
        invert: once more, if the text inverts it already.

    Returns:
        How much may change, `(1, 1, H, W)` in 0..1, and what the user should know.

    Raises:
        InputError: the file cannot be used, or nothing at all is covered.
        UsageError: it is "rest", or an ellipse that covers nothing.
    """
    made, notes = _where(mask, size, file, photo, heat)
    label = f"'{shown(file_name(mask.path))}'" if mask.kind == "file" else mask.kind
    if mask.inverted != invert:
        made = masks.invert(made)
    if not bool((made > 0).any()):
        raise _nothing(mask, label, inverted=mask.inverted != invert)
    if bool((made >= 1).all()):
        notes = (*notes, f"the mask {label} covers the whole picture: it changes nothing")
    return masks.feather(made, feather * max(size)), notes


@torch.no_grad()
def heat(
    objective: Objective,
    network: Network,
    pixels: Tensor,
    guides: Mapping[str, Guide] | None = None,
) -> Tensor:
    """Find where a picture answers to what an objective wants already.

    Classes are found as by `seeing.places`, at several sizes. In a layer each channel is brought to
    its own mean and spread over the picture, and what lies below the mean is cut off: what remains
    are the places where it stands out. A guide is where the picture is like it already. Terms that
    are to be avoided do not count.

    Args:
        objective: its weights as they were asked for, not yet divided by scales.
        network: loaded.
        pixels: `(1, 3, H, W)` in 0..1.
        guides: by the names that the objective has for them.

    Returns:
        `(1, 1, h, w)`, from 0, stretched over the whole picture.

    Raises:
        UsageError: all terms are to be avoided.
    """
    terms = [term for term in objective.terms if term.weight > 0]
    if not terms:
        raise UsageError(
            f"The mask auto is where the target is, but '{objective}' only avoids.",
            "Give the target a term of positive weight, or another mask.",
        )
    picture = seeing.shown(pixels[0], SIGHT, network.row.minimum)
    size = (picture.shape[2], picture.shape[3])
    total = torch.zeros(1, *size)
    classes = [term for term in terms if term.layer == LOGITS and term.channel is not None]
    if classes:
        channels = [term.channel for term in classes if term.channel is not None]
        found = _classes(pixels[0], network, channels, size)
        for term, where in zip(classes, found, strict=True):
            total += term.weight * where
    others = [term for term in terms if term not in classes]
    strides = {term.layer: network.row.layer(term.layer).stride for term in others}
    layers = [layer for layer, stride in strides.items() if stride]
    answers = seeing.inside(layers, picture.to(network.device), network) if layers else {}
    for term in others:
        if term.layer in answers:
            maps = answers[term.layer]
            if term.guide is not None:
                seen = (guides or {})[term.guide]
                bank = guidance.banks(seen, network.features([term.layer]), size, [term.layer])
                where = guidance.similarities(maps, bank[term.layer]).clamp_min(0).cpu()
            else:
                where = _outstanding(term, maps.cpu())
            where = seeing.spread(where, strides[term.layer], size, size)
            total += term.weight * _to_one(where)
    return total[None]


@torch.no_grad()
def unseen(objective: Objective, network: Network, pixels: Tensor) -> tuple[str, ...]:
    """Say which of the wanted classes a picture, `(1, 3, H, W)`, hardly looks like."""
    wanted = [term for term in objective.terms if term.layer == LOGITS and term.weight > 0]
    if not wanted:
        return ()
    picture = seeing.shown(pixels[0], seeing.sight(network), network.row.minimum)
    answers = network.features([LOGITS])(picture.to(network.device))[LOGITS]
    likely = answers.flatten(2).mean(2).softmax(1)[0].tolist()
    return tuple(
        f"the network sees {likely[term.channel]:.1%} of '{term.label}' in this picture: the mask "
        "auto is where it is least unlike that"
        for term in wanted
        if term.channel is not None and likely[term.channel] < LIKELY
    )


def keep(names: Sequence[str], pixels: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Hold parts of a photo as they are.

    Args:
        names: of `dreamer.mask_text.KEEPS`.
        pixels: `(1, 3, H, W)`, sRGB in 0..1.

    Returns:
        How much may change, `(1, 1, H, W)` in 0..1, and what the user should know.

    Raises:
        UsageError: faces are to be kept, and what finds them is not installed.
    """
    held = {"edges": masks.keep_edges, "dark": masks.keep_dark, "light": masks.keep_light}
    made, notes = torch.ones_like(pixels[:, :1]), list[str]()
    for name in names:
        if name != "faces":
            made = made * held[name](pixels)
            continue
        boxes = faces.find(pixels[0])
        for box in boxes:
            made = made * (1 - _face(box, (pixels.shape[2], pixels.shape[3])))
        if not boxes:
            notes.append("no face was found in this photo: nothing is held for faces")
    return made, tuple(notes)


def _face(box: faces.Box, size: tuple[int, int]) -> Tensor:
    """Return 1 on a face and around it softly less; hair and chin reach beyond what was found."""
    top, left, bottom, right = box
    height, width = size
    centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
    radii = (0.8 * (right - left) / width, (bottom - top) / height)
    return masks.feather(masks.ellipse(size, (*centre, *radii)), 0.3 * (right - left))


def _where(
    mask: Mask,
    size: tuple[int, int],
    file: Photo | None,
    photo: Photo | None,
    heat: Tensor | None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return where a mask is before it is inverted."""
    width, height = size
    if mask.kind == "file":
        assert file is not None
        return _of_file(file, size)
    if mask.kind == "alpha":
        if photo is None or photo.alpha is None or bool((photo.alpha >= 1).all()):
            name = "this picture" if photo is None else f"'{shown(photo.name)}'"
            raise InputError(
                f"The mask alpha is where a photo is opaque, but {name} has no transparency.",
                "Cut the photo out (PNG, WebP, AVIF or TIFF), or give another mask.",
            )
        return masks.bring(photo.alpha[None, None], (height, width)), ()
    if mask.kind == "ellipse":
        assert mask.ellipse is not None
        return masks.ellipse((height, width), mask.ellipse), ()
    if mask.kind == "auto":
        assert heat is not None
        return masks.bring(masks.from_heat(heat), (height, width)), ()
    raise UsageError(
        "The mask rest is what other regions leave: alone it is nothing.",
        "Leave it out, or add another region.",
    )


def _of_file(picture: Photo, size: tuple[int, int]) -> tuple[Tensor, tuple[str, ...]]:
    """Take a mask from a picture: its light, its opacity, or both."""
    notes = picture.notes
    luma = (picture.pixels * torch.tensor(LUMA)[:, None, None]).sum(0)
    made = luma
    if picture.alpha is not None and bool((picture.alpha < 1).any()):
        visible = luma[picture.alpha > _VISIBLE]
        drawn = visible.numel() > 0 and float(visible.amax() - visible.amin()) > _EVEN
        # Of one colour the shape is in the opacity alone, be it painted in black or in white.
        made = picture.alpha * luma if drawn else picture.alpha
    (width, height), (own_width, own_height) = size, picture.size
    if abs(own_width * height / (own_height * width) - 1) > STRETCHED:
        own = f"{own_width}x{own_height}"
        notes = (
            *notes,
            f"the mask '{shown(picture.name)}' is {own} and the picture {width}x{height}: it was "
            "stretched",
        )
    made = ((made - _NOISE) / (1 - 2 * _NOISE)).clamp(0, 1)
    return masks.bring(made[None, None], (height, width)), notes


def _nothing(mask: Mask, label: str, *, inverted: bool) -> InputError | UsageError:
    """Return the error for a mask that covers nothing."""
    if inverted:
        return InputError(
            f"The mask {label} is the whole picture: inverted it covers nothing.",
            "Do not invert it, or give another mask.",
        )
    if mask.kind == "auto":
        return InputError(
            "The mask auto is empty: the network finds nothing of the target in this photo.",
            "Take not:auto (--mask-invert), another target, or draw a mask.",
        )
    if mask.kind == "alpha":
        return InputError(
            "The mask alpha is empty: the photo is transparent everywhere.", "Give another mask."
        )
    if mask.kind == "ellipse":
        return UsageError(
            f"The mask '{mask}' covers nothing of the picture.",
            "Its centre is at shares of the width and height: 0.5,0.5 is the middle.",
        )
    return InputError(
        f"The mask {label} is black all over: it covers nothing.",
        "White is where the dream goes: paint it, or invert the mask.",
    )


def _classes(
    pixels: Tensor, network: Network, channels: Sequence[int], size: tuple[int, int]
) -> Tensor:
    """Return where classes are seen in `(3, H, W)`, `(K, *size)`, each up to 1."""
    maps = []
    for zoom in ZOOMS:
        longer = round(zoom * seeing.sight(network))
        places = seeing.places(pixels, network, channels, longer=longer)
        height, width = seeing.shown(pixels, longer, network.row.minimum).shape[2:]
        found = seeing.spread(places.maps.cpu(), places.stride, (height, width), size)
        maps.append(torch.stack([_to_one(where) for where in found]))
        if places.how == "occlusion":  # slow, and of no other grid
            break
    mean = torch.stack(maps).mean(0)
    return torch.stack([_to_one(where) for where in mean])


def _outstanding(term: Term, answers: Tensor) -> Tensor:
    """Return how far what a term looks at stands out, place by place: `(1, h, w)` from 0.

    Args:
        term: of a layer with maps.
        answers: its layer's, `(1, C, h, w)`.
    """
    values = answers[0]
    values = values - values.mean((1, 2), keepdim=True)
    values = values / values.square().mean((1, 2), keepdim=True).sqrt().clamp_min(_TINY)
    if term.direction:
        channels, shares = zip(*term.direction, strict=True)
        vector = values.new_tensor(shares)[:, None, None]
        return (vector * values[list(channels)]).sum(0, keepdim=True).clamp_min(0)
    channels = term.channels if term.pick is None else term.pick.of(answers)
    if term.channel is not None:
        channels = (term.channel,)
    some = values.clamp_min(0)
    some = some[list(channels)] if channels else some
    # One channel as it is; of several the root of their power.
    return some.square().mean(0, keepdim=True).sqrt()


def _to_one(values: Tensor) -> Tensor:
    """Scale a map so that its maximum is 1; what rang below 0 is cut off."""
    return values.clamp_min(0) / values.amax().clamp_min(_TINY)
