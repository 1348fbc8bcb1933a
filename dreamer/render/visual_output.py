"""Where feature visualizations go: one picture, a labelled sheet, or a folder of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dreamer.errors import UsageError
from dreamer.media import files, formats
from dreamer.render.job import OUTPUTS
from dreamer.render.visual_job import check_output, stem
from dreamer.visual_recipe import VisualRecipe, sheet_json

if TYPE_CHECKING:
    from dreamer.render.visualize import Visualization


@dataclass(frozen=True)
class Place:
    """What was asked for.

    Attributes:
        path: a file, a folder, or None for a default name.
        folder: whether it is a folder.
    """

    path: Path | None
    folder: bool


@dataclass(frozen=True)
class Plan:
    """Which files are to be written, all checks passed.

    Attributes:
        paths: one for all pictures, or one each.
        kept: whether they all hold these very pictures already.
        overwrite: whether what exists is replaced.
        metadata: whether recipes are embedded.
        last: what to print when it is done.
    """

    paths: tuple[Path, ...]
    kept: bool
    overwrite: bool
    metadata: bool
    last: str

    def save(self, made: Sequence[Visualization]) -> None:
        """Write the pictures.

        Raises:
            OutputError: one cannot be written.
        """
        if len(self.paths) == len(made):
            for path, each in zip(self.paths, made, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                each.save(path, overwrite=True, metadata=self.metadata)
            return
        from dreamer.media import images
        from dreamer.render import sheets
        from dreamer.render.visualize import labels

        image = images.load(sheets.grid(list(labels(made))))
        text = sheet_json([each.recipe for each in made]) if self.metadata else None
        images.save(image.pixels, self.paths[0], recipe=text, overwrite=True)


def place(output: str | None) -> Place:
    """Say what `-o` names: a folder if it is one, ends as one, or has no suffix.

    Raises:
        UsageError: it names nothing.
    """
    if output is None:
        return Place(None, False)
    if output in ("", "-"):
        raise UsageError("-o names no file.", "Name a picture, or a folder for one file each.")
    path = Path(output)
    folder = output.endswith(("/", os.sep)) or path.is_dir() or not path.suffix
    return Place(path, folder)


def plan(recipes: Sequence[VisualRecipe], where: Place, *, overwrite: bool, metadata: bool) -> Plan:
    """Name the files, and refuse what could not be written.

    Raises:
        UsageError: an unknown suffix.
        OutputError: a file exists with another recipe, or cannot be written.
    """
    path = where.path
    if where.folder and path is not None:
        paths = tuple(path / files.fitting_name(stem(r.label), ".png") for r in recipes)
        _check_apart(paths, recipes)
        _make_folder(path)
        kept = [
            check_output(p, [r], overwrite=overwrite) for p, r in zip(paths, recipes, strict=True)
        ]
        return Plan(paths, all(kept), overwrite, metadata, str(path))
    if path is None:
        label = recipes[0].label if len(recipes) == 1 else recipes[0].target
        more = "" if len(recipes) == 1 else f"-and-{len(recipes) - 1}-more"
        path = _default(
            OUTPUTS / files.fitting_name(stem(label), f"{more}.png"), recipes, overwrite
        )
    kept_one = check_output(path, recipes, overwrite=overwrite)
    size = recipes[0].size
    if len(recipes) > 1:
        from dreamer.render import sheets

        if recipes[0].settings.alpha:
            raise UsageError(
                "A sheet has no transparency.", "Name a folder with -o, for a file each."
            )
        size = sheets.size(len(recipes), size)
    formats.check_size(path, *size)
    return Plan((path,), kept_one, overwrite, metadata, str(path))


def _check_apart(paths: Sequence[Path], recipes: Sequence[VisualRecipe]) -> None:
    """Refuse two targets that would be one file: `UsageError`."""
    seen: dict[str, str] = {}
    for path, recipe in zip(paths, recipes, strict=True):
        name = str(path).casefold()
        if name in seen:
            raise UsageError(
                f"'{seen[name]}' and '{recipe.label}' would both be '{files.shown(path)}'.",
                "Name each target once, or make them one by one, each with a name of its own.",
            )
        seen[name] = recipe.label


def _default(path: Path, recipes: Sequence[VisualRecipe], overwrite: bool) -> Path:
    """Return a default name, with a number if it is taken by another recipe."""
    from dreamer.errors import OutputError

    candidate, count = path, 1
    while True:
        try:
            check_output(candidate, recipes, overwrite=overwrite)
        except OutputError:
            if not os.path.lexists(candidate):
                raise
        else:
            return candidate
        count += 1
        ending = f"-{count}{path.suffix}"
        candidate = path.with_name(files.fitting_name(path.stem, ending))


def _make_folder(path: Path) -> None:
    with files.writing(path):
        path.mkdir(parents=True, exist_ok=True)
