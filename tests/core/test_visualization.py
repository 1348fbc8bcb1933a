import functools
import itertools

import pytest
import torch
from torch import nn

from dreamer.core import published, visualization
from dreamer.core.objectives import Objective, Term
from dreamer.core.parametrisation import (
    FourierParametrisation,
    MacoParametrisation,
    PixelParametrisation,
)
from dreamer.core.views import Views, Zoom
from dreamer.core.visualization import Plan, passage, visualize

CANVASES = {
    "pixel": PixelParametrisation,
    "fourier": FourierParametrisation,
    "maco": MacoParametrisation,
}
OBJECTIVES = {
    "layer": Objective((Term("deep"),)),
    "channel": Objective((Term("deep", 2),)),
    "neuron": Objective((Term("deep", 2, at=(0.4, 0.6)),)),
    "class": Objective((Term("logits", 3),)),
    "direction": Objective((Term("deep", direction=((0, 1.0), (4, -0.5))),)),
    "caricature": Objective((Term("deep", like="photo"),)),
    "sum": Objective((Term("deep", 2), Term("logits", 3, weight=0.5))),
    "negative": Objective((Term("deep", 2, weight=-1.0),)),
}
TRANSFORMS = {name: made() for name, made in published.TRANSFORMS.items() if name != "maco"}
TRANSFORMS["maco"] = (Zoom(0.7, 0.4, 0.05, 0.15, 20), published.maco()[1])
PHOTOS = {"photo": torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(9))}


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1)
        )
        head = nn.Linear(8, 5)
    for convolution in (body[0], body[2]):
        nn.init.zeros_(convolution.bias)  # grey shows nothing
    for each in (body, head):
        each.requires_grad_(False)

    def run(pixels):
        deep = body(pixels - 0.5)
        return {"deep": deep, "logits": head(deep.tanh().mean((2, 3)))[:, :, None, None]}

    return run


def plan(kind="fourier", transforms=(), steps=3, views=1, size=(40, 40), **more):
    optimiser = "nadam" if kind == "maco" else "adam"
    return Plan(
        (size,), (steps,), CANVASES[kind].start, optimiser, 0.2 if kind == "maco" else 0.05,
        Views(transforms, views), **more,
    )  # fmt: skip


def worth(network, goal, pictures):
    references = {"photo": network(PHOTOS["photo"])}
    return float(goal(network(pictures), references=references))


@pytest.mark.parametrize(
    ("goal", "canvas", "transforms"),
    list(itertools.product(OBJECTIVES, CANVASES, TRANSFORMS)),
)
def test_a_few_steps_raise_every_objective(network, goal, canvas, transforms):
    objective = OBJECTIVES[goal]
    before = CANVASES[canvas].start((40, 40), [visualization.generator(0, -2)]).show().detach()
    steps = list(
        visualize(
            network,
            [objective],
            plan(canvas, TRANSFORMS[transforms], steps=16, views=4),
            [0],
            photos=PHOTOS,
        )
    )
    after = steps[-1].pictures()
    assert worth(network, objective, after) > worth(network, objective, before)
    assert bool(steps[-1].moved.all())


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_same_seed_makes_the_same_bytes_and_another_others(network, canvas):
    def made(seed):
        torch.manual_seed(seed + 100)  # nothing else that is random may count
        run = visualize(
            network, [OBJECTIVES["channel"]], plan(canvas, TRANSFORMS["dreamer"]), [seed]
        )
        return list(run)[-1].pictures()

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))


def test_a_picture_does_not_depend_on_its_place_in_a_batch(network):
    goals = [OBJECTIVES[name] for name in ("channel", "layer", "sum", "class")]
    together = list(visualize(network, goals, plan(), [3] * 4))[-1].pictures()
    for index, goal in enumerate(goals):
        alone = list(visualize(network, [goal], plan(), [3]))[-1].pictures()
        assert torch.allclose(together[index], alone[0], atol=1e-4)


def test_a_sum_is_what_it_says(network):
    a, b = Objective((Term("deep", 1),)), Objective((Term("logits", 2),))
    activations = network(torch.rand(1, 3, 40, 40))
    value = float((2 * a + 3 * b)(activations))
    assert value == pytest.approx(2 * float(a(activations)) + 3 * float(b(activations)), rel=1e-6)
    assert str(2 * a + 3 * b) == "2*deep:1 + 3*logits:2"


