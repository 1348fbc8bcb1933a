"""What was asked for, in line: one job at a time, computed by one thread.

A job belongs to one person, whatever becomes of the tab that asked for it, until that person drops
it or many others are over. The page is told of it at most a few times a second.
"""

from __future__ import annotations

import io
import itertools
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dreamer.errors import DreamerError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Status = Literal["waiting", "running", "stopping", "done", "stopped", "failed"]
Kind = Literal["strip", "suggest", "dream", "preview", "film", "batch", "units", "unit"]
Run = Callable[["Handle"], None]
Changed = Callable[[str, str, Mapping[str, Any]], None]
"""Told a person's key, the name of an event, and what it says."""

MOST_WAITING = 8
"""Jobs of one person that wait or run."""
MOST_WAITING_OF_ALL = 64
MOST_ENDED = 24
"""Jobs of one person that are over and not dropped: older ones go."""
LIVE = 1024
"""The longer side of a picture that is shown as it grows, px."""

# Seconds between two messages about a job, and the share of its time that live pictures may take.
_PAUSE, _SHOWING = 0.125, 0.15
_ENDED: tuple[Status, ...] = ("done", "stopped", "failed")
_GO_ON: tuple[Kind, ...] = ("film", "batch")
_ACTIVE: tuple[Status, ...] = ("running", "stopping")

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One thing that was asked for.

    Attributes:
        id: names it on the wire.
        person: whose it is, by key.
        kind: what it is.
        title: what the queue calls it.
        run: does it; ends when its handle says so.
        asked: the body that it was asked with.
        gives_way: whether others go before it, even once it runs.
        status: how far it is.
        share: of it that is done, 0..1.
        doing: what it does just now, in words.
        frame: the picture as it grows, a JPEG, and how many there were.
        result: what there is so far, by kind.
        made: the ids of what came of it.
        error: why it failed: message and advice.
        notes: what the user should know.
    """

    id: str
    person: str
    kind: Kind
    title: str
    run: Run
    asked: Mapping[str, Any]
    gives_way: bool = False
    status: Status = "waiting"
    share: float = 0.0
    doing: str = ""
    frame: tuple[int, bytes] = (0, b"")
    result: dict[str, Any] | None = None
    pictures: dict[str, bytes] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    error: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    began: float = 0.0
    took: float = 0.0
    told: float = 0.0
    late: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self.status in _ENDED


class Handle:
    """What a running job sees of the queue.

    Args:
        queue: that it is in.
        job: it.
    """

    def __init__(self, queue: Queue, job: Job) -> None:
        self._queue = queue
        self.job = job
        self._next_frame = 0.0

    def stop(self) -> bool:
        """Whether it is to end with what there is."""
        return self.job.status == "stopping" or self._queue.closing

    def tell(self, share: float, doing: str = "") -> None:
        """Say how far it is, 0..1, and what it does just now."""
        self.job.share, self.job.doing = min(1.0, max(0.0, share)), doing
        self._queue.told(self.job)

    def note(self, *notes: str) -> None:
        """Add what the user should know, each once."""
        self.job.notes += [note for note in notes if note not in self.job.notes]

    def show(self, picture: Callable[[], Tensor], *, now: bool = False) -> None:
        """Show the picture as it grows, as often as that takes no more than its share of the time.

        Args:
            picture: renders it, `(1, 3, H, W)` in 0..1; called only if it is shown.
            now: show it whatever it takes.
        """
        began = time.perf_counter()
        if began < self._next_frame and not now:
            return
        self.frame(jpeg(picture()[0], LIVE))
        took = time.perf_counter() - began
        self._next_frame = time.perf_counter() + took * (1 / _SHOWING - 1)

    def frame(self, data: bytes) -> None:
        """Show a picture, a JPEG."""
        self.job.frame = (self.job.frame[0] + 1, data)
        self._queue.told(self.job)

    def picture(self, name: str, data: bytes) -> str:
        """Keep a small picture, a JPEG, with the job; returns its URL."""
        number = len(self.job.pictures)
        self.job.pictures[str(number)] = data
        return f"/api/jobs/{self.job.id}/pictures/{number}"

    def result(self, result: dict[str, Any]) -> None:
        """Say what there is so far."""
        self.job.result = result
        self._queue.told(self.job)

    def hurried(self) -> bool:
        """Whether jobs wait that go before this one."""
        return self.job.gives_way and self._queue.hurried()

    def give_way(self) -> None:
        """Let those jobs go first: called between two steps, from the thread that runs jobs."""
        if self.hurried():
            self.tell(self.job.share, "lets others go first")
            self._queue.let_pass()


class Queue:
    """The jobs of all persons, and the thread that does them.

    Args:
        changed: told of every change, from any thread.
    """

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._jobs: dict[str, Job] = {}
        # A page that is still open knows those of the studio before.
        self._own = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._news = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._last = ""  # whose job was done last, or is
        self.closing = False

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    def close(self, patience: float = 20.0) -> list[Job]:
        """End what runs with what there is of it, and wait for that, at most so many seconds.

        Returns:
            The jobs that are left: those that waited, and what can go on where it was.
        """
        with self._news:
            left = [
                job
                for job in self._jobs.values()
                if (job.status == "waiting" and not job.gives_way)
                or (job.status == "running" and job.kind in _GO_ON)
            ]
            self.closing = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(patience)
        return [job for job in left if job.status != "done"]

    def add_left(self, person: str, kind: Kind, title: str, asked: Mapping[str, Any]) -> Job:
        """Add a job that an earlier studio left: it is over, and can be asked for again."""

        def nothing(_: Handle) -> None:
            return

        with self._news:
            job = Job(self._name(), person, kind, title, nothing, asked)
            job.status = "stopped"
            job.notes.append("the studio was closed before it was done")
            self._jobs[job.id] = job
        return job

    def add(
        self,
        person: str,
        kind: Kind,
        title: str,
        run: Run,
        asked: Mapping[str, Any],
        *,
        gives_way: bool = False,
    ) -> Job:
        """Put a job in line.

        Raises:
            UsageError: there are too many already.
        """
        with self._news:
            waiting = [job for job in self._jobs.values() if not job.ended]
            mine = sum(job.person == person for job in waiting)
            if mine >= MOST_WAITING or len(waiting) >= MOST_WAITING_OF_ALL:
                raise UsageError(
                    f"There are {mine if mine >= MOST_WAITING else len(waiting)} jobs in line "
                    "already.",
                    "Wait for one of them, or stop one.",
                )
            job = Job(self._name(), person, kind, title, run, asked, gives_way)
            self._jobs[job.id] = job
            over = [each for each in self.of(person) if each.ended]
            for old in over[: max(0, len(over) - MOST_ENDED)]:
                self._remove(old)
            self._tell_line(job)
            self._news.notify_all()
        return job

    def find(self, person: str, name: str) -> Job | None:
        """Return a person's job by its id; None if that person has none of it."""
        job = self._jobs.get(name)
        return job if job is not None and job.person == person else None

    def of(self, person: str) -> list[Job]:
        """Return a person's jobs, oldest first."""
        with self._news:
            return [job for job in self._jobs.values() if job.person == person]

    def stop(self, job: Job) -> None:
        """End a job with what there is of it; one that waits just leaves the line."""
        with self._news:
            if job.status == "waiting":
                job.status = "stopped"
            elif job.status == "running":
                job.status = "stopping"
            self._tell_line(job)

    def drop(self, job: Job) -> None:
        """Take a job that is over off the list.

        Raises:
            UsageError: it is not over.
        """
        with self._news:
            if not job.ended:
                raise UsageError(f"'{job.title}' is not over.", "Stop it first.")
            self._remove(job)

    def told(self, job: Job) -> None:
        """Pass on what a running job says; a little later if the last time was just now.

        What has more to say is passed on less often.
        """
        lines = sum(len(each) for each in (job.result or {}).values() if isinstance(each, list))
        with self._news:
            left = job.told + _PAUSE * (1 + lines / 100) - time.monotonic()
            if left > 0:
                if not job.late:  # what it says last before a pause is not lost
                    job.late = True
                    timer = threading.Timer(left, self._tell_late, (job,))
                    timer.daemon = True
                    timer.start()
                return
            job.told = time.monotonic()
            self._changed(job.person, "job", self.shown(job))  # in the order in which it happens

    def _tell_late(self, job: Job) -> None:
        with self._news:
            job.late = False
            if not job.ended:
                self.told(job)

    def shown(self, job: Job) -> dict[str, Any]:
        """Return what the page gets of a job."""
        number, data = job.frame
        running = job.status in _ACTIVE
        return {
            "id": job.id,
            "kind": job.kind,
            "title": job.title,
            "status": job.status,
            "ahead": self._ahead(job),
            "share": 1.0 if job.status == "done" else round(job.share, 4),
            "doing": job.doing,
            "frame": f"/api/jobs/{job.id}/frame?n={number}" if data else None,
            "made": [*job.made],
            "result": job.result,
            "error": None
            if job.error is None
            else {"message": job.error[0], "advice": job.error[1]},
            "notes": [*job.notes],
            "asked": job.asked,
            "seconds": round(time.monotonic() - job.began if running else job.took, 2),
        }

    def hurried(self) -> bool:
        """Whether a job waits that does not give way."""
        with self._news:
            return not self.closing and self._first(hurried=True) is not None

    def let_pass(self) -> None:
        """Do the jobs that wait and do not give way themselves; for a job that does."""
        while not self.closing:
            with self._news:
                job = self._first(hurried=True)
            if job is None:
                return
            self._do(job)

    def _name(self) -> str:
        return f"j{self._own}-{next(self._numbers)}"

    def _work(self) -> None:
        while True:
            with self._news:
                while not self.closing and self._first() is None:
                    self._news.wait()
                job = self._first()
            if self.closing or job is None:
                return
            self._do(job)

    def _first(self, *, hurried: bool = False) -> Job | None:
        """Return the job that is next: those that give way come last."""
        line = self._line()
        return next((job for job in line if not (hurried and job.gives_way)), None)

    def _line(self) -> list[Job]:
        """Return what waits: of each person one after the other, so that many wait for nobody."""
        turns = Counter([self._last])
        line: list[tuple[bool, int, Job]] = []
        for job in self._jobs.values():
            if job.status == "waiting":
                line.append((job.gives_way, turns[job.person], job))
                turns[job.person] += not job.gives_way
        return [job for *_, job in sorted(line, key=lambda each: each[:2])]

    def _ahead(self, job: Job) -> int:
        """Return how many jobs are done before a waiting one."""
        if job.status != "waiting":
            return 0
        with self._news:
            running = sum(
                each.status in _ACTIVE and (job.gives_way or not each.gives_way)
                for each in self._jobs.values()
            )
            line = self._line()
        return running + (line.index(job) if job in line else 0)

    def _tell_line(self, job: Job) -> None:
        """Tell of a job, and of all that wait, whose places have changed."""
        with self._news:
            waiting = [each for each in self._line() if each is not job]
            for each in (job, *waiting):
                self._changed(each.person, "job", self.shown(each))

    def _remove(self, job: Job) -> None:
        with self._news:
            del self._jobs[job.id]
            self._changed(job.person, "gone", {"job": job.id})

    def _do(self, job: Job) -> None:
        with self._news:
            if job.status != "waiting":
                return
            job.status, job.began = "running", time.monotonic()
            if not job.gives_way:
                self._last = job.person
            self._tell_line(job)
        handle = Handle(self, job)
        try:
            job.run(handle)
        except DreamerError as error:
            job.error = (error.message, error.advice)
        except Exception:  # a bug: this person is told, and the others' jobs go on
            _log.exception("A job of the studio failed.")
            job.error = (
                "Something went wrong inside the studio.",
                "Please report it with what the terminal says.",
            )
        with self._news:
            job.took = time.monotonic() - job.began
            stopped = self.closing or handle.stop()
            job.status = "failed" if job.error else "stopped" if stopped else "done"
            job.doing = ""
            self._tell_line(job)


def jpeg(pixels: Tensor, longest: int, quality: int = 85) -> bytes:
    """Return a picture `(3, H, W)` in 0..1 as a JPEG, no longer than `longest` px on a side."""
    from dreamer.core.resampling import resample
    from dreamer.media import images, reading

    height, width = pixels.shape[1:]
    if max(width, height) > longest:
        wide, high = reading.fitted(width, height, longest)
        pixels = resample(pixels[None], (high, wide))[0].clamp(0, 1)
    stream = io.BytesIO()
    images.to_image(pixels.detach().cpu()).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
