from dataclasses import replace

import pytest
import torch

from dreamer.core import ascent
from dreamer.core.ascent import Ascent
from dreamer.core.canvas import PixelCanvas
from dreamer.core.objectives import Objective, Term
from dreamer.core.transforms import View
from dreamer.networks.network import load

PLAN = Ascent(
    sizes=((48, 64), (72, 96)),
    steps=(3, 3),
    step_size=0.03,
    decay=0.0,
    momentum=0.5,
    view=View(8, 5.0, 0.05),
    tilt=1.5,
    grain=0.6,
    decorrelate=0.5,
    chroma=1.0,
    hold=0.03,
    blend=0.0,
)
TARGETS = [
    Objective((Term("block3"),)),
    Objective((Term("block8"),)),
    Objective((Term("block8", 37),)),
    Objective((Term("block5", 3, (0.5, 0.5)),)),
    Objective((Term("logits", 340),)),
    Objective((Term("block11"), Term("logits", 340, weight=0.3), Term("block3", weight=-0.2))),
]


@pytest.fixture(scope="module")
def network():
    return load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photo():
    from dreamer.core.sources import sky

    return sky((72, 96), torch.Generator().manual_seed(3))


def run(photo, network, objective, plan, seed=0):
    for step in ascent.dream(photo, network.features(objective.layers), objective, plan, seed):
        last = step
    return last.picture()


@pytest.mark.parametrize("objective", TARGETS, ids=str)
def test_every_objective_rises(network, photo, objective):
    features = network.features(objective.layers)
    made = run(photo, network, objective, replace(PLAN, step_size=0.02), seed=1)
    goal = ascent.balance(PixelCanvas(photo), features, objective, View(0), torch.Generator())
    with torch.no_grad():
        assert goal(features(made)) > goal(features(photo))


def test_a_term_that_is_avoided_falls(network, photo):
    objective = Objective((Term("block5", weight=-1.0),))
    features = network.features(objective.layers)
    made = run(photo, network, objective, PLAN)
    with torch.no_grad():
        assert Term("block5").measure(features(made)) < Term("block5").measure(features(photo))


@pytest.mark.parametrize("change", [{"step_size": 0.0}, {"blend": 1.0}])
def test_without_change_the_result_is_the_photo_to_the_bit(network, photo, change):
    made = run(photo, network, TARGETS[1], replace(PLAN, **change))
    assert torch.equal(made, photo)


def test_the_same_seed_gives_the_same_picture_whatever_else_is_random(network, photo):
    first = run(photo, network, TARGETS[1], PLAN, seed=5)
    torch.manual_seed(99)
    torch.rand(3)
    assert torch.equal(run(photo, network, TARGETS[1], PLAN, seed=5), first)
    assert not torch.equal(run(photo, network, TARGETS[1], PLAN, seed=6), first)


def test_the_global_generator_is_left_alone(network, photo):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(photo, network, TARGETS[0], PLAN)
    assert torch.equal(torch.rand(3), expected)


def test_a_step_moves_every_picture_by_the_same_amount(network, photo):
    plan = replace(PLAN, sizes=((72, 96),), steps=(1,), hold=0.0, step_size=0.001)
    for objective in TARGETS:
        canvas = PixelCanvas(torch.full_like(photo, 0.5))
        made = run(torch.full_like(photo, 0.5), network, objective, plan)
        assert abs((made - canvas.base).square().mean().sqrt().item() - 0.001) < 2e-5


def test_luma_changes_no_colour_difference(network, photo):
    made = run(photo, network, TARGETS[1], replace(PLAN, chroma=0.0))
    moved = made - photo
    assert moved.abs().mean() > 0.01
    torch.testing.assert_close(moved[:, 0], moved[:, 2], atol=1e-5, rtol=0)


def test_balance_gives_the_terms_equal_gradients(network, photo):
    objective = Objective((Term("block8"), Term("logits", 340)))
    features = network.features(objective.layers)
    canvas = PixelCanvas(photo)
    balanced = ascent.balance(canvas, features, objective, View(0), torch.Generator())
    strengths = []
    for term in balanced.terms:
        look = View(0).look(photo, torch.Generator())
        score = Objective((term,))(features(look.pixels))
        strengths.append(look.gradient(score).square().mean().sqrt().item())
    assert strengths == pytest.approx([1, 1], rel=1e-3)


