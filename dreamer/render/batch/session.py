"""A batch from what was asked for to its results: the one call that commands make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dreamer.errors import UsageError
from dreamer.media import ffmpeg, files, gathering
from dreamer.media.gathering import Gathered
from dreamer.networks import weights
from dreamer.recipe import Start
from dreamer.render import devices, memory
from dreamer.render.batch import journal, names, plan, pool, run
from dreamer.render.batch.journal import Record
from dreamer.render.batch.plan import Item, Judge, Refused, Verdict
from dreamer.render.batch.run import OnEvent, Options, Result, Run
from dreamer.render.batch.tasks import Runner
from dreamer.render.job import MADE
from dreamer.render.journeys import LONGEST_FILM
from dreamer.render.look import Look, Request, check_numbers

if TYPE_CHECKING:
    from dreamer.render.batch.films import Films, OnFilm

SHORTEST_FILM = 0.1  # seconds


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        folder: where the results go.
        inputs: files, folders, patterns, "sky" and "noise".
        listed: paths from a list.
        recursive: whether folders are taken with all that is below them.
        request: what all pictures have in common; its photo and output are not used.
        presets: the presets; none for the request's own.
        seeds: how many pictures of each photo and preset.
        name: the template of the results' names; None for the default.
        shard: which part of how many, counted from 1.
        workers: how many processes; None for as many as the machine is good for.
        cluster: the address of a Ray cluster, "auto" for the one that is running here, or None.
        gpus: the share of a cluster's GPU that a picture takes.
        retries: how often a failed item is tried again.
        fail_fast: whether the first failure ends the run.
        renew: whether a result is made again if its photo has changed since.
        zoom: how long a zoom film that is made of each item as well is, seconds; None for none.
    """

    folder: Path
    inputs: Sequence[str] = ()
    listed: Sequence[str] = ()
    recursive: bool = False
    request: Request = field(default_factory=Request)
    presets: Sequence[str] = ()
    seeds: int = 1
    name: str | None = None
    shard: tuple[int, int] = (1, 1)
    workers: int | None = None
    cluster: str | None = None
    gpus: float | None = None
    retries: int = 2
    fail_fast: bool = False
    renew: bool = False
    zoom: float | None = None


@dataclass(frozen=True)
class Planned:
    """What a batch is about.

    Attributes:
        items: every photo with every look, in natural order.
        refused: what no picture can come of, such as a folder that may not be listed.
        left_out: how many files of the folders are no pictures.
    """

    items: tuple[Item, ...]
    refused: tuple[Refused, ...]
    left_out: int


