import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer.errors import OutputError
from dreamer.render.batch import journal
from dreamer.render.batch.journal import Journal, Record

DONE = Record(
    output="below/rose-dream.png",
    input="photos/below/rose.jpg",
    name="below/rose.jpg",
    preset="dream",
    seed=2**63 - 1,
    status="done",
    input_sha256="a" * 64,
    input_stat=(12_345, 1_700_000_000_123_456_789),
    input_size=(4000, 3000),
    recipe="b" * 64,
    facts={"target": "parts", "size": "640 x 480 px"},
    metadata=False,
    output_sha256="c" * 64,
    output_stat=(54_321, 1_700_000_001_123_456_789),
    size=(640, 480),
    thumbnail="index_files/0-small.jpg",
    before="index_files/0-before.jpg",
    work=123_456_789,
    seconds=12.345,
    attempts=2,
    notes=("it is unchanged", "two"),
)
FAILED = Record(
    output="tulip-dream.png",
    input="photos/tulip.jpg",
    name="tulip.jpg",
    preset="dream",
    seed=0,
    status="failed",
    code=4,
    error="'photos/tulip.jpg' is damaged or incomplete.",
    advice="Get the file again.",
)
# Names of files as Python has them: any text, and bytes that are none.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.binary().map(os.fsdecode),
    st.sampled_from(
        ["two\nlines\r\n", "😀👩‍🚀", os.fsdecode(b"caf\xe9.jpg"), "\u2028\0\x1b", '"}\\']
    ),
)


def timeless(records: dict[str, Record]) -> dict[str, Record]:
    return {key: replace(record, time="") for key, record in records.items()}


def lines(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().splitlines()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "folder") as written:
        written.append(DONE)
        written.append(FAILED)
        kept = dict(written.records)
    read = journal.read(tmp_path / "new" / "folder")
    assert read == kept
    assert timeless(read) == {DONE.output: DONE, FAILED.output: FAILED}
    assert len(lines(tmp_path / "new" / "folder")) == 2


@given(TEXTS, TEXTS, TEXTS)
@settings(deadline=None)
def test_any_name_and_message_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, output: str, path: str, said: str
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    told = replace(
        DONE, output=output, input=path, name=path, notes=(said, said), facts={said: said}
    )
    failed = replace(FAILED, output="x" + output, error=said, advice=said, preset=said)
    with Journal(folder) as written:
        written.append(told)
        written.append(failed)
    assert timeless(journal.read(folder)) == {told.key: told, failed.key: failed}
    assert all(line.isascii() for line in lines(folder))
    assert len(lines(folder)) == 2


def test_the_last_record_of_an_item_counts(tmp_path: Path) -> None:
    with Journal(tmp_path) as first:
        first.append(replace(FAILED, output=DONE.output))
        first.append(FAILED)
    with Journal(tmp_path) as second:
        second.append(DONE)
        assert timeless(second.records) == {DONE.output: DONE, FAILED.output: FAILED}
    assert timeless(journal.read(tmp_path)) == {DONE.output: DONE, FAILED.output: FAILED}


def test_the_last_record_counts_even_if_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(["2026-02-01T00:00:00.000000+00:00", "2026-01-01T00:00:00.000000+00:00"])
    monkeypatch.setattr(journal, "_stamped", lambda record: replace(record, time=next(times)))
    with Journal(tmp_path) as written:
        written.append(replace(FAILED, output=DONE.output))
        written.append(DONE)
    assert journal.read(tmp_path)[DONE.key].status == "done"


def test_of_several_journals_the_latest_record_counts_whatever_they_are_called(
    tmp_path: Path,
) -> None:
    failed = replace(FAILED, output=DONE.output)
    for shards in (("-1-of-2", "-2-of-2"), ("-2-of-2", "-1-of-2"), ("", "-1-of-2")):
        folder = tmp_path / "".join(shards)
        with Journal(folder, shards[0]) as one, Journal(folder, shards[1]) as other:
            one.append(failed)
            other.append(DONE)
        assert timeless(journal.read(folder)) == {DONE.key: DONE}
        with Journal(folder, shards[0]) as one:
            assert timeless(one.records) == {DONE.key: DONE}
            one.append(failed)
        assert timeless(journal.read(folder)) == {DONE.key: failed}


