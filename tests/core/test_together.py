"""Many dreams in one pass: each is what it is alone, and there are far fewer passes."""

from dataclasses import replace

import pytest
import torch

from dreamer.core import ascent, together
from dreamer.core.ascent import Ascent, Goal, Likeness
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.core.sources import sky
from dreamer.core.tiles import Tiling
from dreamer.core.together import Layers
from dreamer.core.transforms import View
from dreamer.networks.network import load

PLAN = Ascent(
    sizes=((48, 64), (72, 96)),
    steps=(2, 2),
    step_size=0.03,
    decay=0.0,
    momentum=0.5,
    view=View(8, 5.0, 0.05, (72, 96)),
    tilt=1.5,
    grain=0.6,
    decorrelate=0.5,
    chroma=1.0,
    hold=0.03,
    blend=0.0,
    change=0.12,
)
NAMES = ("block2", "block5", "block8", "logits")
SHALLOW, DEEP = Objective((Term("block2"),)), Objective((Term("logits", 340),))
SUM = Objective((Term("block8", 37), Term("block5", weight=-0.4), Term("block2", 3, (0.4, 0.6))))


@pytest.fixture(scope="module")
def network():
    return load("efficientnet_lite0", random_seed=0)


@pytest.fixture(scope="module")
def photo():
    return sky((72, 96), torch.Generator().manual_seed(3)).double()


def cutting(network, names=NAMES):
    """Return the layers of a network in double precision, and its cut for them."""
    return Layers(names, lambda some: network.features(some).double())


def alone(loops):
    """Return the last picture and score of each dream, made one after the other."""
    found = []
    for loop in loops:
        for said in loop:
            if isinstance(said, ascent.Step):
                last = said
            else:
                said.look()
        found.append((last.picture(), last.score))
    return found


def at_once(loops, layers):
    """Return the same, made together."""
    last, found = {}, {}
    for index, step in together.together(loops, layers):
        if step is None:
            found[index] = (last[index].picture(), last[index].score)
        else:
            last[index] = step
    return [found[index] for index in range(len(loops))]


def check(make, layers, tolerance=1e-9):
    """Compare what is made together with what is made alone."""
    for (one, score), (other, same) in zip(alone(make()), at_once(make(), layers), strict=True):
        assert (one - other).abs().amax() < tolerance
        assert same == pytest.approx(score, rel=1e-6)


def loops(photo, layers, given, plan=PLAN):
    """Begin a dream for each objective, with what may be given beside."""

    def make():
        return [
            ascent.asking(
                photo,
                layers.cut([name for name in layers.names if name in used(objective)]),
                objective,
                replace(plan, **changes),
                seed,
                **beside,
            )
            for seed, (objective, changes, beside) in enumerate(given)
        ]

    return make


def used(objective):
    goals = [Goal(objective)] if isinstance(objective, Objective) else objective
    return {layer for goal in goals for layer in goal.objective.layers}


@pytest.mark.parametrize("most", [1, together.PIXELS])
def test_each_dream_is_what_it_is_alone(network, photo, monkeypatch, most):
    monkeypatch.setattr(together, "PIXELS", most)
    layers = cutting(network)
    mask = torch.zeros(1, 1, 72, 96, dtype=torch.float64)
    mask[..., 20:50, 30:70] = 1
    early = Likeness(layers.cut(["block2"]), 0.5)
    guide = sky((60, 60), torch.Generator().manual_seed(5)).double()
    strides = {each.name: each.stride for each in network.row.layers}
    tiling = Tiling(64, 16, 16, strides, network.row.minimum)
    given = [
        (SHALLOW, {}, {}),
        (DEEP, {"canvas": "fourier"}, {}),
        (SUM, {"canvas": "maco", "chroma": 0.0}, {}),
        (SUM, {"momentum": 0.0, "steps": (1, 3)}, {}),
        (Objective((Term("block8", pick=Pick("strong", 4)),)), {}, {}),
        (Objective((Term("block5", pick=Pick("strong", 4, anew=True)),)), {}, {}),
        ([Goal(SUM, mask)], {}, {}),
        ([Goal(SUM, mask), Goal(SHALLOW, 1 - mask)], {}, {}),
        (SHALLOW, {}, {"likeness": early}),
        (Objective((Term("block5", like="cat"),)), {}, {"photos": {"cat": photo.flip(3)}}),
        (Objective((Term("block8", guide="cup"),)), {}, {"guides": {"cup": Guide(guide)}}),
        (SHALLOW, {"sizes": ((72, 96),), "steps": (2,)}, {"tiling": tiling}),
        (DEEP, {"view": View(4)}, {}),
        (SHALLOW, {"steps": (0, 1), "step_size": 0.0}, {}),
    ]
    check(loops(photo, layers, given), layers)


