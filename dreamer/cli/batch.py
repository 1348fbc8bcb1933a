"""`dreamer batch`: folders of photos."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer.cli.console import StopOnInterrupt, console, guarded_stdout
from dreamer.cli.options import (
    BatchOptions,
    DryRun,
    Json,
    LookOptions,
    Overwrite,
    Quiet,
    Size,
    Verbose,
    flattened,
)
from dreamer.errors import InputError, Interrupted, UsageError
from dreamer.media import gathering
from dreamer.media.files import shown

if TYPE_CHECKING:
    from dreamer.render.batch.estimate import Estimate, Expected
    from dreamer.render.batch.plan import Item, Verdict
    from dreamer.render.batch.run import Result
    from dreamer.render.batch.session import Session, Wanted

STOPPING = "Finishing the pictures at hand; once more to stop at once. Nothing is lost either way."
GO_ON = "What is done is kept: run the command again to go on."


@flattened
def batch(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS...", help="Photos, folders, patterns; 'sky' and 'noise' need none."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Where the results go.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", metavar="", help="Folders within folders as well.")
    ] = False,
    files_from: Annotated[
        str | None, typer.Option(metavar="LIST|-", help="A file of paths, one a line; - is stdin.")
    ] = None,
    many: BatchOptions = BatchOptions(),  # noqa: B008 - frozen
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the I-th part of N, for N machines.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", metavar="", help="Stop at the first failure.")
    ] = False,
    size: Size = None,
    zoom: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            max=86_400,
            help="Make a zoom film of each as well, so long; not on a cluster.",
        ),
    ] = None,
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    renew: Annotated[
        bool,
        typer.Option("--renew", metavar="", help="Make again what changed photos made."),
    ] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream on folders of photos, unattended.

    Run it again to go on where it was stopped, by whatever. The page DIR/index.html shows the
    results; its path is the last thing on stdout.
    """
    console.setup("batch", as_json=as_json, quiet=quiet, verbose=verbose)
    if not inputs and files_from is None:
        raise UsageError("There is nothing to dream on.", "Name photos or folders of them.")
    listed: list[str] = []
    if files_from is not None:
        listed = gathering.read_list(sys.stdin.buffer if files_from == "-" else files_from)
    wanted = wish(
        output,
        many,
        how,
        size=size,
        overwrite=overwrite,
        inputs=inputs or (),
        listed=listed,
        recursive=recursive,
        shard=_shard(shard),
        fail_fast=fail_fast,
        renew=renew,
        zoom=zoom,
    )
    from dreamer.render.batch.session import Session

    results: list[Result] = []
    films: list[Result] = []
    with guarded_stdout(), Session(wanted, warm=not dry_run) as session:
        for note in session.notes:
            console.say(f"Note: {note}.")
        planned = session.plan(session.find())
        if not planned.items and not planned.refused and wanted.shard[1] == 1:
            raise InputError(
                "There are no pictures to dream on.", "Name photos or folders of them."
            )
        if planned.left_out:
            console.say(
                f"Left out: {planned.left_out} files that are no pictures by their names "
                "(RAW is not read)."
            )
        below = 0 if recursive else _folders_below(wanted.inputs)
        if below:
            console.say(f"Left out: {below} folders within these; -r takes them as well.")
        if not dry_run:
            session.open()  # what another one is making just now is not judged
        verdicts = session.judge(planned)
        began = time.monotonic()
        if not dry_run:
            with StopOnInterrupt(STOPPING) as stop, interruptible():
                results = run(session, verdicts, stop)
                films = _film(session, verdicts, results, stop)
    if dry_run:
        return _show_plan(session, verdicts)
    return finish(session, results, time.monotonic() - began, films)


def wish(
    output: str | None,
    many: BatchOptions,
    how: LookOptions,
    *,
    size: int | None,
    overwrite: bool,
    **more: Any,
) -> Wanted:
    """Return what was asked for."""
    if not output:
        raise UsageError("It is not said where the results go.", "Name a folder with -o.")
    request, presets = how.request(*(many.presets or ()), size=size, overwrite=overwrite)
    if many.gpus is not None and many.cluster is None:
        raise UsageError("--gpus is a share of a cluster's.", "Give --cluster as well.")
    from dreamer.render.batch.session import Wanted

    return Wanted(
        folder=Path(output),
        request=request,
        presets=presets,
        seeds=many.seeds,
        name=many.name,
        workers=many.count(),
        cluster=many.cluster,
        gpus=many.gpus,
        retries=many.retries,
        **more,
    )


def run(
    session: Session, verdicts: Sequence[Verdict], stop: StopOnInterrupt, *, lines: bool = False
) -> list[Result]:
    """Run a batch with what it shows meanwhile; with `lines` one of every picture."""
    from dreamer.cli import progress

    if session.wanted.cluster is not None:
        console.detail("Asking the cluster.")
    with progress.Display(verdicts, session.folder, lines=lines) as display:
        return session.run(verdicts, on_event=display, stop=stop)


def _film(
    session: Session, verdicts: Sequence[Verdict], results: Sequence[Result], stop: StopOnInterrupt
) -> list[Result]:
    """Make the films that were asked for, once the pictures are done."""
    from dreamer.cli import filming, progress

    if session.wanted.zoom is None:
        return []
    failed = any(result.status == "failed" for result in results)
    ended = session.wanted.fail_fast and failed
    stop.said = filming.STOPPING
    with progress.Films(session.folder) as display:
        return session.film(verdicts, on_film=display, stop=lambda: ended or stop())


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a second Ctrl-C end a batch, saying that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Interrupted.", GO_ON) from None


