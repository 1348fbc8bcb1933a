"""What may happen to a photo's colours, as text: a mode, or the colours of another picture."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dreamer import errors
from dreamer.target_files import file_name

Kind = Literal["free", "keep", "luma", "match", "palette"]
CHOICES = ("free", "keep", "luma", "match:FILE", "palette:FILE")
LONGEST = 1000


@dataclass(frozen=True)
class Colour:
    """What may happen to a photo's colours; `str` gives the text, which parses to the same.

    Attributes:
        kind: "free", "keep" and "luma": how far they may dream; "match" and "palette": whose they
            become.
        path: of the picture that has them.
    """

    kind: Kind
    path: str = ""

    def __str__(self) -> str:
        if not self.path:
            return self.kind
        plain = self.path == self.path.strip() and self.path[0] != '"'
        return f"{self.kind}:{self.path}" if plain else f'{self.kind}:"{self.path}"'

    @property
    def without_folder(self) -> Colour:
        """The same with its file named without its folder, as recipes do."""
        return replace(self, path=file_name(self.path))


def parse(text: str) -> Colour:
    """Read what may happen to the colours.

    Raises:
        UsageError: there is no such mode; or a file is missing from it, or too much.
    """
    mode, colon, path = text.partition(":")
    mode, path = mode.strip().lower(), path.strip()
    if len(path) > 1 and path[0] == path[-1] == '"':
        path = path[1:-1]
    listing = f"It can be {', '.join(CHOICES)}."
    kinds = get_args(Kind)
    if mode not in kinds:
        near = errors.nearest(mode, kinds, 1)
        offer = f"Did you mean {near[0]}? " if near else ""
        raise errors.UsageError(f"'{text[:80]}' is not valid for the colours.", f"{offer}{listing}")
    of_file = mode in ("match", "palette")
    if of_file != bool(path) or (colon and not of_file):
        raise errors.UsageError(
            f"'{text[:80]}' names {'no' if of_file else 'a'} file for the colours.", listing
        )
    if len(path) > LONGEST or re.search(r"[\x00-\x1f\x7f]", path):
        raise errors.UsageError(f"'{path[:40]}...' is no name of a file.", listing)
    return Colour(next(kind for kind in kinds if kind == mode), path)
