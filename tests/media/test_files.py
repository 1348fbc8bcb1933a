import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer.errors import OutputError
from dreamer.media import files

ODD_NAMES = [
    "with spaces.png",
    "😀👩‍🚀 dröm.png",
    "two\nlines.png",
    "-o.png",
    "x" * 251 + ".png",
    "ü" * 125 + "x.png",
]


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def write(path: Path, data: bytes = b"new", *, overwrite: bool = True) -> None:
    with files.replacing(path, overwrite=overwrite) as stream:
        stream.write(data)


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    with files.replacing(target) as stream:
        stream.write(b"half")
        stream.flush()
        assert not target.exists()
        stream.write(b" and half")
    assert target.read_bytes() == b"half and half"
    assert names_in(tmp_path) == ["out.png"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_written(tmp_path: Path, name: str) -> None:
    files.check(tmp_path / name)
    write(tmp_path / name)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"new"


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out.png"
    files.check(target)
    assert names_in(tmp_path) == []
    write(target)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_writing_early_leaves_the_old_file(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    with pytest.raises(failure), files.replacing(target) as stream:
        stream.write(b"x" * 100_000)
        raise failure
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.png"]


def test_ctrl_c_in_the_middle_of_a_write_leaves_nothing_behind(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from dreamer.media import files
        with files.replacing(sys.argv[1]) as stream:
            stream.write(b"x" * 100_000)
            print("writing", flush=True)
            time.sleep(60)
    """)
    command = [sys.executable, "-c", program, str(tmp_path / "out.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [Path(name).suffix for name in names_in(tmp_path)] == [".part"]
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in complaint
    assert names_in(tmp_path) == []


def full_disk_message(path: Path) -> str:
    return f"There is no room left to write '{path}'."


def test_a_full_disk_is_said_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write(target)
    assert caught.value.message == full_disk_message(target)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.png"]


def test_a_file_size_limit_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError) as caught:
            write(target, b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.message == full_disk_message(target)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.png"]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("size", [200_000, 70_000, 60_000])
def test_a_disk_that_fills_up_keeps_the_old_file(small_disk: Path, size: int) -> None:
    target = small_disk / "out.png"
    target.write_bytes(b"old" * 5_000)
    with pytest.raises(OutputError) as caught:
        write(target, b"x" * size)
    assert caught.value.message == full_disk_message(target)
    assert target.read_bytes() == b"old" * 5_000
    assert names_in(small_disk) == ["out.png"]


def test_a_read_only_disk_is_found_before_the_work(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match="read-only"):
        files.check(small_disk / "out.png")
    with pytest.raises(OutputError, match="read-only"):
        files.check(small_disk / "new folder" / "out.png")
    with pytest.raises(OutputError, match="read-only"):
        write(small_disk / "out.png")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "permission was denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_what_the_system_refuses_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "out.png"
    monkeypatch.setattr(os, "open", refuse)
    for attempt in (files.check, write):
        with pytest.raises(OutputError, match=words) as caught:
            attempt(target)
        assert str(target) in caught.value.message
    assert names_in(tmp_path) == []


def test_a_folder_that_takes_no_files_is_found_before_the_work() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    with pytest.raises(OutputError, match="/proc/out.png"):
        files.check("/proc/out.png")


def test_a_file_in_place_of_a_folder_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "out.png", tmp_path / "file" / "deeper" / "out.png"):
        for attempt in (files.check, write):
            with pytest.raises(OutputError, match="a folder in its path is a file"):
                attempt(target)


def test_too_long_a_name_is_found_before_the_work(tmp_path: Path) -> None:
    for target in (tmp_path / ("x" * 256), tmp_path / ("ü" * 128)):
        for attempt in (files.check, write):
            with pytest.raises(OutputError, match="name is too long"):
                attempt(target)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    for attempt in (files.check, write):
        with pytest.raises(OutputError, match="it is a folder"):
            attempt(tmp_path)


def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    link = tmp_path / "link.png"
    link.symlink_to("/dev/null")
    for target in (pipe, link):
        for attempt in (files.check, write):
            with pytest.raises(OutputError, match="not a file to write to"):
                attempt(target)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_name_with_a_null_byte_is_refused() -> None:
    with pytest.raises(OutputError, match=r"'a\\x00b.png' is no file name"):
        files.check("a\0b.png")


def test_an_existing_file_is_refused_without_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    for attempt in (lambda: files.check(target), lambda: write(target, overwrite=False)):
        with pytest.raises(OutputError, match="exists already") as caught:
            attempt()
        assert "--overwrite" in caught.value.advice
    assert target.read_bytes() == b"old"
    files.check(target, overwrite=True)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_during_the_work_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "out.png"
    with (
        pytest.raises(OutputError, match="exists already"),
        files.replacing(target, overwrite=False) as stream,
    ):
        stream.write(b"new")
        target.write_bytes(b"someone else's")
    assert target.read_bytes() == b"someone else's"
    assert names_in(tmp_path) == ["out.png"]
    write(tmp_path / "free.png", overwrite=False)
    assert names_in(tmp_path) == ["free.png", "out.png"]


def test_permissions_are_those_of_any_new_file_or_of_the_replaced_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o640
    (tmp_path / "new.png").chmod(0o600)
    write(tmp_path / "new.png")
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o600


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "out.png"
    link.symlink_to(tmp_path / "real" / "file.png")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "file.png").read_bytes() == b"new"


# ---- What killed programs left.


WRITER = """
    import sys, time
    from dreamer.media import files
    with files.replacing(sys.argv[1]) as stream:
        stream.write(b"x" * 100_000)
        print(stream.name, flush=True)
        sys.stdin.readline()
"""


@contextlib.contextmanager
def writer(target: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process in the middle of writing `target`, and its hidden file."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, Path(os.fsdecode(process.stdout.readline().removesuffix(b"\n")))
        finally:
            process.kill()


def test_what_a_killed_program_left_is_removed_and_what_a_live_one_writes_is_not(
    tmp_path: Path,
) -> None:
    with writer(tmp_path / "a.png") as (dead, left), writer(tmp_path / "b.png") as (live, hidden):
        assert sorted(tmp_path.iterdir()) == sorted([left, hidden])
        assert files.remove_unfinished(tmp_path) == 0
        dead.kill()
        dead.wait()
        assert left.exists()
        assert files.remove_unfinished(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [hidden]
        live.communicate(b"\n", timeout=30)
    assert names_in(tmp_path) == ["b.png"]
    assert (tmp_path / "b.png").stat().st_size == 100_000


@pytest.mark.parametrize("name", ["link", "replace"])
def test_what_is_about_to_get_its_name_is_not_taken_for_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place, removed = getattr(os, name), []

    def late(*arguments: str) -> None:
        removed.append(files.remove_unfinished(tmp_path))
        place(*arguments)

    monkeypatch.setattr(os, name, late)
    write(tmp_path / "out.png", overwrite=name == "replace")
    assert removed == [0]
    assert names_in(tmp_path) == ["out.png"]
    assert files.remove_unfinished(tmp_path) == 0


def test_a_hidden_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, removed = files.lock, []

    def late(descriptor: int) -> bool:
        if not removed:
            removed.append(names_in(tmp_path)[0])
            os.unlink(tmp_path / removed[0])
        return lock(descriptor)

    monkeypatch.setattr(files, "lock", late)
    write(tmp_path / "out.png")
    assert len(removed) == 1
    assert (tmp_path / "out.png").read_bytes() == b"new"


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    kept = [
        "0123456789abcdef.part",
        ".0123456789abcdef",
        ".0123456789abcdef.part.png",
        ".0123456789ABCDEF.part",
        ".0123456789abcde.part",
        ".0123456789abcdef0.part",
        ".notes.part",
        "photo.png",
        "two\n.0123456789abcdef.part",
        ".0123456789abcdef.part\n",
    ]
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / ".0123456789abcdef.part").write_bytes(b"")
    before = names_in(tmp_path)
    assert files.remove_unfinished(tmp_path) == 0
    assert names_in(tmp_path) == before
    assert files.remove_unfinished(tmp_path / "below") == 1
    assert files.remove_unfinished(tmp_path / "missing") == 0
    assert files.remove_unfinished(tmp_path / "photo.png") == 0


def test_a_link_that_looks_like_one_left_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"mine")
    (tmp_path / ".0123456789abcdef.part").symlink_to("photo.png")
    files.remove_unfinished(tmp_path)
    assert (tmp_path / "photo.png").read_bytes() == b"mine"


def test_a_lock_is_one_files_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    with path.open("wb") as one, path.open("wb") as other, (tmp_path / "b").open("wb") as another:
        assert files.lock(one.fileno())
        assert files.lock(one.fileno(), wait=False)
        assert files.lock(another.fileno(), wait=False)
        assert not files.lock(other.fileno(), wait=False)
        one.close()
        assert files.lock(other.fileno(), wait=False)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_where_nothing_can_be_locked_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.replacing(tmp_path / "out.png"):
        assert files.remove_unfinished(tmp_path) == 0  # it may be another machine's at work
    assert names_in(tmp_path) == ["out.png"]


def test_a_full_disk_is_told_from_other_failures(tmp_path: Path) -> None:
    for code, full in (
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EFBIG, True),
        (errno.EACCES, False),
        (errno.EIO, False),
    ):
        with pytest.raises(OutputError) as caught, files.writing(tmp_path / "out.png"):
            raise OSError(code, os.strerror(code))
        assert files.no_room(caught.value) == full
    assert not files.no_room(OutputError("There is no room left.", "Free some space."))


def test_a_folder_that_tells_upper_from_lower_case_is_known_and_left_as_it_was(
    tmp_path: Path,
) -> None:
    (tmp_path / "Case").touch()
    folds = (tmp_path / "cASE").exists()
    assert files.folds_case(tmp_path) == folds
    assert files.folds_case(tmp_path / "new" / "folder") == folds
    assert names_in(tmp_path) == ["Case"]


def test_a_folder_that_does_not_tell_upper_from_lower_case_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(path: str) -> bool:
        folder, name = os.path.split(path)
        return name.lower() in (each.lower() for each in os.listdir(folder))

    monkeypatch.setattr(os.path, "exists", exists)
    assert files.folds_case(tmp_path)
    with pytest.raises(OutputError):
        (tmp_path / "file").touch()
        files.folds_case(tmp_path / "file" / "folder")


def test_a_name_becomes_text_whatever_its_bytes_are() -> None:
    assert files.text("two\nlines 😀.png") == "two\nlines 😀.png"
    assert files.text(os.fsdecode(b"caf\xe9.png")) == "caf\ufffd.png"
    assert files.text(os.fsdecode("caf\u00e9.png".encode())) == "caf\u00e9.png"


def test_a_free_name_counts_up(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    assert files.free_name(target) == target
    target.touch()
    assert files.free_name(target) == tmp_path / "out-2.png"
    (tmp_path / "out-2.png").symlink_to("nowhere")
    assert files.free_name(target) == tmp_path / "out-3.png"


def test_a_free_name_for_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 125 + "x.png")
    target.touch()
    free = files.free_name(target)
    write(free, overwrite=False)
    assert free.name.endswith("ü-2.png")
    assert len(os.fsencode(free.name)) <= 255


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",))))
def test_a_fitting_name_keeps_its_ending_and_fits(stem: str) -> None:
    name = files.fitting_name(stem * 20, "-eyes.png")
    assert name.endswith("-eyes.png")
    assert len(os.fsencode(name)) <= 255
    assert (stem * 20).startswith(name.removesuffix("-eyes.png"))


def test_names_are_shown_on_one_printable_line() -> None:
    assert files.shown(Path("a b/😀👩‍🚀.png")) == "a b/😀👩‍🚀.png"
    assert files.shown("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    assert files.shown(os.fsdecode(b"caf\xe9.png")) == "caf\\udce9.png"


def test_checking_files_needs_nothing_heavy() -> None:
    program = (
        "import sys, dreamer.media.files, dreamer.media.formats\n"
        "print(sorted({'torch', 'PIL', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(os.name == "nt", reason="no folder can be locked there")
def test_a_hidden_folder_that_a_killed_program_left_is_removed_and_a_live_ones_stays(tmp_path):
    code = (
        "import sys, time\nfrom dreamer.media import files\n"
        "with files.temporary_folder(sys.argv[1]) as folder:\n"
        "    open(folder + '/000000.png', 'w').close()\n"
        "    print(folder, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "frames")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        hidden = Path(process.stdout.readline().strip())
        assert (hidden / "000000.png").exists()
        assert files.remove_unfinished(tmp_path) == 0
        assert hidden.exists()
        process.kill()
    assert files.remove_unfinished(tmp_path) == 1
    assert not list(tmp_path.iterdir())
