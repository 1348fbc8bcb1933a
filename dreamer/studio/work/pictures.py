"""Jobs that make pictures: every preset on a photo, what would suit it, a dream."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer import preset_files
from dreamer.errors import Interrupted, UsageError
from dreamer.media import files
from dreamer.recipe import Recipe
from dreamer.studio import asks
from dreamer.studio.asks import DreamBody, StripBody, SuggestBody
from dreamer.studio.jobs import Handle, Run
from dreamer.studio.people import MADE_UP, Made, Person, from_here, safe_name
from dreamer.studio.work.engine import Engine

if TYPE_CHECKING:
    from PIL import Image

    from dreamer.core.ascent import Step
    from dreamer.render.strip import Draft
    from dreamer.render.suggest import Suggestion

THUMB = 320
"""The longer side of a small picture, px."""


def strip(body: StripBody, person: Person, engine: Engine) -> Run:
    """Dream a small draft of every preset."""
    source = asks.photo_of(body.photo, person)

    def run(handle: Handle) -> None:
        from dreamer.render import strip as strips

        names = {name: name for name in preset_files.names()}
        names |= {from_here(found.path): found.name for found in person.own_presets()}
        drafts: list[dict[str, Any]] = []

        def on_draft(draft: Draft) -> None:
            url = handle.picture(draft.preset, encoded(draft.image))
            drafts.append({"preset": names.get(draft.preset, draft.preset), "url": url})
            handle.result({"drafts": [*drafts], "failed": []})

        def on_step(share: float) -> None:
            handle.tell(share, f"{len(drafts)} of {len(names)} presets")
            handle.give_way()

        photo = engine.photo(source)
        own = MADE_UP[photo] if isinstance(photo, str) else photo.size
        made = strips.make(
            photo,
            network=engine.network,
            size=strips.side(own, engine.network.row),
            names=[*names],
            seed=body.seed,
            check=_check_draft,
            on_draft=on_draft,
            on_step=on_step,
            stop=handle.stop,
        )
        failed = [
            {"preset": names.get(name, name), "why": str(error)}
            for name, error in made.failed.items()
        ]
        handle.result({"drafts": [*drafts], "failed": failed})

    return run


def suggest(body: SuggestBody, person: Person, engine: Engine) -> Run:
    """Suggest channels and classes that would suit a photo."""
    source = asks.photo_of(body.photo, person)
    if body.photo in MADE_UP:
        raise UsageError("There is no photo to make suggestions for.", "Choose a photo first.")

    def run(handle: Handle) -> None:
        from dreamer.render import suggest as suggestions
        from dreamer.render.look import Request

        found: list[dict[str, Any]] = []
        plan = suggestions.prepare(
            Request(
                photo=engine.photo(source),
                network=engine.network,
                to_file=False,
                size=192,
                overrides={"ascent.quality": "draft"},
            )
        )

        def on_tile(each: Suggestion, picture: Image.Image) -> None:
            said = each.to_dict() | {"url": handle.picture(each.target, encoded(picture))}
            found.append(said)
            handle.result({"suggestions": [*found]})

        def on_progress(stage: str, share: float) -> None:
            handle.tell(share, stage)
            handle.give_way()

        try:
            suggestions.run(plan, on_progress=on_progress, on_tile=on_tile, stop=handle.stop)
        except Interrupted:
            return  # with what there is

    return run


def dream(body: DreamBody, person: Person, engine: Engine) -> Run:
    """Dream one picture."""
    source = asks.photo_of(body.photo, person)
    asked = asks.look(body.look, person)

    def run(handle: Handle) -> None:
        from dreamer.render import job as jobs
        from dreamer.render import still

        handle.tell(0.0, "looking at the photo")
        job = jobs.prepare(
            asked.request(
                photo=engine.photo(source),
                network=engine.network_of(asked),
                size=body.size,
                seed=body.seed,
                to_file=False,
            )
        )
        check_work(job.recipe)
        handle.note(*job.notes)
        known = _known(person, job.recipe)
        if known is not None:
            handle.note("it was here already, with this very recipe")
            handle.job.made.append(known.id)
            return
        network = job.load_network()
        octave = -1

        def on_step(step: Step) -> None:
            nonlocal octave
            doing = f"octave {step.octave + 1} of {len(job.recipe.octaves)}"
            handle.tell(step.work / max(1, job.recipe.work), doing)
            handle.show(step.picture, now=step.octave != octave and octave < 0)
            octave = step.octave

        made = still.dream(job.recipe, job.photo, network, on_step=on_step, stop=handle.stop)
        handle.note(*made.notes)
        # The preset's name may be anything that a file said.
        name = files.fitting_name(Path(source).stem, "-" + safe_name(made.recipe.preset, ".png"))
        path = files.free_name((person.folder / name).with_suffix(".png"))
        made.save(path)
        arguments = [source, *asked.flags()]
        if body.seed:
            arguments += ["--seed", str(body.seed)]
        if body.size is not None:
            arguments += ["--size", str(body.size)]
        width, height = made.recipe.size
        entry = person.add(
            kind="dream",
            file=path.name,
            width=width,
            height=height,
            command=asks.line("dream", *arguments, output=_whole(path, made.recipe)),
            asked=body.model_dump(mode="json", by_alias=True),
            photo=body.photo,
            notes=list(handle.job.notes),
            partial=made.recipe.partial,
            seconds=round(made.seconds, 2),
            recipe=made.recipe.hash,
        )
        handle.job.made.append(entry.id)

    return run


def _whole(path: Path, recipe: Recipe) -> Path:
    """Return where a command makes a picture whole: not over what was kept of it."""
    return path.with_stem(f"{path.stem}-whole") if recipe.partial else path


def check_work(recipe: Recipe) -> None:
    """Refuse a dream that would keep all others waiting: `UsageError`."""
    if max(recipe.size) > asks.LARGEST or recipe.work > asks.MOST_WORK:
        width, height = recipe.size
        raise UsageError(
            f"A dream of {width}x{height} pixels with {sum(recipe.steps)} steps is too long here.",
            "Choose a smaller size, or use the command line.",
        )


def _check_draft(recipe: Recipe) -> None:
    """Refuse a draft that would keep all others waiting: `UsageError`."""
    if recipe.work > asks.MOST_DRAFT_WORK:
        raise UsageError("It takes too many steps for a draft.", "It can be dreamed all the same.")


def encoded(picture: Image.Image, longest: int = THUMB) -> bytes:
    """Return a small picture as a JPEG."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _known(person: Person, recipe: Recipe) -> Made | None:
    """Return what was made by this very recipe and is whole."""
    for made in person.made.values():
        if made.recipe == recipe.hash and not made.partial and person.file(made).is_file():
            return made
    return None