class Session:
    """A batch: planned at once, run when told to. To be closed, or used as a context.

    Args:
        wanted: what was asked for.
        warm: whether workers are likely to be needed: what they import is then loaded already
            while the photos are looked at.

    Attributes:
        looks: every preset with every seed.
        notes: what the user should know.

    Raises:
        DreamerError: names, values and weights that are not valid.
    """

    def __init__(self, wanted: Wanted, *, warm: bool = False) -> None:
        check_numbers(wanted.request)
        self.wanted = wanted
        index, count = wanted.shard
        if not 1 <= index <= count:
            raise UsageError(
                f"There is no shard {index} of {count}.", "Write it like 2/4: the second of four."
            )
        self.template = names.template(wanted.name or names.default(wanted.seeds))
        if warm and wanted.cluster is None:
            pool.warm_up()
        if wanted.zoom is not None:
            _check_films(wanted)
        request = wanted.request
        if wanted.cluster is not None and request.device == "auto":  # what is here says nothing
            request = replace(request, device="cuda" if wanted.gpus else "cpu")
        here = wanted.cluster is None
        self.looks: tuple[Look, ...] = plan.looks(request, wanted.presets, wanted.seeds, here=here)
        self.notes = self.looks[0].notes
        self._films: Films | None = None
        if wanted.zoom is not None:
            self._films = _films(wanted, self.looks)
        made: list[Start] = [name for name in MADE if name in wanted.inputs]
        self._made = [name for name in made if not os.path.lexists(name)]
        self._read: dict[str, Record] | None = None
        self._journal: journal.Journal | None = None
        self._run: Run | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.wanted.folder

    @property
    def page(self) -> Path:
        """The page that shows them."""
        return self.folder / "index.html"

    @property
    def records(self) -> Mapping[str, Record]:
        """What the journals say of every item so far."""
        if self._journal is not None:
            return self._journal.records
        if self._read is None:
            self._read = journal.read(self.folder)
        return self._read

    def find(self) -> Gathered:
        """Find the photos.

        Raises:
            InputError: an input that is not there, or no pictures at all.
        """
        return gathering.gather(
            [path for path in self.wanted.inputs if path not in self._made],
            listed=self.wanted.listed,
            recursive=self.wanted.recursive,
            without=[self.folder],
        )

    def plan(self, gathered: Gathered, *, strict: bool = True) -> Planned:
        """List every picture that is to come of the photos.

        Args:
            gathered: from `find`.
            strict: whether two pictures of one name are an error, or the second one is refused.

        Raises:
            UsageError: two items would write one file.
            OutputError: results would land among the photos, or cannot be written.
        """
        items, clashes = plan.items(gathered.photos, self._made, self.looks, self.template)
        if strict and clashes:
            raise clashes[0].error
        plan.check_folder(self.folder, items, gathered.folders)
        if self._films is not None:
            plan.check_folder(self.folder, plan.filmed(items), gathered.folders)
        unlisted = tuple(
            Refused(Item("", each.path, each.path, "photo", self.looks[0]), each.error)
            for each in gathered.refused
        )
        mine = plan.in_shard(items, *self.wanted.shard)
        return Planned(mine, clashes + unlisted, gathered.left_out)

    def open(self) -> journal.Journal:
        """Have the journal, so that nobody else works in the folder until this is closed.

        Raises:
            OutputError: it cannot be written, or another dreamer is at work there.
        """
        if self._journal is None:
            self._journal = journal.Journal(self.folder, self._suffix())
        return self._journal

    def judge(self, planned: Planned) -> list[Verdict]:
        """Decide what is to be done about each item; what is refused comes last."""
        judge = Judge(self.folder, self.wanted.request, self.records, renew=self.wanted.renew)
        return [*map(judge, planned.items), *planned.refused]

    def run(
        self,
        verdicts: Sequence[Verdict],
        *,
        on_event: OnEvent | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> list[Result]:
        """Carry out what was decided; may be called again with more.

        Args:
            verdicts: from `judge`.
            on_event: told what happens.
            stop: asked now and then; what is begun is then finished, and nothing else begun.

        Raises:
            OutputError: the journal cannot be written, or another dreamer is at work there.
            NetworkError: weights that cannot be fetched.
            DeviceError: no cluster is there.
        """
        found = self.open()
        run.clean(self.folder, [verdict.item for verdict in verdicts])
        if self._run is None:
            self._run = Run(self._options(), found, self._started)
        self._run.on_event = on_event or self._run.on_event
        self._run.stop = stop or self._run.stop
        return self._run(verdicts)

    def film(
        self, verdicts: Sequence[Verdict], *, on_film: OnFilm, stop: Callable[[], bool]
    ) -> list[Result]:
        """Make the films that were asked for, after `run`; returns what became of each.

        Args:
            verdicts: from `judge`.
            on_film: told how far it is.
            stop: asked now and then; what is dreamed is then kept, and no other film begun.
        """
        items = self._filmed(verdicts)
        if self._films is None or self._run is None or not items:
            return []
        self._run.close()  # the films take all there is
        results = self._films.make(items, on_film, stop)
        self._run.refresh(now=True)
        return results

    def films(self, verdicts: Sequence[Verdict]) -> list[tuple[Item, Result | None]]:
        """List the films that were asked for, with what is known of each; None: to be made."""
        if self._films is None:
            return []
        found = [each for each in verdicts if each.item.output]
        pairs = zip(self._filmed(found), found, strict=True)
        return [(item, self._films.planned(item, verdict)) for item, verdict in pairs]

    def _filmed(self, verdicts: Sequence[Verdict]) -> tuple[Item, ...]:
        """Return the items that films are asked for of, with these for outputs."""
        return plan.filmed([each.item for each in verdicts if each.item.output])

    def close(self) -> None:
        """End the workers and let others at the journal."""
        try:
            if self._run is not None:
                self._run.close()
        finally:
            if self._journal is not None:
                self._journal.close()

    def problems(self) -> list[str]:
        """Say what went wrong beside the items: the page or the journal not written."""
        said = [] if self._run is None else [*self._run.problems]
        if self._run is not None and self._run.page_error is not None:
            reason = self._run.page_error.message.rstrip(".")
            said.append(f"the page is not up to date: {reason}")
        if self._journal is not None and self._journal.unwritten:
            said.append(f"{len(self._journal.unwritten)} lines of the journal found no room")
        return said

    def workers(self, todo: int | None = None) -> int:
        """Return how many processes make `todo` pictures; at most, if that is not known."""
        if self.wanted.workers is not None:
            return self.wanted.workers
        useful = max(1, devices.default_threads() // self.looks[0].threads)
        if self.looks[0].device != "cpu":
            useful = 1 if self.wanted.cluster else len(devices.alike(self.looks[0].device))
        return useful if todo is None else max(1, min(useful, todo))

    def _started(self) -> Runner:
        """Start what makes the pictures, with the weights at hand."""
        first = self.looks[0]
        published, checkpoint = weights.choose(first.row, first.chosen)
        if checkpoint is None:
            weights.fetch(first.row, published, offline=first.offline)  # once, not once a worker
        if self.wanted.cluster is not None:
            from dreamer.render.batch.cluster import Cluster

            return Cluster(self.wanted.cluster, first, gpus=self.wanted.gpus)
        places = devices.alike(first.device)
        return pool.Pool(self.workers(), memory.free, places)

    def _options(self) -> Options:
        return Options(
            folder=self.folder,
            long_edge=self.wanted.request.size,
            metadata=self.wanted.request.metadata,
            retries=self.wanted.retries,
            fail_fast=self.wanted.fail_fast,
            shared=self.wanted.shard[1] > 1,
            title=files.shown(self.folder.resolve().name) or "dreams",
        )

    def _suffix(self) -> str:
        index, count = self.wanted.shard
        return f"-{index}-of-{count}" if count > 1 else ""


def _check_films(wanted: Wanted) -> None:
    """Refuse films that cannot be made, before any work."""
    if not SHORTEST_FILM <= (wanted.zoom or 0.0) <= LONGEST_FILM:
        raise UsageError(
            f"{wanted.zoom:g} is not valid for --zoom.",
            f"Give {SHORTEST_FILM:g} to {LONGEST_FILM:g} seconds.",
        )
    if wanted.cluster is not None:
        raise UsageError(
            "--zoom makes films on this machine, not on a cluster.",
            "Make the pictures first; then run the command with --zoom and without --cluster.",
        )
    if not wanted.request.metadata:
        raise UsageError(
            "--zoom knows the films that are there by their recipes.", "Leave out --no-metadata."
        )
    ffmpeg.program()


def _films(wanted: Wanted, looks: Sequence[Look]) -> Films:
    """Return what makes the films, which knows by what each look was asked for."""
    from dreamer.render.batch.films import Films  # torch comes with it

    asked = tuple(dict.fromkeys(wanted.presets)) or (wanted.request.preset,)
    return Films(wanted, {id(each): asked[at // wanted.seeds] for at, each in enumerate(looks)})
