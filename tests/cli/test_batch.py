"""`dreamer batch` and `dreamer watch` as their users run them."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from dreamer import cli
from dreamer.media import metadata, reading
from dreamer.render.batch import journal
from dreamer.render.look import read_recipe

FAST = ["--size", "96", "--steps", "1", "--octaves", "1"]


@pytest.fixture
def run(capfd):
    """Run the command line; returns the exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def report(run):
    """Run a batch; returns the exit code and what the envelope says."""

    def report(*arguments):
        code, out, _ = run("batch", *arguments, *FAST, "--json")
        return code, json.loads(out)

    return report


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "below").mkdir(parents=True)
    for index, name in enumerate(("IMG_2.png", "IMG_10.jpg", "below/c.webp")):
        noise = Image.effect_noise((96 + 8 * index, 80), 60).convert("RGB")
        noise.save(Path("in", name))


def inputs() -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path("in").rglob("*")
        if path.is_file() and "out" not in path.parts
    }


def results(folder: str = "out") -> list[str]:
    root = Path(folder)
    found = [path for path in root.rglob("*") if path.is_file() and path.suffix == ".png"]
    return sorted(path.relative_to(root).as_posix() for path in found)


def test_a_folder_becomes_a_folder_of_dreams_in_natural_order(report):
    before = inputs()
    code, said = report("in", "-r", "-o", "out")
    assert code == 0
    assert said["schema"] == 1
    assert said["command"] == "batch"
    assert said["status"] == "success"
    outputs = [Path(item["output"]).as_posix() for item in said["result"]["items"]]
    assert outputs == ["out/IMG_2-dream.png", "out/IMG_10-dream.png", "out/below/c-dream.png"]
    assert {item["status"] for item in said["result"]["items"]} == {"done"}
    assert set(said["result"]["items"][0]) == {
        "input",
        "output",
        "status",
        "seconds",
        "notes",
        "error",
    }
    assert said["result"]["counts"] == {"done": 3, "skipped": 0, "failed": 0, "waiting": 0}
    assert Path(said["result"]["page"]).read_text().count("<html") == 1
    assert read_recipe("out/IMG_2-dream.png").threads == 1
    assert inputs() == before


def test_run_again_it_skips_what_is_done_and_makes_what_is_missing(report):
    report("in", "-r", "-o", "out")
    first = {name: Path("out", name).read_bytes() for name in results()}
    Path("out/IMG_10-dream.png").unlink()
    code, said = report("in", "-r", "-o", "out")
    assert code == 0
    assert [item["status"] for item in said["result"]["items"]] == ["skipped", "done", "skipped"]
    assert {name: Path("out", name).read_bytes() for name in results()} == first
    code, said = report("in", "-r", "-o", "out", "--overwrite")
    assert {item["status"] for item in said["result"]["items"]} == {"done"}


def test_the_last_thing_on_stdout_is_the_page_and_messages_are_on_stderr(run):
    code, out, err = run("batch", "in", "-o", "out", *FAST)
    assert code == 0
    assert out == f"{Path('out/index.html')}\n"
    assert "[1/2] done: in" in err
    assert "2 made" in err
    _, out, err = run("batch", "in", "-o", "out", *FAST, "-q")
    assert err == ""


def test_every_photo_with_every_preset_and_seed(report):
    options = ["--preset", "dream", "-p", "woodcut", "--seeds", "2", "--seed", "7"]
    code, said = report("in", "-o", "out", *options)
    assert code == 0
    assert len(said["result"]["items"]) == 8
    expected = [
        f"{stem}-{preset}-{seed}.png"
        for stem in ("IMG_10", "IMG_2")
        for preset in ("dream", "woodcut")
        for seed in (7, 8)
    ]
    assert results() == sorted(expected)
    recipe = read_recipe("out/IMG_2-woodcut-8.png")
    assert (recipe.preset, recipe.seed) == ("woodcut", 8)


def test_names_follow_the_template(report):
    code, _ = report("in", "-r", "-o", "out", "--name", "{preset}/{stem}-{seed:06d}.jpg")
    assert code == 0
    assert Path("out/below/dream/c-000000.jpg").is_file()
    with Image.open("out/dream/IMG_2-000000.jpg") as made:
        assert made.format == "JPEG"
        assert made.size == (96, 80)


