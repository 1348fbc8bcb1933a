"""Write files so that one that exists is whole, and find names for them.

Imports only the standard library, so that checks before the work cost nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dreamer.errors import InputError, OutputError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

NAME_BYTES = 255
"""The longest file name, in bytes, that the common file systems take."""

_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")
_NOT_SHOWN = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, line and paragraph breaks

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REASONS = {
    errno.EACCES: ("permission was denied", "Choose a folder that you may write to."),
    errno.EPERM: ("permission was denied", "Choose a folder that you may write to."),
    errno.EROFS: ("its file system is read-only", "Choose a folder that can be written to."),
    errno.ENAMETOOLONG: ("its name is too long", "Choose a shorter name."),
    errno.ENOTDIR: ("a folder in its path is a file", "Choose another folder."),
    errno.EISDIR: ("it is a folder", "Name a file, not a folder."),
    errno.ELOOP: ("its links lead in a circle", "Choose another name."),
}
# Some network and FUSE folders cannot flush a single file. The result is then as safe as any
# other file there, so this is no reason to lose it.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def shown(path: str | os.PathLike[str]) -> str:
    """Return `path` as one printable line, for messages: control characters are escaped."""
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _NOT_SHOWN else character
        for character in os.fspath(path)
    )


def text(name: str) -> str:
    """Return a file's name as text that can be written down, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"'{shown(path)}' cannot be read: {error.strerror or error}.",
            "Check the path, and that you may read it.",
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under `path` only once it is whole.

    The bytes go to a hidden file in the same folder (its path is the `name` of what is yielded),
    which is flushed to the disk and moved into place when the block ends. If the block raises
    anything, Ctrl-C included, the hidden file is removed and `path` is left as it was. A missing
    folder is made. A link is followed; a file that is replaced keeps its permissions. An OSError
    that leaves the block counts as a failure to write.

    Args:
        path: the file to write.
        overwrite: whether a file of that name is replaced. If not, the file is claimed in one
            step, so that one that appeared in the meantime is never lost.

    Raises:
        OutputError: the file cannot be written, or is there and `overwrite` is False.
    """
    with writing(path):
        target = os.path.realpath(path)
        if overwrite:
            _refuse_special(target, path)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        except FileExistsError as error:  # of the folder, which is a file
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        with temporary(target) as stream:
            yield stream
            stream.flush()
            _sync(stream)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.chmod(stream.name, stat.S_IMODE(os.stat(target).st_mode))
            with _held(stream):
                # Windows moves no open file; elsewhere what is left to write shows itself here.
                stream.close()
                _place(stream.name, target, overwrite)


def check(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a path that could not be written, before any work is done for it.

    Nothing is made: a missing folder is judged by the folder it would be made in. A folder that
    exists is proven by making, and removing, an empty file, since permission bits alone do not
    tell the truth about read-only disks, quotas and superusers.

    Raises:
        OutputError: naming `path` and what is wrong with it.
    """
    with writing(path):
        target = os.path.realpath(path)
        if _refuse_special(target, path) and not overwrite:
            raise FileExistsError
        folder = os.path.dirname(target)
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        with temporary(os.path.join(folder, "probe")):
            pass


def remove_unfinished(folder: str | os.PathLike[str]) -> int:
    """Remove the hidden files and folders that killed programs left; returns how many.

    What another program is writing just now is locked and stays; where nothing can be locked,
    nothing is removed.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _UNFINISHED.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):
                is_folder = entry.is_dir(follow_symlinks=False)
                descriptor = os.open(entry.path, os.O_RDONLY if is_folder else os.O_RDWR)
                try:
                    if lock(descriptor, wait=False, otherwise=False):
                        (shutil.rmtree if is_folder else os.unlink)(entry.path)
                        removed += 1
                finally:
                    os.close(descriptor)
    return removed


@contextlib.contextmanager
def temporary_folder(target: str) -> Iterator[str]:
    """Make a hidden folder beside `target`; what is left of it at the end is removed.

    It is locked meanwhile, so that `remove_unfinished` can tell it from one left behind.
    """
    folder = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.part")
    descriptor = -1
    try:
        while descriptor < 0:
            os.mkdir(folder)
            if fcntl is None:  # no folder can be opened here
                break
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(folder, os.O_RDONLY)
                lock(descriptor)
                if not os.path.exists(folder):  # taken for a left one before it was locked
                    os.close(descriptor)
                    descriptor = -1
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def lock(descriptor: int, *, wait: bool = True, otherwise: bool = True) -> bool:
    """Lock an open file until it is closed, by whatever ends the program; returns whether it is.

    Args:
        descriptor: of the file.
        wait: whether to wait for others to give it up.
        otherwise: what to return where files cannot be locked, as on some network folders.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (*_CANNOT_SYNC, errno.ENOLCK):
            raise
        return otherwise
    return True


