"""One job at a time, in line: the queue with jobs that compute nothing."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from serving import until

from dreamer.errors import InputError, UsageError
from dreamer.studio import jobs
from dreamer.studio.jobs import MOST_ENDED, MOST_WAITING, MOST_WAITING_OF_ALL, Handle, Job, Queue


class Line:
    """A queue, what it told, and jobs that wait to be let go."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.order: list[str] = []
        self.at_once = 0
        self.queue = Queue(self._changed)

    def _changed(self, person: str, name: str, data: Mapping[str, Any]) -> None:
        self.told.append((person, name, dict(data)))

    def add(self, run: Callable[[Handle], None] | None = None, person: str = "a", **more: Any):
        def noted(handle: Handle) -> None:
            self.order.append(handle.job.id)
            if run is not None:
                run(handle)

        return self.queue.add(person, "dream", "a dream", noted, {}, **more)

    def held(self, person: str = "a", **more: Any) -> tuple[Job, threading.Event]:
        """A job that runs until it is let go or stopped."""
        go = threading.Event()

        def run(handle: Handle) -> None:
            until(lambda: go.is_set() or handle.stop())

        return self.add(run, person, **more), go

    def over(self, *wanted: Job) -> None:
        until(lambda: all(job.ended for job in wanted))

    def statuses(self, job: Job) -> list[str]:
        """What was told of a job's status, each once in turn."""
        said = [data["status"] for _, name, data in self.told if data.get("id") == job.id]
        return [each for i, each in enumerate(said) if i == 0 or said[i - 1] != each]


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    made.queue.start()
    yield made
    made.queue.close()
    assert made.queue._thread is not None
    assert not made.queue._thread.is_alive()


def running(job: Job) -> None:
    until(lambda: job.status == "running")


def test_jobs_are_done_in_order_and_one_at_a_time(line: Line) -> None:
    first, go = line.held()
    running(first)
    at_once, most = 0, 0

    def run(_: Handle) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        at_once -= 1

    others = [line.add(run, person) for person in "bcbc"]
    assert [line.queue.shown(job)["ahead"] for job in (first, *others)] == [0, 1, 2, 3, 4]
    assert [job.status for job in others] == ["waiting"] * 4
    go.set()
    line.over(*others)
    assert line.order == [first.id, *(job.id for job in others)]
    assert most == 1
    assert line.statuses(first) == ["waiting", "running", "done"]


def test_many_jobs_of_one_person_wait_for_those_of_others(line: Line) -> None:
    first, go = line.held("a")
    running(first)
    mine = [line.add(person="a") for _ in range(3)]
    yours = [line.add(person="b") for _ in range(2)]
    assert [line.queue.shown(job)["ahead"] for job in mine] == [2, 4, 5]
    assert [line.queue.shown(job)["ahead"] for job in yours] == [1, 3]
    go.set()
    line.over(*mine, *yours)
    wanted = [first, yours[0], mine[0], yours[1], mine[1], mine[2]]
    assert line.order == [job.id for job in wanted]


def test_what_a_studio_did_not_come_to_is_left(line: Line) -> None:
    first, go = line.held("a")
    running(first)
    waiting = line.add(person="a")
    closing = threading.Timer(0.2, go.set)
    closing.start()
    left = line.queue.close()
    closing.join()
    assert left == [waiting]
    again = line.queue.add_left("a", "film", "a film", {"photo": "sky"})
    assert again.status == "stopped"
    assert line.queue.shown(again)["asked"] == {"photo": "sky"}


def test_everybody_is_told_when_the_line_moves(line: Line) -> None:
    first, go = line.held("a")
    running(first)
    second, go_too = line.held("b")
    third = line.add(person="c")
    go.set()
    running(second)
    until(lambda: [d["ahead"] for p, _, d in line.told if p == "c"][-1] == 1)
    go_too.set()
    line.over(third)
    assert [d["ahead"] for p, _, d in line.told if p == "c"] == sorted(
        (d["ahead"] for p, _, d in line.told if p == "c"), reverse=True
    )


def test_a_person_is_told_of_nobody_elses_jobs(line: Line) -> None:
    made = [line.add(person=person) for person in "abcabc"]
    line.over(*made)
    owners = {job.id: job.person for job in made}
    assert {p for p, _, _ in line.told} == {"a", "b", "c"}
    assert all(owners[data["id"]] == person for person, _, data in line.told)


