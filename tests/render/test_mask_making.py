import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamer import targets
from dreamer.core import masks as core
from dreamer.core.objectives import Objective, Term
from dreamer.errors import InputError, UsageError
from dreamer.mask_text import parse
from dreamer.media import images
from dreamer.media.images import Photo
from dreamer.networks import network as networks
from dreamer.networks.network import Network
from dreamer.render import faces, masks


@pytest.fixture(scope="module")
def network() -> Network:
    return networks.load("efficientnet_lite0", offline=True)


def small(path: Path, side: int = 256) -> Photo:
    return images.resize(images.load(path), side)


def objective(text: str, network: Network) -> Objective:
    found = targets.resolve(targets.parse(text), network.row)
    return Objective(
        tuple(
            Term(each.layer, each.channel, None, each.weight, each.label, each.direction)
            for each in found
        )
    )


def painted(path: Path, mode: str, rows: list[list[object]]) -> str:
    picture = Image.new(mode, (len(rows[0]), len(rows)))
    picture.putdata([value for row in rows for value in row])
    picture.save(path)
    return str(path)


def make(text: str, size: tuple[int, int], **options: object) -> tuple[Tensor, tuple[str, ...]]:
    mask = parse(text)
    file = images.load(mask.path) if mask.kind == "file" else None
    return masks.make(mask, size, file=file, **options)  # type: ignore[arg-type]


def made(text: str, size: tuple[int, int], **options: object) -> Tensor:
    mask, notes = make(text, size, **options)
    assert notes == ()
    assert mask.shape == (1, 1, size[1], size[0])
    assert mask.dtype == torch.float32
    return mask


def test_a_file_is_a_mask_by_its_light(tmp_path: Path) -> None:
    path = painted(tmp_path / "a mask.png", "L", [[0, 255, 128], [2, 253, 0]])
    found = made(path, (3, 2))[0, 0]
    assert found[0].tolist() == pytest.approx([0, 1, 0.502], abs=1e-3)
    assert found[1].tolist() == [0, 1, 0]  # what a JPEG makes of black and white
    assert torch.equal(made(path, (3, 2), invert=True), 1 - made(path, (3, 2)))
    assert torch.equal(made(f"not:{path}", (3, 2), invert=True), made(path, (3, 2)))
    assert made(path, (6, 4)).mean() == pytest.approx(float(made(path, (3, 2)).mean()), abs=0.05)


CLEAR = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ([CLEAR, (0, 0, 0, 255), (0, 0, 0, 255)], [0, 1, 1]),  # cut out of black
        ([CLEAR, (255, 255, 255, 255), (255, 255, 255, 255)], [0, 1, 1]),  # and of white
        ([CLEAR, (0, 0, 0, 255), (255, 255, 255, 255)], [0, 0, 1]),
        ([(0, 0, 0, 255), (255, 255, 255, 255), (0, 0, 0, 255)], [0, 1, 0]),
    ],
)
def test_transparency_of_a_file_counts(
    tmp_path: Path, row: list[object], values: list[float]
) -> None:
    path = painted(tmp_path / "mask.png", "RGBA", [row])
    assert made(path, (3, 1)).flatten().tolist() == values


def test_a_file_of_another_shape_is_stretched_and_said_to_be(tmp_path: Path) -> None:
    path = painted(tmp_path / "x.png", "L", [[255] * 15 + [0] * 15] * 20)
    mask, notes = make(path, (60, 60))
    assert mask[0, 0, :, :29].amin() == 1
    assert not mask[0, 0, :, 31:].any()
    assert notes == ("the mask 'x.png' is 30x20 and the picture 60x60: it was stretched",)
    assert make(path, (60, 40))[1] == ()
    assert make(path, (301, 200))[1] == ()


def test_a_feather_is_a_share_of_the_longer_side_and_stays_inside() -> None:
    hard, soft = (made("ellipse:0.5,0.5,0.4,0.4", (100, 80), feather=f) for f in (0.0, 0.1))
    assert torch.equal(soft, core.feather(hard, 10))
    outside, around = (made("not:ellipse:0.5,0.5,0.2,0.2", (100, 80), feather=f) for f in (0, 0.1))
    assert not around[outside == 0].any()


def test_masks_that_cover_nothing_are_refused_and_of_everything_noted(tmp_path: Path) -> None:
    black, white = (
        painted(tmp_path / f"{name}.png", "L", [[value, value]])
        for name, value in (("black", 0), ("white", 255))
    )
    with pytest.raises(InputError, match=r"'black.png' is black all over"):
        make(black, (2, 1))
    with pytest.raises(InputError, match=r"'white.png' is the whole picture: inverted"):
        make(f"not:{white}", (2, 1))
    for text, name in ((white, "'white.png'"), (f"not:{black}", "'black.png'")):
        mask, notes = make(text, (2, 1))
        assert bool((mask == 1).all())
        assert notes == (f"the mask {name} covers the whole picture: it changes nothing",)
    with pytest.raises(UsageError, match="covers nothing"):
        make("ellipse:-0.9,0.5,0.1,0.1", (40, 30))
    with pytest.raises(UsageError, match="other regions"):
        make("rest", (2, 1))


def test_alpha_is_where_the_photo_is_opaque(astronaut: Path) -> None:
    photo = small(astronaut, 64)
    alpha = torch.zeros(64, 64)
    alpha[:, 32:] = 1
    cut = replace(photo, alpha=alpha)
    assert torch.equal(made("alpha", (64, 64), photo=cut)[0, 0], alpha)
    assert made("alpha", (32, 32), photo=cut)[0, 0, 5].tolist() == [0] * 16 + [1] * 16
    for opaque in (photo, replace(photo, alpha=torch.ones(64, 64)), None):
        with pytest.raises(InputError, match="no transparency"):
            make("alpha", (64, 64), photo=opaque)
    with pytest.raises(InputError, match="transparent everywhere"):
        make("alpha", (64, 64), photo=replace(photo, alpha=torch.zeros(64, 64)))


