"""The benchmarks' own tables and comparisons, on made-up numbers: nothing is timed here."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import __main__ as command
from benchmarks import against, history, peers, textbook
from benchmarks.rows import Row, table

MACHINE = {
    "cpu": "Abacus 3000",
    "cores": 4,
    "threads": 2,
    "python": "3.11.7",
    "versions": {"dreamer": "0.1.0", "torch": "2.6.0", "torchvision": "0.21.0"},
    "commit": "0123456789abcdef0123456789abcdef01234567-dirty",
    "time": "2025-03-01T10:20:30+0000",
}


def cells(text: str) -> list[list[str]]:
    """Take a Markdown table apart."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def saved(path: Path, value: float, **machine: object) -> Path:
    """Save a run of two rows."""
    parts = {"steps": [Row("step", value)], "films": [Row("film", 7, "s", detail="long")]}
    history.save(path, {**MACHINE, **machine}, parts)
    return path


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "passed"),
    [(2, None, None, None), (2, 2, None, True), (1.9, 2, None, False), (2, None, 1.9, False)],
)
def test_a_row_passes_when_its_requirement_is_met(
    value: float, at_least: float | None, at_most: float | None, passed: bool | None
) -> None:
    assert Row("step", value, "x", at_least, at_most).passed is passed


def test_the_table_shows_every_row_and_marks_what_is_missed() -> None:
    shown = cells(table([Row("step", 2, "x", 3, None, "slow"), Row("film", 1.2345, "")]))
    assert shown[0] == ["row", "measured", "required", "", "detail"]
    assert shown[2:] == [
        ["step", "2 x", ">= 3", "MISSED", "slow"],
        ["film", "1.23", "", "", ""],
    ]


def test_a_table_beside_an_earlier_run_shows_what_it_was_and_the_ratio() -> None:
    rows = [Row("step", 3), Row("new", 5), Row("nothing", 1)]
    shown = cells(table(rows, {"step": 2.0, "nothing": 0.0, "gone": 4.0}))
    assert shown[0][1:4] == ["measured", "before", "now / before"]
    assert [row[:4] for row in shown[2:]] == [
        ["step", "3 x", "2 x", "1.50"],
        ["new", "5 x", "", ""],
        ["nothing", "1 x", "0 x", ""],
    ]


def test_a_saved_run_reads_back(tmp_path: Path) -> None:
    run = history.read(saved(tmp_path / "deep" / "run.json", 2.5))
    assert run.machine == MACHINE
    assert run.values == {"step": 2.5, "film": 7}
    assert [row["part"] for row in run.rows] == ["steps", "films"]
    assert run.rows[1]["detail"] == "long"


@pytest.mark.parametrize("text", [None, "{", "[]", '{"machine": {}}', '{"machine":{},"rows":[1]}'])
def test_what_is_no_saved_run_is_refused_by_name(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a saved run"):
        history.read(path)


def test_machines_differ_in_what_changes_numbers_only() -> None:
    assert history.differences(MACHINE, {**MACHINE, "commit": "f" * 40, "time": "now"}) == []
    other = {**MACHINE, "threads": 1, "versions": {"torch": "2.14.1", "torchvision": "0.21.0"}}
    assert history.differences(MACHINE, other) == [
        "threads: 2 before, 1 now",
        "torch: 2.6.0 before, 2.14.1 now",
    ]


def test_rows_vanish_only_from_parts_that_were_measured(tmp_path: Path) -> None:
    before = history.read(saved(tmp_path / "run.json", 1))
    assert history.vanished(before, ["step"], ["steps"]) == []
    assert history.vanished(before, ["step"], ["steps", "films"]) == ["film"]
    assert history.vanished(before, [], ["steps"]) == ["step"]


def test_history_tells_a_row_run_by_run_and_the_oldest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "a.json", 3, time="2025-04-02T08:00:00+0000", commit=None, threads=1)
    saved(tmp_path / "b.json", 2)
    (tmp_path / "c.json").write_text("{}")
    assert command.main(["--history", str(tmp_path), "--row", "STEP"]) == 0
    out, err = capsys.readouterr()
    shown = cells(out)
    assert shown[0] == ["row", "measured", "date", "commit", "machine"]
    assert shown[2:] == [
        [
            "step",
            "2 x",
            "2025-03-01 10:20",
            "012345678-dirty",
            "Abacus 3000, 2 threads, torch 2.6.0",
        ],
        ["step", "3 x", "2025-04-02 08:00", "", "Abacus 3000, 1 thread, torch 2.6.0"],
    ]
    assert "left out" in err
    assert "c.json" in err
    assert command.main(["--history", str(tmp_path)]) == 0
    assert [row[0] for row in cells(capsys.readouterr().out)[2:]] == [
        "step",
        "step",
        "film",
        "film",
    ]


