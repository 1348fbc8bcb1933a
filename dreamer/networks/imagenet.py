"""The 1000 ImageNet classes: `imagenet_classes.txt` has their names, one a line, in index order."""

from __future__ import annotations

from functools import cache
from importlib import resources

from dreamer.errors import UsageError, nearest

COUNT = 1000


@cache
def names() -> tuple[str, ...]:
    """Name the classes in the order of a network's logits."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


def name(index: int) -> str:
    """Name class `index`, 0 to 999; `UsageError` outside."""
    if not 0 <= index < COUNT:
        raise _out_of_range(str(index))
    return names()[index]


def index(name_or_index: str | int) -> int:
    """Find a class by its index or name.

    A name counts as written; failing that without regard to case, spaces, underscores, hyphens
    and other punctuation. Raises `UsageError` for an unknown class, with the nearest names, and
    for an ambiguous one, with the indices.
    """
    text = str(name_or_index).strip()
    if text.removeprefix("-").isdecimal():
        if len(text) > 20:  # Python reads no number of thousands of digits
            raise _out_of_range(f"{text[:20]}...")
        name(int(text))
        return int(text)
    if text in names():
        return names().index(text)
    same = _by_letters().get(_letters(text), ())
    if len(same) == 1:
        return same[0]
    if same:
        choices = " or ".join(f"{each} ({names()[each]})" for each in same)
        raise UsageError(f"There are several classes named '{text}'.", f"Say which: {choices}.")
    near = _near(text)
    offer = f"Did you mean {', '.join(near)}? " if near else ""
    raise UsageError(
        f"There is no ImageNet class named '{text}'.",
        f"{offer}A class is one of ImageNet's 1000 names, or an index from 0 to {COUNT - 1}.",
    )


def known(name: str) -> bool:
    """Tell whether exactly one class has that name, however it is written."""
    return len(_by_letters().get(_letters(name), ())) == 1


def _out_of_range(index: str) -> UsageError:
    return UsageError(
        f"There is no class {index}.", f"The ImageNet classes are 0 to {COUNT - 1}, or a name."
    )


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


@cache
def _by_letters() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for place, each in enumerate(names()):
        found[_letters(each)] = (*found.get(_letters(each), ()), place)
    return found


def _near(text: str) -> list[str]:
    """Offer the classes that share a whole word with `text`, then those spelled like it."""
    words = set(text.casefold().replace("_", " ").replace("-", " ").split())
    shared = [
        each for each in names() if words & set(each.casefold().replace("-", " ").split()) - {"of"}
    ]
    by_spelling = {each.casefold(): each for each in names()}
    spelled = [by_spelling[each] for each in nearest(text.replace("_", " "), by_spelling)]
    shared.sort(key=lambda each: (each not in spelled, len(each)))
    return list(dict.fromkeys([*shared[:3], *spelled]))[:4]
