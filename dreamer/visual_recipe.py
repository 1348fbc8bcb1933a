"""The recipe of a feature visualization: every number that decides one picture from nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

import dreamer
from dreamer import methods, targets
from dreamer.errors import UsageError
from dreamer.recipe import (
    MOST_SEED,
    MOST_THREADS,
    Name,
    Pixels,
    TermRecord,
    check_version,
    dumped,
)

SCHEMA = 1
# Raised whenever the same numbers make other pixels.
ENGINE = 1
# What describes a picture without deciding it.
_DESCRIPTIONS = ("dreamer", "method", "partial", "score")
_SAID = {
    "size": "the size",
    "network": "the network",
    "weights": "the network's weights",
    "terms": "the target",
    "seed": "the seed",
    "threads": "the number of threads",
    "device": "the device",
    "engine": "the version of the program",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class VisualSettings(_Part):
    """How a picture is made, whatever it is of.

    Attributes:
        canvas: how it is parametrised.
        octaves: how many sizes it grows through, each half as large as the next.
        steps: of all octaves together.
        views: of the picture a step.
        transforms: that they go through.
        border: what is seen beyond the picture; None for what the transforms have.
        optimiser: the rule that moves the parameters.
        rate: its learning rate.
        decay: the share of the rate that is gone by an octave's last step.
        decorrelate: whether colours are decorrelated, so that they change as in photographs.
        neutral: whether a MACO picture has no colour cast.
        spectrum: measured from photos, see `dreamer.core.spectra`; None for the analytic one.
        redirect: for how many steps dead units are reached through their rectifiers.
        diversity: how strongly several pictures of one target avoid each other's textures.
        alpha: whether what the network does not mind is transparent.
    """

    canvas: methods.Canvas
    octaves: int = Field(default=1, ge=1, le=6)
    steps: int = Field(ge=1, le=100_000)
    views: int = Field(ge=1, le=256)
    transforms: methods.Transforms
    border: methods.Border | None = None
    optimiser: methods.Optimiser
    rate: float = Field(gt=0, le=100)
    decay: float = Field(default=0.0, ge=0, le=1)
    decorrelate: bool = True
    neutral: bool = True
    spectrum: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None = None
    redirect: int = Field(default=16, ge=0)
    diversity: float = Field(default=1.0, ge=0, le=100)
    alpha: bool = False


class VisualRecipe(_Part):
    """Every number that decides one picture of a feature.

    Attributes:
        kind: tells it from the recipe of a dream.
        version: of this format.
        engine: of the arithmetic: see `ENGINE`.
        dreamer: the version of the program that made it.
        method: the name that the settings came from.
        size: width and height, px.
        network: its name.
        weights: SHA-256 of the weights' file, or the part of it that is published.
        settings: how it is made.
        terms: the target's terms in this network.
        group: how many pictures of the target are made together, avoiding each other.
        variant: which of them it is, from 0.
        restarts: from how many starts it was made; the best is kept.
        seed: decides all that is random.
        threads: how many threads the network computes with; its last bits depend on it.
        device: the kind of device.
        partial: whether it was stopped before its end.
        score: what the target is worth in the picture that was saved, over held-out crops.
    """

    kind: Literal["visualization"] = "visualization"
    version: int = Field(default=SCHEMA, alias="schema")
    engine: int = ENGINE
    dreamer: str = dreamer.__version__
    method: Name
    size: tuple[Pixels, Pixels]
    network: str
    weights: str
    settings: VisualSettings
    terms: tuple[TermRecord, ...]
    group: int = Field(default=1, ge=1, le=64)
    variant: int = Field(default=0, ge=0)
    restarts: int = Field(default=1, ge=1, le=64)
    seed: int = Field(ge=0, le=MOST_SEED)
    threads: int = Field(ge=1, le=MOST_THREADS)
    device: str
    partial: bool = False
    score: float | None = None

    @field_validator("variant")
    @classmethod
    def _is_of_the_group(cls, variant: int, info: ValidationInfo) -> int:
        if variant >= info.data.get("group", variant + 1):
            raise ValueError("should be less than the number of pictures in its group")
        return variant

    @property
    def target(self) -> str:
        """The target as text, with detail levels resolved to layers."""
        return targets.describe(targets.Resolved(**dict(term)) for term in self.terms)

    @property
    def label(self) -> str:
        """What the picture is called on a sheet."""
        return self.target if self.group == 1 else f"{self.target} #{self.variant + 1}"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each octave, coarse to fine, px."""
        count = self.settings.octaves
        width, height = self.size
        return tuple(
            (max(1, round(width / 2**k)), max(1, round(height / 2**k)))
            for k in range(count - 1, -1, -1)
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of each octave, coarse to fine; as many each, the rest to the coarsest."""
        count = self.settings.octaves
        each, rest = divmod(self.settings.steps, count)
        return (each + rest, *[each] * (count - 1))

    @property
    def work(self) -> int:
        """The pixels of all steps and views together: what a progress bar should count."""
        sized = zip(self.sizes, self.steps, strict=True)
        views = self.settings.views * self.restarts
        return views * sum(width * height * steps for (width, height), steps in sized)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the picture: the same hash, the same picture."""
        values = self.to_dict()
        for name in _DESCRIPTIONS:
            values.pop(name, None)
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return one line of JSON."""
        return dumped(self)


class VisualSheet(_Part):
    """The recipes of the pictures on a contact sheet.

    Attributes:
        kind: tells it from other recipes.
        version: of this format.
        pictures: in their order.
    """

    kind: Literal["visualization sheet"] = "visualization sheet"
    version: int = Field(default=SCHEMA, alias="schema")
    pictures: tuple[VisualRecipe, ...] = Field(min_length=1)


def sheet_json(recipes: Sequence[VisualRecipe]) -> str:
    """Return what a file with these pictures carries: one recipe, or those of a sheet."""
    if len(recipes) == 1:
        return recipes[0].to_json()
    return dumped(VisualSheet(pictures=tuple(recipes)))


def is_visual(text: str) -> bool:
    """Whether a text is meant to be the recipe of feature visualizations."""
    try:
        return str(json.loads(text).get("kind", "")).startswith("visualization")
    except (ValueError, AttributeError):
        return False


def from_json(text: str, source: str) -> tuple[VisualRecipe, ...]:
    """Read the recipe of a picture, or those of a sheet.

    Args:
        text: from `sheet_json`.
        source: the file it came from, for messages.

    Raises:
        UsageError: it is no recipe, or one of a newer version.
    """
    check_version(text, source, SCHEMA)
    model = VisualSheet if '"visualization sheet"' in text[:100] else VisualRecipe
    try:
        found = model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"'{source}' carries a damaged recipe: {place}: {first['msg']}.",
            "Use the original file; other programs may have changed this one.",
        ) from error
    return found.pictures if isinstance(found, VisualSheet) else (found,)


def differences(old: VisualRecipe, new: VisualRecipe) -> list[str]:
    """Say in the user's words why two recipes do not make the same picture; empty if they do."""
    if old.hash == new.hash:
        return []
    changed = [said for key, said in _SAID.items() if getattr(old, key) != getattr(new, key)]
    before, after = old.settings.model_dump(), new.settings.model_dump()
    for name in before:
        if before[name] != after[name]:
            small = len(str(before[name])) + len(str(after[name])) < 60
            changed.append(f"{name} ({after[name]} instead of {before[name]})" if small else name)
    return changed or ["how many are made"]