def test_a_history_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--history", str(tmp_path)]) == 1
    assert "no saved runs" in capsys.readouterr().err
    saved(tmp_path / "a.json", 3)
    assert command.main(["--history", str(tmp_path), "--row", "memory"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "'memory'" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--row", "step"], "--history"), (["--compare", "nowhere.json"], "nowhere.json is not")],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_run_is_saved_and_set_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(repeats: int, quick: bool) -> list[Row]:
        asked.append((repeats, quick))
        return [Row("step", 4, "x", 5)]

    monkeypatch.setitem(sys.modules, "benchmarks.steps", SimpleNamespace(measure=measure))
    parts = {"steps": [Row("step", 2), Row("gone", 1)], "films": [Row("film", 7)]}
    history.save(tmp_path / "old.json", MACHINE, parts)
    new = tmp_path / "new.json"
    arguments = ["--only", "steps", "--json", str(new), "--compare", str(tmp_path / "old.json")]
    assert command.main(arguments) == 1  # 4 is below 5
    out, err = capsys.readouterr()
    assert asked == [(5, False)]
    assert cells(out)[2][:4] == ["step", "4 x", "2 x", "2.00"]
    assert "cpu: Abacus 3000 before" in err
    assert "not measured any more: gone" in err
    assert "film" not in err
    assert history.read(new).values == {"step": 4}
    assert json.loads(new.read_text())["rows"][0]["passed"] is False


def test_history_needs_no_torch() -> None:
    code = "import sys, benchmarks.__main__; sys.exit('torch' in sys.modules)"
    root = Path(command.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


@pytest.mark.parametrize("part", command.PARTS)
def test_every_part_can_be_measured(part: str) -> None:
    assert callable(import_module(f"benchmarks.{part}").measure)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("efficientnet_lite0", ("block8",)),
        ("efficientnet_lite0", ("block10", "block11")),
        ("googlenet", ("inception4c",)),
    ],
)
def test_the_next_best_step_has_the_textbook_gradient(name: str, layers: tuple[str, ...]) -> None:
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, 96, 80, generator=random, dtype=torch.float64)
    expected = textbook.step(textbook.network(name).double(), name, layers)(pixels)
    found = textbook.next_best(name, layers, torch.float64)(pixels)
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-9 * expected.norm()


def contest(
    name: str, top: str, measure: Callable[[int, bool], tuple[float, str]]
) -> against.Contest:
    return against.Contest(name, "torch" if top == "torch" else top, top, measure)


def test_programs_that_are_not_installed_have_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    def never(_repeats: int, _quick: bool) -> tuple[float, str]:
        raise AssertionError

    missing = [contest(name, "no_such_program", never) for name in ("one", "two")]
    assert against.compare(missing, 5, False) == []
    assert capsys.readouterr().err.split("\n") == [
        "  no_such_program: not installed: pip install no_such_program",
        "",
    ]


def test_a_program_that_runs_has_a_row_with_its_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(repeats: int, quick: bool) -> tuple[float, str]:
        sys.stdout.write("their report")
        return 2.5, f"{repeats} repeats, {'quick' if quick else 'full'}"

    (row,) = against.compare([contest("it", "torch", measure)], 5, False)
    version = metadata.version("torch")
    assert (row.name, row.value) == ("against: it", 2.5)
    assert row.detail == f"torch {version}: 3 repeats, full"
    assert "their report" not in capsys.readouterr().out


def test_a_failure_of_ours_is_not_hidden_as_one_of_theirs() -> None:
    def broken(_repeats: int, _quick: bool) -> tuple[float, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        against.compare([contest("it", "torch", broken)], 5, False)


def program(run: peers.Peer, freezes: bool = False) -> dict[str, peers.Program]:
    """What stands for a program that is installed."""
    return {"dreamlens": peers.Program("torch", "torch", run, freezes, "nothing else")}


@pytest.mark.parametrize("error", [AttributeError("torch has no rfft"), SystemExit("no such flag")])
def test_a_program_that_fails_has_no_row_and_its_last_line_is_told(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(peers, "PROGRAMS", program(fail, freezes=True))
    monkeypatch.setattr(against, "SIZE", 64)
    contests = [each for each in against.contests() if each.top == "torch"]
    assert against.compare(contests, 1, True) == []
    err = capsys.readouterr().err
    assert "dreamlens: fails (torch " in err
    assert f"{type(error).__name__}: {error}" in err


def test_theirs_and_ours_are_compared_by_the_seconds_of_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainable = []

    def run(module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, *rest: int):
        trainable.append(all(each.requires_grad for each in module.parameters()))
        return peers.dreamlens(module, layer, channel, size, 1, *rest)

    def seconds(one: Callable[[int], None], steps: int) -> float:
        one(1)
        # Loading theirs takes 5 s, ours 100 s.
        return 5 + 0.3 * steps if one.__name__ == "theirs" else 100 + 0.1 * steps

    monkeypatch.setattr(peers, "PROGRAMS", program(run))
    monkeypatch.setattr(against, "seconds", seconds)
    monkeypatch.setattr(against, "SIZE", 64)
    contests = [each for each in against.contests() if each.top == "torch"]
    rows = against.compare(contests, 1, True)
    assert [row.name for row in rows] == [
        "against: dreamlens",
        "against: dreamlens, weights frozen",
    ]
    assert trainable == [True] * 4 + [False] * 4
    for row, state in zip(rows, ("trainable", "frozen for it"), strict=True):
        assert row.value == pytest.approx(3)
        assert "300 ms a step theirs, 100 ms ours" in row.detail
        assert "1 view a step, 64 px, block8:5" in row.detail
        assert f"weights {state}" in row.detail
        assert "thread" in row.detail


def test_a_machine_too_busy_to_time_has_no_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "PROGRAMS", program(lambda *_: torch.zeros(3, 8, 8), freezes=True))
    monkeypatch.setattr(against, "seconds", lambda *_: 1.0)
    contests = [each for each in against.contests() if each.top == "torch"]
    assert against.compare(contests, 1, True) == []
    assert "too busy" in capsys.readouterr().err


def test_every_stand_in_but_none_other_may_have_a_program() -> None:
    assert set(peers.PROGRAMS) == set(peers.STAND_INS)
    assert len({each.name for each in against.contests()}) == len(against.contests())