def share(mask: Tensor, top: float, left: float, bottom: float, right: float) -> float:
    """Return what share of a mask lies in a part of the picture."""
    height, width = mask.shape[2:]
    rows, columns = (
        (round(s * height) for s in (top, bottom)),
        (round(s * width) for s in (left, right)),
    )
    return float(mask[:, :, slice(*rows), slice(*columns)].sum() / mask.sum())


def auto(path: Path, text: str, network: Network) -> Tensor:
    photo = small(path)
    heat = masks.heat(objective(text, network), network, photo.pixels[None])
    assert heat.shape[:2] == (1, 1)
    assert heat.amin() >= 0
    return made("auto", photo.size, heat=heat)


def test_auto_finds_the_thing_of_a_class(
    network: Network, astronaut: Path, chelsea: Path, coffee: Path, rocket: Path
) -> None:
    shuttle = auto(astronaut, "class:space_shuttle", network)
    assert share(shuttle, 0, 0.5, 0.55, 1) > 0.9
    assert 0.05 < shuttle.mean() < 0.3
    cup = auto(coffee, "class:espresso", network)
    assert share(cup, 0, 0.1, 0.9, 0.8) > 0.95
    assert cup[0, 0, cup.shape[2] // 3, cup.shape[3] // 2] == 1
    cat = auto(chelsea, "class:Egyptian_cat", network)
    assert share(cat, 0.1, 0, 1, 0.8) > 0.9
    assert cat[0, 0, cat.shape[2] // 2, cat.shape[3] // 2] > 0.9
    missile = auto(rocket, "class:missile", network)
    assert share(missile, 0.2, 0.2, 1, 0.8) > 0.9


def test_auto_finds_what_stands_out_in_layers(network: Network, chelsea: Path) -> None:
    mask = auto(chelsea, "objects", network)
    height, width = mask.shape[2:]
    assert mask[0, 0, round(0.4 * height), round(0.38 * width)] > 0.9  # an eye
    assert mask[0, 0, round(0.45 * height), round(0.7 * width)] > 0.9  # the other
    assert 0.05 < mask.mean() < 0.35


def test_auto_is_the_same_for_small_and_large_pictures(network: Network, coffee: Path) -> None:
    for text in ("objects", "class:espresso"):
        some, other = (
            masks.heat(objective(text, network), network, small(coffee, side).pixels[None])
            for side in (200, 600)
        )
        found = [made("auto", (96, 64), heat=heat) for heat in (some, other)]
        assert float((found[0] - found[1]).abs().mean()) < 0.1


def test_heat_is_the_weighted_sum_of_what_is_wanted(network: Network, chelsea: Path) -> None:
    pixels = small(chelsea).pixels[None]

    def heat(text: str) -> Tensor:
        return masks.heat(objective(text, network), network, pixels)

    channel, cat = heat("block5:3"), heat("class:Egyptian_cat")
    for alone in (channel, cat, heat("block5:[3, -2*12]"), heat("block9")):
        assert float(alone.amax()) == pytest.approx(1)
    torch.testing.assert_close(heat("block5:3 + 0.5*class:Egyptian_cat"), channel + 0.5 * cat)
    assert torch.equal(heat("block5:3 - 2*class:zebra"), channel)
    with pytest.raises(UsageError, match="only avoids"):
        heat("-class:zebra")


def test_auto_that_finds_nothing_is_refused(network: Network) -> None:
    plain = torch.full((1, 3, 64, 64), 0.5)
    flat = masks.heat(objective("block5:3", network), network, plain)
    with pytest.raises(InputError, match="finds nothing of the target"):
        make("auto", (64, 64), heat=torch.zeros_like(flat))
    _, notes = make("not:auto", (64, 64), heat=torch.zeros_like(flat))
    assert notes == ("the mask auto covers the whole picture: it changes nothing",)


def test_what_is_kept_is_multiplied(coffee: Path) -> None:
    pixels = small(coffee).pixels[None]
    both, notes = masks.keep(("dark", "light"), pixels)
    assert notes == ()
    torch.testing.assert_close(both, core.keep_dark(pixels) * core.keep_light(pixels))
    assert bool((masks.keep((), pixels)[0] == 1).all())


@pytest.fixture
def _detectors() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no face detectors")


@pytest.mark.usefixtures("_detectors")
def test_faces_are_found_and_held(
    astronaut: Path, coffee: Path, chelsea: Path, rocket: Path
) -> None:
    photo = images.load(astronaut)
    (box,) = faces.find(photo.pixels)
    top, left, bottom, right = box
    assert (50 < top < 90, 160 < left < 200) == (True, True)
    assert (140 < bottom < 180, 250 < right < 290) == (True, True)
    (mirrored,) = faces.find(photo.pixels.flip(2))
    assert mirrored[1] == pytest.approx(512 - right, abs=8)
    mask, notes = masks.keep(("faces",), photo.pixels[None])
    assert notes == ()
    assert not mask[:, :, top:bottom, left + 20 : right - 20].any()
    assert mask[0, 0, 400].amin() == 1
    for path in (coffee, chelsea, rocket):
        assert faces.find(images.load(path).pixels) == []
    mask, notes = masks.keep(("faces",), small(coffee).pixels[None])
    assert bool((mask == 1).all())
    assert notes == ("no face was found in this photo: nothing is held for faces",)


def test_without_detectors_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError) as refused:
        masks.keep(("faces",), torch.rand(1, 3, 64, 64))
    assert 'pip install "dreamer[faces]"' in refused.value.advice
