"""Dream what lands in a folder, once nobody is writing to it any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from dreamer.errors import DreamerError, InputError
from dreamer.media.gathering import Found, Gathered
from dreamer.render.batch.journal import Stat
from dreamer.render.batch.plan import file_stat
from dreamer.render.batch.run import Result
from dreamer.render.batch.session import Planned, Session

RETRY_AFTER = (60.0, 300.0, 1800.0)  # seconds until what failed is tried again
POLL = 0.2  # seconds between two looks at whether to stop


class Watch:
    """Looks again and again, and tells what is new and whole.

    Args:
        session: of the folder that is watched.
        every: seconds between two looks.
        settle: seconds that a photo has to stay as it is before it is taken for whole.
        clock: what tells the seconds.
    """

    def __init__(
        self,
        session: Session,
        *,
        every: float = 2.0,
        settle: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.every = every
        self.settle = settle
        self._clock = clock
        self._seen: dict[str, tuple[Stat | None, float]] = {}
        self._taken: dict[str, Stat | None] = {}
        self._failed: dict[str, tuple[float, int]] = {}  # when to try again, how often tried
        self._refused: set[str] = set()

    def look(self) -> Gathered:
        """Return what is new and whole since the last look; nothing if the folder is away."""
        try:
            gathered = self.session.find()
        except InputError:  # there are no pictures yet, or its disk is away
            return Gathered((), (), 0, ())
        now = self._clock()
        whole = []
        for photo in gathered.photos:
            stat = file_stat(photo.path)
            if photo.path not in self._seen or self._seen[photo.path][0] != stat:
                self._seen[photo.path] = stat, now
            since = self._seen[photo.path][1]
            again = now >= self._failed.get(photo.path, (math.inf, 0))[0]
            if (self._taken.get(photo.path, ()) != stat or again) and now - since >= self.settle:
                self._taken[photo.path] = stat
                whole.append(photo)
        self._forget(gathered.photos)
        refused = tuple(each for each in gathered.refused if each.path not in self._refused)
        self._refused = {each.path for each in gathered.refused}
        return replace(gathered, photos=tuple(whole), refused=refused)

    def _forget(self, photos: tuple[Found, ...]) -> None:
        """Drop what is not there any more."""
        there = {photo.path for photo in photos}
        for known in (self._seen, self._taken, self._failed):
            for path in known.keys() - there:
                del known[path]

    def _again(self, found: Gathered, results: list[Result]) -> None:
        """Remember to try again what failed, later and later, since nothing may tell of a cure."""
        failed = {each.input for each in results if each.status == "failed"}
        for photo in found.photos:
            if photo.path not in failed:
                self._failed.pop(photo.path, None)
                continue
            count = self._failed.get(photo.path, (0.0, 0))[1]
            wait = RETRY_AFTER[min(count, len(RETRY_AFTER) - 1)]
            self._failed[photo.path] = self._clock() + wait, count + 1

    def rounds(
        self,
        work: Callable[[Planned], list[Result]],
        on_error: Callable[[DreamerError], None],
        stop: Callable[[], bool],
    ) -> None:
        """Look, and hand over what there is to do, until told to stop.

        Args:
            work: makes what is planned.
            on_error: told what went wrong with a whole round: it is tried again with the next.
            stop: asked now and then.
        """
        while not stop():
            found = self.look()
            if found.photos or found.refused:
                try:
                    self._again(found, work(self.session.plan(found, strict=False)))
                except DreamerError as error:
                    on_error(error)
                    for photo in found.photos:
                        self._taken.pop(photo.path, None)
                    self._refused -= {each.path for each in found.refused}
            until = self._clock() + self.every
            while not stop() and self._clock() < until:
                time.sleep(min(POLL, self.every))
