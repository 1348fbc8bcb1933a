"""Ways to make a feature visualization, by name: ours and those that were published.

Only numbers: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dreamer.errors import unknown

Canvas = Literal["fourier", "maco", "pixel"]
Transforms = Literal["dreamer", "lucid", "distill", "maco", "none"]
Optimiser = Literal["adam", "nadam"]
Border = Literal["reflect", "mean", "grey"]

CANVASES: tuple[Canvas, ...] = ("fourier", "maco", "pixel")
TRANSFORMS: tuple[Transforms, ...] = ("dreamer", "lucid", "distill", "maco", "none")
BORDERS: tuple[Border, ...] = ("reflect", "mean", "grey")
DEFAULT = "dreamer"


@dataclass(frozen=True)
class Method:
    """A way to make a feature visualization.

    Attributes:
        about: what it is, in one line.
        canvas: how the picture is parametrised.
        size: the side of the picture, px.
        steps: how many.
        views: of the picture a step.
        transforms: that views go through.
        optimiser: the rule that moves the parameters.
        rates: its learning rate on each canvas.
        decay: the share of the rate that is gone by the last step.
        neutral: whether a MACO picture has no colour cast.
    """

    about: str
    canvas: Canvas
    size: int
    steps: int
    views: int
    transforms: Transforms
    optimiser: Mapping[Canvas, Optimiser]
    rates: Mapping[Canvas, float]
    decay: float = 0.0
    neutral: bool = True


_ADAM: Mapping[Canvas, Optimiser] = {"fourier": "adam", "maco": "nadam", "pixel": "adam"}
_RATES: Mapping[Canvas, float] = {"fourier": 0.05, "maco": 1.0, "pixel": 0.05}

METHODS: Mapping[str, Method] = {
    "dreamer": Method(
        about="reflected borders and many scales: clear pictures in few steps",
        canvas="fourier",
        size=224,
        steps=256,
        views=1,
        transforms="dreamer",
        optimiser=_ADAM,
        rates={"fourier": 0.05, "maco": 0.3, "pixel": 0.05},
    ),
    "lucid": Method(
        about="lucid's defaults (2018)",
        canvas="fourier",
        size=128,
        steps=512,
        views=1,
        transforms="lucid",
        optimiser=_ADAM,
        rates=_RATES,
    ),
    "distill": Method(
        about="the article's (Olah et al. 2017): the same for longer",
        canvas="fourier",
        size=224,
        steps=2560,
        views=1,
        transforms="distill",
        optimiser=_ADAM,
        rates=_RATES,
    ),
    "maco": Method(
        about="the magnitude of natural pictures, only phases move (Fel et al. 2023)",
        canvas="maco",
        size=512,
        steps=256,
        views=32,
        transforms="maco",
        optimiser=_ADAM,
        rates=_RATES,
    ),
}


def method(name: str) -> Method:
    """Look up a method; `UsageError` with the nearest names if there is none."""
    if name not in METHODS:
        raise unknown("method", name, METHODS, f"There are {', '.join(METHODS)}")
    return METHODS[name]
