"""What the commands that make films share: their options, their bar, and what they say."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer.cli.console import StopOnInterrupt, console
from dreamer.errors import Interrupted, UsageError
from dreamer.media.files import shown

if TYPE_CHECKING:
    from dreamer.render.film_job import Delivery, Film, Progress

STOPPING = "Stopping after this step; what is dreamed is kept, and the film goes on from there."
GO_ON = "Stopped: run the command again to go on."
GO_ON_AT_ONCE = "Run the command again to go on from the last picture that was whole."


FilmOutput = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", help="The film: .mp4, .webm, .gif, .webp, or a folder of frames."
    ),
]


@dataclass(frozen=True)
class WritingOptions:
    """The options that say how a film is written, whatever it shows."""

    codec: Annotated[str | None, typer.Option(help="Another one of the format's codecs.")] = None
    crf: Annotated[int | None, typer.Option(help="Quality: less is better and larger.")] = None
    audio: Annotated[str | None, typer.Option(metavar="FILE", help="Sound for the film.")] = None
    strip: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a contact strip of it as well.")
    ] = None

    def delivery(
        self, output: str | None, default: str, *, overwrite: bool, metadata: bool
    ) -> Delivery:
        """Return where the film goes.

        Args:
            output: what was asked for.
            default: its name in the folder of outputs, if nothing was.
            overwrite: whether a film that exists is replaced.
            metadata: whether it is to carry its recipe.

        Raises:
            UsageError: the output is no file's name.
        """
        from dreamer.render.film_job import Delivery
        from dreamer.render.job import OUTPUTS

        numbered, output = output is None, str(OUTPUTS / default) if output is None else output
        if output == "":
            raise UsageError("-o is empty.", "Name a film.")
        if output == "-":
            raise UsageError("A film cannot be written to stdout.", "Name a file with -o.")
        if Path(output).name in ("", ".."):
            raise UsageError(f"'{shown(output)}' names no film.", "Give it a name of its own.")
        return Delivery(
            output=Path(output),
            folder=output.endswith(os.sep),
            codec=self.codec,
            crf=self.crf,
            audio=None if self.audio is None else Path(self.audio),
            strip=None if self.strip is None else Path(self.strip),
            overwrite=overwrite,
            metadata=metadata,
            numbered=numbered,
        )


@dataclass(frozen=True)
class FilmOptions(WritingOptions):
    """Those, and what else there is for a film of pictures that are dreamed one by one."""

    preview: Annotated[
        bool, typer.Option("--preview", metavar="", help="Make a small one first.")
    ] = False
    keep_frames: Annotated[
        bool, typer.Option("--keep-frames", metavar="", help="Keep the pictures it is made of.")
    ] = False

    def delivery(
        self, output: str | None, default: str, *, overwrite: bool, metadata: bool
    ) -> Delivery:
        """Return where the film goes, see `WritingOptions.delivery`."""
        place = super().delivery(output, default, overwrite=overwrite, metadata=metadata)
        return replace(place, keep_frames=self.keep_frames)


def deliver(
    film: Film,
    described: str,
    *,
    preview: Callable[[], Film] | None = None,
    dry_run: bool = False,
) -> int:
    """Make a film, or say what would be made; return the exit code.

    Args:
        film: all checks passed.
        described: it in a few lines.
        preview: prepares a small one that is to be made first.
        dry_run: make nothing.
    """
    from dreamer.render import making

    output = film.delivery.target
    for note in film.notes:
        console.say(f"Note: {note}.")
    if dry_run:
        console.finish(_report(film, 0.0) | {"dry_run": True}, described)
        return 0
    if film.kept:
        making.make(film)
        console.say("It is there already, with this very recipe: kept.")
        console.finish(_report(film, 0.0), output)
        return 0
    console.detail(described)
    began = time.perf_counter()
    whole, notes = True, list[str]()
    if preview is not None:
        small = preview()
        whole = _make(small, notes)
        if whole:
            console.say(f"The preview: {shown(small.delivery.output)}")
    whole = whole and _make(film, notes)
    for note in notes:
        console.say(f"Note: {note}.")
    report = _report(film, time.perf_counter() - began)
    report["notes"] += notes
    if not whole:
        console.say(GO_ON)
        console.finish(report, "", status="partial")
        return Interrupted.exit_code
    console.finish(report, output)
    return 0


def _make(film: Film, notes: list[str]) -> bool:
    """Make it, with a bar that counts pixels x steps; returns whether it is whole.

    Args:
        film: all checks passed.
        notes: to which is added what was not as it should be, each once.
    """
    from tqdm import tqdm

    from dreamer.render import making

    works = film.works()
    hidden = console.quiet or console.as_json or not sys.stderr.isatty()
    with (
        StopOnInterrupt(STOPPING) as stop,
        tqdm(
            total=sum(works) / 1e6,
            disable=hidden,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        ) as bar,
    ):
        before, done = -1, 0.0

        def on_progress(progress: Progress) -> None:
            nonlocal before, done
            notes.extend(note for note in progress.notes if note not in notes)
            if before != progress.picture:
                done = sum(works[: progress.picture]) / 1e6
                if before < 0:  # what an earlier run has dreamed took no time now
                    bar.initial = bar.n = done
                before = progress.picture
                console.detail(f"{film.picture} {before + 1}/{progress.of}")
            bar.set_description_str(f"{film.picture} {before + 1}/{progress.of}", False)
            share = progress.work / max(1, progress.whole)
            bar.update(done + share * works[before] / 1e6 - bar.n)

        try:
            return making.make(film, on_progress=on_progress, stop=stop)
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.", GO_ON_AT_ONCE) from None


def _report(film: Film, seconds: float) -> dict[str, Any]:
    recipe = film.recipe
    return {
        "output": film.delivery.target,
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "frames": recipe.frames,
        "keyframes": film.pictures,
        "seconds": round(seconds, 3),
        "kept": film.kept,
        "dry_run": False,
        "notes": list(film.notes),
    }
