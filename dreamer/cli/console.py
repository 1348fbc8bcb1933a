"""How every command speaks: results on stdout, messages on stderr, one handler for errors."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from dreamer.errors import DreamerError, Interrupted, UsageError, unknown

if TYPE_CHECKING:
    from typer import Typer

ENVELOPE = 1
# Typer brings click along, as a package or inside itself, and exports some of its exceptions: the
# base of them all is found through one of those.
ParsingError: type[Exception] = typer.BadParameter.__mro__[2]
BUG_ADVICE = "Please report it with the command and the lines that -v prints."


class Console:
    """What a command was asked to print, and how.

    Attributes:
        command: its name, for the envelope.
        as_json: one JSON envelope on stdout instead of text.
        quiet: only errors on stderr.
        verbose: more on stderr, and tracebacks.
    """

    def __init__(self) -> None:
        self.command = "dreamer"
        self.as_json = False
        self.quiet = False
        self.verbose = False

    def setup(
        self, command: str, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        """Say how the command that runs now speaks."""
        self.command, self.as_json = command, as_json
        self.quiet, self.verbose = quiet, verbose

    def say(self, text: str) -> None:
        """Print a message for the user on stderr."""
        if not self.quiet:
            typer.echo(text, err=True)

    def detail(self, text: str) -> None:
        """Print what only -v shows."""
        if self.verbose:
            typer.echo(text, err=True)

    def finish(self, result: Mapping[str, Any], text: str, *, status: str = "success") -> None:
        """Print a result: the envelope, or its text."""
        if self.as_json:
            envelope = {"schema": ENVELOPE, "command": self.command, "status": status}
            typer.echo(json.dumps(envelope | {"result": result, "error": None}))
        elif text:
            typer.echo(text)

    def fail(self, error: DreamerError) -> None:
        """Print an error: the envelope, or two lines on stderr."""
        if self.as_json:
            said = {"code": error.exit_code, "message": error.message, "advice": error.advice}
            envelope = {"schema": ENVELOPE, "command": self.command, "status": "error"}
            typer.echo(json.dumps(envelope | {"result": None, "error": said}))
        typer.echo(f"Error: {error.message}\n{error.advice}", err=True)


console = Console()


def run_guarded(app: Typer, arguments: Sequence[str] | None) -> int:
    """Run the app; every way it can end becomes an exit code and, at worst, two lines."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Errors of parsing come before a command can say how it speaks.
    console.setup("dreamer", as_json="--json" in given, verbose="-v" in given)
    try:
        code = app(args=given, prog_name="dreamer", standalone_mode=False)
    except DreamerError as error:
        return _failed(error)
    except ParsingError as error:
        return _failed(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        return _failed(Interrupted("Interrupted.", "Nothing was written."))
    except BrokenPipeError:
        # Who reads the output has gone; say nothing more, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:  # the last resort: a bug still ends in two lines
        if console.verbose:
            traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        return _failed(DreamerError(f"A bug: {type(error).__name__}: {said}", BUG_ADVICE))
    return code if isinstance(code, int) else 0


def _failed(error: DreamerError) -> int:
    if console.verbose and error.__traceback__ is not None:
        traceback.print_exception(error)
    console.fail(error)
    return error.exit_code


def _usage(error: Any) -> DreamerError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "dreamer"
    option = getattr(error, "option_name", None)
    if option is not None and type(error).__name__ == "NoSuchOption":
        names = [name for p in context.command.params for name in p.opts] if context else []
        return unknown("option", option, names, f"`{path} --help` lists them")
    message = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(f"{message}.", f"`{path} --help` shows how it is used.")


@contextlib.contextmanager
def guarded_stdout() -> Iterator[BinaryIO]:
    """Yield the real stdout for a picture's bytes; whatever else prints goes to stderr.

    The descriptor itself is moved, so that a C library that prints cannot spoil the picture.
    """
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(real), "wb") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


class StopOnInterrupt:
    """Turn the first Ctrl-C (or SIGTERM) into a polite request; the second one interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self.asked

    def __enter__(self) -> StopOnInterrupt:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        console.say("\nStopping after this step; once more to stop at once.")
