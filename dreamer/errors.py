"""What can go wrong, and what to do about it.

Every error a user can cause or meet is a `DreamerError`: it owns the exit code of the command
line, names the file or value at fault in its message, and says in `advice` what to do next.
Nothing else in the package prints errors or picks exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DreamerError(Exception):
    """An error with an exit code and a piece of advice.

    Args:
        message: one line that names the file or value at fault.
        advice: one line that says what to do next.
    """

    exit_code = 70

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        """Say both, for tracebacks of the Python interface."""
        return f"{self.message} {self.advice}"


class UsageError(DreamerError):
    """A flag, a name, a preset or a value that is not valid (exit code 2)."""

    exit_code = 2


class NetworkError(DreamerError):
    """A network or its weights: not fetched, not whole, not of this architecture (3)."""

    exit_code = 3


class InputError(DreamerError):
    """A photo or other input that cannot be read or used (4)."""

    exit_code = 4


class OutputError(DreamerError):
    """A result that cannot be written, or would replace another one (5)."""

    exit_code = 5


class DeviceError(DreamerError):
    """A device that is not there, or not enough memory on it (6)."""

    exit_code = 6


class Interrupted(DreamerError):  # noqa: N818 - a request of the user's, not a fault
    """The user asked to stop (130)."""

    exit_code = 130


def of_code(code: int, message: str, advice: str) -> DreamerError:
    """Return the error of an exit code, as it comes from another process."""
    kinds = {kind.exit_code: kind for kind in DreamerError.__subclasses__()}
    return kinds.get(code, DreamerError)(message, advice)


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` of `names` that look most like `name`, best first."""
    return difflib.get_close_matches(name.lower(), list(names), n=count, cutoff=0.5)


def unknown(kind: str, name: str, names: Iterable[str], listing: str) -> UsageError:
    """Build the error for a name that does not exist: it offers the nearest valid ones.

    Args:
        kind: what the name should be, such as "preset".
        name: what was asked for.
        names: all valid names.
        listing: how to see them all, such as "`dreamer presets list` shows them all".
    """
    near = nearest(name, names)
    offer = f"Did you mean {', '.join(near)}? " if near else ""
    return UsageError(f"There is no {kind} named '{name}'.", f"{offer}{listing}.")