def no_room(error: BaseException) -> bool:
    """Whether an error comes of a disk that is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _NO_ROOM


def folds_case(folder: str | os.PathLike[str]) -> bool:
    """Whether the file system of `folder`, or of where it will be made, takes "a" and "A" for one.

    Raises:
        OutputError: nothing can be written there.
    """
    with writing(folder):
        place = os.path.realpath(folder)
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        with temporary(os.path.join(place, "probe")) as stream:
            there, name = os.path.split(os.fspath(stream.name))
            return os.path.exists(os.path.join(there, name.upper()))


def free_name(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or the first of `name-2`, `name-3`, ... of which no file exists."""
    wanted = free = Path(path)
    count = 1
    while os.path.lexists(free):
        count += 1
        free = wanted.with_name(fitting_name(wanted.stem, f"-{count}{wanted.suffix}"))
    return free


def fitting_name(stem: str, ending: str) -> str:
    """Return `stem + ending`, the stem cut at a character so that it is a legal length.

    A photo may have a name of 255 bytes already; `-eyes.png` after it would be refused. Where that
    is not enough, what is before the ending's own suffix is cut as well.
    """
    before, dot, suffix = ending.rpartition(".")
    while len(os.fsencode(f"{stem}{before}{dot}{suffix}")) > NAME_BYTES and (stem or before):
        stem, before = (stem[:-1], before) if stem else (stem, before[:-1])
    return f"{stem}{before}{dot}{suffix}"


@contextlib.contextmanager
def temporary(target: str) -> Iterator[BinaryIO]:
    """Open a new hidden file beside `target`; whatever is left of it at the end is removed."""
    # Not named after the target: a name of 255 bytes has no room for an addition. Not from
    # `tempfile`: its files are private to the user, and these become results.
    temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.part")
    try:
        # The opener sits inside the block, so that no interrupt falls between file and removal.
        stream = open(  # noqa: SIM115 - closed below, where a failure to close is handled
            temporary, "w+b", opener=lambda name, _: _claim(name)
        )
        try:
            yield stream
        finally:
            # Closing writes what is still buffered, which may fail as the write before it did.
            with contextlib.suppress(OSError):
                stream.close()
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(temporary)


def _claim(name: str) -> int:
    """Make a file, locked, so that `remove_unfinished` can tell it from one left behind."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        descriptor = os.open(name, flags, 0o666)
        lock(descriptor)
        if fcntl is None or os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # it was taken for a left one before it was locked


@contextlib.contextmanager
def _held(stream: BinaryIO) -> Iterator[None]:
    """Keep a file's lock, though it is closed: until it has its name it looks like a left one."""
    if fcntl is None:
        yield
        return
    descriptor = os.dup(stream.fileno())
    try:
        yield
    finally:
        os.close(descriptor)


def _place(temporary: str, target: str, overwrite: bool) -> None:
    """Move the finished file to its name."""
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, this fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # no hard links here, as on FAT and some network folders
        if os.path.lexists(target):
            raise FileExistsError from None
        os.rename(temporary, target)


def _sync(stream: BinaryIO) -> None:
    """Have the bytes on the disk before the name points at them: no power cut parts the two."""
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _refuse_special(target: str, path: str | os.PathLike[str]) -> bool:
    """Return whether `target` exists; raise if it does and is not an ordinary file."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"'{shown(path)}' is a device, a pipe or a broken link, not a file to write to.",
            "Choose another name.",
        )
    return True


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says about writing `path` into an OutputError that names it."""
    if "\0" in os.fspath(path):  # the one character that Python refuses with a ValueError
        raise OutputError(f"'{shown(path)}' is no file name.", "Choose another name.")
    try:
        yield
    except FileExistsError as error:
        raise OutputError(
            f"'{shown(path)}' exists already.",
            "Choose another name, or allow it to be replaced with --overwrite.",
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputError(
                f"There is no room left to write '{shown(path)}'.",
                "Free some space, or write to another disk.",
            ) from error
        otherwise = (error.strerror or str(error), "Choose another place for it.")
        said, advice = _REASONS.get(error.errno or 0, otherwise)
        raise OutputError(f"'{shown(path)}' cannot be written: {said}.", advice) from error
