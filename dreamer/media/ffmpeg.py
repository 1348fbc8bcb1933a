"""Run the ffmpeg that comes with imageio-ffmpeg: fed and read through pipes, never left behind.

Imports only the standard library until ffmpeg is looked for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import IO

from dreamer.errors import UsageError
from dreamer.media import files

_KEPT = 8_000  # bytes of what ffmpeg last said
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large")
_FILE_TOO_LARGE = 25  # SIGXFSZ: a limit on the size of files, which ends a program where it is set
_PREFIX = re.compile(r"^(\[[^\]]* @ [^\]]*\] )+")
_ADVICE = "Run `pip install --force-reinstall imageio-ffmpeg`, or point IMAGEIO_FFMPEG_EXE to one."


class Failed(Exception):  # noqa: N818 - told to the user as an error about a file
    """ffmpeg ended badly.

    Attributes:
        reason: in its own words, on one line.
        no_room: whether the disk was full.
    """

    def __init__(self, complaint: str, code: int) -> None:
        lines = [_PREFIX.sub("", line).strip() for line in complaint.splitlines()]
        # The first line names the cause; those after it say what could not go on without it.
        self.reason = next((files.shown(line) for line in lines if line), _ended(code))
        self.no_room = code == -_FILE_TOO_LARGE or any(said in complaint for said in _NO_ROOM)
        super().__init__(self.reason)


class Process:
    """A running ffmpeg."""

    def __init__(self, arguments: Sequence[str], *, feed: bool, read: bool) -> None:
        self._popen = _start(arguments, feed=feed, read=read)
        self._tail = b""
        # It would stop for ever once the pipe is full of complaints that nobody reads.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the program."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes]:
        """What it writes, if it was started with `read`; not buffered."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def complaint(self) -> str:
        """The last of what it said is wrong."""
        return self._tail.decode("utf-8", "replace")

    def feed(self, data: bytes | memoryview) -> None:
        """Hand over `data`, waiting until it is taken.

        Raises:
            Failed: it has ended.
        """
        assert self._popen.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._popen.stdin.write(view) :]
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EINVAL):  # EINVAL: a broken pipe of Windows
                raise
            self.finish()
            raise Failed(self.complaint, 0) from error

    def starve(self) -> None:
        """Tell it that nothing more will come."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def finish(self) -> None:
        """Tell it that nothing more will come, and wait for its end.

        Raises:
            Failed: it ended badly.
        """
        self.starve()
        code = self._popen.wait()
        self._listener.join()
        if code:
            raise Failed(self.complaint, code)

    def end(self) -> None:
        """Kill it if it still runs, and close everything."""
        self._popen.kill()  # does nothing once it has ended and was waited for
        self._popen.wait()
        self._listener.join()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._popen.stderr is not None
        while chunk := self._popen.stderr.read(4096):
            self._tail = (self._tail + chunk)[-_KEPT:]


@contextlib.contextmanager
def running(
    arguments: Sequence[str], *, feed: bool = False, read: bool = False
) -> Iterator[Process]:
    """Run ffmpeg until the block ends, which has to call `finish` to let it end by itself.

    Ctrl-C in the terminal does not reach it: what is to happen then is for this program to say.

    Args:
        arguments: after those that every run has. Files as `address` spells them.
        feed: whether it reads what `Process.feed` gives it ("pipe:0").
        read: whether `Process.stdout` is read ("pipe:1"). It waits whenever nobody reads.

    Raises:
        UsageError: there is no ffmpeg.
    """
    process = Process(arguments, feed=feed, read=read)
    try:
        yield process
    finally:
        process.end()


def described(path: str | os.PathLike[str], *options: str) -> str:
    """Return what ffmpeg says of a file's streams, in lines; nothing of use if it is no film.

    Raises:
        UsageError: there is no ffmpeg.
    """
    with _started():
        done = subprocess.run(
            [program(), "-hide_banner", "-nostdin", *options, "-i", address(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
        )
    return done.stderr.decode("utf-8", "replace")


@cache
def encoders() -> frozenset[str]:
    """Return the names of the encoders that this ffmpeg has.

    Raises:
        UsageError: there is no ffmpeg.
    """
    with _started():
        listing = subprocess.run(
            [program(), "-hide_banner", "-nostdin", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
        ).stdout.decode("utf-8", "replace")
    return frozenset(re.findall(r"^ [VAS]\S{5} (\S+)", listing, re.MULTILINE))


def address(path: str | os.PathLike[str]) -> str:
    """Spell a file's name so that ffmpeg takes it for nothing else, such as an option or a URL."""
    return f"file:{os.fspath(path)}"


def program() -> str:
    """Return the path of ffmpeg.

    Raises:
        UsageError: there is none.
    """
    import imageio_ffmpeg  # 0.1 s, which what makes no film should not wait for

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UsageError("There is no ffmpeg to make or read films with.", _ADVICE) from error


def _start(arguments: Sequence[str], *, feed: bool, read: bool) -> subprocess.Popen[bytes]:
    command = [program(), "-hide_banner", "-nostdin", "-nostats", "-v", "error", *arguments]
    with _started():
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE if read else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "SVT_LOG": "1", "AV_LOG_FORCE_NOCOLOR": "1"},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )


@contextlib.contextmanager
def _started() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"'{files.shown(program())}' cannot be run: {error.strerror}.", _ADVICE
        ) from error


def _ended(code: int) -> str:
    return f"ffmpeg was ended by signal {-code}" if code < 0 else f"ffmpeg ended with code {code}"