@pytest.mark.parametrize(
    "name", ["googlenet", "mobilenet_v3_large", "densenet121", "convnext_tiny"]
)
def test_pictures_of_a_batch_have_nothing_to_do_with_each_other(photo, name):
    network = load(name, random_seed=0)
    layers = cutting(network, [each.name for each in network.row.layers if each.channels][1:6:2])
    objectives = [Objective((Term(each),)) for each in layers.names]
    given = [(objective, {}, {}) for objective in objectives for _ in range(2)]
    plan = replace(PLAN, sizes=((72, 96),), steps=(2,))
    check(loops(photo, layers, given, plan), layers)


def test_one_step_in_single_precision_differs_by_rounding_alone(photo):
    network = load("efficientnet_lite0")
    layers = Layers(NAMES, network.features)
    given = [(each, {}, {}) for each in (SHALLOW, DEEP, SUM, SUM, SHALLOW)]
    plan = replace(PLAN, sizes=((72, 96),), steps=(1,))
    check(loops(photo.float(), layers, given, plan), layers, tolerance=1e-5)


def test_views_of_one_size_are_one_pass_no_deeper_than_needed(network, photo):
    seen = []

    def cut(names):
        features = network.features(names).double()

        def counted(pixels):
            seen.append((names[-1], len(pixels)))
            return features(pixels)

        return counted

    layers = Layers(NAMES, cut)
    plan = replace(PLAN, sizes=((72, 96),), steps=(3,))
    at_once(loops(photo, layers, [(SHALLOW, {}, {})] * 5, plan)(), layers)
    assert seen == [("block2", 5)] * 3
    seen.clear()
    given = [(SHALLOW, {}, {})] * 2 + [(DEEP, {}, {})]
    at_once(loops(photo, layers, given, plan)(), layers)
    assert seen == [("logits", 3)] * 3


def test_a_pass_is_no_larger_than_is_quick_and_the_next_dream_begins_when_one_ends(
    network, photo, monkeypatch
):
    monkeypatch.setattr(together, "PIXELS", 2 * 80 * 104)
    layers = cutting(network)
    plan = replace(PLAN, sizes=((72, 96),), steps=(2,))
    found = loops(photo, layers, [(SHALLOW, {}, {})] * 4 + [(DEEP, {}, {})], plan)()
    order = [
        (index, None if step is None else step.step)
        for index, step in together.together(found, layers)
    ]
    assert [index for index, step in order if step is None] == [0, 1, 2, 3, 4]
    begun = [index for index, step in order if step == 0]
    assert begun == [0, 1, 2, 3, 4]
    assert order.index((2, 0)) > order.index((0, None))


def test_where_the_memory_is_short_views_are_seen_one_by_one(network, photo):
    layers = cutting(network)
    given = [(SHALLOW, {}, {}), (SUM, {}, {}), (DEEP, {}, {})]
    make = loops(photo, layers, given)

    def tight(names):
        features = layers.cut(names)

        def small(pixels):
            if len(pixels) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return features(pixels)

        return small

    check(make, Layers(NAMES, tight))


def test_other_errors_are_not_hidden(network, photo):
    def broken(names):
        def fail(pixels):
            raise RuntimeError("shapes do not match")

        return fail

    make = loops(photo, cutting(network), [(SHALLOW, {}, {})] * 2)
    with pytest.raises(RuntimeError, match="shapes"):
        at_once(make(), Layers(NAMES, broken))


def test_without_dreams_there_is_nothing_to_do(network):
    assert list(together.together([], cutting(network))) == []


def test_a_question_is_taken_once(network, photo):
    question = next(iter(loops(photo, cutting(network), [(SHALLOW, {}, {})])()[0]))
    question.look()
    assert len(question.taken()[1]) == 1
    with pytest.raises(AssertionError):
        question.taken()
