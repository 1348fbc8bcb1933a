from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer.errors import InputError
from dreamer.media import images
from dreamer.networks import network as networks
from dreamer.render.atlas import photos
from dreamer.render.atlas.photos import Crop

SIZE = 96


@pytest.fixture(scope="module")
def network():
    return networks.load("efficientnet_lite0", random_seed=0)


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("album")
    paths = []
    for index, size in enumerate([(96, 64), (200, 150), (64, 120), (90, 90), (48, 40)]):
        random = torch.Generator().manual_seed(index)
        pixels = (torch.rand(size[1] // 4, size[0] // 4, 3, generator=random) * 255).byte()
        picture = Image.fromarray(pixels.numpy()).resize(size, Image.Resampling.BICUBIC)
        paths.append(folder / f"{index}.png")
        picture.save(paths[-1])
    return paths


def brute(network, album, layer, channel):
    """Every photo by itself, one layer at a time: its best value and where that is."""
    found = []
    for path in album:
        photo = images.load(path)
        pixels = images.resize(photo, min(SIZE, max(photo.size))).pixels[None]
        with torch.no_grad():
            answers = network.features([layer])(pixels)[layer][0, channel]
        value = answers.max()
        y, x = (answers == value).nonzero()[0].tolist()
        found.append(
            (value.item(), path, (x + 0.5) / answers.shape[1], (y + 0.5) / answers.shape[0])
        )
    return sorted(found, key=lambda each: -each[0])


def test_the_strongest_are_those_that_a_search_one_by_one_finds(network, album):
    channels = {"stem": [5, 0], "block3": list(range(12)), "head": [900]}
    best = photos.strongest(album, network, channels, per_channel=3, size=SIZE)
    assert {layer: list(found) for layer, found in best.items()} == channels
    for layer, numbers in channels.items():
        for channel in numbers:
            crops = best[layer][channel]
            wanted = brute(network, album, layer, channel)[:3]
            assert [crop.photo for crop in crops] == [path for _, path, *_ in wanted]
            for crop, (value, _, x, y) in zip(crops, wanted, strict=True):
                assert crop.value == pytest.approx(value, abs=1e-4)
                left, top, right, bottom = crop.box
                assert 0 <= left <= x <= right <= 1 + 1e-9
                assert 0 <= top <= y <= bottom <= 1 + 1e-9


def test_crops_are_squares_in_the_photo_as_large_as_what_a_neuron_sees(network, album):
    for layer, side in (("stem", 48), ("block3", 48), ("block9", 48), ("logits", None)):
        best = photos.strongest(album[:1], network, {layer: [3]}, size=SIZE)
        left, top, right, bottom = best[layer][3][0].box
        if side is None:
            assert (left, top, right, bottom) == (0, 0, 1, 1)
        else:  # of 96x64
            assert ((right - left) * 96, (bottom - top) * 64) == pytest.approx((side, side))
    best = photos.strongest(album[1:2], network, {"block9": [3]}, size=400)
    left, _, right, _ = best["block9"][3][0].box
    assert (right - left) * 200 == pytest.approx(128)


def test_a_photo_counts_once_and_equals_keep_their_order(network, album):
    twins = [album[0], album[1], album[0]]
    best = photos.strongest(twins, network, {"block3": [1]}, per_channel=2, size=SIZE)
    crops = best["block3"][1]
    assert len(crops) == 2
    only = photos.strongest(album[:1], network, {"block3": [1]}, per_channel=4, size=SIZE)
    assert len(only["block3"][1]) == 1


def test_what_cannot_be_read_is_passed_over_with_a_note(network, album, tmp_path):
    torn, tiny = tmp_path / "torn.jpg", tmp_path / "tiny.png"
    torn.write_bytes(b"nothing")
    Image.new("RGB", (2000, 3)).save(tiny)
    told = []
    best = photos.strongest(
        [torn, album[0], tmp_path / "gone.png", tiny],
        network,
        {"stem": [0]},
        on_photo=lambda *at: told.append(at),
    )
    assert [crop.photo for crop in best["stem"][0]][:1] == [album[0]]
    assert [(done, of, bool(wrong)) for done, of, wrong in told][:3] == [
        (1, 4, True),
        (2, 4, False),
        (3, 4, True),
    ]
    assert "torn.jpg" in told[0][2]
    assert "gone.png" in told[2][2]


def test_it_stops_when_told(network, album):
    told = []
    photos.strongest(
        album,
        network,
        {"stem": [0]},
        on_photo=lambda *at: told.append(at),
        stop=lambda: len(told) == 2,
    )
    assert len(told) == 2


def test_crops_are_cut_out_of_the_photo_itself(tmp_path):
    path = tmp_path / "photo.png"
    picture = Image.new("RGB", (400, 200), (0, 0, 255))
    picture.paste((255, 0, 0), (100, 50, 200, 150))
    picture.save(path)
    red, far = tmp_path / "red.jpg", tmp_path / "far.jpg"
    gone = Crop(tmp_path / "gone.png", 1.0, (0, 0, 1, 1))
    written = photos.cut(
        [
            (Crop(path, 2.0, (0.25, 0.25, 0.5, 0.75)), red),
            (Crop(path, 1.0, (0.0, 0.0, 1.0, 1.0)), far),
            (gone, tmp_path / "never.jpg"),
        ]
    )
    assert written == {red, far}
    with Image.open(red) as cut:
        assert cut.size == (100, 100)
        assert all(low > 240 for low in (cut.getextrema()[0][0],))
    with Image.open(far) as cut:  # the middle of it
        assert cut.size == (200, 200)
        left, right = cut.getpixel((20, 100)), cut.getpixel((180, 100))
        assert left[0] > 240
        assert right[2] > 240


def test_folders_are_looked_through_to_the_bottom_and_the_atlas_left_out(tmp_path):
    for name in ("a.png", "below/b.png", "atlas/block5/000.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    found, notes = photos.find([str(tmp_path)], without=tmp_path / "atlas")
    assert [path.name for path in found] == ["a.png", "b.png"]
    assert notes == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        photos.find([str(tmp_path / "empty")], without=tmp_path / "atlas")
    with pytest.raises(InputError, match="nowhere"):
        photos.find([str(tmp_path / "nowhere")], without=tmp_path / "atlas")
