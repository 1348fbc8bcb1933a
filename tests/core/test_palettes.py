import numpy as np
import pytest
import torch
from PIL import Image

from dreamer.core import palettes


def flat(*colours, size=20):
    """Stripes of the colours, as high as wide, side by side."""
    stripes = [torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, size, size) for colour in colours]
    return torch.cat(stripes, 3)


def lab(picture):
    """The colours of a picture in OKLab: `(M, 3)`."""
    return palettes.to_oklab(picture).flatten(2)[0].T


def distance(picture, other):
    """The sliced Wasserstein distance of the colours of two pictures, in OKLab."""
    directions = torch.randn(3, 48, generator=torch.Generator().manual_seed(5))
    directions = directions / directions.norm(dim=0)
    steps = torch.linspace(0, 1, 400)
    a, b = ((lab(each) @ directions).quantile(steps, dim=0) for each in (picture, other))
    return (a - b).square().mean().sqrt().item()


@pytest.fixture(scope="module")
def shots(photos):
    """Four photos, some 200 pixels wide."""
    found = {}
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        with Image.open(photos / name) as photo:
            small = photo.convert("RGB").resize((200, 200 * photo.height // photo.width))
        values = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]
        found[name.partition(".")[0]] = values.float() / 255
    return found


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.62796, 0.22486, 0.12585)),
        ((0.0, 1.0, 0.0), (0.86644, -0.23389, 0.17950)),
        ((0.0, 0.0, 1.0), (0.45201, -0.03246, -0.31153)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((0.5, 0.5, 0.5), (0.59818, 0.0, 0.0)),
    ],
)
def test_oklab_has_the_values_others_publish(colour, expected):
    # CSS Color Module Level 4 and Ottosson's own code agree on these to the digits given.
    torch.testing.assert_close(lab(flat(colour))[0], torch.tensor(expected), atol=2e-4, rtol=0)


def test_oklab_has_the_published_pairs_of_xyz_and_lab():
    # The table in Ottosson's article, of XYZ (D65) to OKLab. All but the white are outside sRGB,
    # which the public functions do not take: only the matrices are tested.
    xyz = torch.tensor([[0.950, 1.0, 1.089], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]).double()
    expected = torch.tensor(
        [[1.0, 0.0, 0.0], [0.450, 1.236, -0.019], [0.922, -0.671, 0.263], [0.153, -1.415, -0.449]]
    ).double()
    to_rgb = torch.tensor(
        [
            [3.2404542, -1.5371385, -0.4985314],
            [-0.9692660, 1.8760108, 0.0415560],
            [0.0556434, -0.2040259, 1.0572252],
        ]
    ).double()
    cones = xyz @ to_rgb.T @ torch.tensor(palettes._CONES).double().T
    found = cones.sign() * cones.abs() ** (1 / 3) @ torch.tensor(palettes._LAB).double().T
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_oklab_and_back():
    picture = torch.rand(2, 3, 30, 40, generator=torch.Generator().manual_seed(1))
    picture[0, :, 0, :2] = torch.tensor([0.0, 1.0])
    back = palettes.from_oklab(palettes.to_oklab(picture))
    torch.testing.assert_close(back, picture, atol=1e-4, rtol=0)


def test_a_match_of_two_flat_colours_has_those_of_the_reference():
    picture = flat((0.2, 0.25, 0.5), (0.8, 0.6, 0.5))
    dark, pale = (0.4, 0.3, 0.2), (0.6, 0.75, 0.6)
    # Dark becomes dark, wherever it is in the reference.
    for reference in (flat(dark, pale), flat(pale, dark)):
        matched = palettes.match(picture, reference)
        torch.testing.assert_close(matched, flat(dark, pale), atol=0.02, rtol=0)


def test_colours_come_in_the_proportions_of_the_reference():
    ramp = torch.linspace(0.2, 0.8, 400).expand(1, 3, 20, 400)
    reference = flat((0.3, 0.3, 0.3), (0.7, 0.7, 0.7), (0.7, 0.7, 0.7), (0.7, 0.7, 0.7))
    matched = palettes.match(ramp, reference)
    assert (matched < 0.5).float().mean() == pytest.approx(0.25, abs=0.04)


