"""What steers a dream of one picture: masks, regions, guides, colours and likeness."""

import itertools
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dreamer
from dreamer.core import guidance, palettes
from dreamer.errors import InputError, UsageError
from dreamer.media import images
from dreamer.networks.network import Network
from dreamer.recipe import Recipe, likeness_layers
from dreamer.render import pictures as named
from dreamer.render import steering, still
from dreamer.render.job import Job, prepare
from dreamer.render.look import Request

SIZE = (96, 64)
QUICK = {"ascent.steps": 2, "octaves.count": 1}
LEFT, RIGHT = "ellipse:0.25,0.5,0.2,0.4", "ellipse:0.75,0.5,0.2,0.4"
BLOCK = (30, 20, 60, 44)  # what is white in mask.png


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> Network:
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, chelsea, coffee, astronaut):
    folder = tmp_path_factory.mktemp("pictures")
    for source, name, size in (
        (chelsea, "cat.png", SIZE),
        (coffee, "cup.png", (60, 80)),
        (astronaut, "woman.png", (90, 90)),
    ):
        with Image.open(source) as photo:
            photo.convert("RGB").resize(size).save(folder / name)
    mask = Image.new("L", SIZE)
    mask.paste(255, BLOCK)
    mask.save(folder / "mask.png")
    with Image.open(folder / "cat.png") as cut:
        cut.putalpha(mask)
        cut.save(folder / "cut.png")
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, pictures):
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


