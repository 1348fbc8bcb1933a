"""Run the studio's server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamer.errors import OutputError, UsageError
from dreamer.media import files

PORT = 8137
"""The usual port; the next free one if it is taken."""
_TRIES = 20


def library() -> Any:
    """Return uvicorn.

    Raises:
        UsageError: it, or Starlette, is not installed.
    """
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise UsageError(
            "The studio needs two extra packages.",
            'Install them: pip install "dreamer[studio]"',
        ) from error
    assert starlette
    return uvicorn


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = False,
    on_ready: Callable[[str], None],
    on_closing: Callable[[], None],
) -> None:
    """Serve the page until Ctrl-C; what is being dreamed then is kept as far as it is.

    Args:
        folder: where results go.
        host: the address to listen on. Anything but this machine's own asks for a token.
        port: None for the usual one, or the next that is free; 0 for any.
        browser: whether to open the page.
        on_ready: told the page's address, once it answers.
        on_closing: told that it was asked to end; asked once more, it ends at once.

    Raises:
        UsageError: a package is missing, or the host or port cannot be used.
        OutputError: nothing can be written to the folder.
    """
    uvicorn = library()
    from dreamer.studio import guard
    from dreamer.studio.app import Studio, build

    files.check(folder / "studio" / "probe")
    listener = _listen(host, port)
    number = listener.getsockname()[1]
    alone = host in guard.LOOPBACK
    try:
        keys = guard.Keys(folder / "studio", guarded=not alone)
    except OSError as error:
        raise OutputError(
            f"'{files.shown(folder)}' cannot be used: {error.strerror}.", "Choose --output-dir."
        ) from error
    studio = Studio(folder)
    url = f"http://{'localhost' if alone else _reached(host)}:{number}/"
    if keys.token is not None:
        url += f"?token={keys.token}"

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        def handle_exit(self, number: int, frame: Any) -> None:
            if self.should_exit:  # asked for twice: at once, and without another word
                os._exit(130)
            on_closing()
            super().handle_exit(number, frame)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            on_ready(url)
            if browser:
                threading.Thread(target=_open, args=(url,), daemon=True).start()

        async def shutdown(self, sockets: Any = None) -> None:
            studio.leave()  # or it would wait for pages that are open
            await super().shutdown(sockets=sockets)

    config = uvicorn.Config(
        build(studio, keys),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        limit_concurrency=200,
        timeout_graceful_shutdown=5,
    )
    # uvicorn raises the signal that ended it once more; either one is the usual way to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.closing(listener), contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listener])


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: the address is none of this machine's, or the port is taken.
    """
    tries = [port] if port is not None else [*range(PORT, PORT + _TRIES), 0]
    for number in tries:
        try:
            found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"'{host}' is no address to listen on.", "Leave --host out, or give 0.0.0.0."
            ) from error
        try:
            return socket.create_server((host, number), family=found[0], backlog=128)
        except OSError as error:
            if number == tries[-1]:
                raise UsageError(
                    f"Port {number} of '{host}' cannot be used: {error.strerror or error}.",
                    "Choose another with --port, or leave it out.",
                ) from error
    raise AssertionError("the last try either listens or is an error")


def _reached(host: str) -> str:
    """Return the address by which other devices reach this one, if it listens on all."""
    if host in ("0.0.0.0", "::"):
        family, far = (
            (socket.AF_INET, "192.0.2.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1")
        )
        # Nothing is sent: it is asked from which address something would be.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((far, 9))
            host = str(asked.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def _open(url: str) -> None:
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url)
