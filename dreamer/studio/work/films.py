"""Jobs that make zoom films, and previews of them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Literal

from dreamer import preset_files
from dreamer.errors import DreamerError, UsageError
from dreamer.media import files
from dreamer.render.film_job import Delivery, Film, Progress
from dreamer.render.journeys import Stretch
from dreamer.studio import asks
from dreamer.studio.asks import StretchBody, ZoomBody
from dreamer.studio.jobs import LIVE, Handle, Run, jpeg
from dreamer.studio.people import MADE_UP, Person, from_here
from dreamer.studio.work.engine import Engine
from dreamer.studio.work.pictures import check_work


def zoom(body: ZoomBody, person: Person, engine: Engine) -> Run:
    """Make a zoom film, or a preview of one."""
    from dreamer.render import zoom_plan

    source = asks.photo_of(body.photo, person)
    asked = asks.look(body.look, person)
    journey = [_stretch(part, number, person) for number, part in enumerate(body.journey, 1)]
    size = None if body.size is None else zoom_plan.parse_size(_known_size(body.size))
    if size is not None and max(size) > asks.LARGEST_FILM:
        raise UsageError(f"A film of {body.size} is too large here.", "Choose a smaller one.")

    def wanted(output: Path) -> zoom_plan.Wanted:
        return zoom_plan.Wanted(
            delivery=Delivery(output=output, numbered=True),
            request=asked.request(
                photo=None if source in MADE_UP else source,
                network=engine.network_of(asked),
                seed=body.seed,
            ),
            seconds=None if journey else body.seconds,
            fps=body.fps,
            size=size,
            speed=body.speed,
            rotate=body.rotate,
            centre=body.center,
            outward=body.direction == "out",
            ease=body.ease,
            loop=body.loop,
            journey=journey,
            fade=body.fade if len(journey) > 1 else None,
        )

    def run(handle: Handle) -> None:
        from dreamer.render import making

        handle.tell(0.0, "looking at the photo")
        name = files.fitting_name(Path(source).stem, f"-zoom.{body.format}")
        whole = wanted(person.folder / name)
        film = zoom_plan.prepare(whole)
        if body.preview:
            film = zoom_plan.prepare(zoom_plan.preview(whole, film.recipe.size))
        _check_work(film)
        handle.note(*film.notes)
        works = film.works()
        before = -1

        def on_progress(progress: Progress) -> None:
            nonlocal before
            handle.note(*progress.notes)
            done = sum(works[: progress.picture])
            share = progress.work / max(1, progress.whole) * works[progress.picture]
            doing = f"{film.picture} {progress.picture + 1} of {progress.of}"
            # The frames between the pictures take a little longer.
            handle.tell(0.95 * (done + share) / max(1, sum(works)), doing)
            if progress.picture != before:
                before = progress.picture
                _show(handle, progress.last)

        made_all = making.make(film, on_progress=on_progress, stop=handle.stop)
        if not made_all:
            handle.note("what is dreamed is kept: ask for it again to go on")
            return
        path = film.delivery.output
        width, height = film.recipe.size
        entry = person.add(
            kind="preview" if body.preview else "film",
            file=path.name,
            width=width,
            height=height,
            command=_command(body, source, asked, person, film.delivery.output),
            asked=body.model_dump(mode="json", by_alias=True),
            photo=body.photo,
            notes=list(handle.job.notes),
            seconds=round(time.monotonic() - handle.job.began, 2),
            recipe=film.recipe.hash,
            thumb=_thumb(film),
        )
        handle.job.made.append(entry.id)

    return run


def _known_size(size: str) -> str:
    return {"480p": "854x480"}.get(size, size)


def _stretch(part: StretchBody, number: int, person: Person) -> Stretch:
    """Return a part of a journey."""
    what, kind = _what(part.what, person)
    return Stretch(what, part.seconds, kind=kind, where=f"part {number} of the journey: ")


def _what(what: str, person: Person) -> tuple[str, Literal["preset", "target"]]:
    """Return a preset of this person's or one of all, or a target, and which of them it is."""
    own = {found.name: from_here(found.path) for found in person.own_presets()}
    if what in own:
        return own[what], "preset"
    if what in preset_files.names():
        return what, "preset"
    return asks.plain_target(what), "target"


def _check_work(film: Film) -> None:
    """Refuse a film that would keep all others waiting: `UsageError`."""
    recipe = film.recipe
    for picture in recipe.pictures():
        check_work(picture)
    pixels = recipe.size[0] * recipe.size[1] * recipe.frames
    if sum(film.works()) > asks.MOST_FILM_WORK or pixels > asks.MOST_FILM_PIXELS:
        raise UsageError(
            "This film is too long here, or too large, or too fast.",
            "Make it shorter or smaller, or use the command line.",
        )


def _show(handle: Handle, picture: Path | None) -> None:
    """Show a picture of the film that is whole."""
    from dreamer.media import images

    if picture is not None:
        with contextlib.suppress(DreamerError):
            handle.frame(jpeg(images.load(str(picture)).pixels, LIVE))


def _thumb(film: Film) -> bytes | None:
    """Return a small picture of a film: its first frame."""
    from PIL import Image

    from dreamer.media import films
    from dreamer.studio.work.pictures import encoded

    with contextlib.suppress(DreamerError, OSError):
        for frame in films.frames(film.delivery.output):
            return encoded(Image.frombytes("RGB", film.recipe.size, frame))
    return None


def _command(body: ZoomBody, source: str, asked: asks.Asked, person: Person, output: Path) -> str:
    """Return the line that makes the film again."""
    arguments = [source, *asked.flags()]
    if body.seed:
        arguments += ["--seed", str(body.seed)]
    if body.journey:
        parts = (
            f"{_what(part.what, person)[0]} {asks.number(part.seconds)}s" for part in body.journey
        )
        arguments += ["--journey", ", ".join(parts)]
        if body.fade is not None and len(body.journey) > 1:
            arguments += ["--fade", asks.number(body.fade)]
    elif body.seconds is not None:
        arguments += ["--seconds", asks.number(body.seconds)]
    for flag, value, usual in (
        ("--fps", body.fps, 30.0),
        ("--speed", body.speed, 2.0),
        ("--rotate", body.rotate, 0.0),
    ):
        if value != usual:
            arguments += [flag, asks.number(value)]
    if body.size is not None:
        arguments += ["--size", _known_size(body.size)]
    if body.center != (0.5, 0.5):
        arguments += ["--center", ",".join(map(asks.number, body.center))]
    if body.direction == "out":
        arguments += ["--direction", "out"]
    arguments += ["--ease"] * body.ease + ["--loop"] * body.loop
    if body.preview:
        whole = output.with_name(output.name.replace("-preview.", ".", 1))
        return asks.line("zoom", *arguments, output=whole)
    return asks.line("zoom", *arguments, output=output)
