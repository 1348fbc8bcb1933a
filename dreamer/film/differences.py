"""Why two films are not the same, in the user's words."""

from __future__ import annotations

from collections.abc import Mapping

from dreamer import recipe as recipes
from dreamer.film.base import Encoding, FilmRecipe


def differences(old: FilmRecipe, new: FilmRecipe) -> list[str]:
    """Say why two recipes do not make the same film; empty if they do, whatever the encoding."""
    if old.hash == new.hash:
        return []
    if type(old) is not type(new):
        return ["the kind of film"]
    changed = _changed(old.facts(), new.facts())
    if old.engine != new.engine:
        changed.append("the version of the program")
    for before, after in zip(old.pictures(), new.pictures(), strict=False):
        # Another preset, or film's size, has been said; all that follows from it need not be.
        if before.preset == after.preset:
            changed += [said for said in recipes.differences(before, after) if said != "the size"]
    if not changed:
        fields = type(new).model_fields.keys() - {"dreamer", "encoding"}
        changed = [name for name in sorted(fields) if getattr(old, name) != getattr(new, name)]
    return list(dict.fromkeys(changed))


def encoded_otherwise(old: Encoding, new: Encoding) -> list[str]:
    """Say why the same frames are not written in the same way; empty if they are."""
    changed = _changed(
        {"codec": old.codec or "unknown", "crf": str(old.crf)},
        {"codec": new.codec or "unknown", "crf": str(new.crf)},
    )
    return changed + (["the sound"] if old.audio != new.audio else [])


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{name} ({value} instead of {before[name]})"
        for name, value in after.items()
        if before.get(name, value) != value
    ]