def test_weights_are_shares_of_the_gradient(network):
    run = visualization._Run(network, plan(), {})
    pictures = torch.rand(1, 3, 40, 40).requires_grad_()
    goal = Objective((Term("deep", 1), Term("logits", 2, weight=1.0)))
    run._compare([goal], pictures, lambda y, x: (y, x), {})
    activations = network(pictures)
    norms = []
    for term in run._balanced(0, goal).terms:
        score = term.weight * term.measure(activations)
        (gradient,) = torch.autograd.grad(score, pictures, retain_graph=True)
        norms.append(float(gradient.square().mean().sqrt()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_many_views_in_parts_are_as_good_as_at_once(network, monkeypatch):
    goal = Objective((Term("deep", 2, at=(0.4, 0.6)), Term("deep", like="photo")))

    def made():
        run = visualize(
            network, [goal], plan(transforms=TRANSFORMS["lucid"], views=7), [0], photos=PHOTOS
        )
        return list(run)[-1]

    whole = made()
    monkeypatch.setattr(visualization, "TOGETHER", 3 * 52 * 52)
    parts = made()
    assert torch.allclose(whole.pictures(), parts.pictures(), atol=1e-4)
    assert torch.allclose(whole.scores, parts.scores, rtol=1e-4)


def test_octaves_go_on_with_the_same_picture(network):
    grown = Plan(
        ((12, 12), (24, 24)), (10, 1), FourierParametrisation.start, "adam", 0.05, Views(),
    )  # fmt: skip
    steps = list(visualize(network, [OBJECTIVES["layer"]], grown, [0]))
    assert [tuple(step.pictures().shape[2:]) for step in steps[-2:]] == [(12, 12), (24, 24)]
    assert [step.of for step in steps] == [11] * 11
    small = steps[-2].pictures()
    large = nn.functional.interpolate(steps[-1].pictures(), (12, 12), mode="area")
    assert torch.corrcoef(torch.stack([small.flatten(), large.flatten()]))[0, 1] > 0.9
    assert steps[-1].influence.shape == (1, 24, 24)


def test_diversity_makes_pictures_of_a_group_differ_more(network):
    def alike(strength):
        run = visualize(
            network,
            [OBJECTIVES["layer"]] * 3,
            plan(steps=40, diversity=strength, group=3),
            [0, 1, 2],
        )
        values = network(list(run)[-1].pictures())["deep"]
        grams = torch.stack([visualization._gram(v[None]).flatten() for v in values])
        grams = nn.functional.normalize(grams, dim=1)
        return float((grams @ grams.T).sum() - 3)

    assert alike(4.0) < alike(0.0)


def test_a_group_has_nothing_to_do_with_another(network):
    goals = [OBJECTIVES["layer"]] * 2 + [OBJECTIVES["channel"]] * 2
    four = list(visualize(network, goals, plan(steps=3, diversity=1.0, group=2), [0, 1, 0, 1]))[-1]
    two = list(visualize(network, goals[:2], plan(steps=3, diversity=1.0, group=2), [0, 1]))[-1]
    assert torch.allclose(four.pictures()[:2], two.pictures(), atol=1e-3)


def test_a_target_without_a_gradient_is_told(network):
    dead = {"deep": lambda x: x}
    run = visualize(
        lambda x: {"deep": (x * 0).repeat(1, 2, 1, 1)}, [Objective((Term("deep", 0),))], plan(), [0]
    )
    assert dead
    assert not bool(list(run)[-1].moved.any())


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("closed", [False, True])
def test_a_passage_leads_from_one_to_the_other(network, canvas, closed):
    first = Objective((Term("deep", 2),))
    second = -first
    last = list(
        passage(network, [first, second], plan(canvas, steps=60), 0, keys=5, closed=closed, batch=4)
    )[-1]
    there = 0.5 if closed else 1.0
    ends = last.frames([0.0, there])
    assert worth(network, first, ends[:1]) > worth(network, first, ends[1:])
    assert worth(network, second, ends[1:]) > worth(network, second, ends[:1])


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("closed", [False, True])
def test_a_passage_goes_without_a_jump(network, canvas, closed):
    stations = [Objective((Term("deep", 2),)), Objective((Term("deep", 5),))]
    last = list(
        passage(network, stations, plan(canvas, steps=60), 0, keys=5, closed=closed, batch=4)
    )[-1]
    frames = last.frames([k / 40 for k in range(41)])
    steps = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
    assert steps.max() < 6 * steps.mean()  # no jump on the way
    if closed:
        assert torch.allclose(frames[0], frames[-1], atol=1e-5)


def test_every_step_is_a_step_of_the_optimiser_and_no_gradient_is_left(network):
    weights = nn.Conv2d(3, 4, 3)
    run = visualize(
        lambda x: {"deep": weights(x)}, [Objective((Term("deep", 0),))], plan(steps=5), [0]
    )
    steps = [step.step for step in run]
    assert steps == [1, 2, 3, 4, 5]
    assert all(parameter.grad is None for parameter in weights.parameters())


def test_the_rate_falls_as_planned(network):
    moved = []
    run = visualize(network, [OBJECTIVES["layer"]], plan("pixel", steps=9, decay=1.0), [0])
    before = None
    for step in run:
        now = step.pictures()
        if before is not None:
            moved.append(float((now - before).abs().mean()))
        before = now
    assert moved[-1] == 0
    assert moved[0] > moved[3] > moved[-2] > 0


def test_starts_are_functions_of_the_size_alone():
    start = functools.partial(FourierParametrisation.start, (8, 9))
    assert start([torch.Generator().manual_seed(0)]).size == (8, 9)