def test_a_persons_job_is_found_by_nobody_else(line: Line) -> None:
    mine = line.add(person="a")
    assert line.queue.find("a", mine.id) is mine
    assert line.queue.find("b", mine.id) is None
    assert line.queue.find("a", "j999") is None
    assert line.queue.of("b") == []


def test_a_waiting_job_that_is_stopped_never_runs(line: Line) -> None:
    first, go = line.held()
    waiting, last = line.add(), line.add()
    line.queue.stop(waiting)
    assert waiting.status == "stopped"
    assert line.queue.shown(last)["ahead"] == 1
    go.set()
    line.over(first, last)
    assert waiting.id not in line.order
    line.queue.stop(waiting)
    assert waiting.status == "stopped"


def test_a_running_job_is_asked_to_stop_and_the_next_goes_on(line: Line) -> None:
    first, _ = line.held()
    second = line.add()
    running(first)
    line.queue.stop(first)
    line.over(first, second)
    assert line.statuses(first) == ["waiting", "running", "stopping", "stopped"]
    assert second.status == "done"


def test_a_job_that_is_over_cannot_be_stopped_any_more(line: Line) -> None:
    job = line.add()
    line.over(job)
    line.queue.stop(job)
    assert job.status == "done"


def test_one_person_fills_only_their_own_places(line: Line) -> None:
    mine = [line.held("a")[0] for _ in range(MOST_WAITING)]
    with pytest.raises(UsageError, match=f"{MOST_WAITING} jobs in line"):
        line.add(person="a")
    other = line.add(person="b")
    for job in mine:
        line.queue.stop(job)
    line.over(*mine, other)
    assert other.status == "done"
    line.over(line.add(person="a"))