def test_a_target_that_nothing_moves_is_reported_and_leaves_the_photo(photo):
    def deaf(pixels):
        return {"layer": (pixels * 0).mean((2, 3), keepdim=True)}

    steps = list(ascent.dream(photo, deaf, Objective((Term("layer", 0),)), PLAN, 0))
    assert not any(step.moved for step in steps)
    assert torch.equal(steps[-1].picture(), photo)


def test_events_count_the_work_and_show_the_picture_at_every_step(network, photo):
    steps = list(ascent.dream(photo, network.features(("block3",)), TARGETS[0], PLAN, 0))
    assert len(steps) == 6
    assert [step.octave for step in steps] == [0, 0, 0, 1, 1, 1]
    assert steps[-1].work == PLAN.work == 3 * 48 * 64 + 3 * 72 * 96
    assert steps[0].picture().shape == photo.shape


def test_no_seam_shows_at_the_borders(network):
    flat = torch.full((1, 3, 96, 96), 0.5)
    plan = replace(PLAN, sizes=((96, 96),), steps=(10,), view=View(16, 5.0, 0.05))
    total = torch.zeros(96, 96)
    for seed in range(4):
        total += (run(flat, network, TARGETS[0], plan, seed) - flat).square().mean((0, 1))
    border = torch.cat([total[:4].flatten(), total[-4:].flatten(), total[:, :4].flatten()])
    inside = total[16:-16, 16:-16]
    assert 0.4 < border.mean() / inside.mean() < 2.5


def test_a_step_without_a_gradient_does_not_drift_on_by_its_momentum(photo):
    calls = []

    def fading(pixels):
        calls.append(1)
        return {"block3": pixels * (len(calls) < 3)}

    plan = replace(PLAN, sizes=((72, 96),), steps=(5,), momentum=0.9, hold=0.0)
    moved, pictures = [], []
    for step in ascent.dream(photo, fading, TARGETS[0], plan, seed=0):
        moved.append(step.moved)
        pictures.append(step.picture())
    assert moved == [True, True, False, False, False]
    assert not torch.equal(pictures[0], pictures[1])
    assert all(torch.equal(picture, pictures[1]) for picture in pictures[2:])


LIKE = Objective((Term("block5", like="cat"),))
DIRECTION = Objective((Term("block8", direction=((3, 1.0), (37, -0.5), (80, 2.0))),))


@pytest.fixture(scope="module")
def cat():
    from dreamer.core.sources import noise

    return noise((36, 48), torch.Generator().manual_seed(8))


def worth(network, objective, picture, photos):
    """What a picture is worth, seen whole beside whole photos."""
    features = network.features(objective.layers)
    with torch.no_grad():
        references = {
            name: features(ascent.resample(each, picture.shape[2:]))
            for name, each in photos.items()
        }
        return objective(features(picture), references=references)


@pytest.mark.parametrize(
    "objective", [DIRECTION, LIKE, LIKE + DIRECTION - 0.5 * Objective((Term("block3"),))], ids=str
)
def test_three_steps_towards_a_direction_or_a_photo_raise_the_value(network, photo, cat, objective):
    photos = {"cat": cat} if objective.likes else {}
    plan = replace(PLAN, step_size=0.02, sizes=((72, 96),), steps=(3,))
    features = network.features(objective.layers)
    for step in ascent.dream(photo, features, objective, plan, 1, photos=photos):
        made = step.picture()
    alike = Objective(objective.terms[:1])
    assert worth(network, alike, made, photos) > worth(network, alike, photo, photos)


def test_a_photo_is_looked_at_where_and_as_large_as_the_canvas_is(photo, cat):
    """The network sees the two in turn; of a canvas that is the photo it sees the same twice."""
    seen = []

    def watched(pixels):
        seen.append(pixels.detach().clone())
        return {"block5": pixels}

    for _ in ascent.dream(photo, watched, LIKE, replace(PLAN, hold=0.0), 0, photos={"cat": photo}):
        pass
    assert len(seen) == 12
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[2], seen[3])
    assert [a.shape for a in seen[::2]] == [b.shape for b in seen[1::2]]
    # The views moved; what the photo's own colours are like did not.
    assert not torch.equal(seen[0], seen[2])


def test_photos_that_no_term_names_change_nothing(network, photo, cat):
    features = network.features(("block8",))
    made = [
        list(ascent.dream(photo, features, TARGETS[1], PLAN, 0, photos=photos))[-1].picture()
        for photos in (None, {}, {"cat": cat})
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