def test_lists_patterns_files_and_what_needs_no_photo_mix(report, monkeypatch):
    Path("list.txt").write_bytes(b"in/below/c.webp\0in/gone.jpg\0")
    code, said = report(
        "in/IMG_1*.jpg", "in/IMG_2.png", "sky", "--files-from", "list.txt", "-o", "out"
    )
    assert code == 1
    assert said["status"] == "partial"
    found = {item["input"]: item["status"] for item in said["result"]["items"]}
    assert found == {
        "sky": "done",
        "in/IMG_10.jpg": "done",
        "in/IMG_2.png": "done",
        "in/below/c.webp": "done",
        "in/gone.jpg": "failed",
    }


def test_a_list_may_come_from_stdin():
    done = subprocess.run(
        [sys.executable, "-m", "dreamer", "batch", "--files-from", "-", "-o", "out", *FAST],
        input=b"in/IMG_2.png\n",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert results() == ["IMG_2-dream.png"]


def test_every_option_of_dream_applies(run):
    options = ["--detail", "edges", "--color", "luma", "--strength", "0.5", "--threads", "2"]
    code, _, err = run("batch", "in/IMG_2.png", "-o", "out", *FAST, *options)
    assert code == 0, err
    recipe = read_recipe("out/IMG_2-edges.png")
    assert recipe.settings.colour.mode == "luma"
    assert recipe.settings.ascent.strength == 0.5
    assert recipe.threads == 2
    single = ["--threads", "2", "--size", "96", "--steps", "1", "--octaves", "1", *options[:6]]
    assert run("dream", "in/IMG_2.png", "-o", "one.png", *single)[0] == 0
    assert Path("one.png").read_bytes() == Path("out/IMG_2-edges.png").read_bytes()
    code, _, err = run("batch", "in/IMG_10.jpg", "-o", "out", "--from", "one.png", *FAST)
    assert code == 0, err
    assert read_recipe("out/IMG_10-edges.png").settings == recipe.settings


def test_without_metadata_results_are_known_by_the_journal(report):
    report("in", "-o", "out", "--no-metadata")
    assert metadata.read("out/IMG_2-dream.png") is None
    _, said = report("in", "-o", "out", "--no-metadata")
    assert {item["status"] for item in said["result"]["items"]} == {"skipped"}
    code, said = report("in", "-o", "out")
    assert code == 1
    assert "exists already" in said["result"]["items"][0]["error"]["message"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(run):
    Path("in/bad.png").write_bytes(b"no picture")
    code, out, _ = run("batch", "in", "-o", "out", *FAST, "--dry-run")
    assert code == 0
    assert "in/IMG_2.png -> out/IMG_2-dream.png: 96x80, " in out.replace(os.sep, "/")
    assert "bad.png" in out
    assert "2 to make: about" in out
    assert not Path("out").exists()
    _, out, _ = run("batch", "in", "-o", "out", *FAST, "--dry-run", "--json")
    said = json.loads(out)["result"]
    assert said["dry_run"] is True
    assert [item["status"] for item in said["items"]] == ["failed", "planned", "planned"]
    assert said["items"][1]["size"] == [96, 80]
    assert said["items"][1]["seconds"] > 0
    assert said["items"][1]["memory"] > 96 * 80
    assert said["seconds"] > 0


def test_shards_share_the_work(report):
    parts = []
    for index in (1, 2, 3):
        report("in", "-r", "-o", f"part-{index}", "--shard", f"{index}/3")
        parts += results(f"part-{index}")
    assert sorted(parts) == ["IMG_10-dream.png", "IMG_2-dream.png", "below/c-dream.png"]
    for index in (1, 2, 3):  # into one folder, each with a journal of its own
        assert report("in", "-r", "-o", "out", "--shard", f"{index}/3")[0] == 0
    _, said = report("in", "-r", "-o", "out")
    assert {item["status"] for item in said["result"]["items"]} == {"skipped"}


BAD = [
    ((), 2, "nothing to dream on"),
    (("in",), 2, "-o"),
    (("in", "-o", ""), 2, "-o"),
    (("gone", "-o", "out"), 4, "gone"),
    (("in/*.tiff", "-o", "out"), 4, "in/*.tiff"),
    (("empty", "-o", "out"), 4, "empty"),
    (("--files-from", "gone.txt", "-o", "out"), 4, "gone.txt"),
    (("--files-from", "none.txt", "-o", "out"), 4, "no pictures"),
    (("in", "-o", "in"), 5, "among the photos"),
    (("in", "-o", "file.txt"), 5, "file.txt"),
    (("in", "-o", "out", "--name", "{stem"), 2, "--name"),
    (("in", "-o", "out", "--name", "{stam}"), 2, "stem"),
    (("in", "-o", "out", "--name", "../{stem}"), 2, "inside"),
    (("in", "-o", "out", "--name", "{stem}.bmp"), 2, ".bmp"),
    (("in", "-o", "out", "--name", "{preset}"), 2, "{name}"),
    (("in", "-o", "out", "-p", "eyes", "-p", "fur", "--name", "{stem}"), 2, "{preset}"),
    (("in", "-o", "out", "--seeds", "2", "--name", "{stem}"), 2, "{seed}"),
    (("in", "in/below", "-o", "out", "-p", "eyez"), 2, "eyes"),
    (("in", "-o", "out", "--workers", "0"), 2, "--workers"),
    (("in", "-o", "out", "--workers", "many"), 2, "--workers"),
    (("in", "-o", "out", "--shard", "3/2"), 2, "shard"),
    (("in", "-o", "out", "--shard", "half"), 2, "--shard"),
    (("in", "-o", "out", "--retries", "-1"), 2, "--retries"),
    (("in", "-o", "out", "--gpus", "0.5"), 2, "--cluster"),
    (("in", "-o", "out", "--network", "googlenet", "--offline"), 3, "googlenet"),
    (("in", "-o", "out", "--device", "cuda:9"), 6, "cuda:9"),
    (("in", "-o", "out", "--detail", "parts", "--target", "block8"), 2, "--detail"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "named"), BAD, ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_what_is_wrong_with_the_whole_is_said_before_any_work(
    run, arguments, code, named, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    Path("empty").mkdir()
    Path("none.txt").touch()
    Path("file.txt").touch()
    before = sorted(Path().rglob("*"))
    found, out, err = run("batch", *arguments)
    assert found == code, err
    assert out == ""
    assert len(err.splitlines()) == 2, err
    assert err.startswith("Error: ")
    assert named in err
    assert sorted(Path().rglob("*")) == before


def odd_folder() -> set[str]:
    """Fill the folder with everything odd; returns the names that cannot be dreamed on."""
    good = Path("in/IMG_2.png").read_bytes()
    names = [
        "with space.png",
        "quo'te\".png",
        "new\nline.png",
        "emoji😀.png",
        "-rf.png",
        "<img src=x onerror=alert(1)>.png",
        "x" * 251 + ".png",
        "é" * 125 + ".png",
        "CASE.png",
        "case.png",
        "...png",
        os.fsdecode(b"\xff\xfe.png"),
    ]
    for name in names:
        Path("in", name).write_bytes(good)
    Path("in/empty.png").touch()
    Path("in/text.jpg").write_text("no picture\n")
    Path("in/cut.png").write_bytes(good[: len(good) // 2])
    Path("in/broken-link.png").symlink_to("nowhere.png")
    Image.new("RGB", (1, 4000)).save("in/line.png")
    bomb = bytearray(good)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    Path("in/bomb.png").write_bytes(bomb)
    Path("in/loop").symlink_to("../in")
    os.mkfifo("in/pipe.png")
    Path("in/notes.txt").write_text("left out")
    Path("in/.hidden.png").write_bytes(good)
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("in/socket.png")
    return {"empty.png", "text.jpg", "cut.png", "broken-link.png", "line.png", "bomb.png"}


@pytest.mark.skipif(os.name == "nt", reason="names and links are POSIX's")
def test_a_folder_of_everything_odd_fails_one_by_one_and_the_rest_is_made(report):
    bad = odd_folder()
    before = inputs_of_regular_files()
    code, said = report("in", "-r", "-o", "in/out")  # and the output inside the input
    assert code == 1
    items = {item["input"]: item for item in said["result"]["items"]}
    failed = {Path(name).name for name, item in items.items() if item["status"] == "failed"}
    assert failed == bad
    assert {item["status"] for item in items.values()} == {"done", "failed"}
    for item in items.values():
        if item["status"] == "failed":
            assert item["error"]["message"]
            assert item["error"]["advice"]
        else:
            assert reading.probe(item["output"])
            assert Path(item["output"]).resolve().is_relative_to(Path("in/out").resolve())
    records = journal.read(Path("in/out"))
    assert {Path(record.input).name for record in records.values() if record.code} == bad
    page = Path("in/out/index.html").read_text()
    assert "<img src=x" not in page
    for name in bad:
        assert name in page
    assert inputs_of_regular_files() == before
    again, said = report("in", "-r", "-o", "in/out")
    assert again == 1
    statuses = [item["status"] for item in said["result"]["items"]]
    assert statuses.count("failed") == len(bad)
    assert statuses.count("done") == 0
    assert len(statuses) == len(items)


def inputs_of_regular_files() -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in Path("in").iterdir()
        if path.is_file() and not path.is_symlink()
    }


def test_a_full_disk_fails_what_finds_no_room_and_the_rest_follows_later(report, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:  # not the superuser: the same error from a limit on a file's size
        return limited(report)
    try:
        code, said = report("in", "-r", "sky", "-o", str(small / "out"))
        assert code == 1
        failed = [item for item in said["result"]["items"] if item["status"] == "failed"]
        assert failed
        assert all("no room" in item["error"]["message"] for item in failed)
        assert not list(small.rglob(".*.part"))
        subprocess.run(["mount", "-o", "remount,size=2M", str(small)], check=True)
        code, said = report("in", "-r", "sky", "-o", str(small / "out"))
        assert code == 0
        assert not said["result"]["notes"]
        assert report("in", "-r", "sky", "-o", "out")[0] == 0
        assert {name: Path("out", name).read_bytes() for name in results("out")} == {
            name: (small / "out" / name).read_bytes() for name in results(str(small / "out"))
        }
    finally:
        subprocess.run(["umount", str(small)], check=True)


def limited(report) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, before[1]))
    try:
        code, said = report("in", "-o", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert all("no room" in item["error"]["message"] for item in said["result"]["items"])
    assert not list(Path("out").rglob(".*.part"))
    assert report("in", "-o", "out")[0] == 0


def test_a_folder_that_may_not_be_written_is_an_error_before_any_work(run, monkeypatch):
    real = os.open

    def refusing(path, flags, *more, **named):
        if flags & os.O_CREAT and "out" in os.fspath(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *more, **named)

    Path("out").mkdir()
    monkeypatch.setattr(os, "open", refusing)
    code, _, err = run("batch", "in", "-o", "out", *FAST)
    assert code == 5
    assert "permission was denied" in err


def test_photos_that_vanish_or_change_meanwhile_fail_alone_or_are_taken_as_they_are(report):
    from dreamer.render.batch import run as runs

    hand_out = runs.Run._hand_out
    changed = Image.effect_noise((88, 96), 30).convert("RGB")

    def disturbed(self, runner):
        Path("in/IMG_10.jpg").unlink(missing_ok=True)
        if not Path("in/changed").exists():
            changed.save("in/IMG_2.png")
            Path("in/changed").touch()
        hand_out(self, runner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "_hand_out", disturbed)
        code, said = report("in", "-o", "out")
    assert code == 1
    found = {Path(item["input"]).name: item for item in said["result"]["items"]}
    assert found["IMG_10.jpg"]["status"] == "failed"
    assert "There is no file" in found["IMG_10.jpg"]["error"]["message"]
    assert found["IMG_2.png"]["status"] == "done"
    assert reading.probe("out/IMG_2-dream.png") == (88, 96)
    _, said = report("in/IMG_2.png", "-o", "out")
    assert said["result"]["items"][0]["status"] == "skipped"


def test_fail_fast_stops_at_the_first_failure(report):
    Path("in/a.png").write_bytes(b"no picture")
    code, said = report("in", "-o", "out", "--fail-fast")
    assert code == 1
    assert [item["status"] for item in said["result"]["items"]] == ["failed", "waiting", "waiting"]


def test_two_at_work_in_one_folder_are_told_apart(run, tmp_path):
    with journal.Journal(tmp_path / "out"):
        code, _, err = run("batch", "in", "-o", "out", *FAST)
    assert code == 5
    assert "Another dreamer" in err


def test_help_of_batch_and_watch_imports_nothing_heavy():
    for command in ("batch", "watch"):
        code = (
            "import sys\nfrom dreamer.cli import run\n"
            f"run(['{command}', '--help'])\n"
            "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'jinja2', 'psutil')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--preset" in done.stdout


def test_a_photo_that_changed_is_named_and_made_again_when_asked(report):
    report("in", "-o", "out")
    Image.effect_noise((96, 80), 90).convert("RGB").save("in/IMG_2.png")
    before = {name: Path("out", name).read_bytes() for name in results()}
    code, said = report("in", "-o", "out")
    assert code == 1
    (failed,) = [item for item in said["result"]["items"] if item["status"] == "failed"]
    assert "another recipe: the photo" in failed["error"]["message"]
    assert "--renew" in failed["error"]["advice"]
    assert {name: Path("out", name).read_bytes() for name in results()} == before
    code, said = report("in", "-o", "out", "--renew")
    assert code == 0
    assert [item["status"] for item in said["result"]["items"]] == ["done", "skipped"]
    assert Path("out/IMG_2-dream.png").read_bytes() != before["IMG_2-dream.png"]


def test_what_is_left_out_is_said(run):
    Path("in/raw.nef").touch()
    _, _, err = run("batch", "in", "-o", "out", *FAST)
    assert "1 files that are no pictures" in err
    assert "1 folders within these; -r takes them as well" in err


def test_the_command_that_the_page_shows_makes_the_picture_again(run, report):
    report("in", "-r", "-o", "out/deep")
    row = next(
        json.loads(line.rstrip(","))
        for line in Path("out/deep/index.html").read_text().splitlines()
        if '"output": "below/c-dream.png"' in line
    )
    done = subprocess.run(
        ["bash", "-c", row["command"].replace("dreamer", f"'{sys.executable}' -m dreamer", 1)],
        cwd="out/deep",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path("out/deep/again.png").read_bytes() == Path(row_path(row)).read_bytes()


def row_path(row: dict[str, str]) -> str:
    return f"out/deep/{row['output']}"


@pytest.mark.skipif(os.name == "nt", reason="the shell's redirections are POSIX's")
def test_a_stderr_that_nobody_reads_any_more_is_no_reason_to_end():
    command = f"'{sys.executable}' -m dreamer batch in -r -o out {' '.join(FAST)} --json"
    done = subprocess.run(
        ["bash", "-c", f"{command} 2> >(head -n 1 >/dev/null; exec true)"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["result"]["counts"]["done"] == 3


class Watching:
    """`dreamer watch` in a process of its own."""

    def __init__(self, *more: str) -> None:
        options = ["--every", "0.2", "--settle", "0.6", *FAST, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dreamer", "watch", "in", "-o", "out", "-r", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, *names: str) -> None:
        """Wait for results."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None
            if set(names) <= set(results()):
                return
            time.sleep(0.05)
        raise AssertionError(f"there are {results()}")

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


def test_watch_dreams_what_lands_once_it_is_whole_and_survives_restarts():
    watching = Watching()
    watching.until("IMG_2-dream.png", "IMG_10-dream.png", "below/c-dream.png")
    data = Path("in/IMG_2.png").read_bytes()
    with open("in/slow.png", "wb") as slow:  # copied in slowly, as over a network
        for start in range(0, len(data), len(data) // 6):
            slow.write(data[start : start + len(data) // 6])
            slow.flush()
            time.sleep(0.2)
            assert "slow-dream.png" not in results()
    watching.until("slow-dream.png")
    code, said = watching.stop()
    assert code == 0, said
    assert "failed" not in said
    first = {name: Path("out", name).stat().st_mtime_ns for name in results()}
    Image.effect_noise((80, 80), 50).convert("RGB").save("in/later.png")
    Image.effect_noise((80, 88), 50).convert("RGB").save("in/IMG_2.png")  # replaced meanwhile
    before = Path("out/IMG_2-dream.png").read_bytes()
    watching = Watching()
    watching.until("later-dream.png")
    end = time.monotonic() + 60
    while Path("out/IMG_2-dream.png").read_bytes() == before and time.monotonic() < end:
        time.sleep(0.05)
    code, said = watching.stop()
    assert code == 0, said
    assert reading.probe("out/IMG_2-dream.png") == (87, 96)
    kept = {name: Path("out", name).stat().st_mtime_ns for name in first}
    assert {name for name in first if kept[name] != first[name]} == {"IMG_2-dream.png"}


def test_watch_reports_what_fails_and_goes_on():
    Path("in/bad.png").write_bytes(b"no picture")
    watching = Watching()
    watching.until("IMG_2-dream.png")
    time.sleep(1)
    code, said = watching.stop()
    assert code == 1
    assert said.count("] failed: in/bad.png") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("gone", "-o", "out"), 4, "gone"),
        (("in", "-o", "in"), 5, "among the photos"),
        (("in",), 2, "-o"),
        (("in", "-o", "out", "--every", "0"), 2, "--every"),
    ],
)
def test_watch_refuses_what_cannot_work(run, arguments, code, named):
    found, _, err = run("watch", *arguments)
    assert found == code
    assert named in err
    assert len(err.splitlines()) == 2