def test_all_persons_together_have_a_limit(line: Line) -> None:
    held = [line.held(str(k // MOST_WAITING))[0] for k in range(MOST_WAITING_OF_ALL)]
    with pytest.raises(UsageError, match=f"{MOST_WAITING_OF_ALL} jobs in line"):
        line.add(person="another")
    for job in reversed(held):
        line.queue.stop(job)
    line.over(*held)


def test_jobs_that_are_over_are_dropped_or_go_by_themselves(line: Line) -> None:
    made = []
    for _ in range(MOST_ENDED + 3):
        made.append(line.add())
        line.over(made[-1])
    kept = line.queue.of("a")
    assert len(kept) <= MOST_ENDED + 1
    assert kept[-1] is made[-1]
    gone = [data["job"] for _, name, data in line.told if name == "gone"]
    assert gone == [job.id for job in made if job not in kept]
    line.queue.drop(made[-1])
    assert line.queue.find("a", made[-1].id) is None
    assert line.told[-1] == ("a", "gone", {"job": made[-1].id})


def test_a_job_that_is_not_over_is_not_dropped(line: Line) -> None:
    job, go = line.held()
    running(job)
    with pytest.raises(UsageError, match="is not over"):
        line.queue.drop(job)
    go.set()


def test_what_goes_wrong_is_told_to_its_person_and_the_line_goes_on(line: Line) -> None:
    def fail(_: Handle) -> None:
        raise InputError("'a.jpg' is damaged.", "Get it again.")

    failed, after = line.add(fail), line.add(person="b")
    line.over(failed, after)
    shown = line.queue.shown(failed)
    assert shown["status"] == "failed"
    assert shown["error"] == {"message": "'a.jpg' is damaged.", "advice": "Get it again."}
    assert after.status == "done"


def test_a_bug_in_a_job_tells_no_secrets_and_the_line_goes_on(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Handle) -> None:
        raise ZeroDivisionError("/home/somebody/secret")

    failed, after = line.add(fail), line.add(person="b")
    line.over(failed, after)
    shown = line.queue.shown(failed)
    assert shown["status"] == "failed"
    assert "secret" not in str(shown)
    assert "secret" in caplog.text
    assert after.status == "done"


def test_what_gives_way_is_overtaken_and_goes_on_later(line: Line) -> None:
    asked, done = threading.Event(), []

    def slow(handle: Handle) -> None:
        assert asked.wait(10)
        done.append("first half")
        handle.give_way()
        done.append("second half")

    strip = line.add(slow, gives_way=True)
    running(strip)
    other_strip = line.add(lambda _: done.append("other strip"), "c", gives_way=True)
    dream = line.add(lambda _: done.append("dream"), "b")
    assert line.queue.shown(dream)["ahead"] == 0
    asked.set()
    line.over(strip, other_strip, dream)
    assert done == ["first half", "dream", "second half", "other strip"]
    assert [job.status for job in (strip, other_strip, dream)] == ["done"] * 3


def test_what_does_not_give_way_is_not_overtaken(line: Line) -> None:
    asked, done = threading.Event(), []

    def slow(handle: Handle) -> None:
        assert asked.wait(10)
        handle.give_way()
        done.append("first")

    first = line.add(slow)
    second = line.add(lambda _: done.append("second"))
    asked.set()
    line.over(first, second)
    assert done == ["first", "second"]


def test_what_goes_wrong_in_one_that_overtook_harms_only_itself(line: Line) -> None:
    asked = threading.Event()

    def slow(handle: Handle) -> None:
        assert asked.wait(10)
        handle.give_way()

    def fail(_: Handle) -> None:
        raise InputError("no.", "no.")

    strip = line.add(slow, gives_way=True)
    running(strip)
    dream = line.add(fail, "b")
    asked.set()
    line.over(strip, dream)
    assert (strip.status, dream.status) == ("done", "failed")


def test_a_job_that_waits_while_another_overtakes_can_be_stopped(line: Line) -> None:
    asked, stopped = threading.Event(), []

    def slow(handle: Handle) -> None:
        assert asked.wait(10)
        handle.give_way()
        stopped.append(handle.stop())

    strip = line.add(slow, gives_way=True)
    running(strip)
    dream, go = line.held("b")
    asked.set()
    running(dream)
    line.queue.stop(strip)
    assert strip.status == "stopping"
    go.set()
    line.over(strip, dream)
    assert stopped == [True]
    assert (strip.status, dream.status) == ("stopped", "done")


def test_a_job_tells_how_far_it_is_but_not_too_often(line: Line) -> None:
    def run(handle: Handle) -> None:
        for number in range(1000):
            handle.tell(number / 1000, f"step {number}")
        handle.tell(7.0)
        handle.note("a note", "another")
        handle.note("a note")
        handle.result({"some": "thing"})

    job = line.add(run)
    line.over(job)
    said = [data for _, name, data in line.told if name == "job"]
    assert len(said) < 12
    last = said[-1]
    assert last["share"] == 1.0
    assert last["notes"] == ["a note", "another"]
    assert last["result"] == {"some": "thing"}
    assert last["doing"] == ""
    assert all(0 <= data["share"] <= 1 for data in said)


def test_a_picture_that_grows_has_a_new_address_each_time(line: Line) -> None:
    made: list[bytes] = []

    def run(handle: Handle) -> None:
        for shade in (0.0, 1.0):
            handle.show(lambda shade=shade: torch.full((1, 3, 20, 30), shade), now=True)
            made.append(handle.job.frame[1])
        handle.show(lambda: pytest.fail("it was shown just now"))
        urls = [handle.picture("a", b"1"), handle.picture("b", b"2")]
        assert urls == [f"/api/jobs/{handle.job.id}/pictures/{number}" for number in (0, 1)]

    job = line.add(run)
    line.over(job)
    assert job.status == "done"
    assert line.queue.shown(job)["frame"] == f"/api/jobs/{job.id}/frame?n=2"
    assert len({*made}) == 2
    assert all(data.startswith(b"\xff\xd8") for data in made)
    assert job.pictures == {"0": b"1", "1": b"2"}


def test_a_picture_is_shown_no_larger_than_a_screen() -> None:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(jobs.jpeg(torch.rand(3, 40, 200), 100))) as picture:
        assert picture.size == (100, 20)
    with Image.open(io.BytesIO(jobs.jpeg(torch.rand(3, 40, 60), 100))) as picture:
        assert picture.size == (60, 40)


def test_closing_ends_what_runs_and_begins_nothing_more() -> None:
    line = Line()
    line.queue.start()
    first, _ = line.held()
    waiting = line.add()
    running(first)
    line.queue.close()
    assert first.status == "stopped"
    assert waiting.id not in line.order
    assert not line.queue._thread.is_alive()


def test_closing_without_work_does_not_wait() -> None:
    line = Line()
    line.queue.start()
    line.queue.close(patience=5)
    assert not line.queue._thread.is_alive()
    Queue(lambda *_: None).close()
