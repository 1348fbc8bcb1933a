from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from batching import ASKED, Batch, photo

from dreamer.networks import weights
from dreamer.render import memory
from dreamer.render.batch import estimate
from dreamer.render.batch.estimate import START, Estimate
from dreamer.render.batch.plan import Todo, Verdict

measure = estimate._measured_rate


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Three photos, of which the last one is the largest by far."""
    for name, size in (("a.png", (64, 48)), ("b.png", (64, 48)), ("c.png", (640, 480))):
        photo(tmp_path / "in" / name, size)
    return Batch(tmp_path / "in", tmp_path / "out")


@pytest.fixture(autouse=True)
def speed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine that makes a million pixels a second; the presets that were measured on it."""
    measured: list[str] = []

    def rate(look: object) -> float:
        measured.append(look.preset)  # type: ignore[attr-defined]
        return 1e-6

    monkeypatch.setattr(estimate, "_measured_rate", rate)
    monkeypatch.setattr(memory, "free", lambda: 10**12)
    return measured


def estimated(batch: Batch, workers: int = 1, verdicts: list[Verdict] | None = None) -> Estimate:
    verdicts = batch.judge() if verdicts is None else verdicts
    return estimate.estimate(verdicts, batch.records(), lambda _: workers)


def works(batch: Batch) -> list[int]:
    return [verdict.recipe.work for verdict in batch.judge() if isinstance(verdict, Todo)]


def test_the_time_is_that_of_all_pixels_of_all_steps(batch: Batch) -> None:
    whole = estimated(batch)
    seconds = [each.seconds for each in whole.items]
    assert seconds == pytest.approx([work / 1e6 for work in works(batch)])
    assert whole.seconds == pytest.approx(START + sum(works(batch)) / 1e6)
    assert whole.workers == 1


def test_several_at_once_are_faster_but_no_faster_than_the_longest(batch: Batch) -> None:
    work = works(batch)
    for name in "de":
        photo(batch.photos / f"{name}.png", (640, 480))
    two = estimated(batch, 2).seconds
    assert two is not None
    assert (sum(work) + 2 * work[2]) / 2e6 <= two - START <= (sum(work) + 3 * work[2]) / 2e6
    assert estimated(batch, 5).seconds == pytest.approx(START + work[2] / 1e6)
    assert estimated(batch, 100).workers == 5


def test_a_preset_is_measured_once_and_only_if_the_journal_cannot_tell(
    batch: Batch, speed: list[str]
) -> None:
    estimated(batch)
    assert speed == ["dream"]
    batch.run()  # an eighth of a second each
    (batch.out / "a-dream.png").unlink()
    found = estimated(batch)
    assert speed == ["dream"]
    assert found.items[0].seconds == pytest.approx(0.125)
    other = replace(batch, request=replace(ASKED, preset="eyes"))
    estimated(other)
    assert speed == ["dream", "eyes"]


def test_failures_and_other_networks_tell_nothing_about_the_time(
    batch: Batch, speed: list[str]
) -> None:
    batch.run()
    records = {key: replace(record, status="failed") for key, record in batch.records().items()}
    facts = {"network": "vgg16"}
    records |= {f"x{key}": replace(each, facts=facts) for key, each in batch.records().items()}
    records |= {f"y{key}": replace(each, work=0) for key, each in batch.records().items()}
    todo = replace(batch, out=batch.out / "new").judge()
    assert estimate.estimate(todo, records, lambda _: 1).seconds == pytest.approx(
        START + sum(verdict.recipe.work for verdict in todo if isinstance(verdict, Todo)) / 1e6
    )
    assert speed == ["dream"]


def test_what_is_done_or_refused_takes_nothing(batch: Batch) -> None:
    batch.run()
    (batch.photos / "0.png").write_bytes(b"no picture")
    found = estimated(batch)
    assert [(each.seconds, each.memory) for each in found.items] == [(0.0, 0)] * 4
    assert (found.seconds, found.memory, found.workers) == (0.0, 0, 1)
    assert estimated(batch, verdicts=[]).seconds == 0.0


def test_without_the_weights_the_time_is_unknown(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    verdicts = batch.judge()
    monkeypatch.setattr(weights, "locate", lambda _: None)
    found = estimated(batch, verdicts=verdicts)
    assert [each.seconds for each in found.items] == [None] * 3
    assert found.seconds is None
    assert found.memory > 0


def test_for_a_device_that_is_a_clusters_the_time_is_unknown(batch: Batch) -> None:
    batch.request = replace(ASKED, device="cuda:77")
    assert measure(batch.items()[0].look) is None


def test_the_memory_is_that_of_the_largest_that_run_at_once(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, _, large = (each.memory for each in estimated(batch).items)
    assert 10**8 < small < large < 10**10
    assert estimated(batch).memory == large
    assert estimated(batch, 2).memory == large + small
    assert estimated(batch, 9).memory == large + 2 * small
    # With less there are fewer at once; one has to be.
    monkeypatch.setattr(memory, "free", lambda: large + 10)
    assert estimated(batch, 9).memory == large + 10
    monkeypatch.setattr(memory, "free", lambda: 10)
    assert estimated(batch, 9).memory == large


def test_a_network_that_was_not_measured_is_taken_for_the_largest(batch: Batch) -> None:
    recipe = next(each.recipe for each in batch.judge() if isinstance(each, Todo))
    unknown = memory.needed(recipe.model_copy(update={"network": "new"}))
    elsewhere = memory.needed(recipe.model_copy(update={"device": "cuda"}))
    assert memory.WORKER < elsewhere < unknown
    for name in memory.PER_PIXEL:
        assert memory.needed(recipe.model_copy(update={"network": name})) <= unknown


GB = 10**9


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8 * GB),
        ({"memory.max": "max\n", "memory.current": "1000000000\n", "memory.stat": ""}, 8 * GB),
        ({"memory.max": "4000000000\n", "memory.current": "1000000000\n"}, 8 * GB),
        (
            {"memory.max": "4000000000\n", "memory.current": "1000000000\n", "memory.stat": ""},
            3 * GB,
        ),
        # What was read of files is kept as long as there is room, and no longer.
        (
            {
                "memory.max": "4000000000\n",
                "memory.current": "3500000000\n",
                "memory.stat": "anon 500000000\ninactive_file 3000000000\nslab 7\n",
            },
            3.5 * GB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "4000000000\n",
                "memory/memory.usage_in_bytes": "3500000000\n",
                "memory/memory.stat": "inactive_file 4096\ntotal_inactive_file 3000000000\n",
            },
            3.5 * GB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.usage_in_bytes": "3500000000\n",
                "memory/memory.stat": "",
            },
            8 * GB,
        ),
        ({"memory.max": "10\n", "memory.current": "20\n", "memory.stat": ""}, 0),
    ],
)
def test_the_memory_of_a_container_is_what_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: float
) -> None:
    monkeypatch.undo()
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GB))
    assert memory.free() == pytest.approx(free * memory.SHARE)


def test_a_small_picture_tells_how_fast_this_machine_is(batch: Batch) -> None:
    batch.request = replace(ASKED, overrides={"ascent.steps": 1, "octaves.count": 1}, threads=1)
    rate = measure(batch.items()[0].look)
    assert rate is not None
    assert 1e-9 < rate < 1e-4
