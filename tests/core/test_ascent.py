import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dreamer.core import ascent
from dreamer.core import canvas as canvases
from dreamer.core.ascent import Ascent, Goal, Likeness
from dreamer.core.canvas import PixelCanvas
from dreamer.core.guidance import Guide, banks
from dreamer.core.objectives import Objective, Pick, Term
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


SIZES = ((8, 3, 5, 5), (12, 8, 3, 3))
WEIGHTS = [
    torch.randn(size, generator=torch.Generator().manual_seed(seed)) / math.prod(size[1:]) ** 0.5
    for seed, size in enumerate(SIZES)
]
STILL = replace(PLAN, view=View(6), step_size=0.01, steps=(6, 6))
KINDS = ("pixel", "fourier", "maco")
LAYER, CHANNEL = Objective((Term("layer"),)), Objective((Term("layer", 3),))


def small(pixels):
    """A network of two random layers."""
    early = F.relu(F.conv2d(pixels - 0.45, WEIGHTS[0], padding=2, stride=2))
    return {"early": early, "layer": F.relu(F.conv2d(early, WEIGHTS[1], padding=1, stride=2))}


def early(pixels):
    return {"early": small(pixels)["early"]}


def last(photo, network, objective, plan, seed=0, **more):
    for step in ascent.dream(photo, network, objective, plan, seed, **more):
        made = step
    return made


def rms(values):
    return values.square().mean().sqrt().item()


def strip(photo, left, right):
    where = torch.zeros_like(photo[:, :1])
    where[..., left:right] = 1
    return where


@pytest.fixture(scope="module")
def contrasts(photo):
    """The photo with more contrast: what waves can change is what there is of them."""
    return (0.5 + 1.6 * (photo - photo.mean())).clamp(0.05, 0.95)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", [LAYER, CHANNEL], ids=str)
def test_without_a_change_asked_for_steps_are_taken_as_they_are(photo, kind, objective):
    """The loop by hand, as it was before a change could be asked for."""
    plan = replace(PLAN, canvas=kind, decay=0.5)
    canvas = canvases.start(kind, ascent.resample(photo, plan.sizes[0]).clamp(0, 1))
    for octave, size in enumerate(plan.sizes):
        if octave:
            canvas = canvas.onto(photo)
        random, velocity = ascent.generator(0, octave), torch.zeros(1, 3, *size)
        for share in (1.0, 0.75, 0.5):
            look = plan.view.look(canvas.pixels(), random)
            raw = look.gradient(objective(small(look.pixels), look.locate))
            velocity = plan.momentum * velocity + canvas.precondition(
                raw, tilt=plan.tilt, grain=plan.grain, decorrelate=plan.decorrelate
            )
            canvas.ascend(velocity, plan.step_size * share)
            canvas.settle(plan.hold)
    expected = (photo + (canvas.pixels() - photo)).clamp(0, 1)
    assert torch.equal(last(photo, small, objective, plan).picture(), expected)
    assert torch.equal(last(photo, small, [Goal(objective)], plan).picture(), expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["layer", "early", "block5", "block8"])
