"""Jobs that dream many photos."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer.errors import UsageError
from dreamer.media import files
from dreamer.render.batch.plan import Todo, Verdict
from dreamer.studio import asks
from dreamer.studio.asks import BatchBody
from dreamer.studio.jobs import Handle, Run
from dreamer.studio.people import Person
from dreamer.studio.work.engine import Engine
from dreamer.studio.work.pictures import check_work

if TYPE_CHECKING:
    from dreamer.render.batch.films import At
    from dreamer.render.batch.run import Begun, Ended, Moved, Result


def batch(body: BatchBody, person: Person, engine: Engine) -> Run:
    """Dream photos with presets, and make the page that shows them."""
    photos = [asks.photo_of(name, person) for name in dict.fromkeys(body.photos)]
    asked = asks.look(body.look, person)
    presets = [asks.preset_of(name, person) for name in dict.fromkeys(body.presets)]

    def run(handle: Handle) -> None:
        from dreamer.render.batch.session import Session, Wanted

        folder = _begun(body, person) or files.free_name(person.folder / "batch")
        wanted = Wanted(
            folder=folder,
            inputs=photos,
            request=asked.request(size=body.size),
            presets=presets,
            seeds=body.seeds,
            zoom=body.zoom,
        )
        with Session(wanted) as session:
            handle.note(*session.notes)
            planned = session.plan(session.find())
            session.open()
            verdicts = session.judge(planned)
            _check_work(verdicts)
            board = _Board(handle, [verdict.item for verdict in verdicts])
            results = session.run(verdicts, on_event=board, stop=handle.stop)
            board.results(results)
            if body.zoom is not None:
                films = session.film(verdicts, on_film=board.film, stop=handle.stop)
                failed = [film for film in films if film.status == "failed"]
                handle.note(*(f"no film of {each.input}: {each.error}" for each in failed))
            handle.note(*session.problems())
        arguments = [*photos]
        arguments += [word for preset in presets for word in ("--preset", preset)]
        arguments += asked.flags(presets_too=not presets)
        if body.size is not None:
            arguments += ["--size", str(body.size)]
        if body.seeds > 1:
            arguments += ["--seeds", str(body.seeds)]
        if body.zoom is not None:
            arguments += ["--zoom", f"{body.zoom:g}"]
        entry = person.add(
            kind="batch",
            file=folder.name,
            width=0,
            height=0,
            command=asks.line("batch", *arguments, output=folder),
            asked=body.model_dump(mode="json", by_alias=True),
            photo=None,
            notes=list(handle.job.notes),
            partial=any(result.status == "waiting" for result in results),
            seconds=round(time.monotonic() - handle.job.began, 2),
        )
        handle.job.made.append(entry.id)
        board.page(f"/made/{entry.id}/index.html")

    return run


def _check_work(verdicts: Sequence[Verdict]) -> None:
    """Refuse a batch that would keep all others waiting for days: `UsageError`."""
    recipes = [each.recipe for each in verdicts if isinstance(each, Todo)]
    for recipe in recipes:
        check_work(recipe)
    if sum(recipe.work for recipe in recipes) > asks.MOST_BATCH_WORK:
        raise UsageError(
            f"A batch of {len(recipes)} such pictures is too long here.",
            "Give fewer photos or presets or a smaller size, or use the command line.",
        )


def _begun(body: BatchBody, person: Person) -> Path | None:
    """Return the folder of the very same batch, if that was stopped: it goes on there."""
    asked = body.model_dump(mode="json", by_alias=True)
    for made in list(person.made.values()):
        folder = person.file(made)
        if made.kind == "batch" and made.partial and made.asked == asked and folder.is_dir():
            return folder
    return None


class _Board:
    """Shows what becomes of each photo."""

    def __init__(self, handle: Handle, items: list[Any]) -> None:
        self._handle = handle
        self._rows: dict[str, dict[str, Any]] = {
            item.key: {
                "name": os.path.basename(item.path),
                "preset": Path(item.look.preset).stem,
                "status": "waiting",
                "why": "",
            }
            for item in items
        }
        self._keys = [item.key for item in items]
        self._shares: dict[str, float] = {}
        self._page: str | None = None
        self._tell()

    def __call__(self, event: Begun | Ended | Moved) -> None:
        from dreamer.render.batch.run import Begun, Ended

        key = event.item.key
        if isinstance(event, Ended):
            self._set(key, event.result)
            self._shares[key] = 1.0
        elif isinstance(event, Begun):
            self._rows[key]["status"] = "running"
        else:
            self._shares[key] = event.share
        self._tell()

    def film(self, at: At) -> None:
        """Say how far the films are."""
        share = (at.number - 1 + at.share) / max(1, at.of)
        self._handle.tell(share, f"film {at.number} of {at.of}")

    def results(self, results: list[Result]) -> None:
        """Say what became of all."""
        for key, result in zip(self._keys, results, strict=True):
            self._set(key, result)
        self._tell()

    def page(self, url: str) -> None:
        """Say where the page is."""
        self._page = url
        self._tell()

    def _set(self, key: str, result: Result) -> None:
        row = self._rows[key]
        row["status"] = result.status
        row["why"] = "" if result.error is None else str(result.error)

    def _tell(self) -> None:
        rows = [self._rows[key] for key in self._keys]
        over = sum(row["status"] in ("done", "failed", "skipped") for row in rows)
        self._handle.tell(
            sum(self._shares.values()) / max(1, len(rows)), f"{over} of {len(rows)} done"
        )
        self._handle.result({"items": [dict(row) for row in rows], "page": self._page})
