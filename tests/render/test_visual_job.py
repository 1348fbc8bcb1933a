"""What is asked for becomes recipes, or two lines that say what is wrong with it."""

import os
from pathlib import Path

import pytest
import torch

import dreamer
from dreamer import methods
from dreamer.errors import DreamerError, InputError, NetworkError, OutputError, UsageError
from dreamer.media import images
from dreamer.networks import rows
from dreamer.networks import weights as weight_files
from dreamer.render import visual_job, visual_output, visualize
from dreamer.render.look import Request
from dreamer.render.visual_job import MOST_PICTURES, VisualRequest, check_output, prepare, stem
from dreamer.visual_recipe import sheet_json

# What was published: by Olah et al. (Distill 2017), in lucid (2018), and by Fel et al. (2023).
PUBLISHED = {
    "distill": ("fourier", 2560, 0.05, "adam", 1, "distill"),
    "lucid": ("fourier", 512, 0.05, "adam", 1, "lucid"),
    "maco": ("maco", 256, 1.0, "nadam", 32, "maco"),
}
SIZES = {"lucid": 128, "maco": 512, "distill": 224, "dreamer": 224}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def asked(*targets, size=(64, 64), settings=None, threads=None, network=None, **more):
    look = Request(network=network, threads=threads, to_file=False, **more.pop("look", {}))
    return VisualRequest(targets, size=size, settings=settings or {}, look=look, **more)


def job(*targets, **more):
    return prepare(asked(*targets, **more))


