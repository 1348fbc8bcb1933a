"""The precision of a dream, as a user asks for it and finds it again."""

import json

import pytest
import torch

from dreamer import cli
from dreamer.core.acceleration import Accelerated
from dreamer.render import accelerating
from dreamer.render.job import read_recipe

QUICK = ("--octaves", "1", "--steps", "2", "--size", "64", "--threads", "1", "--target", "block3")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.run([*map(str, arguments)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_it_is_in_the_recipe_and_a_dream_is_made_again_in_it(run):
    first = run("dream", "sky", *QUICK, "--precision", "mixed", "-o", "a.png")
    assert first[0] == 0
    assert read_recipe("a.png").precision == "mixed"
    code, out, _ = run("inspect", "a.png")
    assert code == 0
    assert any(line.split() == ["precision", "mixed"] for line in out.splitlines())
    assert run("dream", "--from", "a.png", "-o", "b.png")[0] == 0
    assert read_recipe("b.png").hash == read_recipe("a.png").hash


def test_on_a_processor_it_is_32_bits_unless_asked_for(run):
    assert run("dream", "sky", *QUICK, "-o", "a.png")[0] == 0
    assert read_recipe("a.png").precision == "float32"
    assert not any(line.startswith("precision") for line in run("inspect", "a.png")[1].split("\n"))


def test_a_picture_in_another_precision_is_another_one(run):
    assert run("dream", "sky", *QUICK, "-o", "a.png")[0] == 0
    code, _, err = run("dream", "sky", *QUICK, "--precision", "mixed", "-o", "a.png")
    assert code == 5
    assert "the precision" in err


def test_a_batch_has_it_as_well(run):
    code, out, _ = run("batch", "sky", *QUICK, "--precision", "mixed", "-o", "out", "--json")
    assert code == 0
    (item,) = json.loads(out)["result"]["items"]
    assert read_recipe(item["output"]).precision == "mixed"


def test_an_unknown_one_is_a_usage_error_that_names_the_valid_ones(run):
    code, _, err = run("dream", "sky", "--precision", "half")
    assert code == 2
    assert "There is no precision named 'half'." in err
    assert "auto, float32, mixed" in err


NOTE = "16 bits do not suffice for this network: computed in 32, which is slow"
FILM = ("--fps", "4", "--seconds", "1", "--size", "96x64", "--precision", "mixed")


@pytest.fixture
def overflowing(monkeypatch):
    """Let every network overflow in 16 bits."""

    def features(network, layers, precision):
        cut = network.features(layers)

        def answers(pixels):
            found = cut(pixels)
            return {
                name: values if values.dtype == torch.float32 else values * torch.inf
                for name, values in found.items()
            }

        return Accelerated(answers, "cpu", torch.bfloat16)

    monkeypatch.setattr(accelerating, "features", features)


def test_where_it_does_not_suffice_the_picture_and_the_user_are_told(run, overflowing):
    code, out, err = run("dream", "sky", *QUICK, "--precision", "mixed", "-o", "a.png", "--json")
    assert code == 0
    assert json.loads(out)["result"]["notes"] == [NOTE]
    assert f"Note: {NOTE}." in err


def test_where_it_does_not_suffice_a_film_says_so_once(run, overflowing):
    code, out, err = run(
        "zoom", "sky", *QUICK[:4], "--threads", "1", *FILM, "-o", "a.mp4", "--json"
    )
    assert code == 0
    assert json.loads(out)["result"]["notes"] == [NOTE]
    assert err.count(NOTE) == 1


def test_the_films_of_a_batch_say_so_as_well(run, overflowing):
    quick = (*QUICK, "--precision", "mixed", "--workers", "1")
    code, out, _ = run("batch", "sky", *quick, "--zoom", "0.2", "-o", "out", "--json")
    assert code == 0
    (film,) = json.loads(out)["result"]["films"]
    assert film["notes"] == [NOTE]
