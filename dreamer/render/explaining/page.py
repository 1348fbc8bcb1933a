"""The page of an explanation: one file that holds all its pictures and asks for nothing else.

No script, and a content security policy that lets nothing be loaded. Names that come of files are
escaped by the template.
"""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from torch import Tensor

from dreamer.core.resampling import resample
from dreamer.media import files, images
from dreamer.networks import rows
from dreamer.render import pages
from dreamer.render.explaining import heat
from dreamer.render.explaining.seeing import USUAL

if TYPE_CHECKING:
    from dreamer.render.explain import ChannelChange, ClassChange, Explanation

LARGE, SMALL = 1024, 320
"""The longer side of the two pictures and of all others, px."""
QUALITY = 86
MINUS = "\N{MINUS SIGN}"
# Panoramas would leave no room beside them.
_NARROWEST, _WIDEST = 0.6, 1.8
_LEVELS = {
    "edges": "lines, corners and colours at a certain angle",
    "textures": "surfaces: weaves, dots, grids, fur",
    "patterns": "shapes that repeat: curls, scales, eyes in a row",
    "parts": "pieces of things: eyes, wheels, leaves",
    "objects": "nearly whole things: heads, animals, buildings",
}


@dataclass(frozen=True)
class Share:
    """A probability as the page shows it: as text, and as the width of a bar, 0 to 100."""

    text: str
    width: float


def page(explanation: Explanation, *, metadata: bool = True) -> str:
    """Return the page of an explanation.

    Args:
        explanation: what it shows.
        metadata: whether it tells the recipe.
    """
    pictures = [each for each in (explanation.photo, explanation.dream) if each is not None]
    small = [_scaled(each, SMALL) for each in pictures]
    height, width = pictures[0].shape[1:]
    ratio = min(_WIDEST, max(_NARROWEST, width / height))
    style = f":root {{ --ratio: {ratio:.4f}; --wide: {ratio:.4f}fr; --scale: {_scale()}; }}\n"
    named = explanation.classes or ()
    source = pages.source(__package__, "page.css")
    return pages.template(__package__).render(
        style=Markup(style + source),
        name=files.shown(explanation.name),
        network=explanation.network,
        both=explanation.dream is not None,
        pictures=[_uri(_scaled(each, LARGE)) for each in pictures],
        size=(width, height),
        verdicts=[_verdict(explanation, k) for k in range(len(pictures))],
        classes=None if explanation.classes is None else [_row(each) for each in named],
        placed=[_place(each, small) for each in named if each.heat is not None],
        levels=[
            {
                "name": level.name,
                "about": _LEVELS[level.names[-1]],
                "layer": level.layer,
                "channels": [
                    _card(each, small) for each in explanation.channels if each.layer == level.layer
                ],
            }
            for level in explanation.levels
        ],
        gained=[_card(each, small) for each in explanation.gained],
        gained_classes=[_row(each) for each in explanation.gained_classes[:3]],
        facts=_facts(explanation),
        places=explanation.places,
        usual=USUAL,
        notes=[files.shown(note) for note in explanation.notes],
        command=_command(explanation),
        recipe=explanation.recipe.to_json() if explanation.recipe and metadata else "",
    )


def _scale() -> str:
    """Return the colours of heat as a gradient of CSS."""
    stops = [f"rgb({' '.join(f'{round(255 * value)}' for value in each)})" for each in heat.COLOURS]
    return f"linear-gradient(to right, {', '.join(stops)})"


def _scaled(pixels: Tensor, longer: int) -> Tensor:
    """Scale a picture `(3, H, W)` down to a longer side."""
    height, width = pixels.shape[1:]
    scale = longer / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return resample(pixels[None], size)[0].clamp(0, 1)


def _uri(pixels: Tensor) -> str:
    buffer = io.BytesIO()
    images.to_image(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _heats(strengths: Sequence[Tensor], pictures: Sequence[Tensor]) -> list[str]:
    """Lay heat over the photo and the dream."""
    found = []
    for strength, pixels in zip(strengths, pictures, strict=True):
        size = (pixels.shape[1], pixels.shape[2])
        found.append(_uri(heat.overlay(pixels, resample(strength[None, None], size)[0, 0])))
    return found


def percent(probability: float) -> str:
    """Return a probability as people read it."""
    if probability < 0.0005:
        return "<0.1%"
    return f"{100 * probability:.{0 if probability >= 0.0995 else 1}f}%"


def _share(probability: float) -> Share:
    return Share(percent(probability), round(100 * probability, 2))


def _row(each: ClassChange) -> dict[str, Any]:
    shares = [_share(each.before)]
    if each.after is not None:
        shares.append(_share(each.after))
    return {"name": each.name, "index": each.index, "shares": shares}


def _place(each: ClassChange, pictures: Sequence[Tensor]) -> dict[str, Any]:
    assert each.heat is not None
    return _row(each) | {"heats": _heats(each.heat, pictures)}


def _card(each: ChannelChange, pictures: Sequence[Tensor]) -> dict[str, Any]:
    values = [each.before] if each.after is None else [each.before, each.after]
    return {
        "unit": f"{each.layer}:{each.channel}",
        "level": each.level,
        "picture": _uri(each.picture.pixels),
        "heats": _heats(each.heat, pictures),
        "told": [f"{value:+.1f}".replace("-", MINUS) for value in values],
    }


def _verdict(explanation: Explanation, which: int) -> str:
    """Say in a few words what a picture is taken for."""
    if not explanation.classes:
        return ""

    def value(each: ClassChange) -> float:
        return each.before if which == 0 else each.after or 0.0

    first = max(explanation.classes, key=value)
    return f"{first.name}, {_share(value(first)).text}"


def _facts(explanation: Explanation) -> list[tuple[str, str]]:
    wide, high = explanation.seen_at
    facts = [
        ("Network", explanation.network),
        ("Weights", explanation.weights[:16]),
        ("Shown at", f"{wide}x{high} px"),
    ]
    recipe = explanation.recipe
    if recipe is not None:
        size = f"{recipe.size[0]}x{recipe.size[1]} px"
        facts += [("Preset", recipe.preset), ("Target", recipe.target), ("Dreamed at", size)]
        facts += [("Seed", str(recipe.seed))]
    return [(label, files.shown(value)) for label, value in facts]


def _command(explanation: Explanation) -> str:
    """Return the command that shows a channel larger; "" for a network that only Python has."""
    if not explanation.channels or explanation.network not in rows.names():
        return ""
    last = explanation.channels[-1]
    target = shlex.quote(f"{last.layer}:{last.channel}")
    return f"dreamer visualize {target} --network {shlex.quote(explanation.network)}"