def written(path, recipes):
    """A picture that carries recipes, as if it had been made."""
    images.save(torch.full((3, 64, 64), 0.5), path, recipe=sheet_json(recipes), overwrite=True)
    return str(path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_methods_have_their_published_numbers(name):
    (recipe,) = job("block8:37", method=name, size=None).recipes
    had = recipe.settings
    numbers = (had.canvas, had.steps, had.rate, had.optimiser, had.views, had.transforms)
    assert numbers == PUBLISHED[name]
    assert recipe.size == (SIZES[name],) * 2
    assert (had.redirect, had.octaves, had.decay, had.border) == (16, 1, 0.0, None)
    assert had.decorrelate
    assert recipe.method == name


def test_the_transforms_of_published_methods_have_their_numbers():
    from dreamer.core.views import Crop, Jitter, Noise, Pad, Rotate, Scale, Zoom

    def chain(name):
        return visualize.views(job("block8", method=name, size=None).recipes[0].settings).transforms

    pad, jitter, scale, rotate, last = chain("lucid")
    assert (pad, jitter, last) == (Pad(12, "grey"), Jitter(8), Jitter(4))
    assert isinstance(scale, Scale)
    assert scale.choices[0] == 0.9
    assert scale.choices[-1] == pytest.approx(1.1)
    assert isinstance(rotate, Rotate)
    # 0 is 5 more of 26 draws; one of the 21 whole degrees is 0 as well.
    assert (rotate.degrees, rotate.whole) == (10, True)
    assert rotate.still + (1 - rotate.still) / 21 == pytest.approx(6 / 26)
    assert chain("distill") == (
        Pad(16, "grey"),
        Jitter(16),
        Scale(choices=(1.0, 0.975, 1.025, 0.95, 1.05)),
        Rotate(5.0, whole=True),
        Jitter(8),
        Crop(16),
    )
    zoom, noise = chain("maco")
    assert zoom == Zoom(0.5, 0.05, 0.05, 0.15, 224)
    assert noise == Noise(0.08, 0.04)


def test_without_a_method_it_is_ours():
    (recipe,) = job("block8:37", size=None).recipes
    assert (recipe.method, recipe.size, recipe.settings.transforms) == (
        "dreamer",
        (224, 224),
        "dreamer",
    )
    assert recipe.network == rows.DEFAULT
    assert recipe.weights == rows.row(rows.DEFAULT).published().sha256
    assert (recipe.group, recipe.variant, recipe.restarts, recipe.seed) == (1, 0, 1, 0)


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("canvas", methods.CANVASES)
def test_another_canvas_brings_its_own_rate_and_rule(name, canvas):
    (recipe,) = job("block8", method=name, settings={"canvas": canvas}, size=(256, 256)).recipes
    had, method = recipe.settings, methods.METHODS[name]
    assert (had.canvas, had.rate, had.optimiser) == (
        canvas,
        method.rates[canvas],
        method.optimiser[canvas],
    )
    assert had.steps == method.steps


def test_what_is_said_goes_over_the_method_and_what_is_not_said_does_not():
    over = {
        "canvas": "pixel",
        "octaves": 2,
        "steps": 7,
        "views": 3,
        "transforms": "none",
        "border": "mean",
        "optimiser": "nadam",
        "rate": 0.5,
        "decay": 0.25,
        "decorrelate": False,
        "neutral": False,
        "redirect": 0,
        "diversity": 2.0,
        "alpha": True,
    }
    made = job("block8", method="lucid", settings=over, size=(640, 360))
    (recipe,) = made.recipes
    assert {name: getattr(recipe.settings, name) for name in over} == over
    assert recipe.size == (640, 360)
    for said in ("block8", "lucid, pixel canvas", "640x360, 2 octaves", "7 with 3 views"):
        assert said in made.describe()
    (plain,) = job("block8", settings=dict.fromkeys(over)).recipes
    assert plain == job("block8").recipes[0]


def test_each_target_gets_its_variants_in_turn():
    recipes = job("block8:3", "class:zebra", diversity=3, restarts=2).recipes
    assert [(each.target, each.variant) for each in recipes] == [
        *(("block8:3", k) for k in range(3)),
        *(("class:zebra", k) for k in range(3)),
    ]
    assert {(each.group, each.restarts) for each in recipes} == {(3, 2)}


def test_many_pictures_are_made_on_one_thread_each_and_one_on_all(monkeypatch):
    from dreamer.render import devices

    monkeypatch.setattr(devices, "default_threads", lambda: 6)
    one, many = job("block8"), job("block8", "block5")
    assert (one.recipes[0].threads, one.workers) == (6, 1)
    assert ({each.threads for each in many.recipes}, many.workers) == ({1}, 6)
    told = job("block8", "block5", threads=3)
    assert (told.recipes[1].threads, told.workers) == (3, 2)


def test_negative_turns_every_weight():
    (recipe,) = job("block8:1 - 0.5*block5", negative=True).recipes
    assert [term.weight for term in recipe.terms] == [-1, 0.5]


BAD = [
    ({"targets": ()}, UsageError, "nothing to visualize"),
    ({"targets": ("",)}, UsageError, "empty"),
    ({"targets": (3,)}, UsageError, "3 is no target"),
    ({"targets": ("block8:",)}, UsageError, "LAYER:37"),
    ({"targets": ("blok8",)}, UsageError, "Did you mean .*block8"),
    ({"targets": ("block8:1", "block99:1")}, UsageError, "block99"),
    ({"targets": ("block8:99999",)}, UsageError, "has no channel 99999"),
    ({"targets": ("block8:[1, 99999]",)}, UsageError, "has no channel 99999"),
    ({"targets": ("block8:1@4,0",)}, UsageError, "4 rows and 4 columns"),
    ({"targets": ("class:zebr",)}, UsageError, "zebra"),
    ({"targets": ("class:99999",)}, UsageError, "99999"),
    ({"targets": ("block8:1 - block8:1",)}, UsageError, "cancel"),
    ({"targets": ("like:gone.jpg@block8",)}, InputError, "gone.jpg"),
    ({"targets": ("direction:gone.npy@block8",)}, InputError, "gone.npy"),
    ({"method": "lucit"}, UsageError, "Did you mean lucid"),
    ({"method": ""}, UsageError, "dreamer, lucid, distill, maco"),
    ({"settings": {"canvas": "fuorier"}}, UsageError, "Did you mean fourier"),
    ({"settings": {"transforms": "distil"}}, UsageError, "Did you mean distill"),
    ({"settings": {"border": "gray"}}, UsageError, "Did you mean grey"),
    ({"settings": {"optimiser": "sgd"}}, UsageError, "'adam' or 'nadam'"),
    ({"settings": {"stepz": 3}}, UsageError, "Did you mean steps"),
    ({"settings": {"steps": 0}}, UsageError, "0 is not valid for steps"),
    ({"settings": {"steps": 100_001}}, UsageError, "100001 is not valid for steps"),
    ({"settings": {"steps": 2.5}}, UsageError, "2.5 is not valid for steps"),
    ({"settings": {"views": 0}}, UsageError, "views"),
    ({"settings": {"views": 257}}, UsageError, "views"),
    ({"settings": {"octaves": 0}}, UsageError, "octaves"),
    ({"settings": {"octaves": 7}}, UsageError, "octaves"),
    ({"settings": {"rate": 0}}, UsageError, "rate"),
    ({"settings": {"rate": float("nan")}}, UsageError, "rate"),
    ({"settings": {"decay": 1.5}}, UsageError, "decay"),
    ({"settings": {"alpha": "yes"}}, UsageError, "alpha"),
    ({"size": (0, 64)}, UsageError, "0 is not valid for a side"),
    ({"size": (64, -1)}, UsageError, "-1 is not valid"),
    ({"size": (8193, 64)}, UsageError, "1 to 8192"),
    ({"size": (64.0, 64)}, UsageError, "64.0"),
    ({"size": (64,)}, UsageError, "width and a height"),
    ({"size": 64}, UsageError, "width and a height"),
    ({"size": (64, 31)}, InputError, "64x31; efficientnet_lite0 needs at least 32"),
    ({"settings": {"octaves": 2}, "size": (80, 60)}, InputError, "coarsest octave.*40x30"),
    ({"settings": {"transforms": "distill"}, "size": (50, 50)}, InputError, "A view of 50x50"),
    ({"spectrum": "folder"}, UsageError, "--canvas maco"),
    ({"spectrum": "gone", "method": "maco", "size": (224, 224)}, InputError, "gone"),
    ({"spectrum": "empty", "method": "maco", "size": (224, 224)}, InputError, "empty"),
    ({"spectrum": "broken", "method": "maco", "size": (224, 224)}, InputError, "broken"),
    ({"spectrum": "black", "method": "maco", "size": (224, 224)}, InputError, "black"),
    ({"diversity": 0}, UsageError, "diversity"),
    ({"diversity": 65}, UsageError, "1 to 64"),
    ({"diversity": 2.0}, UsageError, "diversity"),
    ({"restarts": 0}, UsageError, "restarts"),
    ({"restarts": 65}, UsageError, "1 to 64"),
    ({"restarts": True}, UsageError, "restarts"),
    ({"look": {"network": "googlenett"}}, UsageError, "Did you mean googlenet"),
    ({"look": {"weights": "gone.pth"}}, DreamerError, "gone.pth"),
    ({"look": {"device": "toaster"}}, DreamerError, "toaster"),
    ({"look": {"seed": -1}}, UsageError, "seed"),
    ({"look": {"threads": 0}}, UsageError, "threads"),
]


@pytest.mark.parametrize(("changes", "kind", "said"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_refused_in_our_words(changes, kind, said):
    for folder in ("folder", "empty", "broken", "black"):
        Path(folder).mkdir()
    Path("broken/a.jpg").write_text("no picture")
    images.save(torch.zeros(3, 32, 32), "black/a.png")
    changes = {"targets": ("block8:37",), "size": (64, 64), **changes}
    look = Request(**{"to_file": False, **changes.pop("look", {})})
    with pytest.raises(kind, match=said) as caught:
        prepare(VisualRequest(**changes, look=look))
    assert caught.value.advice


def test_too_many_pictures_are_for_the_atlas():
    with pytest.raises(UsageError, match=str(MOST_PICTURES)) as caught:
        job(*["block8:1"] * (MOST_PICTURES // 64 + 1), diversity=64)
    assert "dreamer atlas" in caught.value.advice


def test_wrong_names_are_answered_before_torch_is_asked_for_a_device(monkeypatch):
    from dreamer.render import devices

    monkeypatch.setattr(devices, "choose", lambda _: pytest.fail("too early"))
    for changes in ({"method": "x"}, {"settings": {"canvas": "x"}}, {"targets": ("blok8",)}):
        with pytest.raises(UsageError):
            prepare(VisualRequest(**{"targets": ("block8",), **changes}))


# From a file


def test_a_recipe_is_made_again_as_it_was():
    recipes = job("block8:37", "class:zebra", diversity=2, look={"seed": 5}).recipes
    made = [each.model_copy(update={"score": 1.5, "partial": True}) for each in recipes]
    found = prepare(VisualRequest(recipe=written("a.png", made)))
    assert [each.hash for each in found.recipes] == [each.hash for each in recipes]
    assert not any(each.partial for each in found.recipes)
    assert found.notes == ()


def test_a_file_without_a_recipe_or_with_that_of_a_dream_is_refused():
    images.save(torch.full((3, 64, 64), 0.5), "plain.png")
    with pytest.raises(InputError, match="'plain.png' carries no recipe"):
        prepare(VisualRequest(recipe="plain.png"))
    dreamer.dream("sky", size=64, steps=0).save("dream.png")
    with pytest.raises(InputError, match="the recipe of a dream") as caught:
        prepare(VisualRequest(recipe="dream.png"))
    assert "dreamer dream --from" in caught.value.advice
    with pytest.raises(InputError, match="gone"):
        prepare(VisualRequest(recipe="gone.png"))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"method": "lucid"}, "--method"),
        ({"size": (64, 64)}, "--size"),
        ({"settings": {"canvas": None, "steps": 3}}, "--steps"),
        ({"settings": {"decorrelate": False}}, "--plain-colors"),
        ({"settings": {"neutral": False}}, "--color-cast"),
        ({"spectrum": "folder"}, "--spectrum"),
        ({"diversity": 2}, "--diversity"),
        ({"restarts": 2}, "--restarts"),
        ({"negative": True}, "--negative"),
        ({"look": Request(seed=1)}, "--seed"),
        ({"look": Request(threads=2)}, "--threads"),
        ({"targets": ("block8",)}, "a target"),
    ],
    ids=str,
)
def test_nothing_goes_over_the_recipe_of_a_file_without_a_word(more, named):
    path = written("a.png", job("block8:37").recipes)
    with pytest.raises(UsageError, match=named):
        prepare(VisualRequest(recipe=path, **more))


def test_another_network_is_told_or_refused():
    (recipe,) = job("stem:3").recipes
    path = written("a.png", [recipe])
    with pytest.raises(UsageError, match="googlenet named 'stem'"):
        prepare(VisualRequest(recipe=path, look=Request(network="googlenet")))
    zebra = written("b.png", job("class:zebra").recipes)
    found = prepare(VisualRequest(recipe=zebra, look=Request(network="googlenet")))
    assert found.recipes[0].network == "googlenet"
    assert any("the network, the network's weights" in note for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channel": 99999}, "no channel 99999"),
        ({"direction": ((99999, 1.0),), "channel": None}, "no channel 99999"),
        ({"at": (50, 0)}, "outside the layer"),
        ({"layer": "block99"}, "block99"),
    ],
    ids=str,
)
def test_a_recipe_that_was_tampered_with_names_nothing_that_is_not_there(changes, said):
    (recipe,) = job("block8:37").recipes
    terms = (recipe.terms[0].model_copy(update=changes),)
    path = written("a.png", [recipe.model_copy(update={"terms": terms})])
    with pytest.raises(UsageError, match=said):
        prepare(VisualRequest(recipe=path))
    path = written("a.png", [recipe.model_copy(update={"size": (16, 16)})])
    with pytest.raises(InputError, match="16x16"):
        prepare(VisualRequest(recipe=path))


