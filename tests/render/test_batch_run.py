import errno
import gc
import os
import shutil
import signal
import subprocess
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from batching import ASKED, Batch, Fake, looks, make, photo, tree

from dreamer.errors import NetworkError, OutputError, UsageError
from dreamer.render.batch import names, page, plan, run
from dreamer.render.batch.journal import Journal, Record
from dreamer.render.batch.plan import Refused
from dreamer.render.batch.run import Begun, Ended, Moved, Options, Run
from dreamer.render.batch.session import Session, Wanted
from dreamer.render.batch.tasks import Dropped, Event, Failed, Lost, Made, Progress, Task

WITHOUT = replace(ASKED, metadata=False)
ROSE = "rose-dream.png"


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Four photos, of which nothing is made yet."""
    for index, name in enumerate(("a.png", "b.jpg", "rose.png", "below/tulip.jpg")):
        photo(tmp_path / "in" / name, (64 + 8 * index, 48))
    return Batch(tmp_path / "in", tmp_path / "out")


def statuses(results: list[run.Result]) -> list[str]:
    return [result.status for result in results]


def timeless(records: dict[str, Record]) -> dict[str, Record]:
    changed = {"time": "", "seconds": 0.0, "output_stat": None}
    return {key: replace(record, **changed) for key, record in records.items()}  # type: ignore[arg-type]


def failing(wanted: Callable[[Task, int], Event | None]) -> Callable[[Task], Event]:
    """Answers that go wrong as `wanted` says, by the task and how often it was begun."""
    begun: Counter[str] = Counter()

    def answer(task: Task) -> Event:
        name = os.path.basename(task.path)
        begun[name] += 1
        return wanted(task, begun[name]) or make(task)

    return answer


def on(name: str, event: Callable[[Task], Event], times: int = 1000) -> Callable[[Task], Event]:
    """Answers that go wrong for one photo, the first times that it is begun."""

    def wanted(task: Task, begun: int) -> Event | None:
        wrong = os.path.basename(task.path) == name and begun <= times
        return event(task) if wrong else None

    return failing(wanted)


def failed(code: int) -> Callable[[Task], Event]:
    return lambda task: Failed(task.number, code, f"It failed with {code}.", "Try again.")


# ---- What is kept.


def test_a_run_keeps_results_previews_page_and_a_record_of_each(batch: Batch) -> None:
    results = batch.run()
    assert statuses(results) == ["done"] * 4
    assert [result.output for result in results] == [
        "a-dream.png",
        "b-dream.png",
        ROSE,
        "below/tulip-dream.png",
    ]
    files = tree(batch.out)
    records = batch.records()
    assert list(records) == [result.output for result in results]
    for result in results:
        record = records[result.output]
        assert record.status == "done"
        assert (record.attempts, record.seconds, record.notes) == (1, 0.125, ("made of a pixel",))
        assert (result.seconds, result.notes) == (0.125, ("made of a pixel",))
        assert record.input == result.input
        assert record.input_stat == plan.file_stat(record.input)
        assert record.output_stat == plan.file_stat(batch.out / record.output)
        assert files[record.thumbnail].startswith(b"small ")
        assert files[record.before] == b"before " + record.input_sha256.encode()
        assert record.after == ""
        assert Path(record.output).name in files["index.html"].decode()
    assert len(files) == 4 + 2 * 4 + 1
    assert batch.going.page_error is None


def test_what_the_runner_is_given_says_how_to_make_it(batch: Batch) -> None:
    batch.request = replace(ASKED, size=64, metadata=False, seed=7)
    batch.name = "{stem}.jpg"
    batch.run()
    for task in batch.runner.tasks:
        assert (task.long_edge, task.suffix, task.metadata) == (64, ".jpg", False)
        assert (task.start, task.look.seed, task.data) == ("photo", 7, None)
    assert len({task.number for task in batch.runner.tasks}) == 4
    assert all(0 < need < 10**10 for need in batch.runner.needs)


def test_pictures_made_of_nothing_are_made_and_then_there(tmp_path: Path) -> None:
    items, clashes = plan.items((), ("sky", "noise"), looks(), names.template("{stem}"))
    assert not clashes
    out = Batch(tmp_path, tmp_path / "out")
    for status in ("done", "skipped"):
        judge = plan.Judge(out.out, ASKED, out.records())
        assert statuses(out.run(verdicts=[judge(item) for item in items])) == [status] * 2
    assert set(out.records()) == {"sky.png", "noise.png"}


def test_nothing_is_started_when_there_is_nothing_to_make(batch: Batch) -> None:
    batch.run()

    def never(*_: object) -> Fake:
        raise AssertionError

    with Journal(batch.out) as opened:
        going = Run(Options(batch.out), opened, never)
        assert statuses(going(batch.judge())) == ["skipped"] * 4
        going.close()


def test_results_come_in_the_order_of_the_items_however_they_are_made(batch: Batch) -> None:
    class Backwards(Fake):
        def wait(self, seconds: float) -> list[Event]:
            self._held.reverse()
            return super().wait(seconds)

    wanted = [verdict.item.output for verdict in batch.judge()]
    results = batch.run(Backwards(at_hand=4))
    assert [result.output for result in results] == wanted
    before = tree(batch.out)
    shutil.rmtree(batch.out)
    batch.run(verdicts=batch.judge()[::-1])
    assert tree(batch.out) == before


def test_every_item_is_begun_and_ended_and_its_progress_is_told(batch: Batch) -> None:
    told: list[Begun | Ended | Moved] = []

    class Telling(Fake):
        def wait(self, seconds: float) -> list[Event]:
            number = self._held[0][0].number
            return [Progress(number, 0.5), *super().wait(seconds), Progress(number, 0.9)]

    batch.run(Telling(at_hand=1), on_event=told.append)
    for item in batch.items():
        mine = [event for event in told if event.item == item]
        assert [type(event) for event in mine] == [Begun, Moved, Ended]
        begun, moved, ended = mine
        assert isinstance(begun, Begun)
        assert isinstance(moved, Moved)
        assert isinstance(ended, Ended)
        assert moved.share == 0.5
        assert begun.work == ended.work > 0
        assert ended.result.status == "done"


# ---- Killed between any two writes.


class Steps:
    """Writes down what a run does to its folder; may end the process before a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int = 10**9, *, half: bool = False):
        self.taken: list[str] = []
        self.last = last
        self.half = half
        for name in ("replace", "link", "write", "fsync"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            self.taken.append(name)
            if len(self.taken) == self.last:
                if self.half:
                    descriptor, data = arguments
                    call(descriptor, data[: len(data) // 2])  # type: ignore[index, arg-type]
                os._exit(9)
            return call(*arguments)

        return counting


def kill(batch: Batch, monkeypatch: pytest.MonkeyPatch, last: int, *, half: bool) -> None:
    """Run a batch in another process, which ends before a step without any clean-up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            Steps(monkeypatch, last, half=half)
            batch.run()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


def check_what_a_kill_left(batch: Batch, wanted: dict[str, bytes], old: dict[str, bytes]) -> None:
    """What has its name is whole, and of what is new the journal and the previews tell."""
    left = {name: data for name, data in tree(batch.out).items() if not name.endswith(".part")}
    records = batch.records()
    for name, data in left.items():
        if name == "index.html":
            continue
        assert data in (wanted[name], old.get(name))
        if name in records and data == wanted[name]:
            record = records[name]
            assert record.status == "done"
            assert record.output_stat == plan.file_stat(batch.out / name)
            assert left[record.thumbnail] == wanted[record.thumbnail]
            assert left[record.before] == wanted[record.before]
    results = [item.output for item in batch.items()]
    assert {name for name in results if left.get(name) == wanted[name]} <= set(records)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.parametrize(("metadata", "overwrite"), [(True, False), (False, False), (True, True)])
def test_killed_between_any_two_writes_and_run_again_the_folder_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bool, overwrite: bool
) -> None:
    photo(tmp_path / "in" / "rose.png")
    photo(tmp_path / "in" / "below" / "tulip.jpg")
    before: dict[str, bytes] = {}
    if overwrite:
        Batch(tmp_path / "in", tmp_path / "old", replace(ASKED, seed=3)).run()
        before = tree(tmp_path / "old")

    def begun(name: str) -> Batch:
        if overwrite:
            shutil.copytree(tmp_path / "old", tmp_path / name)
        request = replace(ASKED, metadata=metadata, overwrite=overwrite)
        return Batch(tmp_path / "in", tmp_path / name, request)

    whole = begun("whole")
    with monkeypatch.context() as counting:
        steps = Steps(counting).taken
        whole.run()
    wanted, told = tree(whole.out), timeless(whole.records())
    # Two previews, a line and a result of each; a page before and one after.
    result = ["write", "fsync", "replace" if overwrite else "link"]
    assert steps == [
        *("fsync", "replace"),
        *(["fsync", "replace"] * 2 + result) * 2,
        *("fsync", "replace"),
    ]
    ends = [(last, False) for last in range(1, len(steps) + 1)]
    ends += [(last, True) for last, step in enumerate(steps, 1) if step == "write"]
    for last, half in ends:
        out = begun(f"{last} {half}")
        kill(out, monkeypatch, last, half=half)
        check_what_a_kill_left(out, wanted, before)
        assert set(statuses(out.run())) <= {"done", "skipped"}
        assert tree(out.out) == wanted
        assert timeless(out.records()) == told


def test_an_error_of_the_program_itself_leaves_nothing_half_done(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(task: Task) -> Event:
        if len(batch.runner.tasks) > 3:
            raise KeyboardInterrupt
        return make(task)

    with pytest.raises(KeyboardInterrupt):
        batch.run(Fake(bug))
    assert not list(batch.out.rglob("*.part"))
    assert len(set(statuses(batch.run())) - {"done", "skipped"}) == 0


# ---- What fails.


@pytest.mark.parametrize("code", [3, 4, 5, 6])
def test_what_may_pass_is_tried_again(batch: Batch, code: int) -> None:
    results = batch.run(Fake(on("a.png", failed(code), times=2)))
    assert statuses(results) == ["done"] * 4
    assert (float("inf") in batch.runner.needs) == (code == 6)  # alone for its memory only
    assert batch.records()["a-dream.png"].attempts == 3
    # The others do not wait for it.
    assert batch.runner.made == ["a.png", "b.jpg", "rose.png", "tulip.jpg", "a.png", "a.png"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_what_fails_again_and_again_is_given_up(batch: Batch, retries: int) -> None:
    batch.options["retries"] = retries
    results = batch.run(Fake(on("rose.png", failed(4))))
    assert statuses(results) == ["done", "done", "failed", "done"]
    assert Counter(batch.runner.made)["rose.png"] == 1 + retries
    error = results[2].error
    assert error is not None
    assert (error.exit_code, error.message, error.advice) == (4, "It failed with 4.", "Try again.")
    record = batch.records()[ROSE]
    assert (record.status, record.code, record.attempts) == ("failed", 4, 1 + retries)
    assert (record.error, record.advice) == ("It failed with 4.", "Try again.")
    assert (record.recipe, record.output_stat) == ("", None)
    assert "It failed with 4." in (batch.out / "index.html").read_text()
    # The next run tries it once more, and only it.
    assert statuses(batch.run()) == ["skipped", "skipped", "done", "skipped"]
    assert batch.runner.made == ["rose.png"]
    assert "It failed with 4." not in (batch.out / "index.html").read_text()


@pytest.mark.parametrize("code", [2, 70])
def test_what_would_fail_the_same_way_is_not_tried_again(batch: Batch, code: int) -> None:
    results = batch.run(Fake(on("rose.png", failed(code))))
    assert statuses(results) == ["done", "done", "failed", "done"]
    assert Counter(batch.runner.made)["rose.png"] == 1
    assert results[2].error is not None
    assert results[2].error.exit_code == code


@pytest.mark.parametrize(
    "event", [failed(6), lambda task: Lost(task.number, "its worker was killed (SIGKILL)")]
)
def test_what_its_memory_did_not_suffice_for_is_tried_again_alone(
    batch: Batch, event: Callable[[Task], Event]
) -> None:
    class Watching(Fake):
        def submit(self, task: Task, memory: float) -> None:
            super().submit(task, memory)
            alone.append((os.path.basename(task.path), len(self._held)))

    alone: list[tuple[str, int]] = []
    results = batch.run(Watching(on("a.png", event, times=2), at_hand=4))
    assert statuses(results) == ["done"] * 4
    assert [held for name, held in alone if name == "a.png"] == [1, 1, 1]
    needs = dict(zip(batch.runner.made, batch.runner.needs, strict=True))
    assert needs["a.png"] == float("inf")
    assert all(need < 10**10 for name, need in needs.items() if name != "a.png")


def test_an_item_whose_worker_dies_each_time_fails_with_the_reason(batch: Batch) -> None:
    killed = on("a.png", lambda task: Lost(task.number, "its worker was killed (SIGKILL)"))
    results = batch.run(Fake(killed))
    assert statuses(results) == ["failed", "done", "done", "done"]
    error = results[0].error
    assert error is not None
    assert error.exit_code == 6
    assert "a.png' could not be made: its worker was killed (SIGKILL)" in error.message


def test_a_refused_item_is_recorded_and_the_others_are_made(batch: Batch) -> None:
    (batch.photos / "rose.png").write_bytes(b"no picture")
    path = str(batch.photos / "locked")
    item = replace(batch.items()[0], output="", path=path, name="locked")
    locked = Refused(item, OutputError("It cannot be listed.", "Check its permissions."))
    results = batch.run(verdicts=[*batch.judge(), locked])
    assert statuses(results) == ["done", "done", "failed", "done", "failed"]
    assert "rose.png" not in batch.runner.made
    records = batch.records()
    assert (records[ROSE].status, records[ROSE].code) == ("failed", 4)
    assert records[f":{path}"].error == "It cannot be listed."
    page = (batch.out / "index.html").read_text()
    assert "It cannot be listed." in page
    assert "is not a picture that can be read" in page
    # The next run cannot know about it, and does not show what may be long over.
    (batch.photos / "locked").mkdir()
    batch.run()
    assert "It cannot be listed." not in (batch.out / "index.html").read_text()


def test_a_failure_is_told_of_what_was_wanted_and_the_result_that_is_there_stays_known(
    batch: Batch,
) -> None:
    batch.name = "{stem}"
    batch.run()
    before = batch.records()["rose.png"]
    batch.request = replace(ASKED, preset="eyes", seed=7)
    assert statuses(batch.run()) == ["failed"] * 4
    assert batch.records()["rose.png"] == before
    now = batch.records()[f":{batch.photos / 'rose.png'}"]
    assert (now.preset, now.seed, now.status, now.code) == ("eyes", 7, "failed", 5)
    page = (batch.out / "index.html").read_text()
    assert page.count('"status": "done"') == page.count('"status": "failed"') == 4
    batch.request = ASKED
    assert statuses(batch.run()) == ["skipped"] * 4
    assert batch.records()["rose.png"] == before
    assert '"status": "failed"' not in (batch.out / "index.html").read_text()


def test_every_run_records_what_failed_and_nothing_about_what_was_there(batch: Batch) -> None:
    def told() -> int:
        return len((batch.out / "journal.jsonl").read_text().splitlines())

    (batch.photos / "rose.png").write_bytes(b"no picture")
    batch.run()
    assert told() == 4
    batch.run()
    assert told() == 5
    photo(batch.photos / "rose.png")
    batch.run()
    assert told() == 6
    batch.run()
    assert told() == 6


def test_the_first_failure_ends_a_run_that_is_to_fail_fast(batch: Batch) -> None:
    batch.options |= {"fail_fast": True, "retries": 0}
    results = batch.run(Fake(on("b.jpg", failed(4)), at_hand=2))
    # What was begun is finished; what was not is left for the next run.
    assert statuses(results) == ["done", "failed", "done", "waiting"]
    assert batch.runner.made == ["a.png", "b.jpg", "rose.png"]
    assert set(batch.records()) == {"a-dream.png", "b-dream.png", ROSE}
    assert "tulip" in (batch.out / "index.html").read_text()
    assert statuses(batch.run()) == ["skipped", "done", "skipped", "done"]


def test_a_run_that_fails_fast_begins_nothing_if_an_item_is_refused(batch: Batch) -> None:
    (batch.photos / "rose.png").write_bytes(b"no picture")

    def never(*_: object) -> Fake:
        raise AssertionError

    with Journal(batch.out) as opened:
        going = Run(Options(batch.out, fail_fast=True), opened, never)
        results = going(batch.judge())
    assert statuses(results) == ["waiting", "waiting", "failed", "waiting"]


def test_told_to_stop_it_finishes_what_is_begun_and_leaves_the_rest(batch: Batch) -> None:
    runner = Fake(at_hand=2)
    results = batch.run(runner, stop=lambda: len(runner.tasks) >= 2)
    assert statuses(results) == ["done", "done", "waiting", "waiting"]
    assert runner.halted > 0
    assert set(batch.records()) == {"a-dream.png", "b-dream.png"}
    # A failure is not tried again then, and not called one either.
    runner = Fake(failed(4), at_hand=1)
    results = batch.run(runner, stop=lambda: len(runner.tasks) >= 1)
    assert statuses(results) == ["skipped", "skipped", "waiting", "waiting"]
    assert statuses(batch.run()) == ["skipped", "skipped", "done", "done"]


def test_what_a_runner_dropped_is_left_and_not_counted_as_tried(batch: Batch) -> None:
    runner = Fake(lambda task: Dropped(task.number), at_hand=2)
    results = batch.run(runner, stop=lambda: bool(runner.tasks))
    assert statuses(results) == ["waiting"] * 4
    batch.options["retries"] = 0
    dropped = Fake(on("a.png", lambda task: Dropped(task.number), times=3))
    assert statuses(batch.run(dropped)) == ["done"] * 4
    assert batch.records()["a-dream.png"].attempts == 1


def test_a_runner_that_cannot_start_is_an_error_and_the_next_call_begins_anew(
    batch: Batch,
) -> None:
    def start(*_: object) -> Fake:
        if not started:
            started.append(0)
            raise NetworkError("The weights are away.", "Fetch them.")
        return batch.runner

    started: list[int] = []
    batch.runner = Fake()
    with Journal(batch.out) as opened:
        going = Run(Options(batch.out), opened, start)
        with pytest.raises(NetworkError):
            going(batch.judge())
        assert statuses(going(batch.judge())) == ["done"] * 4
        assert Counter(batch.runner.made).most_common(1) == [("a.png", 1)]
        assert statuses(going(batch.judge())) == ["skipped"] * 4
        going.close()
    assert batch.runner.closed == 1


def test_it_may_be_called_again_with_more(batch: Batch) -> None:
    with Journal(batch.out) as opened:
        runner = Fake()
        going = Run(Options(batch.out), opened, lambda *_: runner)
        verdicts = batch.judge()
        assert statuses(going(verdicts[:2])) == ["done"] * 2
        assert statuses(going(verdicts[2:])) == ["done"] * 2
    assert [item.output in (batch.out / "index.html").read_text() for item in batch.items()]
    assert tree(batch.out)["index.html"].count(b"a-dream.png") > 0


# ---- What is in the way.


def test_a_file_that_appeared_meanwhile_is_not_replaced(batch: Batch) -> None:
    def appear(task: Task) -> Event:
        (batch.out / ROSE).write_bytes(b"someone else's")
        return make(task)

    results = batch.run(Fake(on("rose.png", appear)))
    assert statuses(results) == ["done", "done", "failed", "done"]
    assert results[2].error is not None
    assert "exists already" in results[2].error.message
    assert (batch.out / ROSE).read_bytes() == b"someone else's"
    assert Counter(batch.runner.made)["rose.png"] == 1  # it would be there the next time, too
    assert batch.records()[ROSE].status == "failed"
    assert statuses(batch.run()) == ["skipped", "skipped", "failed", "skipped"]
    (batch.out / ROSE).unlink()
    assert statuses(batch.run()) == ["skipped", "skipped", "done", "skipped"]


def test_the_very_result_that_somebody_else_wrote_meanwhile_is_as_good(batch: Batch) -> None:
    def appear(task: Task) -> Event:
        made = make(task)
        assert isinstance(made, Made)
        (batch.out / ROSE).write_bytes(made.data)
        return made

    results = batch.run(Fake(on("rose.png", appear)))
    assert statuses(results) == ["done", "done", "skipped", "done"]
    assert batch.records()[ROSE].status == "done"
    assert statuses(batch.run()) == ["skipped"] * 4


def test_a_pipe_that_appeared_meanwhile_is_not_waited_for(batch: Batch) -> None:
    def appear(task: Task) -> Event:
        os.mkfifo(batch.out / ROSE)
        return make(task)

    signal.alarm(20)
    try:
        results = batch.run(Fake(on("rose.png", appear)))
    finally:
        signal.alarm(0)
    assert statuses(results) == ["done", "done", "failed", "done"]


def test_a_photo_that_changes_while_it_is_read_is_dreamed_as_it_was_read(batch: Batch) -> None:
    def change(task: Task) -> Event:
        made = make(task)
        photo(batch.photos / "rose.png", (64, 48), "gold")
        return made

    batch.run(Fake(on("rose.png", change)))
    record = batch.records()[ROSE]
    assert record.input_stat != plan.file_stat(batch.photos / "rose.png")
    assert statuses(batch.run()) == ["skipped", "skipped", "failed", "skipped"]


def test_a_photo_that_vanishes_meanwhile_fails_alone(batch: Batch) -> None:
    verdicts = batch.judge()
    (batch.photos / "rose.png").unlink()
    results = batch.run(verdicts=verdicts)
    assert statuses(results) == ["done", "done", "failed", "done"]
    assert "There is no file" in str(results[2].error)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk that takes files of up to `free` bytes."""
    room = SimpleNamespace(free=10**9)
    sync = os.fsync

    def short(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > room.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", short)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    return room


def heavy(task: Task) -> Event:
    """A picture of ten bytes a pixel."""
    made = make(task)
    assert isinstance(made, Made)
    width, height = made.recipe.size
    return replace(made, data=made.data.ljust(10 * width * height, b"\0"))


def test_what_finds_no_room_is_not_computed_and_what_does_is(
    tmp_path: Path, disk: SimpleNamespace
) -> None:
    sizes = {"1": 100, "2": 100, "3": 40, "4": 100, "5": 120, "6": 40, "7": 100}
    for name, side in sizes.items():
        photo(tmp_path / "in" / f"{name}.png", (side, side))
    batch = Batch(tmp_path / "in", tmp_path / "out")

    def answer(task: Task) -> Event:
        if task.path.endswith("6.png"):
            disk.free = 110_000  # someone has made room
        return heavy(task)

    disk.free = 60_000
    results = batch.run(Fake(answer, at_hand=1))
    assert statuses(results) == ["failed", "failed", "done", "failed", "failed", "done", "done"]
    assert batch.runner.made == ["1.png", "3.png", "6.png", "7.png"]
    for result in results:
        if result.status == "failed":
            assert result.error is not None
            assert "There is no room left to write" in result.error.message
            assert result.output in result.error.message
            assert result.error.exit_code == 5
    assert batch.records()["2-dream.png"].status == "failed"
    disk.free = 10**9
    assert statuses(batch.run(Fake(heavy))).count("done") == 4
    assert set(statuses(batch.run())) == {"skipped"}


def test_a_folder_that_goes_away_when_there_was_no_room_is_no_bug(
    batch: Batch, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(shutil, "disk_usage", gone)
    disk.free = 10_000
    assert set(statuses(batch.run(Fake(heavy, at_hand=1)))) == {"failed"}
    assert len(batch.runner.made) == 4


def test_on_a_disk_that_is_really_full_nothing_is_lost_and_the_rest_comes_later(
    batch: Batch, tmp_path: Path
) -> None:
    batch.out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(batch.out)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        ballast = batch.out / "ballast"
        ballast.write_bytes(bytes(480_000))
        results = batch.run(Fake(heavy, at_hand=1))
        assert {"done", "failed"} >= set(statuses(results))
        assert "failed" in statuses(results)
        assert not list(batch.out.rglob("*.part"))
        for result in results:
            assert (batch.out / result.output).exists() == (result.status == "done")
        ballast.unlink()
        results = batch.run(Fake(heavy, at_hand=1))
        assert set(statuses(results)) == {"done", "skipped"}
        assert set(statuses(batch.run())) == {"skipped"}
        assert batch.going.page_error is None
        assert not list(batch.out.rglob("*.part"))
    finally:
        subprocess.run(["umount", str(batch.out)], check=True)


def test_a_page_that_cannot_be_written_is_said_and_fails_nothing(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("There is no room left to write 'index.html'.", "Free some space.")

    with monkeypatch.context() as broken:
        broken.setattr(page, "write", full)
        assert statuses(batch.run()) == ["done"] * 4
        assert batch.going.page_error is not None
        assert "index.html" in batch.going.page_error.message
    batch.run()
    assert batch.going.page_error is None
    assert (batch.out / "index.html").exists()


def test_a_page_that_could_be_written_in_the_end_is_no_problem(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = page.write, []

    def full(*arguments: object, **options: object) -> None:
        calls.append(batch.going.page_error)
        if len(calls) == 1:
            raise OutputError("There is no room left to write 'index.html'.", "Free some space.")
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(page, "write", full)
    batch.run()
    assert calls[0] is None
    assert calls[-1] is not None
    assert batch.going.page_error is None


def test_what_was_left_half_written_is_removed_before_the_work(batch: Batch) -> None:
    left = [batch.out / name / f".{16 * 'a'}.part" for name in ("", "below", "index_files")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    batch.run()
    assert not any(path.exists() for path in left)


# ---- The page.


def test_the_page_shows_all_that_is_there_and_nothing_that_is_gone(
    batch: Batch, tmp_path: Path
) -> None:
    batch.run()
    photo(tmp_path / "more" / "lily.png")
    more = Batch(tmp_path / "more", batch.out)
    (batch.out / ROSE).unlink()
    more.run()
    page = (batch.out / "index.html").read_text()
    assert "lily-dream.png" in page
    assert "a-dream.png" in page
    assert ROSE not in page


def test_the_page_is_in_natural_order_whatever_the_order_of_the_work(tmp_path: Path) -> None:
    for name in ("10", "9", "1"):
        photo(tmp_path / "in" / f"{name}.png")
    batch = Batch(tmp_path / "in", tmp_path / "out")
    batch.run(verdicts=batch.judge()[::-1])
    page = (batch.out / "index.html").read_text()
    places = [page.index(f"{name}-dream.png") for name in ("1", "9", "10")]
    assert places == sorted(places)


def test_two_machines_at_work_on_two_shards_leave_a_page_of_both(batch: Batch) -> None:
    verdicts = batch.judge()
    runners = [Fake(), Fake()]
    with Journal(batch.out, "-1-of-2") as one, Journal(batch.out, "-2-of-2") as two:
        runs = [
            Run(Options(batch.out), each, lambda *_, runner=runner: runner)
            for each, runner in zip((one, two), runners, strict=True)
        ]
        # The second begins before the first has made anything, and ends after it.
        assert statuses(runs[0](verdicts[:2])) == ["done"] * 2
        assert statuses(runs[1](verdicts[2:])) == ["done"] * 2
    page = (batch.out / "index.html").read_bytes()
    assert all(item.output.encode() in page for item in batch.items())
    # A run of the whole afterwards knows what both have done, and has nothing to add.
    assert set(statuses(batch.run())) == {"skipped"}
    assert (batch.out / "index.html").read_bytes() == page
    assert (batch.out / "journal.jsonl").read_bytes() == b""


# ---- Memory.


@pytest.mark.parametrize("trouble", ["", "results", "previews"])
def test_no_picture_is_kept_once_it_is_written_or_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    photo(tmp_path / "in" / "0.png")
    for index in range(1, 40):
        os.link(tmp_path / "in" / "0.png", tmp_path / "in" / f"{index}.png")
    batch = Batch(tmp_path / "in", tmp_path / "out")
    batch.options["retries"] = 1

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if trouble:
        monkeypatch.setattr(os, "link" if trouble == "results" else "replace", refuse)
        monkeypatch.setattr(os, "rename", refuse)
    alive: set[int] = set()
    most = 0

    def answer(task: Task) -> Event:
        nonlocal most
        made = make(task)
        alive.add(task.number)
        weakref.finalize(made, alive.discard, task.number)
        most = max(most, len(alive))
        return made

    gc.collect()
    gc.disable()  # nothing may depend on when it comes round
    try:
        results = batch.run(Fake(answer))
    finally:
        gc.enable()
    assert set(statuses(results)) == {"failed" if trouble else "done"}
    assert most <= 2
    assert len(alive) <= 1


# ---- The whole, as the commands call it.


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What makes the pictures of every session."""
    runner = Fake()
    monkeypatch.setattr(Session, "_started", lambda *_: runner)
    return runner


def wanted(batch: Batch, **options: object) -> Wanted:
    usual = {"inputs": (str(batch.photos),), "recursive": True, "request": ASKED}
    return Wanted(batch.out, **usual | options)  # type: ignore[arg-type]


def go(wanted: Wanted) -> tuple[list[str], list[str]]:
    """Run a session; returns what became of the items, and what there is to say beside them."""
    with Session(wanted) as session:
        results = session.run(session.judge(session.plan(session.find())))
        return statuses(results), session.problems()


def test_a_session_makes_what_is_missing_and_nothing_again(batch: Batch, runner: Fake) -> None:
    assert go(wanted(batch)) == (["done"] * 4, [])
    before = tree(batch.out)
    assert go(wanted(batch)) == (["skipped"] * 4, [])
    assert len(runner.tasks) == 4
    assert tree(batch.out) == before


def test_a_page_that_could_not_be_written_is_said_in_the_end(
    batch: Batch, runner: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("There is no room left to write 'index.html'.", "Free some space.")

    monkeypatch.setattr(page, "write", full)
    results, problems = go(wanted(batch))
    assert results == ["done"] * 4
    assert len(problems) == 1
    assert "index.html" in problems[0]


@pytest.mark.parametrize("metadata", [True, False])
def test_no_result_gets_its_name_before_the_journal_tells_of_it(
    batch: Batch, runner: Fake, monkeypatch: pytest.MonkeyPatch, metadata: bool
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    asked = wanted(batch, request=replace(ASKED, metadata=metadata))
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        results, problems = go(asked)
    assert results == ["failed"] * 4
    assert not [name for name in tree(batch.out) if name.endswith(".png")]
    assert len(problems) == 1
    assert "lines of the journal" in problems[0]
    assert go(asked) == (["done"] * 4, [])
    assert go(asked) == (["skipped"] * 4, [])


def test_shards_make_the_whole_between_them(batch: Batch, runner: Fake) -> None:
    for index in (1, 2, 3):
        results, _ = go(wanted(batch, shard=(index, 3)))
        assert set(results) <= {"done"}
    assert sorted(runner.made) == ["a.png", "b.jpg", "rose.png", "tulip.jpg"]
    assert go(wanted(batch)) == (["skipped"] * 4, [])
    for index, count in ((0, 3), (4, 3)):
        with pytest.raises(UsageError, match="There is no shard"):
            Session(wanted(batch, shard=(index, count)))


def test_two_results_of_one_name_are_an_error_before_any_work(batch: Batch, runner: Fake) -> None:
    with Session(wanted(batch, name="{preset}")) as session:
        found = session.find()
        with pytest.raises(UsageError, match="would both be written to"):
            session.plan(found)
        loose = session.plan(found, strict=False)
    assert (len(loose.items), len(loose.refused)) == (2, 2)  # one of each folder
    assert not batch.out.exists()


def test_a_folder_of_results_among_the_photos_is_not_taken_for_photos(
    batch: Batch, runner: Fake
) -> None:
    batch.out = batch.photos / "dreams"
    for _ in range(2):
        go(wanted(batch))
    assert len(runner.tasks) == 4
    with (
        Session(wanted(Batch(batch.photos, batch.photos))) as session,
        pytest.raises(OutputError, match="among the photos"),
    ):
        session.plan(session.find())


def test_a_session_in_a_folder_where_another_is_at_work_is_refused(
    batch: Batch, runner: Fake
) -> None:
    with Session(wanted(batch)) as one, Session(wanted(batch)) as other:
        planned = one.plan(one.find())
        one.run(one.judge(planned))
        with pytest.raises(OutputError, match="Another dreamer is at work"):
            other.run(other.judge(planned))
    assert go(wanted(batch)) == (["skipped"] * 4, [])


def test_as_many_workers_are_used_as_are_of_use(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamer.render.devices.default_threads", lambda: 8)
    with Session(wanted(batch)) as session:
        assert [session.workers(todo) for todo in (0, 1, 3, 100)] == [1, 1, 3, 8]
    with Session(wanted(batch, request=replace(ASKED, threads=3))) as session:
        assert session.workers(100) == 2
    with Session(wanted(batch, request=replace(ASKED, threads=16))) as session:
        assert session.workers(100) == 1
    with Session(wanted(batch, workers=5)) as session:
        assert session.workers(100) == 5
