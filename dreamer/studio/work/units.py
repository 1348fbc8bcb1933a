"""Jobs that show what units of the network look for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamer import targets
from dreamer.errors import UsageError
from dreamer.media import files
from dreamer.networks import rows
from dreamer.studio import asks
from dreamer.studio.asks import UnitBody, UnitsBody
from dreamer.studio.jobs import Handle, Run
from dreamer.studio.people import Person
from dreamer.studio.work.engine import Engine

SIDE, STEPS = 96, 48
"""Of a small picture, px, and how many it takes: enough to tell units apart at a glance."""
TOGETHER = 8
"""Small pictures that are made at once: a screen fills as one looks."""


def units(body: UnitsBody, engine: Engine) -> Run:
    """Paint a small picture of each unit that has none yet."""
    asked = list(dict.fromkeys(wanted(text) for text in body.targets))

    def run(handle: Handle) -> None:
        from dreamer.render import visual_job, visualize

        there = {text: path(engine, text) for text in asked}
        shown: list[dict[str, Any]] = []

        def show(text: str) -> None:
            shown.append({"target": text, "url": url(text)})
            handle.result({"units": [*shown]})

        for text in [text for text in asked if there[text].is_file()]:
            show(text)
        missing = [text for text in asked if not there[text].is_file()]
        while missing:
            some = missing[:TOGETHER]
            handle.tell(len(shown) / len(asked), f"{len(shown)} of {len(asked)}")
            handle.give_way()
            job = visual_job.prepare(
                visual_job.VisualRequest(
                    targets=tuple(some),
                    size=(SIDE, SIDE),
                    settings={"steps": STEPS},
                    look=_request(engine),
                )
            )
            made = visualize.make(
                job.recipes,
                engine.network,
                stop=lambda: handle.stop() or handle.hurried(),
                workers=job.workers,
            )
            if handle.stop():
                return
            if any(each.recipe.partial for each in made):
                continue  # others went first
            del missing[:TOGETHER]
            for text, each in zip(some, made, strict=True):
                each.save(there[text], overwrite=True)
                show(text)

    return run


def unit(body: UnitBody, person: Person, engine: Engine) -> Run:
    """Paint a large picture of a unit."""
    text = asks.plain_target(body.target)

    def run(handle: Handle) -> None:
        from dreamer.render import visual_job, visualize

        job = visual_job.prepare(
            visual_job.VisualRequest(
                targets=(text,),
                size=(body.size, body.size),
                settings={"canvas": body.canvas},
                look=_request(engine, seed=body.seed),
            )
        )
        handle.note(*job.notes)

        def on_step(progress: visualize.Progress) -> None:
            handle.tell(progress.work / max(1, progress.whole), "painting")
            handle.show(lambda: progress.pictures()[:1])

        (made,) = visualize.make(job.recipes, engine.network, on_step=on_step, stop=handle.stop)
        handle.note(*made.notes)
        name = files.fitting_name(visual_job.stem(made.recipe.label), ".png")
        output = files.free_name(person.folder / name)
        made.save(output)
        arguments = [text, "--size", str(body.size), "--canvas", body.canvas]
        if body.seed:
            arguments += ["--seed", str(body.seed)]
        entry = person.add(
            kind="unit",
            file=output.name,
            width=body.size,
            height=body.size,
            command=asks.line("visualize", *arguments, output=output),
            asked=body.model_dump(mode="json", by_alias=True),
            photo=None,
            notes=list(handle.job.notes),
            partial=made.recipe.partial,
            seconds=round(made.seconds, 2),
            recipe=made.recipe.hash,
        )
        handle.job.made.append(entry.id)

    return run


def path(engine: Engine, text: str) -> Path:
    """Return where the small picture of a unit is, or is to be."""
    from dreamer.render import visual_job

    return engine.units / rows.DEFAULT / f"{visual_job.stem(text)}.png"


def url(text: str) -> str:
    """Return the address of the small picture of a unit."""
    from urllib.parse import quote

    return f"/api/units/{quote(text, safe='')}"


def wanted(text: str) -> str:
    """Return the target of one channel or class, in its own spelling.

    Raises:
        UsageError: it is something else.
    """
    terms = targets.parse(asks.plain_target(text)).terms
    term = terms[0]
    plain = len(terms) == 1 and term.weight == 1 and term.channel is not None and term.at is None
    if not plain or text != term.label:
        raise UsageError(f"'{text[:80]}' is no channel and no class.", "Write block8:37.")
    targets.resolve(targets.Target((term,)), rows.row(rows.DEFAULT))
    return text


def _request(engine: Engine, seed: int = 0) -> Any:
    from dreamer.render.look import Request

    return Request(network=engine.network, offline=True, to_file=False, seed=seed)
