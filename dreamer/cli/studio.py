"""`dreamer studio`: a page to look and steer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dreamer import preset_files
from dreamer.cli.console import console
from dreamer.cli.options import Json, Quiet, Verbose
from dreamer.errors import UsageError
from dreamer.media.files import shown


def studio(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="The port; 8137 by default, or the next that is free."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on; other than this machine's asks for a token."),
    ] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--open", metavar="", help="Open the page in the browser.")
    ] = False,
    preset_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder of presets of yours.")
    ] = None,
    output_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Where results go, in a folder 'studio'.")
    ] = "outputs",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Open a page on this machine to look and steer.

    Drop a photo, see every preset on it, watch the dream grow, take it away. Ctrl-C ends it; what
    was made is kept. The page's address is on stdout.
    """
    console.setup("studio", as_json=as_json, quiet=quiet, verbose=verbose)
    if not output_dir:
        raise UsageError("--output-dir is empty.", "Name a folder.")
    if '"' in output_dir:  # targets name files in quotes
        raise UsageError(f"'{shown(output_dir)}' has a quotation mark.", "Name another folder.")
    if preset_dir is not None:
        if not os.path.isdir(preset_dir):
            raise UsageError(f"There is no folder '{shown(preset_dir)}'.", "Name a folder.")
        os.environ[preset_files.VARIABLE] = preset_dir
    from dreamer.studio import server

    def on_ready(url: str) -> None:
        console.finish({"url": url, "folder": output_dir}, url)
        console.say("Open this address in a browser. Ctrl-C ends the studio.")

    def on_closing() -> None:
        console.say("Closing: what is being dreamed is kept. Ctrl-C again closes at once.")

    server.serve(
        Path(output_dir),
        host=host,
        port=port,
        browser=browser,
        on_ready=on_ready,
        on_closing=on_closing,
    )
    console.say("The studio is closed; what was made is kept.")
    return 0