def finish(
    session: Session, results: Sequence[Result], seconds: float, films: Sequence[Result] = ()
) -> int:
    """Report on a run; returns the exit code."""
    from dreamer.cli import progress

    failed = progress.failures([*results, *films], session.page)
    if failed and (console.quiet or sys.stderr.isatty()):  # elsewhere each had its line
        console.warn(failed)
    for problem in session.problems():
        console.say(f"Note: {problem}.")
    console.say(progress.summary(results, seconds))
    if films:
        console.say(f"Films: {progress.counted(films)}.")
    stopped = any(result.status == "waiting" for result in (*results, *films))
    counts = {
        status: sum(result.status == status for result in results)
        for status in ("done", "skipped", "failed", "waiting")
    }
    report = {
        "folder": str(session.folder),
        "page": str(session.page),
        "seconds": round(seconds, 3),
        "counts": counts,
        "items": [progress.report(session.folder, result) for result in results],
        "films": [progress.report(session.folder, film) for film in films],
        "notes": [*session.notes, *session.problems()],
        "dry_run": False,
    }
    status = "partial" if failed or stopped else "success"
    console.finish(report, str(session.page), status=status)
    if failed and session.wanted.fail_fast:
        return 1
    if stopped:
        console.say(GO_ON)
        return Interrupted.exit_code
    return 1 if failed else 0


def _folders_below(inputs: Sequence[str]) -> int:
    """Return how many folders, not hidden, lie within the ones that were named."""
    count = 0
    for folder in inputs:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            count += sum(each.is_dir() and not each.name.startswith(".") for each in entries)
    return count


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise UsageError(
            f"'{text}' is not valid for --shard.", "Write it like 2/4: the second of four."
        )
    return int(found[1]), int(found[2])


def _show_plan(session: Session, verdicts: Sequence[Verdict]) -> int:
    """Print what a run would do."""
    from dreamer.render.batch import estimate

    plan = estimate.estimate(verdicts, session.records, session.workers)
    films = session.films(verdicts)
    report = {
        "folder": str(session.folder),
        "page": str(session.page),
        "workers": plan.workers,
        "seconds": plan.seconds,
        "memory": plan.memory,
        "items": [_expected(session, each) for each in plan.items],
        "films": [_expected_film(session, *each) for each in films],
        "dry_run": True,
    }
    console.finish(report, "\n".join([_described(session, plan), *_described_films(films)]))
    return 0


def _expected(session: Session, each: Expected) -> dict[str, Any]:
    """Return what the envelope says of an item that is planned."""
    from dreamer.cli import progress
    from dreamer.render.batch.plan import Refused, Todo
    from dreamer.render.batch.run import Result

    item, verdict = each.verdict.item, each.verdict
    error = verdict.error if isinstance(verdict, Refused) else None
    result = Result(item.path, item.output, "skipped" if error is None else "failed", error=error)
    said = progress.report(session.folder, result)
    if isinstance(verdict, Todo):
        said |= {"status": "planned", "size": list(verdict.recipe.size)}
    return said | {"seconds": each.seconds, "memory": each.memory}


def _expected_film(session: Session, item: Item, known: Result | None) -> dict[str, Any]:
    """Return what the envelope says of a film that is planned."""
    from dreamer.cli import progress
    from dreamer.render.batch.run import Result

    result = known or Result(item.path, item.output, "waiting")
    said = progress.report(session.folder, result)
    return said if known else said | {"status": "planned", "seconds": None}


def _described_films(films: Sequence[tuple[Item, Result | None]]) -> list[str]:
    """Say which films a run would make."""
    if not films:
        return []
    lines = [
        f"The film of {shown(item.path)} cannot be made: {known.error}"
        for item, known in films
        if known is not None and known.status == "failed"
    ]
    there = sum(known is not None and known.status == "skipped" for _, known in films)
    said = f", {there} there already" if there else ""
    return [*lines, f"{sum(known is None for _, known in films)} films to make{said}."]


def _described(session: Session, plan: Estimate) -> str:
    """Say what a run would do, a line an item."""
    from dreamer.cli import progress
    from dreamer.render.batch.plan import Refused, Todo

    lines = []
    for each in plan.items:
        item, verdict = each.verdict.item, each.verdict
        place = shown(session.folder / item.output) if item.output else ""
        if isinstance(verdict, Todo):
            width, height = verdict.recipe.size
            time = "" if each.seconds is None else f", {progress.duration(each.seconds)}"
            said = f"{width}x{height}{time}, {each.memory / 1e9:.1f} GB"
        elif isinstance(verdict, Refused):
            said = f"cannot be made: {verdict.error}"
        else:
            said = "there already"
        lines.append(f"{shown(item.path)} -> {place}: {said}")
    todo = sum(isinstance(each.verdict, Todo) for each in plan.items)
    time = "an unknown time" if plan.seconds is None else progress.duration(plan.seconds)
    lines.append(
        f"{todo} to make: about {time} with {plan.workers} at once, "
        f"and up to {plan.memory / 1e9:.1f} GB of memory."
    )
    return "\n".join(lines)