def test_weights_that_only_the_user_has_are_asked_for():
    own = Path("own.pth")
    published = weight_files.locate(rows.row(rows.DEFAULT).published())
    assert published is not None
    own.write_bytes(published.read_bytes() + b"\0")  # the same tensors in another file
    (recipe,) = job("block8:37", look={"weights": "own.pth"}).recipes
    assert recipe.weights != job("block8:37").recipes[0].weights
    path = written("a.png", [recipe])
    with pytest.raises(NetworkError, match="checkpoint") as caught:
        prepare(VisualRequest(recipe=path))
    assert "--weights" in caught.value.advice
    found = prepare(VisualRequest(recipe=path, look=Request(weights="own.pth")))
    assert (found.recipes[0].hash, found.notes) == (recipe.hash, ())
    other = prepare(VisualRequest(recipe=path, look=Request(weights="IMAGENET1K_V1")))
    assert other.notes == ("unlike the recipe in the file: the network's weights",)


def test_a_caricature_is_made_again_from_the_photo_beside_it(coffee):
    Path("photo.png").write_bytes(coffee.read_bytes())
    (recipe,) = job("like:photo.png@block8").recipes
    path = written("a.png", [recipe])
    assert prepare(VisualRequest(recipe=path)).recipes[0].hash == recipe.hash
    Path("photo.png").rename("moved.png")
    with pytest.raises(InputError, match="photo.png"):
        prepare(VisualRequest(recipe=path))


