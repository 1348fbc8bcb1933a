"""Everything that can be wrong: its exit code, two lines that name it, and nothing left behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((96, 64), 60).convert("RGB").save("photo.png")
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("this is no picture\n")
    Path("folder.png").mkdir()
    data = Path("photo.png").read_bytes()
    Path("truncated.png").write_bytes(data[: len(data) // 2])
    Path("corrupt.png").write_bytes(data[:200] + bytes(300) + data[500:])
    Image.new("RGB", (1, 1)).save("dot.png")
    Image.new("RGB", (1, 4000)).save("line.png")
    Path("broken.toml").write_text('schema = 1\ntarget = "parts\n')
    Path("wrong.toml").write_text('schema = 1\ndescription = "x"\ntarget = "parts"\nstepz = 3\n')
    torch.save({"weight": torch.ones(2)}, "other.pth")
    torch.save({"weight": torch.tensor([float("nan")])}, "nan.pth")
    Path("fake.pth").write_bytes(b"not a checkpoint")


BAD = [
    (("gone.jpg",), 4, "gone.jpg"),
    (("empty.jpg",), 4, "empty.jpg"),
    (("text.jpg",), 4, "text.jpg"),
    (("folder.png",), 4, "folder.png"),
    (("truncated.png",), 4, "truncated.png"),
    (("corrupt.png",), 4, "corrupt.png"),
    (("dot.png",), 4, "dot.png"),
    (("line.png",), 4, "line.png"),
    (("photo.png", "--preset", "eyez"), 2, "eyes"),
    (("photo.png", "--preset", "broken.toml"), 2, "broken.toml:2"),
    (("photo.png", "--preset", "wrong.toml"), 2, "wrong.toml:4"),
    (("photo.png", "--network", "googlnet"), 2, "googlenet"),
    (("photo.png", "--target", "blok8"), 2, "block8"),
    (("photo.png", "--target", "block8:112"), 2, "0 to 111"),
    (("photo.png", "--target", "block8:3@40,2"), 2, "row"),
    (("photo.png", "--target", "class:zebrra"), 2, "zebra"),
    (("photo.png", "--target", "class:1000"), 2, "1000"),
    (("photo.png", "--target", "parts +"), 2, "parts +"),
    (("photo.png", "--target", "0*parts"), 2, "weight"),
    (("photo.png", "--target", "zebra"), 2, "class:zebra"),
    (("photo.png", "--target", "1e308*parts"), 2, "1e+308"),
    (("photo.png", "--target", "class:" + "9" * 5000), 2, "5006 characters"),
    (("photo.png", "--target", "class:" + "9" * 1500), 2, "no class 999"),
    (("photo.png", "--preset", ""), 2, "preset"),
    (("photo.png", "-o", ""), 2, "-o"),
    (("photo.png", "--size", "20"), 4, "at --size 20"),
    (("photo.png", "-o", "b" * 252 + ".png"), 5, "too long"),
    (("photo.png", "--steps", "many"), 2, "'many' is not valid for --steps"),
    (("photo.png", "--device"), 2, "dreamer dream --help"),
    (("photo.png", "--detail", "part"), 2, "parts"),
    (("photo.png", "--detail", "parts", "--target", "block8"), 2, "--detail"),
    (("photo.png", "--color", "lumma"), 2, "luma"),
    (("photo.png", "--octaves", "99"), 2, "--octaves"),
    (("photo.png", "--step-size", "nan"), 2, "--step-size"),
    (("photo.png", "--steps", "x"), 2, "--steps"),
    (("photo.png", "--size", "0"), 2, "--size"),
    (("photo.png", "--stepz", "3"), 2, "--steps"),
    (("photo.png", "-o", "out.bmp"), 2, "out.bmp"),
    (("photo.png", "-o", "-", "--json"), 2, "stdout"),
    (("photo.png", "--device", "gpu"), 2, "gpu"),
    (("photo.png", "--device", "cuda:7"), 6, "cuda:7"),
    (("photo.png", "--network", "googlenet", "--offline"), 3, "googlenet"),
    (("photo.png", "--weights", "gone.pth"), 3, "gone.pth"),
    (("photo.png", "--weights", "fake.pth"), 3, "fake.pth"),
    (("photo.png", "--weights", "other.pth"), 3, "other.pth"),
    (("photo.png", "--weights", "nan.pth"), 3, "nan.pth"),
    (("photo.png", "--weights", "IMAGENET1K_V9"), 2, "IMAGENET1K_V9"),
    (("photo.png", "--weights", "folder.png"), 3, "folder.png"),
    (("photo.png", "--weights", os.devnull), 3, os.devnull),
    (("photo.png", "--from", "photo.png"), 4, "photo.png"),
    (("photo.png", "-o", "text.jpg/out.png"), 5, "text.jpg/out.png"),
    (("photo.png", "-o", "folder.png"), 5, "folder.png"),
    (("photo.png", "-o", "photo.png"), 5, "photo.png"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    BAD,
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else "",
)
def test_bad_input_gets_its_code_and_two_lines_and_leaves_everything_as_it_was(
    arguments, code, named, capfd, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert cli.run(["dream", *arguments]) == code
    said = capfd.readouterr()
    lines = said.err.rstrip("\n").split("\n")
    if "--json" not in arguments:
        assert said.out == ""
    assert len(lines) == 2, said.err
    assert lines[0].startswith("Error: ")
    assert named in said.err
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert after == before


def test_a_decompression_bomb_is_refused_by_its_header(capfd):
    data = bytearray(Path("photo.png").read_bytes())
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    Path("bomb.png").write_bytes(data)
    assert cli.run(["dream", "bomb.png"]) == 4
    assert "bomb.png" in capfd.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(capfd, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert cli.run(["dream", "photo.png", "-o", "out.png", "--steps", "1", "--octaves", "1"]) == 5
    assert "room" in capfd.readouterr().err
    assert not Path("out.png").exists()
    assert not list(Path().glob(".*.part"))


@pytest.mark.skipif(os.name == "nt", reason="the shell's redirections are POSIX's")
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("presets list >/dev/full", 5, "Standard output"),
        ("presets list --json >/dev/full", 5, "Standard output"),
        ("--help >/dev/full", 5, "Standard output"),
        ("--version >&-", 5, "Standard output"),
        ("dream photo.png -o - --steps 1 --octaves 1 >&-", 5, "Standard output"),
        ("dream photo.png -o - --steps 1 --octaves 1 >/dev/full", 5, "Standard output"),
        ("dream photo.png -o out.png --steps 1 --octaves 1 2>&-", 0, ""),
        ("dream - <&-", 4, "empty"),
    ],
)
def test_streams_that_are_full_or_closed(command, code, said):
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m dreamer {command}'], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == (2 if said else 0), done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that is in use")
def test_a_folder_that_is_gone_is_said_to_be(capfd, monkeypatch):
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path("../gone").rmdir()
    assert cli.run(["presets", "list"]) == 2
    assert "does not exist" in capfd.readouterr().err


def test_too_little_memory_is_a_device_error(capfd):
    assert cli.run(["dream", "photo.png", "--size", "65535"]) == 6
    err = capfd.readouterr().err
    assert "65535x43690" in err
    assert "--size" in err


def test_without_a_command_the_help_is_all_that_is_said(capfd):
    assert cli.run([]) == 2
    said = capfd.readouterr()
    assert "Usage" in said.out
    assert said.err == ""


def test_a_bug_ends_in_two_lines_and_70(capfd, monkeypatch):
    from dreamer.render import still

    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(still, "dream", broken)
    assert cli.run(["dream", "photo.png", "-o", "out.png"]) == 70
    err = capfd.readouterr().err
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    assert cli.run(["dream", "photo.png", "-o", "out.png", "-v"]) == 70
    assert "Traceback" in capfd.readouterr().err


def test_ctrl_c_that_a_library_takes_for_an_error_of_its_own_is_no_bug(capfd, monkeypatch):
    from dreamer import presets

    def interrupted():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("a library could not be loaded") from error

    monkeypatch.setattr(presets, "listing", interrupted)
    assert cli.run(["presets", "list"]) == 130
    assert "Interrupted." in capfd.readouterr().err
