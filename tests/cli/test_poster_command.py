"""`dreamer dream --depth`, and formats that do not hold the size, as a user runs them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.media import images, reading
from dreamer.networks import network
from dreamer.render.job import read_recipe

QUICK = ("--octaves", "2", "--steps", "2", "--threads", "1")
UNCHANGED = ("--octaves", "1", "--strength", "0", "--threads", "1")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo():
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(3, 80, 120, generator=generator)
    images.save(pixels, "deep.png", depth=16)
    return "deep.png"


@pytest.fixture
def run(capfd):
    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def no_work(monkeypatch):
    """Fail the test if a photo is decoded or a network loaded."""

    def worked(*_, **__):
        raise AssertionError("work was done")

    monkeypatch.setattr(images, "load", worked)
    monkeypatch.setattr(network, "load", worked)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_16_bit_dream_tells_its_recipe_and_is_made_again_to_the_byte(run, photo, suffix):
    assert run("dream", photo, "-o", f"a{suffix}", *QUICK, "--depth", 16)[0] == 0
    assert reading.depth(f"a{suffix}") == 16
    code, out, _ = run("inspect", f"a{suffix}", "--json")
    assert code == 0
    assert json.loads(out)["result"]["recipe"]["origin"]["name"] == photo
    made = run("dream", "--from", f"a{suffix}", "-o", f"b{suffix}", "--depth", "16")
    assert (made[0], made[2]) == (0, "")
    assert Path(f"a{suffix}").read_bytes() == Path(f"b{suffix}").read_bytes()
    # It is the same dream with 8 bits, but for the rounding.
    assert run("dream", "--from", f"a{suffix}", "-o", "eight.png")[0] == 0
    assert reading.depth("eight.png") == 8
    apart = images.load("eight.png").pixels - images.load(f"a{suffix}").pixels
    assert 0 < float(apart.abs().max()) <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_16_bit_photo_that_nothing_changes_keeps_all_its_bits(run, photo, suffix):
    assert run("dream", photo, "-o", f"same{suffix}", *UNCHANGED, "--depth", 16)[0] == 0
    assert torch.equal(images.load(f"same{suffix}").pixels, images.load(photo).pixels)


@pytest.mark.parametrize("name", ["poster.jpg", "poster.webp", "poster.avif"])
def test_a_format_without_16_bits_is_refused_before_the_work(run, photo, no_work, name):
    code, _, err = run("dream", photo, "-o", name, "--depth", 16)
    assert code == 2
    assert f"does not hold 16 bits a colour: '{name}'" in err
    assert "Write a PNG or TIFF instead" in err
    assert os.listdir() == [photo]


def test_another_depth_is_refused_with_those_there_are(run, photo, no_work):
    code, _, err = run("dream", photo, "--depth", 12)
    assert code == 2
    assert "12 is not valid for depth" in err
    assert "8 or 16" in err


def test_a_result_with_fewer_bits_is_not_kept_for_one_with_more(run, photo):
    assert run("dream", photo, *QUICK)[0] == 0
    code, out, err = run("dream", photo, *QUICK, "--depth", 16)
    assert (code, "kept" in err) == (0, False)
    assert out.strip() == os.path.join("outputs", "deep-dream-2.png")
    assert reading.depth(out.strip()) == 16
    code, out, err = run("dream", photo, "-o", "outputs/deep-dream.png", *QUICK, "--depth", 16)
    assert code == 5
    assert "exists already" in err
    # One with as many, or more, is.
    for depth in (16, 8):
        code, _, err = run(
            "dream", photo, "-o", "outputs/deep-dream-2.png", *QUICK, "--depth", depth
        )
        assert (code, "kept" in err) == (0, True)


@pytest.mark.parametrize(
    ("name", "size", "limit"),
    [("a.webp", 16_384, 16_383), ("a.avif", 32_769, 32_768), ("a.jpg", 65_501, 65_500)],
)
def test_a_side_that_a_format_does_not_hold_is_refused_before_the_work(
    run, photo, no_work, name, size, limit
):
    code, _, err = run("dream", photo, "-o", name, "--size", size)
    assert code == 5
    assert f"holds at most {limit} pixels a side" in err
    assert os.listdir() == [photo]


def test_16_bits_go_to_stdout_as_well(photo):
    made = subprocess.run(
        [sys.executable, "-m", "dreamer", "dream", photo, "-o", "-", *UNCHANGED, "--depth", "16"],
        capture_output=True,
        check=True,
    )
    assert made.stderr == b""
    assert reading.depth(made.stdout) == 16
    assert torch.equal(images.load(made.stdout).pixels, images.load(photo).pixels)
    recipe = read_recipe(made.stdout)
    assert recipe is not None
    assert recipe.size == (120, 80)
    with Image.open(io.BytesIO(made.stdout)) as picture:
        assert picture.format == "PNG"