# Where pictures go


def test_a_file_with_these_pictures_is_kept_and_another_is_refused_with_what_differs():
    recipes = job("block8:1", "block8:2").recipes
    one, other = recipes[:1], job("block8:1", settings={"rate": 0.1}, look={"seed": 4}).recipes
    path = Path("a.png")
    assert check_output(path, one, overwrite=False) is False
    written(path, one)
    assert check_output(path, one, overwrite=False) is True
    assert check_output(path, one, overwrite=True) is False
    with pytest.raises(OutputError, match="the seed, .*rate \\(0.1 instead of 0.05\\)"):
        check_output(path, other, overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        check_output(path, recipes, overwrite=False)
    assert check_output(path, other, overwrite=True) is False
    written(path, recipes)
    assert check_output(path, recipes, overwrite=False) is True
    with pytest.raises(OutputError):
        check_output(path, recipes[::-1], overwrite=False)
    written(path, [one[0].model_copy(update={"partial": True})])
    assert check_output(path, one, overwrite=False) is False  # to be made whole


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_of_ours_is_not_replaced(content):
    Path("a.png").write_bytes(content)
    with pytest.raises(OutputError, match="exists already"):
        check_output(Path("a.png"), job("block8:1").recipes, overwrite=False)


def test_an_unknown_suffix_and_a_folder_that_is_a_file_are_refused():
    recipes = job("block8:1").recipes
    with pytest.raises(UsageError, match=r"\.bmp"):
        check_output(Path("a.bmp"), recipes, overwrite=False)
    Path("file").write_text("")
    with pytest.raises(OutputError):
        check_output(Path("file/a.png"), recipes, overwrite=False)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("block8:37", "block8-37"),
        ("class:zebra #2", "class-zebra-2"),
        ("block8:37@4,5", "block8-37-4-5"),
        ("0.5*block8 + 0.5*block9 - 0.2*class:zebra", "0.5-block8-0.5-block9-0.2-class-zebra"),
        ("block8:[3, -0.5*12]", "block8-3-0.5-12"),
        ("like:photo.jpg@parts", "like-photo.jpg-parts"),
        ("../../etc", "etc"),
        ("/", "visualization"),
        ("a\x00\nb", "a-b"),
        ("Größe", "Größe"),
    ],
)
def test_names_of_files_are_made_of_letters_digits_and_dashes(label, name):
    assert stem(label) == name
    assert not set(stem(label)) & set('\\/:*?"<>|' + os.sep)


