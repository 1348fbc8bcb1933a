"""What travels between the driver of a batch and those who make its pictures.

They are processes on this machine (`pool`) or a cluster (`cluster`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from dreamer.recipe import Recipe, Start
from dreamer.render.look import Look


@dataclass(frozen=True)
class Task:
    """One picture to make, as it travels to a worker.

    Attributes:
        number: tells it from the others.
        look: how to dream; placed, without a loaded network.
        start: a photo, or what is made without one.
        path: the photo's.
        long_edge: the longer side of the result, px; None for the photo's own.
        suffix: of the format to encode it in.
        metadata: whether it carries its recipe.
        data: the photo's bytes, if the worker cannot read its path.
    """

    number: int
    look: Look
    start: Start
    path: str
    long_edge: int | None
    suffix: str
    metadata: bool
    data: bytes | None = None


@dataclass(frozen=True)
class Made:
    """A picture that was made.

    Attributes:
        number: the task's.
        recipe: makes it again.
        data: the file's bytes.
        photo_size: the photo's own width and height, px.
        thumbnail, before, after: small JPEGs of the result, the photo and the result; the last
            is empty if a browser can show the result itself.
        seconds: of gradient ascent.
        notes: what the user should know.
    """

    number: int
    recipe: Recipe
    data: bytes
    photo_size: tuple[int, int]
    thumbnail: bytes
    before: bytes
    after: bytes
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """Why a picture could not be made: the code, message and advice of a `DreamerError`."""

    number: int
    code: int
    message: str
    advice: str


@dataclass(frozen=True)
class Progress:
    """How far a task is: a share from 0 to 1."""

    number: int
    share: float


@dataclass(frozen=True)
class Lost:
    """A task whose worker died, or lost its device: it may run again."""

    number: int
    reason: str


@dataclass(frozen=True)
class Dropped:
    """A task that was not begun, since the runner was told to `halt`."""

    number: int


@dataclass(frozen=True)
class Broken:
    """A worker whose device does not work: all that it holds is to be made elsewhere.

    It is for the runner only.
    """

    reason: str


Event: TypeAlias = Made | Failed | Lost | Dropped | Progress


class Runner(Protocol):
    """Something that tasks are handed to.

    Attributes:
        problems: what the user should know of it, such as a device that it does without.
    """

    problems: list[str]

    def ready(self, left: int, memory: float) -> bool:
        """Whether it takes another task now; with nothing at hand it always does.

        Args:
            left: how many are left to hand over.
            memory: what the next one needs, bytes; infinite if nothing may run beside it.
        """

    def submit(self, task: Task, memory: float) -> None:
        """Hand over a task."""

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened; wait for something to happen, but no longer than `seconds`."""

    def halt(self) -> None:
        """Begin nothing that was handed over and has not begun; may be called again and again."""

    def close(self) -> None:
        """End, and drop the tasks that are not done."""