def test_a_picture_that_is_its_own_reference_stays(shots):
    for picture in shots.values():
        change = (palettes.match(picture, picture) - picture).abs()
        assert change.mean() < 0.003
        assert change.max() < 0.04


@pytest.mark.parametrize(
    ("picture", "reference"),
    [
        ("astronaut", "coffee"),
        ("astronaut", "rocket"),
        ("chelsea", "coffee"),
        ("coffee", "chelsea"),
        ("coffee", "astronaut"),
        ("chelsea", "rocket"),
        ("rocket", "coffee"),
        ("rocket", "chelsea"),
    ],
)
def test_a_match_brings_the_colours_to_those_of_the_reference(shots, picture, reference):
    before, reference = shots[picture], shots[reference]
    assert distance(palettes.match(before, reference), reference) < 0.25 * distance(
        before, reference
    )


def test_a_match_lifts_contrast_within_bounds(shots):
    matched = palettes.match(shots["rocket"], shots["astronaut"])
    light, had, wanted = (
        lab(each)[:, 0].std() for each in (matched, shots["rocket"], shots["astronaut"])
    )
    assert wanted > 2 * had
    assert 1.4 * had < light < 1.9 * had


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.2, 0.5, 0.9)])
def test_a_reference_of_one_colour_leaves_light_and_shade(shots, colour):
    picture = shots["chelsea"]
    reference = flat(colour)
    matched = palettes.match(picture, reference)
    painted = palettes.paint(picture, palettes.extract(reference))
    for result in (matched, painted):
        assert result.shape == picture.shape
        assert result.isfinite().all()
        assert 0 <= result.min() <= result.max() <= 1
        assert lab(result)[:, 0].std() > 0.1 * lab(picture)[:, 0].std()
    if colour == (0.2, 0.5, 0.9):
        torch.testing.assert_close(
            lab(matched)[:, 1:].mean(0), lab(reference)[0, 1:], atol=0.04, rtol=0
        )


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_picture_of_one_colour_and_of_one_pixel(shots, value):
    for picture in (torch.full((1, 3, 1, 1), value), torch.full((1, 3, 7, 30), value)):
        for reference in (shots["coffee"], torch.full((1, 3, 1, 1), 0.7), 1 - picture):
            matched = palettes.match(picture, reference)
            painted = palettes.paint(picture, palettes.extract(reference))
            for result in (matched, painted):
                assert result.shape == picture.shape
                assert result.isfinite().all()
                assert 0 <= result.min() <= result.max() <= 1
                assert (result - result[:, :, :1, :1]).abs().max() < 1e-5


def test_where_says_which_pixels_count():
    ramp = torch.linspace(0.3, 0.6, 200).expand(1, 3, 20, 200)
    picture = torch.cat([ramp, torch.full((1, 3, 20, 400), 0.95)], 3)
    where = torch.zeros(1, 1, 20, 600)
    where[..., :200] = 1
    reference = torch.linspace(0.5, 0.7, 200).view(1, 1, 1, 200).expand(1, 3, 20, 200)
    counted = palettes.match(picture, reference, where)
    torch.testing.assert_close(counted[..., :200], reference, atol=0.03, rtol=0)
    # What does not count has no say: other colours there make the same picture here.
    other = picture.clone()
    other[..., 200:] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        palettes.match(other, reference, where)[..., :190], counted[..., :190], atol=1e-5, rtol=0
    )
    everywhere = palettes.match(picture, reference)
    assert everywhere[..., :200].mean() < counted[..., :200].mean() - 0.03
    assert palettes.match(picture, reference, 0 * where) is picture


def test_a_small_place_counts():
    picture = torch.full((1, 3, 700, 700), 0.2)
    picture[..., 301:303, 401:403] = 0.5
    where = (picture[:, :1] > 0.4).float()
    matched = palettes.match(picture, torch.full((1, 3, 4, 4), 0.7), where)
    torch.testing.assert_close(matched[..., 301, 401], torch.full((1, 3), 0.7), atol=0.03, rtol=0)