def test_the_change_is_as_large_as_asked(network, contrasts, name, kind, masked):
    shown = network.features((name,)) if name.startswith("block") else small
    where = strip(contrasts, 20, 70) if masked else None
    inside = slice(20, 70) if masked else slice(None)
    goals = [Goal(Objective((Term(name),)), where)]
    plan = replace(STILL, canvas=kind, step_size=0.02, steps=(4, 4))
    for change in (0.06, 0.08):
        moved = last(contrasts, shown, goals, replace(plan, change=change)).picture() - contrasts
        assert rms(moved[..., inside]) == pytest.approx(change, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_is_the_share_of_the_change(contrasts, kind):
    plan = replace(STILL, canvas=kind, step_size=0.005)
    full, *less = (
        rms(last(contrasts, small, LAYER, replace(plan, change=0.08 * share)).picture() - contrasts)
        for share in (1.0, 0.5, 0.25)
    )
    assert [each / full for each in less] == pytest.approx([0.5, 0.25], rel=0.05)


@pytest.mark.parametrize("step_size", [0.01, 0.03])
def test_a_small_change_is_as_small_as_asked_whatever_the_step(photo, step_size):
    plan = replace(STILL, step_size=step_size, steps=(20, 10), change=0.02)
    moved = last(photo, small, LAYER, plan).picture() - photo
    assert rms(moved) == pytest.approx(0.02, rel=0.03)


def test_a_change_that_is_asked_for_moves_nothing_where_nothing_moves(photo):
    def deaf(pixels):
        return {"layer": (pixels * 0).mean((2, 3), keepdim=True)}

    plan = replace(STILL, change=0.1)
    assert torch.equal(last(photo, deaf, Objective((Term("layer", 0),)), plan).picture(), photo)
    still = replace(plan, step_size=0.0)
    assert torch.equal(last(photo, small, LAYER, still).picture(), photo)


@pytest.mark.parametrize("change", [0.0, 0.08])
@pytest.mark.parametrize("kind", KINDS)
def test_what_no_goal_has_a_part_in_stays_to_the_bit(photo, kind, change):
    goals = [Goal(LAYER, strip(photo, 10, 40)), Goal(CHANNEL, strip(photo, 60, 80))]
    made = last(photo, small, goals, replace(STILL, canvas=kind, change=change)).picture()
    for left, right in ((0, 10), (40, 60), (80, 96)):
        assert torch.equal(made[..., left:right], photo[..., left:right])
    for left, right in ((10, 40), (60, 80)):
        assert rms((made - photo)[..., left:right]) > 0.01


def test_outside_stays_to_the_bit_if_the_photo_is_larger_than_the_last_octave(photo):
    plan = replace(STILL, sizes=((32, 40), (40, 56)))
    made = last(photo, small, [Goal(LAYER, strip(photo, 30, 60))], plan).picture()
    assert made.shape == photo.shape
    assert torch.equal(made[..., :30], photo[..., :30])
    assert torch.equal(made[..., 60:], photo[..., 60:])
    assert not torch.equal(made, photo)


def test_regions_follow_their_own_objectives(photo):
    one, other = Objective((Term("early", 2),)), Objective((Term("layer", 7),))
    halves = strip(photo, 0, 48), strip(photo, 48, 96)

    def worth(objective, picture, half):
        part = picture[..., :48] if half == 0 else picture[..., 48:]
        return objective(small(part)).item()

    def dreamt(*objectives):
        goals = [Goal(each, half) for each, half in zip(objectives, halves, strict=True)]
        return last(photo, small, goals, replace(STILL, change=0.08)).picture()

    made, swapped = dreamt(one, other), dreamt(other, one)
    for objective, right, wrong in ((one, made, swapped), (other, swapped, made)):
        assert worth(objective, right, 0) > 1.2 * worth(objective, photo, 0)
        assert worth(objective, right, 0) > 1.1 * worth(objective, wrong, 0)
        assert worth(objective, wrong, 1) > 1.2 * worth(objective, photo, 1)
        assert worth(objective, wrong, 1) > 1.1 * worth(objective, right, 1)


def test_regions_change_by_as_much_however_loud_their_objectives_are(photo):
    halves = strip(photo, 0, 48), strip(photo, 48, 96)
    plan = replace(STILL, change=0.08)
    made = [
        last(photo, small, [Goal(LAYER, halves[0]), Goal(loud * CHANNEL, halves[1])], plan)
        for loud in (1.0, 1e4)
    ]
    moved = made[0].picture() - photo
    assert 0.5 < rms(moved[..., :48]) / rms(moved[..., 48:]) < 2
    torch.testing.assert_close(made[1].picture(), made[0].picture(), rtol=0, atol=1e-3)


def test_one_goal_for_everything_is_a_dream_as_always(photo):
    plain = last(photo, small, LAYER, STILL).picture()
    assert torch.equal(last(photo, small, [Goal(LAYER)], STILL).picture(), plain)
    everywhere = [Goal(LAYER, torch.ones_like(photo[:, :1]))]
    torch.testing.assert_close(
        last(photo, small, everywhere, STILL).picture(), plain, rtol=0, atol=1e-3
    )


def test_terms_without_a_gradient_are_named_in_every_step(photo):
    def network(pixels):
        return {**small(pixels), "deaf": (pixels * 0).mean((2, 3), keepdim=True)}

    deaf = Objective((Term("deaf", 0, label="nothing"),))
    total = LAYER + 0.5 * deaf + deaf - CHANNEL
    steps = list(ascent.dream(photo, network, total, STILL, 0))
    assert {step.idle for step in steps} == {("nothing",)}
    assert all(step.moved for step in steps)
    assert {step.idle for step in ascent.dream(photo, network, LAYER - CHANNEL, STILL, 0)} == {()}
    halves = [Goal(LAYER + CHANNEL, strip(photo, 0, 48)), Goal(LAYER + deaf, strip(photo, 48, 96))]
    assert last(photo, network, halves, STILL).idle == ("nothing",)


def distance(picture, photo, network):
    with torch.no_grad():
        pairs = zip(network(picture).values(), network(photo).values(), strict=True)
        return sum((a - b).square().mean().item() for a, b in pairs)


@pytest.mark.parametrize("kind", ["pixel", "fourier"])
@pytest.mark.parametrize("name", ["block5", "block8"])
def test_likeness_keeps_an_early_layer_nearer_to_the_photo(network, photo, kind, name):
    objective = Objective((Term(name),))
    features, first = network.features((name,)), network.features(("block1",))
    plan = replace(STILL, canvas=kind, change=0.04, step_size=0.02, steps=(3, 3))
    loose, held = (
        last(photo, features, objective, plan, likeness=likeness).picture()
        for likeness in (None, Likeness(first, 0.5))
    )
    assert rms(held - photo) == pytest.approx(rms(loose - photo), rel=0.03)
    assert distance(held, photo, first) < 0.9 * distance(loose, photo, first)
    with torch.no_grad():
        assert objective(features(held)) > 1.3 * objective(features(photo))


def test_likeness_holds_within_turned_views_too(photo):
    assert PLAN.view.rotate > 0
    made = last(photo, small, LAYER, PLAN, likeness=Likeness(early, 0.5)).picture()
    assert not torch.equal(made, photo)


def test_no_likeness_at_all_is_nearly_a_likeness_of_0(photo):
    plan = replace(STILL, change=0.06)
    loose, held = (
        last(photo, small, CHANNEL, plan, likeness=likeness).picture()
        for likeness in (None, Likeness(early, 0.0))
    )
    torch.testing.assert_close(held, loose, rtol=0, atol=2e-3)


def test_likeness_does_not_move_what_its_target_may_not(photo):
    goals = [Goal(LAYER, strip(photo, 30, 60))]
    made = last(photo, small, goals, STILL, likeness=Likeness(early, 1.0)).picture()
    assert torch.equal(made[..., :30], photo[..., :30])
    assert torch.equal(made[..., 60:], photo[..., 60:])
    assert not torch.equal(made, photo)


def test_likeness_alone_is_no_target_that_moves(photo):
    calls = []

    def fading(pixels):
        calls.append(1)
        return {"layer": pixels * (len(calls) < 3)}

    plan = replace(STILL, sizes=((72, 96),), steps=(4,))
    steps = ascent.dream(photo, fading, LAYER, plan, 0, likeness=Likeness(early, 0.5))
    assert [step.moved for step in steps] == [True, True, False, False]


FORMS = {
    "best": {"guide": "sea", "by": "best"},
    "means": {"guide": "sea", "by": "means"},
    "style": {"guide": "sea", "by": "style"},
    "list": {"channels": (1, 4, 5)},
    "strong": {"pick": Pick("strong", 3)},
    "weak": {"pick": Pick("weak", 3)},
    "anew": {"pick": Pick("strong", 3, anew=True)},
}


@pytest.mark.parametrize("name", ["layer", "block5"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_objective_rises(network, photo, cat, name, form):
    features = network.features((name,)) if name.startswith("block") else small
    objective = Objective((Term(name, **FORMS[form]),))
    guide = Guide(cat, least=32)
    made = last(photo, features, objective, STILL, 1, guides={"sea": guide}).picture()
    references = {"sea": banks(guide, features, (72, 96), (name,))}
    with torch.no_grad():
        goal = objective.picked(features(photo))
        after, before = (goal(features(x), references=references) for x in (made, photo))
    assert after > before + 0.02 * before.abs()


def test_what_is_picked_once_is_picked_by_the_photo(photo):
    once = Objective((Term("layer", pick=Pick("weak", 2)),))
    channels = Pick("weak", 2).of(small(photo)["layer"])
    listed = Objective((Term("layer", channels=channels),))
    assert torch.equal(
        last(photo, small, once, STILL).picture(), last(photo, small, listed, STILL).picture()
    )


@pytest.mark.parametrize(("anew", "risen"), [(False, 0), (True, 1)])
def test_what_is_picked_anew_follows_what_the_network_says(photo, anew, risen):
    calls = []

    def turning(pixels):
        """Red is loud at first, and later blue."""
        calls.append(1)
        red, blue = (10, 1) if len(calls) == 1 else (1, 10)
        return {"layer": torch.cat([red * pixels[:, :1], blue * pixels[:, 2:]], 1)}

    objective = Objective((Term("layer", pick=Pick("strong", 1, anew)),))
    plan = replace(STILL, sizes=((72, 96),), steps=(2,), decorrelate=0.0, hold=0.0)
    if anew:
        turning(photo)  # what is picked once has looked at the photo already
    moved = last(photo, turning, objective, plan).picture() - photo
    red, blue = rms(moved[:, 0]), rms(moved[:, 2])
    assert (red, blue)[risen] > 5 * (red, blue)[1 - risen]