def test_what_other_machines_write_meanwhile_is_taken_in(tmp_path: Path) -> None:
    failed = replace(FAILED, output=DONE.output)
    with Journal(tmp_path, "-1-of-2") as one, Journal(tmp_path, "-2-of-2") as other:
        one.append(failed)
        assert one.catch_up() == set()
        other.append(FAILED)
        other.append(DONE)
        assert one.catch_up() == {FAILED.key, DONE.key}
        assert timeless(one.records) == {FAILED.key: FAILED, DONE.key: DONE}
        one.append(failed)
        assert one.catch_up() == set()
        assert timeless(one.records) == {FAILED.key: FAILED, DONE.key: failed}


def test_an_item_without_an_output_is_known_by_its_input(tmp_path: Path) -> None:
    refused = [replace(FAILED, output="", input=path) for path in ("a", "b")]
    with Journal(tmp_path) as written:
        for record in (*refused, refused[0]):
            written.append(record)
    assert timeless(journal.read(tmp_path)) == {":a": refused[0], ":b": refused[1]}


def test_a_journal_cut_anywhere_loses_one_line_and_is_gone_on_with(tmp_path: Path) -> None:
    with Journal(tmp_path / "whole") as written:
        for record in (DONE, FAILED):
            written.append(record)
    data = (tmp_path / "whole" / "journal.jsonl").read_bytes()
    (tmp_path / "cut").mkdir()
    path = tmp_path / "cut" / "journal.jsonl"
    added = replace(DONE, output="added.png")
    first = data.index(b"\n")
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        # A line that lacks but its end is whole.
        left = [DONE] * (cut >= first) + [FAILED] * (cut >= len(data) - 1)
        with Journal(tmp_path / "cut") as going_on:
            assert timeless(going_on.records) == {record.key: record for record in left}
            going_on.append(added)
        wanted = {record.key: record for record in (*left, added)}
        assert timeless(journal.read(tmp_path / "cut")) == wanted
        assert path.read_bytes().startswith(data[:cut])
        assert path.read_bytes().endswith(b"\n")


DAMAGED = [
    b"",
    b"\n",
    b"no json\n",
    b"\xff\xfe\x00\n",
    bytes(4096) + b"\n",  # what a power cut may leave
    b"[1, 2]\n",
    b"3\n",
    b"null\n",
    b'"text"\n',
    b"{}\n",
    b'{"schema": 1}\n',
    b"[" * 100_000 + b"\n",
    b'{"a": ' * 100_000 + b"\n",
    b"9" * 10_000 + b"\n",
]