def test_a_smooth_gradient_stays_smooth_and_monotone(shots):
    x = torch.linspace(0, 1, 600)
    sky = torch.stack([0.1 + 0.4 * x, 0.2 + 0.45 * x, 0.45 + 0.4 * x])[None, :, None]
    sky = sky.expand(1, 3, 8, 600)
    for reference in shots.values():
        matched = palettes.match(sky, reference)
        painted = palettes.paint(sky, palettes.extract(reference))
        for result in (matched, painted):
            light = palettes.to_oklab(result)[0, 0, 4]
            steps = light.diff()
            assert steps.min() > -1e-3
            # A band is a jump: steps of one and the same colour between.
            assert steps.max() < 8 * (light[-1] - light[0]) / 599
            assert result.diff(dim=3).abs().max() < 0.02


def test_grain_is_not_lifted():
    noise = torch.randn(1, 3, 80, 80, generator=torch.Generator().manual_seed(3))
    calm = torch.linspace(0.4, 0.6, 80).expand(1, 3, 80, 80)
    picture = calm + 0.01 * noise
    reference = torch.linspace(0, 1, 80).expand(1, 3, 80, 80)
    for change in (
        palettes.match(picture, reference),
        palettes.paint(picture, palettes.extract(reference)),
    ):
        grain = change.diff(dim=2).std()
        assert grain < 1.7 * picture.diff(dim=2).std()


def test_extract_finds_the_colours_of_a_picture():
    colours = [(0.1, 0.1, 0.2), (0.8, 0.2, 0.2), (0.3, 0.6, 0.3), (0.9, 0.9, 0.8)]
    palette = palettes.extract(flat(*colours), 4)
    expected = lab(flat(*colours, size=1))
    expected = expected[expected[:, 0].argsort()]
    torch.testing.assert_close(palette, expected, atol=1e-3, rtol=0)
    # As many as there are, and no more; a small accent is a colour.
    assert len(palettes.extract(flat(*colours), 9)) == 4
    assert palettes.extract(flat(*colours), 1).shape == (1, 3)
    accent = torch.full((1, 3, 100, 100), 0.5)
    accent[..., 40:50, 40:50] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    found = palettes.extract(accent, 2)
    wanted = lab(torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1))[0]
    assert (found - wanted).norm(dim=1).min() < 0.01


def test_a_painted_picture_has_mixtures_of_the_palette(shots):
    red_and_blue = lab(flat((0.7, 0.3, 0.3), (0.3, 0.4, 0.7), size=1))
    for picture in shots.values():
        painted = lab(palettes.paint(picture, red_and_blue))
        # Colour is on the line between the two, or paler where sRGB has no such light or shade.
        start, end = red_and_blue[:, 1:]
        part = torch.linspace(0, 1, 101)[:, None]
        paler = torch.linspace(0, 1, 41)[:, None, None]
        mixtures = (paler * torch.lerp(start, end, part)).flatten(0, 1)
        off = torch.cdist(painted[::7, 1:], mixtures).amin(1)
        assert off.quantile(0.99) < 0.03
        assert off.max() < 0.08


def test_a_painted_picture_uses_the_whole_palette(shots):
    palette = palettes.extract(shots["rocket"])
    painted = lab(palettes.paint(shots["astronaut"], palette))
    near = torch.cdist(painted, palette)
    assert (near.amin(0) < 0.08).all()
    light = lab(shots["astronaut"])[:, 0]
    assert torch.corrcoef(torch.stack([light, painted[:, 0]]))[0, 1] > 0.95


def test_the_same_pictures_give_the_same_colours(shots):
    picture, reference = shots["chelsea"], shots["coffee"]
    where = torch.rand(1, 1, *picture.shape[2:], generator=torch.Generator().manual_seed(4))
    torch.manual_seed(1)
    first = palettes.match(picture, reference, where)
    palette = palettes.extract(reference)
    torch.manual_seed(2)
    assert torch.equal(palettes.match(picture, reference, where), first)
    assert torch.equal(palettes.extract(reference), palette)
    assert torch.equal(palettes.paint(picture, palette), palettes.paint(picture, palette))


def test_strips_of_a_large_picture_meet_without_a_seam(shots, monkeypatch):
    picture, reference = shots["astronaut"], shots["coffee"]
    whole = palettes.match(picture, reference)
    monkeypatch.setattr(palettes, "_STRIP", 37 * picture.shape[3])
    torch.testing.assert_close(palettes.match(picture, reference), whole, atol=1e-5, rtol=0)
