import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batching import ASKED, Fake, make, photo, tree

from dreamer.errors import DreamerError, InputError, OutputError
from dreamer.media import gathering
from dreamer.render.batch import plan
from dreamer.render.batch.journal import Journal
from dreamer.render.batch.run import Result
from dreamer.render.batch.session import Planned, Session, Wanted
from dreamer.render.batch.tasks import Failed
from dreamer.render.batch.watch import Watch


class Clock:
    """Seconds that pass when they are told to, or when somebody waits for them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A folder that is watched, as `dreamer watch` does it, but for the network and the time."""

    def __init__(self, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.out = folder, out
        self.runner = Fake()
        self.clock = Clock()
        self.errors: list[str] = []
        self.results: list[Result] = []
        monkeypatch.setattr(Session, "_started", lambda *_: self.runner)
        monkeypatch.setattr("time.sleep", self.pass_by)
        self.start()

    def start(self) -> None:
        """Start it, as if it had never run before."""
        wanted = Wanted(
            folder=self.out, inputs=(str(self.folder),), recursive=True, request=ASKED, renew=True
        )
        self.session = Session(wanted)
        self.watch = Watch(self.session, every=2.0, settle=5.0, clock=self.clock)

    def pass_by(self, seconds: float) -> None:
        self.clock.now += seconds

    def whole(self, seconds: float = 0.0) -> list[str]:
        """The names of what is whole after some seconds."""
        self.clock.now += seconds
        return [os.path.basename(found.path) for found in self.watch.look().photos]

    def run(self, seconds: float) -> list[str]:
        """Let it work for some seconds; returns the names of the photos that were dreamed on."""
        until = self.clock.now + seconds
        before = len(self.runner.made)

        def work(planned: Planned) -> list[Result]:
            self.results = self.session.run(self.session.judge(planned))
            return self.results

        def on_error(error: DreamerError) -> None:
            self.errors.append(error.message)

        self.watch.rounds(work, on_error, lambda: self.clock.now >= until)
        return self.runner.made[before:]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    (tmp_path / "in").mkdir()
    watched = Watched(tmp_path / "in", tmp_path / "out", monkeypatch)
    yield watched
    watched.session.close()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


# ---- What is whole.


def test_a_photo_is_whole_once_it_has_stayed_as_it_is(watched: Watched) -> None:
    path = photo(watched.folder / "rose.png")
    assert watched.whole() == []
    assert watched.whole(4.9) == []
    assert watched.whole(0.2) == ["rose.png"]
    assert watched.whole(100) == []
    assert path.exists()


def test_a_photo_that_grows_is_waited_for(watched: Watched) -> None:
    path = photo(watched.folder / "rose.png")
    photo(watched.folder / "lily.png")
    for _ in range(5):
        grow(path)
        assert "rose.png" not in watched.whole(4)
    assert watched.whole(4.9) == []
    assert watched.whole(0.2) == ["rose.png"]


def test_a_photo_that_is_written_to_without_growing_is_waited_for(watched: Watched) -> None:
    path = photo(watched.folder / "rose.png")
    for second in range(5):
        os.utime(path, (second, second))
        assert watched.whole(4) == []
    assert watched.whole(5) == ["rose.png"]


def test_a_photo_of_the_same_name_is_taken_again(watched: Watched) -> None:
    path = photo(watched.folder / "rose.png")
    watched.whole()
    assert watched.whole(5) == ["rose.png"]
    photo(path, (72, 48), "gold")
    assert watched.whole() == []
    assert watched.whole(5) == ["rose.png"]
    assert watched.whole(50) == []


def test_nothing_has_to_settle_if_nothing_is_to_be_waited_for(watched: Watched) -> None:
    watched.watch.settle = 0.0
    photo(watched.folder / "rose.png")
    assert watched.whole() == ["rose.png"]


def test_a_folder_that_goes_away_and_comes_back_is_gone_on_with(watched: Watched) -> None:
    photo(watched.folder / "rose.png")
    watched.whole()
    assert watched.whole(5) == ["rose.png"]
    away = watched.folder.rename(watched.folder.with_name("away"))
    assert watched.whole(10) == []
    photo(away / "lily.png")
    away.rename(watched.folder)
    assert watched.whole(10) == []
    assert watched.whole(5) == ["lily.png"]


def test_what_is_gone_is_forgotten(watched: Watched) -> None:
    photo(watched.folder / "stays.png")
    for index in range(20):
        path = photo(watched.folder / f"{index}.png")
        watched.whole()
        assert f"{index}.png" in watched.whole(5)
        path.unlink()
    watched.whole()
    assert set(watched.watch._seen) == {str(watched.folder / "stays.png")}
    assert set(watched.watch._taken) == {str(watched.folder / "stays.png")}


def test_what_cannot_be_looked_at_is_told_once_each_time_it_happens(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = gathering.Refused("locked", InputError("It cannot be listed.", "See to it."))
    there: list[gathering.Refused] = [closed]
    find = watched.session.find

    def found() -> gathering.Gathered:
        return gathering.Gathered(find().photos, tuple(there), 0, ())

    photo(watched.folder / "rose.png")
    monkeypatch.setattr(watched.session, "find", found)
    assert watched.watch.look().refused == (closed,)
    assert watched.watch.look().refused == ()
    there.clear()
    assert watched.watch.look().refused == ()
    there.append(closed)
    assert watched.watch.look().refused == (closed,)


# ---- What is made of it.


def test_what_lands_is_dreamed_once(watched: Watched) -> None:
    assert watched.run(10) == []
    assert not watched.out.exists()
    photo(watched.folder / "rose.png")
    assert watched.run(3) == []
    assert watched.run(4) == ["rose.png"]
    photo(watched.folder / "below" / "lily.jpg")
    assert watched.run(60) == ["lily.jpg"]
    assert {name for name in tree(watched.out) if name.endswith(".png")} == {
        "rose-dream.png",
        "below/lily-dream.png",
    }
    assert watched.errors == []


def test_a_photo_that_is_replaced_is_dreamed_again_and_no_other(watched: Watched) -> None:
    photo(watched.folder / "rose.png")
    photo(watched.folder / "lily.png")
    assert watched.run(20) == ["lily.png", "rose.png"]
    before = tree(watched.out)
    photo(watched.folder / "rose.png", (64, 48), "gold")
    assert watched.run(20) == ["rose.png"]
    after = tree(watched.out)
    assert after["rose-dream.png"] != before["rose-dream.png"]
    assert after["lily-dream.png"] == before["lily-dream.png"]


def test_a_failure_is_not_tried_again_until_the_photo_changes(watched: Watched) -> None:
    path = watched.folder / "rose.png"
    path.write_bytes(b"not yet a picture")
    photo(watched.folder / "lily.png")
    assert watched.run(60) == ["lily.png"]
    lines = (watched.out / "journal.jsonl").read_text().splitlines()
    assert sum("is not a picture" in line for line in lines) == 1
    watched.runner.answer = lambda task: Failed(task.number, 4, "It failed.", "Try again.")
    photo(path)
    assert watched.run(60) == ["rose.png"] * 3  # with its retries
    assert watched.session.records["rose-dream.png"].status == "failed"
    watched.runner.answer = make
    assert watched.run(60) == []
    os.utime(path, (1, 1))
    assert watched.run(60) == ["rose.png"]
    assert watched.session.records["rose-dream.png"].status == "done"


def test_started_again_it_makes_what_is_missing_only(watched: Watched) -> None:
    photo(watched.folder / "rose.png")
    watched.run(20)
    watched.session.close()
    photo(watched.folder / "lily.png")
    watched.start()
    assert watched.run(20) == ["lily.png"]
    watched.session.close()
    lines = (watched.out / "journal.jsonl").read_bytes()
    watched.start()
    assert watched.run(20) == []
    assert {result.status for result in watched.results} == {"skipped"}
    assert (watched.out / "journal.jsonl").read_bytes() == lines


def test_started_again_it_makes_the_dream_of_what_was_replaced_meanwhile(
    watched: Watched,
) -> None:
    photo(watched.folder / "rose.png")
    watched.run(20)
    watched.session.close()
    photo(watched.folder / "rose.png", (64, 48), "gold")
    watched.start()
    assert watched.run(20) == ["rose.png"]
    assert watched.run(20) == []


def test_a_round_that_fails_as_a_whole_is_told_and_tried_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(watched.folder / "rose.png")
    check = plan.check_folder

    def refuse(*_: object) -> None:
        raise OutputError("The disk is away.", "Mount it.")

    monkeypatch.setattr(plan, "check_folder", refuse)
    assert watched.run(20) == []
    assert len(watched.errors) > 3
    assert set(watched.errors) == {"The disk is away."}
    monkeypatch.setattr(plan, "check_folder", check)
    assert watched.run(3) == ["rose.png"]


def test_another_dreamer_in_the_same_folder_is_waited_for(watched: Watched, tmp_path: Path) -> None:
    photo(watched.folder / "rose.png")
    with Journal(watched.out):
        assert watched.run(20) == []
    assert "Another dreamer" in watched.errors[0]
    assert watched.run(3) == ["rose.png"]


def test_two_photos_that_would_share_a_result_cost_the_second_one_only(watched: Watched) -> None:
    photo(watched.folder / "rose.jpg")
    photo(watched.folder / "rose.png")
    assert watched.run(20) == ["rose.jpg"]
    assert sorted(result.status for result in watched.results) == ["done", "failed"]
    photo(watched.folder / "lily.jpg")
    assert watched.run(20) == ["lily.jpg"]
    photo(watched.folder / "lily.png")  # in a later round
    assert watched.run(20) == []
    assert [result.status for result in watched.results] == ["failed"]


def test_the_photos_are_never_written(watched: Watched) -> None:
    for name in ("rose.png", "below/lily.jpg"):
        photo(watched.folder / name)
    before = tree(watched.folder)
    watched.run(20)
    assert tree(watched.folder) == before


def test_it_stops_when_it_is_told_to(watched: Watched) -> None:
    photo(watched.folder / "rose.png")
    calls: list[int] = []

    def stop() -> bool:
        calls.append(0)
        return len(calls) > 3

    def never(_: object) -> list[Result]:
        raise AssertionError

    watched.watch.rounds(never, never, stop)  # type: ignore[arg-type]
    assert len(calls) < 10
