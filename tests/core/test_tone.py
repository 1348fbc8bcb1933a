import pytest
import torch

from dreamer.core import tone, zoom
from dreamer.core.camera import motion
from dreamer.core.tone import Tone

SIZE = (90, 140)
CANVAS = zoom.canvas_size(SIZE)


@pytest.fixture
def picture():
    """A smooth picture with detail of several sizes, of the keyframes' size."""
    height, width = CANVAS
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None]
    waves = [torch.sin(f * (x * 1.3 + y * k)) for f, k in ((9, 1.0), (17, -0.6), (30, 0.3))]
    return (0.5 + 0.16 * torch.stack([waves[0] + waves[1], waves[1] + waves[2], waves[0]]))[None]


def test_a_tone_is_reached_and_kept_over_hundreds_of_keyframes(picture):
    wanted = Tone(light=0.45, contrast=0.2, detail=0.12, colour=0.12)
    faded = 0.8 + 0.05 * picture
    now = faded
    for _ in range(300):
        now = zoom.begin(tone.steady(now, wanted, 0.4), zoom.view(motion(0, 1, 0.2), SIZE))
        grain = torch.randn(now.shape, generator=torch.Generator().manual_seed(_))
        now = (now + 0.05 * grain).clamp(0, 1)
    found = tone.tone(tone.steady(now, wanted, 0.4))
    assert found.light == pytest.approx(wanted.light, abs=0.06)
    assert 0.5 * wanted.contrast < found.contrast < 1.5 * wanted.contrast
    assert torch.equal(tone.steady(faded, wanted, 0.0), faded)


def test_steadying_burns_nothing_out(picture):
    strong = tone.steady(picture, Tone(0.5, 0.6, 0.5, 0.5), 1.0)
    assert strong.min() > 0
    assert strong.max() < 1