def test_a_folder_gets_a_file_each_and_no_two_targets_one():
    recipes = job("block8:1", "class:zebra", diversity=2).recipes
    plan = visual_output.plan(
        recipes, visual_output.place("units/"), overwrite=False, metadata=True
    )
    assert [path.name for path in plan.paths] == [
        "block8-1-1.png",
        "block8-1-2.png",
        "class-zebra-1.png",
        "class-zebra-2.png",
    ]
    assert (plan.kept, plan.last) == (False, "units")
    same = job("block8:1 + block8:2", "block8:1 - block8:2").recipes
    with pytest.raises(UsageError, match="would both be"):
        visual_output.plan(same, visual_output.place("f/"), overwrite=False, metadata=True)
    assert not Path("f").exists()


def test_names_as_long_as_targets_are_cut():
    direction = ", ".join(str(k) for k in range(100))
    recipes = job(f"block8:[{direction}]").recipes
    for where in ("units/", None):
        plan = visual_output.plan(
            recipes, visual_output.place(where), overwrite=False, metadata=True
        )
        assert len(os.fsencode(plan.paths[0].name)) <= 255


def test_a_sheet_is_refused_only_if_its_own_size_is_too_large_for_the_format():
    recipes = job(*(f"block8:{k}" for k in range(100)), size=(400, 400)).recipes
    place = visual_output.place("a.webp")  # 16383 px a side: not a hundred in a row
    assert visual_output.plan(recipes, place, overwrite=False, metadata=True).paths
    large = [each.model_copy(update={"size": (2000, 2000)}) for each in recipes]
    with pytest.raises(OutputError, match="16383"):
        visual_output.plan(large, place, overwrite=False, metadata=True)


def test_a_sheet_says_that_it_has_no_transparency():
    recipes = job("block8:1", "block8:2", settings={"alpha": True}).recipes
    with pytest.raises(UsageError, match="transparency"):
        visual_output.plan(recipes, visual_output.place("a.png"), overwrite=False, metadata=True)
    place = visual_output.place("folder/")
    assert visual_output.plan(recipes, place, overwrite=False, metadata=True).paths


@pytest.mark.parametrize(
    ("output", "folder"),
    [("a.png", False), ("units", True), ("units/", True), ("a.png/", True), ("there.png", True)],
)
def test_a_name_without_a_suffix_is_a_folder(output, folder):
    Path("there.png").mkdir()
    assert visual_output.place(output).folder is folder
    assert visual_output.place(None) == visual_output.Place(None, folder=False)
    for nothing in ("", "-"):
        with pytest.raises(UsageError):
            visual_output.place(nothing)


def test_the_module_says_nothing_of_other_files(tmp_path):
    for content in (b"", b"x" * 100):
        (tmp_path / "any").write_bytes(content)
        assert visual_job.recipes_in(tmp_path / "any") == ()
    assert visual_job.recipes_in(b"bytes") == ()
    assert visual_job.recipes_in("gone") == ()
