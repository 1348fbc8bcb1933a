"""The zoom films of a batch: one of each item, made one after another once the pictures are done.

They need no journal: a film carries its recipe, by which it is known, and what is dreamed of one
that was stopped is kept beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dreamer.errors import DeviceError, DreamerError, InputError, of_code
from dreamer.film.reading import recipe_in
from dreamer.film.zoom import ZoomRecipe
from dreamer.media import reading
from dreamer.render import making, zoom_plan
from dreamer.render.batch.plan import ADVICE, Item, Refused, Verdict, same_look
from dreamer.render.batch.run import Result
from dreamer.render.film_job import Delivery, Film, Progress
from dreamer.render.job import TAKEN, planned_size

if TYPE_CHECKING:
    from dreamer.render.batch.session import Wanted


@dataclass(frozen=True)
class At:
    """Where the making of the films is.

    Attributes:
        item: the one whose film it is.
        number: the film's, counted from 1.
        of: how many there are.
        share: of the film that is dreamed, from 0 to 1.
        result: what became of it, once it is over.
    """

    item: Item
    number: int
    of: int
    share: float = 0.0
    result: Result | None = None


OnFilm: TypeAlias = Callable[[At], None]


class Films:
    """Makes the films of a batch.

    Args:
        wanted: what was asked for.
        presets: what each look was asked for by, by the looks' ids.
    """

    def __init__(self, wanted: Wanted, presets: Mapping[int, str | None]) -> None:
        self.wanted = wanted
        self._presets = presets

    def planned(self, item: Item, verdict: Verdict) -> Result | None:
        """Return what is known of a film without making it; None if it is to be made.

        Args:
            item: with its film for output.
            verdict: on the item's picture; what no picture can be made of, no film can.
        """
        if isinstance(verdict, Refused) and isinstance(verdict.error, InputError):
            return _failed(item, verdict.error)
        film = self.wanted.folder / item.output
        if self.wanted.request.overwrite or not film.exists():
            return None
        try:
            kept = self._prepare(item).kept
        except DreamerError as error:
            return _failed(item, error)
        return Result(item.path, item.output, "skipped") if kept else None

    def make(
        self, items: Sequence[Item], on_film: OnFilm, stop: Callable[[], bool]
    ) -> list[Result]:
        """Make the films; what is not begun when it is to stop is left waiting.

        Args:
            items: with their films for outputs.
            on_film: told how far it is.
            stop: asked after every step.
        """
        results: list[Result] = []
        halted = False
        for number, item in enumerate(items, 1):
            at = At(item, number, len(items))
            if halted or stop():
                results.append(Result(item.path, item.output, "waiting"))
                continue
            on_film(at)
            result = self._film(at, on_film, stop)
            results.append(result)
            on_film(replace(at, result=result))
            halted = result.status == "failed" and self.wanted.fail_fast
        return results

    def _film(self, at: At, on_film: OnFilm, stop: Callable[[], bool]) -> Result:
        """Make one; whatever goes wrong with it is its result."""
        item, began = at.item, time.monotonic()
        notes = dict[str, None]()

        def on_progress(progress: Progress) -> None:
            notes.update(dict.fromkeys(progress.notes))
            share = progress.work / max(1, progress.whole)
            on_film(replace(at, share=(progress.picture + share) / max(1, progress.of)))

        try:
            film = self._prepare(item)
            whole = making.make(film, on_progress=on_progress, stop=stop)
        except DreamerError as error:
            return _failed(item, error)
        except MemoryError:
            advice = "Make smaller ones with --size."
            return _failed(item, DeviceError("There is not enough memory.", advice))
        except Exception as error:  # one film's bug must not end the others
            said = " ".join(str(error).split())[:300]
            bug = f"A bug: {type(error).__name__}: {said}"
            return _failed(item, DreamerError(bug, "Please report it, with the photo if you can."))
        if not whole:
            return Result(item.path, item.output, "waiting")
        if film.kept:
            return Result(item.path, item.output, "skipped")
        seconds = round(time.monotonic() - began, 3)
        told = (*film.notes, *notes)
        return Result(item.path, item.output, "done", seconds, notes=told)

    def _prepare(self, item: Item) -> Film:
        """Resolve and check an item's film.

        Raises:
            DreamerError: as `zoom_plan.prepare`.
        """
        request = self.wanted.request
        output = self.wanted.folder / item.output
        wanted = zoom_plan.Wanted(
            delivery=Delivery(output=output, overwrite=request.overwrite),
            request=replace(
                request,
                photo=item.path,
                preset=self._presets[id(item.look)],
                seed=item.look.seed,
                device=item.look.device,
                size=None,
                output=None,
                overwrite=False,
            ),
            seconds=self.wanted.zoom,
            size=None if request.size is None else _size(item, request.size),
        )
        if not self.wanted.renew or request.overwrite or not output.exists():
            return zoom_plan.prepare(wanted)
        anew = zoom_plan.prepare(replace(wanted, delivery=replace(wanted.delivery, overwrite=True)))
        if _is_renewed(output, anew):
            return anew
        return zoom_plan.prepare(wanted)


def _size(item: Item, long_edge: int) -> tuple[int, int]:
    """Return the size of an item's film: the result's, as even as films are."""
    own = reading.probe(item.path) if item.start == "photo" else None
    width, height = planned_size(own, long_edge)
    return max(2, width - width % 2), max(2, height - height % 2)


def _is_renewed(output: Path, film: Film) -> bool:
    """Whether a film that is there is this one of what the photo was before."""
    found, recipe = recipe_in(output), film.recipe
    if not isinstance(found, ZoomRecipe) or not isinstance(recipe, ZoomRecipe):
        return False
    alike = len(found.stretches) == 1 and found.seconds == recipe.seconds
    return alike and same_look(found.stretches[0].recipe, recipe.stretches[0].recipe)


def _failed(item: Item, error: DreamerError) -> Result:
    # Without its traceback, which would keep the photo.
    advice = ADVICE if error.advice == TAKEN else error.advice
    plain = of_code(error.exit_code, error.message, advice)
    return Result(item.path, item.output, "failed", error=plain)
