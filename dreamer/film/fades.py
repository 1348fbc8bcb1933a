"""The look of a picture in a cross-fade: two recipes, and how much there is of each."""

from __future__ import annotations

import math
from typing import Any

from dreamer import targets
from dreamer.core import octaves
from dreamer.recipe import Recipe, TermRecord
from dreamer.settings import Section, Settings


def mixed(first: Recipe, second: Recipe, weight: float) -> Recipe:
    """Return a recipe between two of one network, size and seed.

    The target is the sum of both, each brought to weights of 1 in all. Numbers lie between those
    of the two; what has no middle, and the octaves, are the nearer one's.

    Args:
        first: what there is with a weight of 0.
        second: what there is with a weight of 1.
        weight: of the second, 0..1.
    """
    if weight <= 0 or first == second:
        return first
    if weight >= 1:
        return second
    nearer = first if weight < 0.5 else second
    settings = _between(first.settings, second.settings, weight)
    assert isinstance(settings, Settings)
    # Regions have targets of their own, which no other place has: they are the nearer one's.
    terms = nearer.terms
    kept: dict[str, Any] = {"octaves": nearer.settings.octaves}
    if not (first.settings.regions or second.settings.regions):
        terms = _sum(first, second, weight) or terms
        text = targets.describe(targets.Resolved(**dict(term)) for term in terms)
        kept |= {"target": text, "targets": {}}
    settings = settings.model_copy(update=kept)
    ascent = settings.ascent
    names = dict.fromkeys((first.preset, second.preset))
    return nearer.model_copy(
        update={
            "preset": " to ".join(names)[:255],
            "settings": settings,
            "terms": terms,
            "steps": octaves.steps(
                ascent.steps, ascent.coarse_steps, len(nearer.octaves), ascent.share
            ),
        }
    )


def _sum(first: Recipe, second: Recipe, weight: float) -> tuple[TermRecord, ...]:
    """Return the terms of both; what both have is one, and what cancels out is none."""
    parts: dict[TermRecord, list[float]] = {}
    records: dict[TermRecord, TermRecord] = {}
    for recipe, share in ((first, 1 - weight), (second, weight)):
        # A target that is a hundred times another dreams the same alone, and should in a sum.
        share /= math.fsum(abs(term.weight) for term in recipe.terms)
        for term in recipe.terms:
            key = term.merely
            parts.setdefault(key, []).append(share * term.weight)
            records.setdefault(key, term)
    return tuple(
        records[key].model_copy(update={"weight": math.fsum(weights)})
        for key, weights in parts.items()
        if abs(math.fsum(weights)) > 1e-9
    )


def _between(first: Section, second: Section, weight: float) -> Section:
    values: dict[str, Any] = {}
    for name in type(first).model_fields:
        one, two = getattr(first, name), getattr(second, name)
        if isinstance(one, Section):
            values[name] = _between(one, two, weight)
        elif name == "change" and 0 in (one, two):
            values[name] = one if weight < 0.5 else two  # 0 is as it comes: no number between
        elif isinstance(one, bool) or not isinstance(one, int | float):
            values[name] = one if weight < 0.5 else two
        else:
            value = one + weight * (two - one)
            values[name] = round(value) if isinstance(one, int) else value
    return first.model_copy(update=values)