class Some(nn.Module):
    """Layers of which some, or some channels, answer nothing whatever they are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = nn.Conv2d(3, 6, 5, padding=2, stride=2)
        self.mixed = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.dead = nn.Conv2d(6, 6, 3, padding=1)
        with torch.no_grad():
            self.mixed.weight[0] = 0
            self.mixed.bias[0] = -1
            self.dead.weight.zero_()

    def forward(self, pixels):
        return self.dead(self.relu(self.mixed(self.alive(pixels))))


@pytest.fixture(scope="module")
def numb() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Some()
    return Network.from_module(module, (0.5,) * 3, (0.5,) * 3, size=32)


@pytest.fixture
def plan(net):
    """Resolve a request for a picture."""

    def plan(photo: str = "cat.png", network: Network = net, size=None, **overrides) -> Job:
        named = {name.replace("__", "."): value for name, value in overrides.items()}
        return prepare(
            Request(
                photo=photo,
                network=network,
                overrides={**QUICK, **named},
                size=size,
                threads=1,
                to_file=False,
            )
        )

    return plan


@pytest.fixture
def dream(plan):
    def dream(photo: str = "cat.png", on_step=None, **wanted) -> still.Dream:
        job = plan(photo, **wanted)
        return still.dream(job.recipe, job.photo, job.load_network(), on_step=on_step)

    return dream


def aimed(job: Job) -> steering.Aim:
    photo = still.start(job.recipe, job.photo)
    return steering.aim(job.recipe, photo.pixels[None], job.load_network(), photo=photo)


def written(made: still.Dream, name: str = "made.png") -> np.ndarray:
    made.save(name, overwrite=True)
    with Image.open(name) as picture:
        return np.array(picture)


def read(name: str) -> np.ndarray:
    with Image.open(name) as picture:
        return np.array(picture)


def check_outside(job: Job, made: still.Dream, photo: str = "cat.png") -> np.ndarray:
    """Outside of the masks the written picture is the photo; return where that is."""
    where = aimed(job).where
    assert where is not None
    outside = (where == 0)[0, 0].numpy()
    assert 0.1 < outside.mean() < 0.99
    found, before = written(made), read(photo)
    assert np.array_equal(found[outside], before[outside])
    inside = (where > 0.5)[0, 0].numpy()
    assert (found[inside] != before[inside]).any(-1).mean() > 0.8
    return outside


def block() -> np.ndarray:
    found = np.zeros((SIZE[1], SIZE[0]), bool)
    left, top, right, bottom = BLOCK
    found[top:bottom, left:right] = True
    return found


@pytest.mark.parametrize(
    "wanted",
    [
        {"mask__where": "mask.png"},
        {"mask__where": "mask.png", "ascent__canvas": "fourier"},
        {"mask__where": "mask.png", "ascent__canvas": "maco"},
        {"mask__where": "not:mask.png"},
        {"mask__where": "mask.png", "mask__invert": True},
        {"mask__where": "not:mask.png", "mask__invert": True},
        {"mask__where": LEFT, "mask__feather": 0.0},
        {"mask__where": LEFT, "mask__feather": 0.1},
        {"mask__where": f"not:{LEFT}", "mask__feather": 0.1},
        {"mask__where": "auto", "target": "block5:3"},
        {"mask__where": "auto", "target": "block5:3", "mask__invert": True},
        {"mask__where": "mask.png", "octaves__count": 2},
        {"mask__where": "auto", "target": "block5:3", "ascent__canvas": "fourier"},
        {"mask__where": LEFT, "mask__feather": 0.1, "ascent__canvas": "maco"},
        {"regions": {LEFT: "textures", "mask.png": "parts"}},
        {"regions": {LEFT: "textures", "mask.png": "parts"}, "ascent__canvas": "fourier"},
        {"regions": {LEFT: "textures", "mask.png": "parts"}, "ascent__canvas": "maco"},
    ],
    ids=str,
)
def test_outside_of_a_mask_the_picture_is_the_photo_to_the_byte(plan, dream, wanted):
    check_outside(plan(**wanted), dream(**wanted))


@pytest.mark.parametrize(("inverted", "text"), [(False, "mask.png"), (True, "not:mask.png")])
def test_a_mask_s_file_dreams_where_it_is_white(dream, inverted, text):
    changed = (written(dream(mask__where=text)) != read("cat.png")).any(-1)
    assert not (changed & (block() == inverted)).any()
    assert changed[block() != inverted].mean() > 0.8


@pytest.mark.parametrize("canvas", ["pixel", "fourier", "maco"])
@pytest.mark.parametrize("invert", [False, True])
def test_of_a_cut_out_what_is_opaque_dreams_and_its_transparency_stays(plan, dream, canvas, invert):
    wanted = {"mask__where": "alpha", "mask__invert": invert, "ascent__canvas": canvas}
    job, made = plan("cut.png", **wanted), dream("cut.png", **wanted)
    assert np.array_equal((aimed(job).where > 0)[0, 0].numpy(), block() != invert)
    found, before = written(made), read("cut.png")
    assert np.array_equal(found[..., 3], before[..., 3])
    visible = before[..., 3] > 0
    assert (found[visible] != before[visible]).any() != invert
    assert torch.equal(made.pixels[:, block() == invert], job.photo.pixels[:, block() == invert])
    assert not torch.equal(made.pixels, job.photo.pixels)


@pytest.mark.parametrize(
    ("mode", "when"),
    [
        ("keep", "after"),
        ("luma", "after"),
        *itertools.product(["match:cup.png", "palette:cup.png"], ["after", "before"]),
    ],
)
@pytest.mark.parametrize("blend", [0.0, 0.4])
def test_whatever_happens_to_the_colours_outside_of_the_mask_they_are_the_photo_s(
    plan, dream, mode, when, blend
):
    wanted = {
        "mask__where": LEFT,
        "colour__mode": mode,
        "colour__when": when,
        "mix__blend": blend,
        "mask__feather": 0.05,
    }
    check_outside(plan(**wanted), dream(**wanted))


@pytest.mark.parametrize("keep", ["dark", "light", "edges", "light,dark,edges"])
def test_what_is_kept_stays_as_it_was(plan, dream, keep):
    photo = Image.open("cat.png")
    photo.paste("black", (10, 10, 40, 50))
    photo.paste("white", (40, 10, 70, 50))
    photo.save("blocks.png")
    where = aimed(plan("blocks.png", mask__keep=keep)).where
    seen = {"dark": (30, 25), "light": (30, 55), "edges": (30, 40)}
    for name, (row, column) in seen.items():
        if name in keep:
            assert where[0, 0, row, column] < 0.1
        elif name != "edges":  # which is one of the dark and of the light as well
            assert where[0, 0, row, column] > 0.9
    made, before = dream("blocks.png", mask__keep=keep).pixels, images.load("blocks.png").pixels
    apart = (made - before).abs().amax(0)
    held, free = (where < 0.02)[0, 0], (where > 0.9)[0, 0]
    assert held.any()
    assert apart[held].max() < 0.1 * apart[free].mean()


def responses(net: Network, layer: str, channel: int, pixels) -> torch.Tensor:
    with torch.no_grad():
        return net.features([layer])(pixels[None])[layer][0, channel]


def test_two_regions_go_each_towards_its_own(dream, net):
    wanted = {LEFT: "block3:5", RIGHT: "block3:11"}
    made = dream("woman.png", regions=wanted, ascent__steps=8, size=128).pixels
    photo = images.resize(images.load("woman.png"), 128).pixels
    for channel, own, other in ((5, slice(0, 8), slice(8, 16)), (11, slice(8, 16), slice(0, 8))):
        before, after = (responses(net, "block3", channel, each) for each in (photo, made))
        assert before.shape == (16, 16)
        rise = after - before
        assert rise[:, own].mean() > 0
        assert rise[:, own].mean() > 2 * rise[:, other].mean()


def test_the_rest_is_what_no_region_covers(plan, dream):
    job = plan(regions={LEFT: "block5:3", "rest": "block5:40"})
    one, rest = (goal.where for goal in aimed(job).goals)
    assert torch.allclose(one + rest, torch.ones_like(one))
    assert aimed(job).notes == ()
    made = dream(regions={LEFT: "block5:3", "rest": "block5:40"})
    assert (written(made) != read("cat.png")).any(-1).mean() > 0.9
    assert made.recipe.target == f"{LEFT}: block5:3; rest: block5:40"


def test_a_mask_limits_its_regions(plan, dream):
    wanted = {"regions": {LEFT: "block5:3", "rest": "block5:40"}, "mask__where": "mask.png"}
    outside = check_outside(plan(**wanted), dream(**wanted))
    assert np.array_equal(outside, ~block())


def test_the_rest_alone_is_all_of_the_picture(plan):
    assert aimed(plan(regions={"rest": "block5:3"})).where is None


@pytest.mark.parametrize("limit", [{"mask__where": "mask.png"}, {"mask__keep": "dark"}], ids=str)
def test_the_rest_alone_may_be_limited(plan, limit):
    alone = aimed(plan(regions={"rest": "block5:3"}, **limit))
    assert torch.equal(alone.where, aimed(plan(target="block5:3", **limit)).where)


def test_regions_that_overlap_are_told_and_share(plan, dream):
    regions = {"ellipse:0.4,0.5,0.3,0.3": "textures", "ellipse:0.6,0.5,0.3,0.3": "parts"}
    (note,) = dream(regions=regions).notes
    assert note == "regions overlap in 16% of the picture, where they share the dream"
    assert float(sum(goal.where for goal in aimed(plan(regions=regions)).goals).amax()) <= 1.00001


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"regions": {LEFT: "parts", "black.png": "textures"}}, r"'black\.png' is black all over"),
        ({"mask__where": "black.png"}, r"'black\.png' is black all over"),
        ({"mask__where": "not:white.png"}, r"'white\.png' is the whole picture"),
        ({"mask__where": "white.png", "mask__invert": True}, r"'white\.png' is the whole picture"),
        (
            {"mask__where": LEFT, "regions": {RIGHT: "parts"}},
            f"leave nothing of the region '{RIGHT}'",
        ),
        (
            {"regions": {"white.png": "parts", "rest": "textures"}},
            "leave nothing of the region 'rest'",
        ),
        (
            {"photo": "white.png", "mask__keep": "light"},
            "With --keep light there is nothing to dream on",
        ),
        (
            {"photo": "white.png", "mask__keep": "light", "mask__where": LEFT},
            "With --keep light there is nothing to dream on",
        ),
        ({"mask__where": "alpha"}, "'cat.png' has no transparency"),
        ({"mask__where": "gone.png"}, "gone.png"),
        ({"mask__where": "broken.png"}, "broken.png"),
        ({"regions": {"gone.png": "parts"}}, "gone.png"),
        ({"colour__mode": "match:gone.png"}, "gone.png"),
        ({"colour__mode": "palette:broken.png"}, "broken.png"),
    ],
    ids=str,
)
def test_masks_and_files_that_leave_nothing_to_dream_are_refused(dream, wanted, said):
    for name, shade in (("black.png", "black"), ("white.png", "white")):
        Image.new("RGB", SIZE, shade).save(name)
    Path("broken.png").write_bytes(Path("cat.png").read_bytes()[:300])
    with pytest.raises(InputError, match=said) as caught:
        dream(**wanted)
    assert caught.value.advice


def test_files_of_masks_are_refused_before_anything_is_dreamed(plan):
    Image.new("L", SIZE).save("black.png")
    Path("broken.png").write_bytes(Path("cat.png").read_bytes()[:300])
    for text in ("black.png", "broken.png"):
        with pytest.raises(InputError, match=text):
            plan(mask__where=text)
        with pytest.raises(InputError, match=text):
            plan(regions={LEFT: "parts", text: "textures"})
    plan(mask__where="not:black.png")
    plan(mask__where="black.png", mask__invert=True)
    with pytest.raises(UsageError, match="'rest' is what no region covers"):
        plan(mask__where="rest")


# What is dreamed of a picture with a small mask.


CORNER = "ellipse:0.12,0.15,0.06,0.08"


def test_only_the_surroundings_of_a_compact_mask_are_dreamed(plan, net, monkeypatch):
    job = plan("woman.png", size=128, mask__where=CORNER, octaves__count=2)
    goal = aimed(job)
    top, left, bottom, right = goal.box
    inner = (goal.where > 0)[0, 0].nonzero()
    assert (top, left) == (0, 0)
    assert bottom < 100
    assert right < 100
    assert (inner.amax(0) < torch.tensor([bottom - 20, right - 20])).all()
    seen = []
    real = steering.ascent.dream

    def watched(base, *given, **more):
        seen.append(base.shape)
        return real(base, *given, **more)

    monkeypatch.setattr(steering.ascent, "dream", watched)
    steps = []
    made = still.dream(job.recipe, job.photo, net, on_step=steps.append)
    assert seen == [(1, 3, bottom - top, right - left)]
    works = [step.work for step in steps]
    assert works == sorted(works)
    assert len(works) == sum(job.recipe.steps) == 5
    assert works[-1] == job.recipe.work
    assert steps[-1].picture().shape == (1, 3, 128, 128)
    photo = still.start(job.recipe, job.photo).pixels
    apart = (made.pixels - photo).abs().amax(0)
    assert not apart[(goal.where == 0)[0, 0]].any()
    # Where the part that is dreamed ends there is no seam.
    assert not apart[bottom - 2 : bottom + 2].any()
    assert not apart[:, right - 2 : right + 2].any()
    assert apart[(goal.where > 0.5)[0, 0]].mean() > 0.02


def test_large_masks_and_neurons_are_dreamed_on_the_whole_picture(plan):
    wide = {"photo": "woman.png", "size": 128}
    assert aimed(plan(**wide, mask__where="ellipse:0.5,0.5,0.45,0.45")).box is None
    assert aimed(plan(**wide)).box is None
    assert aimed(plan(**wide, mask__where=CORNER, target="block8:3@0,0")).box is None
    assert aimed(plan(**wide, mask__where=CORNER, target="block8:3")).box is not None


def test_a_neuron_with_a_mask_is_that_of_the_whole_picture(dream, net):
    wanted = {"target": "block5:3@1,1", "mask__where": CORNER, "ascent__steps": 6, "size": 128}
    made = dream("woman.png", **wanted, view__jitter=0, view__rotate=0.0, view__zoom=0.0).pixels
    photo = images.resize(images.load("woman.png"), 128).pixels
    before, after = (responses(net, "block5", 3, each) for each in (photo, made))
    assert after[1, 1] > before[1, 1]


# Targets that are pictures or choices of channels.


def worth(job: Job, pixels: torch.Tensor, part: int = 0) -> list[float]:
    """Return what each term of a target comes to in a picture, its channels those of the photo."""
    goal, network = aimed(job), job.load_network()
    objective = goal.goals[part].objective
    see = network.features(objective.layers)
    size = (pixels.shape[1], pixels.shape[2])
    found = []
    with torch.no_grad():
        photo, shown = see(goal.photo), see(pixels[None])
        banks = {
            name: guidance.banks(
                guide, see, size, {t.layer for t in objective.terms if t.guide == name}
            )
            for name, guide in goal.guides.items()
        }
        for term in objective.terms:
            if term.pick is not None:
                some = term.pick.of(photo[term.layer])
                term = replace(term, channels=some, pick=None)
            found.append(float(term.measure(shown, references=banks)))
    return found


@pytest.mark.parametrize(
    "target",
    [
        "guide:cup.png@block5",
        "guide:cup.png@block3:means",
        "guide:cup.png@parts",
        "style:cup.png@textures",
        "style:cup.png@block5",
        "block8:3,17,40",
        "block5:all-3,7",
        "block8:strong5",
        "block8:weak5",
        "block8:strong5@step",
        "block5:weak4@step",
        "textures:strong3",
        "guide:cup.png@block5 + 0.5*guide:woman.png@block8",
        "guide:cup.png@block5 + block3:4 + 0.7*block8:strong3",
    ],
)
def test_every_kind_of_target_raises_its_own_measure(plan, dream, target):
    wanted = {"target": target, "ascent__steps": 10, "view__jitter": 4, "colour__hold": 0.0}
    job, made = plan(**wanted), dream(**wanted)
    assert made.notes == ()
    before = worth(job, images.load("cat.png").pixels)
    after = worth(job, made.pixels)
    assert len(before) == len(made.recipe.terms)
    assert sum(after) > sum(before)
    if len(before) < 3:
        assert all(now > was for was, now in zip(before, after, strict=True))


def test_guides_count_by_their_weights(plan, dream):
    gains = {}
    for heavy, light in (("cup.png", "woman.png"), ("woman.png", "cup.png")):
        target = f"guide:{heavy}@block5 + 0.05*guide:{light}@block5"
        wanted = {"target": target, "ascent__steps": 10, "view__jitter": 4}
        job, made = plan(**wanted), dream(**wanted)
        assert [(t.weight, t.guide.name) for t in job.recipe.terms] == [(1, heavy), (0.05, light)]
        assert len(aimed(job).guides) == 2
        before, after = worth(job, images.load("cat.png").pixels), worth(job, made.pixels)
        gains[heavy] = after[0] - before[0]
        gains[f"light {light}"] = after[1] - before[1]
    for name in ("cup.png", "woman.png"):
        assert gains[name] > gains[f"light {name}"]


def test_two_ways_to_follow_one_guide_are_two_terms_and_one_picture(plan):
    job = plan(target="guide:cup.png@block5 - 0.5*style:cup.png@block5 + like:cup.png@block5")
    assert [term.by for term in job.recipe.terms] == ["best", "style", ""]
    goal = aimed(job)
    sha = job.recipe.terms[0].guide.sha256
    assert list(goal.guides) == [f"guide:{sha}"]
    assert list(goal.photos) == [sha]


@pytest.mark.parametrize("size", [(40, 200), (200, 40), (15, 15), (500, 32), (300, 300)], ids=str)
def test_a_guide_may_have_any_size(plan, dream, coffee, size):
    with Image.open(coffee) as photo:
        photo.convert("RGB").resize(size).save("odd.png")
    wanted = {"target": "guide:odd.png@block5", "ascent__steps": 8, "view__jitter": 4}
    job, made = plan(**wanted), dream(**wanted)
    (guide,) = aimed(job).guides.values()
    height, width = guide.pixels.shape[2:]
    least = job.load_network().row.minimum
    assert min(width, height) >= min(least, *size)
    assert width * height <= max(1.1 * SIZE[0] * SIZE[1], 17 * least**2)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.1)
    assert worth(job, made.pixels) > worth(job, images.load("cat.png").pixels)


def test_only_what_is_seen_of_a_guide_counts(plan):
    cup = Image.open("cup.png")
    alpha = Image.new("L", cup.size)
    alpha.paste(255, (0, 0, 60, 40))
    found = []
    for shade in ("red", "blue"):
        one = cup.copy()
        one.paste(shade, (0, 40, 60, 80))
        one.putalpha(alpha)
        one.save(f"{shade}.png")
        job = plan(target=f"guide:{shade}.png@block2")
        (guide,) = aimed(job).guides.values()
        see = job.load_network().features(["block2"])
        found.append(guidance.banks(guide, see, (64, 96), ["block2"])["block2"])
        whole = guidance.banks(replace(guide, visible=None), see, (64, 96), ["block2"])["block2"]
        assert 0.3 * len(whole.rows) < len(found[-1].rows) < 0.7 * len(whole.rows)
    # Beside its edge the network sees what is hidden as well.
    alike = (found[0].rows * found[1].rows).sum(1)
    assert (alike > 0.99).float().mean() > 0.5
    assert (found[0].mean - found[1].mean).abs().mean() < 0.2 * found[0].spread.mean()


@pytest.mark.parametrize("kind", ["guide:{}@block5", "guide:{}@block5:means", "style:{}@textures"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clear.png", "is transparent all over"),
        ("faint.png", "is transparent all over"),
        ("black.png", "is of one colour"),
        ("white.png", "is of one colour"),
        ("plain.png", "is of one colour"),
        ("narrow.png", "is 4x80 pixels: too narrow"),
        ("broken.png", "broken.png"),
        ("text.png", "text.png"),
        ("gone.png", "gone.png"),
    ],
)
def test_a_guide_that_leads_nowhere_is_named_before_anything_is_dreamed(plan, kind, name, said):
    cat = Image.open("cat.png")
    for alpha, file in ((0, "clear.png"), (90, "faint.png")):
        cat.putalpha(alpha)
        cat.save(file)
    for shade in ("black", "white"):
        Image.new("RGB", SIZE, shade).save(f"{shade}.png")
    plain = Image.new("RGBA", SIZE, "teal")
    plain.paste((255, 0, 0, 0), (0, 0, 40, 40))  # it has another one where nobody sees it
    plain.save("plain.png")
    Image.effect_noise((4, 80), 60).convert("RGB").save("narrow.png")
    Path("broken.png").write_bytes(Path("cup.png").read_bytes()[:2000])
    Path("text.png").write_text("no picture")
    with pytest.raises(InputError, match=said) as caught:
        plan(target=kind.format(name))
    assert name in caught.value.message
    assert caught.value.advice
    with pytest.raises(InputError, match=said):
        plan(regions={LEFT: "parts", "rest": kind.format(name)})


def forget():
    """Read pictures anew, as in another process."""
    for each in (named.reference, named.guide, named.mask, named.colours):
        each.cache_clear()


CHANGED = [
    ({"target": "guide:own.png@block5"}, "changed"),
    ({"target": "style:own.png@block5"}, "changed"),
    ({"colour__mode": "match:own.png"}, "changed"),
    ({"colour__mode": "palette:own.png", "colour__when": "before"}, "changed"),
]


@pytest.mark.parametrize(("wanted", "said"), CHANGED, ids=str)
def test_a_picture_that_changed_since_it_was_planned_is_an_error(plan, net, wanted, said):
    Path("own.png").write_bytes(Path("cup.png").read_bytes())
    job = plan(**wanted)
    Path("own.png").write_bytes(Path("woman.png").read_bytes())
    forget()
    with pytest.raises(InputError, match=r"own\.png' has changed") as caught:
        still.dream(job.recipe, job.photo, net)
    assert "Put that picture back" in caught.value.advice
    Path("own.png").unlink()
    with pytest.raises(InputError, match=r"own\.png"):
        still.dream(job.recipe, job.photo, net)


@pytest.mark.parametrize(
    "wanted", [{"mask__where": "mask.png"}, {"regions": {"mask.png": "block5"}}], ids=str
)
def test_a_mask_that_changed_since_it_was_planned_is_an_error(plan, net, wanted):
    job = plan(**wanted)
    Image.open("mask.png").rotate(180).save("mask.png")
    forget()
    with pytest.raises(InputError, match=r"mask\.png' has changed"):
        still.dream(job.recipe, job.photo, net)


# Targets that nothing moves.


@pytest.mark.parametrize("target", ["relu:0", "dead", "dead:strong2", "guide:cup.png@dead"])
@pytest.mark.parametrize("more", [{}, {"likeness__amount": 0.5}, {"mask__where": LEFT}], ids=str)
def test_a_target_that_nothing_moves_is_told_and_the_picture_is_the_photo(
    dream, numb, target, more
):
    made = dream(network=numb, target=target, **more)
    assert made.notes == (f"nothing in this picture moves '{target}': it is unchanged",)
    assert np.array_equal(written(made), read("cat.png"))


@pytest.mark.parametrize(
    "wanted",
    [
        {"target": "mixed:3 + relu:0"},
        {"target": "mixed:3 + relu:0", "mask__where": LEFT},
        {"regions": {LEFT: "mixed:3", "rest": "relu:0"}},
        {"regions": {LEFT: "mixed:3", "rest": "mixed:2 + relu:0"}},
    ],
    ids=str,
)
def test_a_term_that_nothing_moves_is_told_and_the_rest_dreams(dream, numb, wanted):
    made = dream(network=numb, **wanted)
    (note,) = made.notes
    assert note == "nothing in this picture moves 'relu:0': the rest of the target dreams alone"
    assert not np.array_equal(written(made), read("cat.png"))


def test_a_region_that_nothing_moves_stays_the_photo(dream, numb):
    made = dream(network=numb, regions={LEFT: "mixed:3", "rest": "relu:0"})
    changed = (written(made) != read("cat.png")).any(-1)
    assert changed[20:44, 15:33].mean() > 0.8
    assert changed[:, 60:].mean() < 0.05


def test_a_network_without_maps_is_dreamed_with_as_before(dream):
    class Flat(nn.Sequential):
        pass

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Flat(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        module.append(nn.Linear(4, 5))
    network = Network.from_module(module, (0.5,) * 3, (0.5,) * 3, size=32, layers=["logits"])
    assert dream(network=network, target="logits:3").recipe.target == "logits:3"


# Likeness and style.


def unlike(net: Network, layers, pixels) -> float:
    """How far a picture is from the photo in some layers."""
    with torch.no_grad():
        shown, photo = (
            net.features(list(layers))(each[None])
            for each in (pixels, images.load("cat.png").pixels)
        )
    return sum(float((shown[n] - photo[n]).square().mean() / photo[n].var()) for n in layers)


@pytest.mark.parametrize("canvas", ["pixel", "fourier"])
@pytest.mark.parametrize("layer", [{}, {"likeness__layer": "textures"}], ids=["usual", "textures"])
def test_likeness_keeps_early_features_nearer_at_the_same_change(plan, net, canvas, layer):
    job = plan(ascent__steps=10, ascent__canvas=canvas, likeness__amount=1.0, **layer)
    goal, loop = aimed(job), replace(still.plan(job.recipe), change=0.1)
    free, held = (
        [step.picture()[0] for step in steering.dream(each, net, loop, 0)][-1]
        for each in (replace(goal, likeness=None), goal)
    )
    sizes = [float((each[None] - goal.photo).square().mean().sqrt()) for each in (free, held)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    layers = likeness_layers(job.recipe.settings, net.row)
    assert unlike(net, layers, held) < 0.8 * unlike(net, layers, free)


def test_likeness_may_be_held_in_any_layer_with_maps(plan, dream):
    held = aimed(plan(likeness__amount=0.4, likeness__layer="block2")).likeness
    assert held.amount == 0.4
    assert held.network.body.layers == ("block2",)
    assert aimed(plan()).likeness is None
    assert aimed(plan(likeness__layer="block2")).likeness is None
    with pytest.raises(UsageError, match="'blok2'.*block2"):
        plan(likeness__amount=0.4, likeness__layer="blok2")
    with pytest.raises(UsageError, match="sees the picture as one"):
        plan(likeness__amount=0.4, likeness__layer="logits")


def test_maco_cannot_hold_a_likeness(plan):
    with pytest.raises(UsageError, match="cannot hold its likeness") as caught:
        plan(likeness__amount=0.4, ascent__canvas="maco")
    assert "--canvas pixel or fourier" in caught.value.advice


def test_a_style_holds_what_is_in_the_photo(plan, net):
    job = plan(target="style:woman.png@textures", ascent__steps=10)
    goal = aimed(job)
    content = net.row.level("patterns")
    assert goal.likeness.network.body.layers == content
    assert goal.likeness.amount == 0.5
    found = []
    for aim in (goal, replace(goal, likeness=None)):
        *_, last = still.steps(job.recipe, aim, net, 0)
        found.append(unlike(net, content, last.picture()[0]))
    assert found[0] < found[1]
    job = plan(target="style:woman.png@textures", likeness__amount=0.2)
    own = aimed(job).likeness
    assert own.amount == 0.2
    assert own.network.body.layers == likeness_layers(job.recipe.settings, net.row)
    assert own.network.body.layers != content
    assert aimed(plan(target="guide:woman.png@textures")).likeness is None


# Colours.


def test_matched_colours_are_those_of_the_other_picture(dream):
    cup = palettes.to_oklab(images.load("cup.png").pixels[None]).mean((0, 2, 3))
    for when in ("after", "before"):
        free, made = (
            palettes.to_oklab(dream(colour__mode=mode, **more).pixels[None])
            for mode, more in (("free", {}), ("match:cup.png", {"colour__when": when}))
        )
        apart = [float((each.mean((0, 2, 3)) - cup).norm()) for each in (free, made)]
        assert apart[1] < 0.5 * apart[0]


def test_a_palette_is_of_the_main_colours_of_the_other_picture(dream):
    two = Image.new("RGB", (40, 40), (200, 40, 30))
    two.paste((30, 60, 160), (0, 0, 40, 20))
    two.save("two.png")
    colours = palettes.extract(images.load("two.png").pixels[None])
    assert len(colours) == 2

    def apart(mode: str) -> float:
        lab = palettes.to_oklab(dream(colour__mode=mode).pixels[None])[0].flatten(1).T
        return float(torch.cdist(lab[:, 1:], colours[:, 1:]).amin(1).mean())

    assert apart("palette:two.png") < 0.5 * apart("free")


def test_with_no_steps_the_colours_become_the_other_picture_s_all_the_same(dream):
    photo = images.load("cat.png").pixels
    after, before = (
        dream(ascent__steps=0, colour__mode="match:cup.png", colour__when=when).pixels
        for when in ("after", "before")
    )
    assert torch.equal(after, before)
    assert not torch.equal(after, photo)
    limited = dream(ascent__steps=0, colour__mode="match:cup.png", mask__where="mask.png")
    assert np.array_equal(written(limited)[~block()], read("cat.png")[~block()])


# Faces.


@pytest.mark.parametrize("there", [None, SimpleNamespace(__version__="5.0.0")], ids=["none", "5"])
def test_faces_need_a_library_which_is_asked_for_before_anything_is_done(plan, monkeypatch, there):
    monkeypatch.setitem(sys.modules, "cv2", there)
    with pytest.raises(UsageError, match="To keep faces OpenCV 4 is needed") as caught:
        plan(mask__keep="faces,dark")
    assert "dreamer[faces]" in caught.value.advice
    plan(mask__keep="dark")


def test_without_a_face_that_is_said(dream):
    pytest.importorskip("cv2")
    assert (
        "no face was found in this photo: nothing is held for faces"
        in dream(mask__keep="faces").notes
    )


def test_a_recipe_that_was_read_looks_for_its_pictures_where_one_is(plan, net):
    job = plan(target="guide:cup.png@block5", mask__where="mask.png")
    read_again = Recipe.model_validate_json(job.recipe.to_json())
    assert read_again.terms[0].guide.path == read_again.files[0].path == ""
    made = still.dream(job.recipe, job.photo, net).pixels
    assert torch.equal(still.dream(read_again, job.photo, net).pixels, made)


def test_a_mask_that_is_known_already_is_the_one_of_the_recipe(plan, net):
    first = plan(mask__where="mask.png")
    before = still.dream(first.recipe, first.photo, net).pixels
    Image.open("mask.png").rotate(180).save("mask.png")
    assert torch.equal(still.dream(first.recipe, first.photo, net).pixels, before)
    second = plan(mask__where="mask.png")
    after = still.dream(second.recipe, second.photo, net).pixels
    turned = (after != first.photo.pixels).any(0).flip(0, 1)
    assert (turned & (before != first.photo.pixels).any(0)).float().mean() > 0.05
    assert second.recipe.hash != first.recipe.hash


def test_the_mask_auto_of_a_guide_is_where_the_photo_is_like_it(plan):
    wheres = []
    for name in ("cup.png", "woman.png"):
        found = aimed(plan(target=f"guide:{name}@block5", mask__where="auto")).where
        assert 0 < found.mean() < 1
        wheres.append(found)
    assert not torch.equal(*wheres)


def test_the_mask_auto_of_a_class_that_is_not_there_is_said_to_be_a_guess(plan, net):
    job = plan(target="class:zebra", mask__where="auto")
    made = still.dream(job.recipe, job.photo, net)
    assert any("of 'class:zebra' in this picture" in note for note in made.notes)


def test_a_style_holds_as_much_as_there_is_of_it(plan, net):
    amounts = []
    for target in ("style:cup.png@block5", "style:cup.png@block5 + 3*block5", "block5"):
        job = plan(target=target)
        found = steering.aim(job.recipe, job.photo.pixels[None], net).likeness
        amounts.append(0.0 if found is None else found.amount)
    assert amounts == pytest.approx([0.5, 0.125, 0])


def test_a_mask_of_all_of_the_picture_is_none_to_the_bit(plan, dream):
    Image.new("L", (20, 10), 255).save("white.png")
    masked, plain = dream(mask__where="white.png"), dream()
    assert torch.equal(masked.pixels, plain.pixels)
    assert any("covers the whole picture" in note for note in masked.notes)


def test_it_is_said_when_hardly_anything_is_left(dream):
    photo = Image.open("cat.png")
    photo.paste("black", (0, 0, 60, 64))
    photo.paste("grey", (60, 0, 96, 64))
    photo.save("half.png")
    made = dream("half.png", mask__where="ellipse:0.46,0.5,0.2,0.3", mask__keep="dark")
    assert any("next to nothing of the mask" in note for note in made.notes)


def test_a_guide_that_is_the_photo_itself_is_told(dream):
    (note,) = (n for n in dream(target="guide:cat.png@block5").notes if "itself" in n)
    assert "like:cat.png@LEVEL" in note


def test_there_is_nothing_to_match_in_a_picture_of_one_colour(plan):
    Image.new("RGB", (20, 20)).save("black.png")
    with pytest.raises(
        InputError, match=r"'black\.png' is of one colour: there are none"
    ) as caught:
        plan(colour__mode="match:black.png")
    assert "palette:FILE" in caught.value.advice
    assert plan(colour__mode="palette:black.png")


def test_a_style_on_the_maco_canvas_is_held_by_its_spectrum_alone(plan, net):
    job = plan(target="style:cup.png@block5", ascent__canvas="maco")
    assert steering.aim(job.recipe, job.photo.pixels[None], net).likeness is None