@pytest.mark.parametrize("damage", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    with Journal(tmp_path) as written:
        written.append(DONE)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(damage)
    with Journal(tmp_path) as written:
        written.append(FAILED)
    assert timeless(journal.read(tmp_path)) == {DONE.key: DONE, FAILED.key: FAILED}


CHANGES = [
    {"schema": 2},
    {"schema": "1"},
    {"schema": None},
    {"output": 3},
    {"output": None},
    {"input": ["a"]},
    {"name": {}},
    {"status": "gone"},
    {"status": 0},
    {"time": 1},
    {"input_size": [1, 2, 3]},
    {"input_size": "10x20"},
    {"input_size": 7},
    {"input_stat": [None, 1]},
    {"size": []},
    {"facts": ["target"]},
    {"notes": 3},
    {"seconds": "long"},
    {"work": 1.5},
    {"code": "4"},
    {"metadata": "yes"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_line_that_says_what_none_of_ours_does_is_passed_over(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with Journal(tmp_path) as written:
        written.append(DONE)
        written.append(replace(FAILED, output=DONE.output))
    first, last = map(json.loads, lines(tmp_path))
    foreign = json.dumps({**last, **asdict(DONE), "schema": 1, **change})
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{json.dumps(first)}\n{foreign}\n")
    assert timeless(journal.read(tmp_path)) == {DONE.key: DONE}


@pytest.mark.parametrize("missing", ["schema", "output", "input", "name", "preset", "seed"])
def test_a_line_that_does_not_say_enough_is_passed_over(tmp_path: Path, missing: str) -> None:
    with Journal(tmp_path) as written:
        written.append(DONE)
    line = json.loads(lines(tmp_path)[0])
    del line[missing]
    (tmp_path / "journal.jsonl").write_text(json.dumps(line) + "\n")
    assert journal.read(tmp_path) == {}


def test_what_a_later_version_adds_to_a_line_is_passed_over(tmp_path: Path) -> None:
    with Journal(tmp_path) as written:
        written.append(DONE)
    line = json.loads(lines(tmp_path)[0]) | {"mood": ["calm"]}
    (tmp_path / "journal.jsonl").write_text(json.dumps(line) + "\n")
    assert timeless(journal.read(tmp_path)) == {DONE.key: DONE}


def test_a_folder_without_a_journal_knows_nothing(tmp_path: Path) -> None:
    assert journal.read(tmp_path) == {}
    assert journal.read(tmp_path / "missing") == {}
    (tmp_path / "journal-of-my-garden.jsonl").mkdir()  # a folder of results may be called so
    assert journal.read(tmp_path) == {}
    with Journal(tmp_path) as written:
        assert written.records == {}


# ---- One at a time.


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts another process that holds a journal of `tmp_path` and has written a record."""
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from dreamer.render.batch.journal import Journal, Record
        held = Journal(Path(sys.argv[1]), sys.argv[2])
        held.append(Record("theirs.png", "theirs.jpg", "theirs.jpg", "dream", 0, "done"))
        print("held", flush=True)
        time.sleep(60)
    """)
    started = []

    def start(shard: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, str(tmp_path), shard]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_dreamer_is_refused_until_the_first_one_ends_by_whatever(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[bytes]]
) -> None:
    other = holder()
    for _ in range(2):
        with pytest.raises(OutputError, match="Another dreamer is at work") as caught:
            Journal(tmp_path)
        assert str(tmp_path) in caught.value.message
        assert caught.value.advice
    assert set(journal.read(tmp_path)) == {"theirs.png"}  # to look at it is no work in it
    with Journal(tmp_path, "-1-of-2") as shard:
        assert set(shard.records) == {"theirs.png"}
    other.send_signal(signal.SIGKILL)
    other.wait()
    with Journal(tmp_path) as ours:
        assert set(ours.records) == {"theirs.png"}
        ours.append(DONE)
        with pytest.raises(OutputError, match="Another dreamer is at work"):
            Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_journal_that_could_not_be_opened_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OutputError("It cannot be read.", "Try again.")

    with monkeypatch.context() as broken:
        broken.setattr(journal, "read", fail)
        for _ in range(2):
            with pytest.raises(OutputError, match="It cannot be read"):
                Journal(tmp_path)
    with Journal(tmp_path) as written:
        written.append(DONE)


# ---- No room, no permission.


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that takes as many bytes of each write as are asked for here; without end if none."""
    room: list[int] = []
    write = os.write

    def short(descriptor: int, data: bytes) -> int:
        if not room:
            return write(descriptor, data)
        taken = room.pop(0)
        if taken == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:taken])

    monkeypatch.setattr(os, "write", short)
    return room


@pytest.mark.parametrize("taken", [[0, 0], [0, 40], [40, 0], [1, 1], [40, 40], [10_000, 0]])
def test_what_a_full_disk_did_not_take_is_written_later(
    tmp_path: Path, full: list[int], taken: list[int]
) -> None:
    records = [replace(DONE, output=f"{index}.png") for index in range(4)]
    with Journal(tmp_path) as written:
        written.append(records[0])
        full += taken
        for record in records[1:3]:
            written.append(record)
        assert full == []
        assert len(written.unwritten) == (1 if taken[0] > 1000 else 2)
        assert set(journal.read(tmp_path)) < {record.key for record in records[:3]}
        written.append(records[3])
        assert written.unwritten == []
        wanted = {record.key: record for record in records}
        assert timeless(written.records) == wanted
        assert timeless(journal.read(tmp_path)) == wanted


def test_what_is_unwritten_is_written_when_the_journal_is_closed(
    tmp_path: Path, full: list[int]
) -> None:
    written = Journal(tmp_path)
    full += [40]
    written.append(DONE)
    assert len(written.unwritten) == 1
    written.close()
    written.close()
    assert timeless(journal.read(tmp_path)) == {DONE.key: DONE}


def test_a_disk_that_stays_full_ends_nothing(tmp_path: Path, full: list[int]) -> None:
    with Journal(tmp_path) as written:
        full += [0] * 10
        written.append(DONE)
        written.append(FAILED)
    assert len(written.unwritten) == 2
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError) as caught:
        Journal(tmp_path)
    assert str(tmp_path / "journal.jsonl") in caught.value.message
    assert caught.value.advice


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(OutputError):
            Journal(folder)
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        Journal(tmp_path)


def test_a_line_costs_less_than_a_millisecond_and_two_thousand_are_read_in_a_second(
    tmp_path: Path,
) -> None:
    records = [replace(DONE, output=f"{index}.png") for index in range(2_000)]
    with Journal(tmp_path) as written:
        began = time.process_time()
        for record in records:
            written.append(record)
        assert time.process_time() - began < 2.0
    began = time.process_time()
    assert len(journal.read(tmp_path)) == 2_000
    assert time.process_time() - began < 1.0
