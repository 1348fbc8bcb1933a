"""How every command speaks: results on stdout, messages on stderr, one handler for errors."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import typer
from typer.main import get_command

from dreamer.errors import DreamerError, Interrupted, OutputError, UsageError, unknown

if TYPE_CHECKING:
    from typer import Typer

Made = TypeVar("Made")

ENVELOPE = 1
# Typer brings click along, as a package or inside itself, and exports some of its exceptions: the
# base of them all is found through one of those.
ParsingError: type[Exception] = typer.BadParameter.__mro__[2]
# What writing to a stream may fail with: a full disk, a closed descriptor, a broken terminal.
_STREAM_ERRORS = (errno.ENOSPC, errno.EBADF, errno.EIO)
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
        """Print a message for the user on stderr; if nobody can read it any more, go on."""
        if not self.quiet:
            self._tell(text)

    def detail(self, text: str) -> None:
        """Print what only -v shows."""
        if self.verbose:
            self._tell(text)

    def warn(self, text: str) -> None:
        """Print what is said on stderr even when quiet."""
        self._tell(text)

    def _tell(self, text: str) -> None:
        try:
            typer.echo(text, err=True)
        except OSError:  # its pipe or terminal is closed, or its disk is full
            self.quiet, self.verbose = True, False
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def finish(self, result: Mapping[str, Any], text: str, *, status: str = "success") -> None:
        """Print a result: the envelope, or its text.

        Raises:
            OutputError: standard output cannot be written.
        """
        if self.as_json:
            envelope = {"schema": ENVELOPE, "command": self.command, "status": status}
            text = json.dumps(envelope | {"result": result, "error": None})
        if text:
            try:
                typer.echo(text)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise _unwritable(error) from error

    def fail(self, error: DreamerError) -> None:
        """Print an error: the envelope, or two lines on stderr."""
        said = {"code": error.exit_code, "message": error.message, "advice": error.advice}
        envelope = {"schema": ENVELOPE, "command": self.command, "status": "error"}
        with contextlib.suppress(OSError):  # a full or closed stream is no reason to say no more
            if self.as_json:
                typer.echo(json.dumps(envelope | {"result": None, "error": said}))
        with contextlib.suppress(OSError):
            typer.echo(f"Error: {error.message}\n{error.advice}", err=True)


console = Console()


def run_guarded(app: Typer, arguments: Sequence[str] | None) -> int:
    """Run the app; every way it can end becomes an exit code and, at worst, two lines."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Errors of parsing come before a command can say how it speaks.
    words = _command(app, given) if "--json" in given else []
    console.setup(" ".join(words) or "dreamer", as_json="--json" in given, verbose="-v" in given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files that are no text
    try:
        _check_folder()
        code = app(args=given, prog_name="dreamer", standalone_mode=False)
    except DreamerError as error:
        return _failed(error)
    except ParsingError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            shown = str(getattr(error, "message", ""))
            if shown:  # otherwise it has been printed, in boxes
                typer.echo(shown)
            return UsageError.exit_code
        return _failed(_usage(error, app, given))
    except (KeyboardInterrupt, typer.Abort):
        return _failed(Interrupted("Interrupted.", "Nothing was written."))
    except BrokenPipeError:
        _silence_stdout()
        return OutputError.exit_code  # who reads the output has gone, and knows it
    except OSError as error:
        if error.filename is None and error.errno in _STREAM_ERRORS:
            return _failed(_unwritable(error))
        return _failed(_bug(error))
    except Exception as error:  # the last resort: a bug still ends in two lines
        if _came_of_interrupt(error):
            return _failed(Interrupted("Interrupted.", "Nothing was written."))
        return _failed(_bug(error))
    return code if isinstance(code, int) else 0


def _check_folder() -> None:
    """Refuse to start in a folder that is gone: no path, not even of libraries, works there."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            "The folder that you are in does not exist any more.",
            "Change to another one, then run the command again.",
        ) from error


def _failed(error: DreamerError) -> int:
    if console.verbose and error.__traceback__ is not None:
        traceback.print_exception(error)
    console.fail(error)
    return error.exit_code


def _came_of_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: it may hit a library that is being imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _bug(error: Exception) -> DreamerError:
    said = " ".join(str(error).split())[:300]
    bug = DreamerError(f"A bug: {type(error).__name__}: {said}", BUG_ADVICE)
    return bug.with_traceback(error.__traceback__)


def _unwritable(error: OSError) -> OutputError:
    """Return the error for a standard output that cannot be written, and write no more to it."""
    _silence_stdout()
    return OutputError(
        f"Standard output cannot be written: {error.strerror}.",
        "Send it to another place, or write to a file with -o.",
    )


def _silence_stdout() -> None:
    """Drop what is still to be written, so that Python does not try again when it shuts down."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _command(app: Typer, given: Sequence[str]) -> list[str]:
    """Return the words of `given` that name the command."""
    place: Any = get_command(app)
    words = []
    for word in given:
        find = getattr(place, "get_command", None)  # of a group of commands
        place = None if find is None else find(None, word)
        if place is None:
            break
        words.append(word)
    return words


def _usage(error: Any, app: Typer, given: Sequence[str]) -> DreamerError:
    context = getattr(error, "ctx", None)
    path = " ".join(["dreamer", *_command(app, given)])
    option = getattr(error, "option_name", None)
    if option is not None and type(error).__name__ == "NoSuchOption":
        names = [name for p in context.command.params for name in p.opts] if context else []
        return unknown("option", option, names, f"`{path} --help` lists them")
    message, offer, near = " ".join(error.format_message().split()).partition(" Did you mean")
    wrong = re.match(r"Invalid value for '([^']*)': Input should ([^,]*)", message)
    if wrong:
        shown = _given_value(wrong[1].split(" / "), given)
        message = f"{shown} is not valid for {wrong[1]}. It should {wrong[2]}"
    advice = f"`{path} --help` shows how it is used."
    return UsageError(f"{message.rstrip('.')}.", f"{offer.strip()}{near} {advice}".strip())


def _given_value(options: Sequence[str], given: Sequence[str]) -> str:
    """Return what was given for an option, as it was written."""
    for index, word in enumerate(given):
        name, found, value = word.partition("=")
        if name in options:
            return f"'{value if found else ' '.join(given[index + 1 : index + 2])}'"
    return "That"


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
    except OSError as error:
        if error.filename is None and error.errno in _STREAM_ERRORS:
            raise _unwritable(error) from error
        raise
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


class StopOnInterrupt:
    """Turn the first Ctrl-C, SIGTERM or hang-up into a request; the second one interrupts.

    Args:
        said: what the first one is answered with.
    """

    def __init__(self, said: str = "Stopping after this step; once more to stop at once.") -> None:
        self.said = said
        self.asked = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self.asked

    def __enter__(self) -> StopOnInterrupt:
        with contextlib.suppress(ValueError):  # not the main thread
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no hang-up
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        console.say(f"\n{self.said}")


def in_stages(run: Callable[..., Made]) -> Made:
    """Do work that writes nothing until it is done, with a bar a stage.

    Args:
        run: takes `on_progress`, told of the stage and of the share of it that is done, and `stop`.
    """
    from tqdm import tqdm

    hidden = console.quiet or console.as_json or not sys.stderr.isatty()
    with (
        StopOnInterrupt("Stopping after this step; nothing is written.") as stop,
        tqdm(
            total=1.0,
            disable=hidden,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}",
        ) as bar,
    ):

        def on_progress(stage: str, share: float) -> None:
            bar.set_description_str(stage, False)
            bar.update(share - bar.n)

        return run(on_progress=on_progress, stop=stop)
