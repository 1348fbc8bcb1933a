"""`dreamer watch`: what lands in a folder is dreamed."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from dreamer.cli import batch
from dreamer.cli.console import StopOnInterrupt, console, guarded_stdout
from dreamer.cli.options import BatchOptions, Json, LookOptions, Quiet, Size, Verbose, flattened
from dreamer.errors import DreamerError, InputError
from dreamer.media.files import shown
from dreamer.media.gathering import Gathered


@flattened
def watch(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The folder to watch.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Where the results go.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", metavar="", help="Folders within it as well.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds between two looks.")
    ] = 2.0,
    settle: Annotated[
        float,
        typer.Option(min=0, max=86_400, help="Seconds that a photo has to stay as it is first."),
    ] = 2.0,
    many: BatchOptions = BatchOptions(),  # noqa: B008 - frozen
    size: Size = None,
    how: LookOptions = LookOptions(),  # noqa: B008 - frozen
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Dream what lands in a folder, until it is stopped.

    A photo is taken once nobody writes to it any more; one that is replaced by another of its name
    is dreamed again. Start it again, and it goes on where it was.
    """
    console.setup("watch", as_json=as_json, quiet=quiet, verbose=verbose)
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder '{shown(folder)}'.", "Name the folder to watch.")
    wanted = batch.wish(
        output,
        many,
        how,
        size=size,
        overwrite=False,
        inputs=(folder,),
        recursive=recursive,
        renew=True,
    )
    from dreamer.render.batch.run import Result
    from dreamer.render.batch.session import Planned, Session
    from dreamer.render.batch.watch import Watch

    results: dict[str, Result] = {}
    said: set[str] = set()

    def on_error(error: DreamerError) -> None:
        if str(error) not in said:  # it may be so at every look
            said.add(str(error))
            console.say(f"Error: {error}")

    began = time.monotonic()
    with (
        guarded_stdout(),
        Session(wanted, warm=True) as session,
        StopOnInterrupt(batch.STOPPING) as stop,
        batch.interruptible(),
    ):

        def work(planned: Planned) -> list[Result]:
            made = batch.run(session, session.judge(planned), stop, lines=True)
            results.update({each.output or each.input: each for each in made})
            said.clear()
            return made

        # Before anything lands: the results must not go where the photos are.
        session.plan(Gathered((), (), 0, (os.path.realpath(folder),)))
        console.say(f"Watching '{shown(folder)}'; Ctrl-C ends it.")
        Watch(session, every=every, settle=settle).rounds(work, on_error, stop)
    return batch.finish(session, list(results.values()), time.monotonic() - began)
