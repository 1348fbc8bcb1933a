import subprocess
import sys
from dataclasses import replace

import pytest

from dreamer.errors import DeviceError, NetworkError, UsageError
from dreamer.recipe import Origin
from dreamer.render.look import Look, Request, look

PHOTO = Origin(name="rose.jpg", sha256="a" * 64)


def asked(**request: object) -> Look:
    return look(Request(device="cpu", **request), threads=1)  # type: ignore[arg-type]


def test_wrong_names_are_answered_without_anything_heavy() -> None:
    program = (
        "import sys\n"
        "from dreamer.render.look import Request, look\n"
        "from dreamer.recipe import Origin\n"
        "look(Request(device='cpu')).recipe(Origin(), (64, 48)).hash\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_one_look_makes_one_recipe_of_a_photo_and_a_size() -> None:
    recipes = {
        asked(**changes).recipe(origin, size).hash
        for changes in ({}, {"seed": 1}, {"threads": 2}, {"preset": "eyes"}, {"network": None})
        for origin in (PHOTO, PHOTO.model_copy(update={"name": "tulip.jpg"}))
        for size in ((64, 48), (80, 60))
    }
    assert len(recipes) == 4 * 2  # neither the name of the photo nor saying nothing counts


def test_a_look_that_is_placed_makes_the_same_recipe() -> None:
    chosen = asked()
    assert chosen.placed().device == "cpu"
    assert chosen.placed().recipe(PHOTO, (64, 48)) == chosen.recipe(PHOTO, (64, 48))
    cuda = replace(chosen, device="cuda:3").recipe(PHOTO, (64, 48))
    assert cuda.device == "cuda"  # which one of several does not count
    with pytest.raises(DeviceError, match="cuda:77"):
        replace(chosen, device="cuda:77").placed()


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"preset": "eyez"}, UsageError, "eyes"),
        ({"network": "googlnet"}, UsageError, "googlenet"),
        ({"network": "googlenet", "offline": True}, NetworkError, "googlenet"),
        ({"weights": "gone.pth"}, NetworkError, "gone.pth"),
        ({"overrides": {"target": "parts +"}}, UsageError, "parts +"),
        ({"size": 0}, UsageError, "1 to 65535"),
        ({"size": True}, UsageError, "1 to 65535"),
        ({"size": 1.5}, UsageError, "1 to 65535"),
        ({"seed": -1}, UsageError, "0 to"),
        ({"seed": 2**63}, UsageError, "0 to"),
        ({"threads": 0}, UsageError, "1 to"),
    ],
)
def test_what_is_not_valid_is_said_before_any_work(
    request_: dict[str, object], error: type[Exception], said: str, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(error, match=said.replace("+", r"\+")):
        asked(**request_)


def test_a_name_of_the_network_it_does_not_have_is_said_with_the_size() -> None:
    chosen = asked(overrides={"target": "block8:3@40,2"})
    with pytest.raises(UsageError, match="64x48"):
        chosen.recipe(PHOTO, (64, 48))
    with pytest.raises(UsageError, match="blok8"):
        asked(overrides={"target": "blok8"}).recipe(PHOTO, (64, 48))
