"""What would suit a photo: real targets, no two alike, and a sheet of small dreams of them."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dreamer import targets
from dreamer.errors import InputError, Interrupted, OutputError, UsageError
from dreamer.media import images
from dreamer.networks import network, rows
from dreamer.networks.network import Network
from dreamer.render import sheets, still, suggest
from dreamer.render.explaining import seeing
from dreamer.render.look import Request

QUICK = {"octaves.count": 1, "ascent.steps": 1}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def lite() -> Network:
    return network.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def cat(lite, chelsea):
    """What suits the cat, without thumbnails."""
    return suggest.suggest(request(chelsea, lite), thumbnails=False)


def request(photo, net=None, **options) -> Request:
    options = {"size": 64, "threads": 1, "overrides": QUICK, "to_file": False} | options
    return Request(photo=photo if photo is None else str(photo), network=net, **options)


class Plain(nn.Module):
    """No classes of ImageNet; its three layers stand for all detail levels."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, 2, 2, bias=bias)
        self.second = nn.Conv2d(6, 8, 3, 2, 1, bias=bias)
        self.third = nn.Conv2d(8, 8, 3, 1, 1, bias=bias)

    def forward(self, x):
        return self.third(self.second(self.first(x).relu()).relu()).relu()


def plain(bias: bool = True) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = Plain(bias)
    return Network.from_module(module, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), name="plain", size=64)


# ---- What is suggested.


@pytest.mark.parametrize(
    ("photo", "words"),
    [("chelsea", ("cat", "tabby", "lynx")), ("coffee", ("espresso",))],
)
def test_targets_are_real_and_the_class_is_what_the_photo_shows(lite, request_photo, photo, words):
    made = suggest.suggest(request(request_photo(photo), lite), thumbnails=False)
    assert len(made.suggestions) == 9
    for each in made.suggestions:
        (term,) = targets.resolve(targets.parse(each.target), lite.row)
        assert term.label == each.target
        layers = lite.row.level(each.level) if each.kind == "channel" else (rows.LOGITS,)
        assert term.layer in [lite.row.layer(name).name for name in layers]
    first = next(each for each in made.suggestions if each.kind == "class")
    assert any(word in first.target for word in words)
    assert first.place == "centre"


@pytest.fixture
def request_photo(request):
    return request.getfixturevalue


def test_channels_answer_above_usual_by_what_explain_says(cat, lite, chelsea):
    layers = ["block5", "block8", "block9"]
    usual = seeing.usual(lite, layers, seeing.sight(lite))
    seen = seeing.see(images.load(str(chelsea)).pixels, lite, layers, usual=usual)
    channels = [each for each in cat.suggestions if each.kind == "channel"]
    for each in channels:
        (term,) = targets.parse(each.target).terms
        assert each.score == pytest.approx(seen.above[term.name][term.channel].item(), rel=1e-3)
        assert each.score > 0
        assert f"{each.score:.1f} deviations" in each.why
    assert channels[0].score == pytest.approx(seen.above["block5"].amax().item(), rel=1e-3)


def test_each_kind_in_turn_and_the_strongest_of_it_first(cat):
    kinds = [each.level or each.kind for each in cat.suggestions]
    assert kinds == [*("textures", "patterns", "parts", "class") * 2, "textures"]
    for kind in set(kinds):
        scores = [each.score for each in cat.suggestions if (each.level or each.kind) == kind]
        assert scores == sorted(scores, reverse=True)


def test_no_two_channels_show_the_same(lite, chelsea):
    made = suggest.suggest(request(chelsea, lite), count=suggest.MOST, thumbnails=False)
    found = [each.target for each in made.suggestions]
    assert len(set(found)) == len(found) == suggest.MOST
    layers = ["block5", "block8", "block9"]
    maps = lite.features(layers)(seeing.shown(images.load(str(chelsea)).pixels, 224, 32))
    for layer in layers:
        own = [targets.parse(each).terms[0] for each in found if each.startswith(f"{layer}:")]
        flat = torch.stack([maps[layer][0, term.channel].flatten() for term in own])
        # Not quite the maps that they were chosen by: those continue beyond the border.
        off = np.corrcoef(flat.detach().numpy()) - np.eye(len(own))
        assert off.max() < seeing.ALIKE + 0.1


def test_a_class_whose_dream_would_look_like_another_one_is_left_out(lite, chelsea, coffee):
    for photo, kept, alike in (
        (chelsea, "class:tiger_cat", "class:tabby"),
        (coffee, "class:cup", "class:coffee_mug"),
    ):
        made = suggest.suggest(request(photo, lite), count=24, thumbnails=False)
        found = [each.target for each in made.suggestions]
        assert kept in found
        assert alike not in found


def test_fewer_suggestions_are_the_first_of_more(cat, lite, chelsea):
    for count in (1, 4, 6):
        some = suggest.suggest(request(chelsea, lite), count=count, thumbnails=False)
        assert some.suggestions == cat.suggestions[:count]


def test_a_place_is_named_or_none():
    seen = seeing.Seen(size=(90, 90), logits=None, maps={}, above={})
    for row, column, name in ((0, 0, "top left"), (1, 1, "centre"), (2, 1, "bottom centre")):
        maps = torch.zeros(9, 9)
        maps[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 1
        assert suggest._place(maps, 10, seen) == name
    assert suggest._place(torch.ones(9, 9), 10, seen) == ""
    assert suggest._place(torch.zeros(9, 9), 10, seen) == ""


def test_a_network_without_classes_suggests_channels(coffee):
    made = suggest.suggest(request(coffee, plain()), count=4)
    assert len(made.suggestions) == 4
    assert {each.kind for each in made.suggestions} == {"channel"}
    assert len({each.target for each in made.suggestions}) == len(made.suggestions)
    assert made.sheet is not None


def test_a_photo_in_which_nothing_stands_out(tmp_path):
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "grey.png")  # all but zero to it
    with pytest.raises(InputError, match="grey.png"):
        suggest.suggest(request("grey.png", plain(bias=False)))


def test_no_class_is_suggested_that_is_hardly_there(lite, tmp_path):
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    grey.save(tmp_path / "plain.png")
    with pytest.raises(InputError, match="plain.png' is of one colour"):
        suggest.suggest(request("plain.png", lite), thumbnails=False)
    grey.paste((132, 128, 128), (0, 0, 32, 64))
    grey.save(tmp_path / "grey.png")
    made = suggest.suggest(request("grey.png", lite), thumbnails=False)
    assert {each.kind for each in made.suggestions} == {"channel"}
    assert min(each.score for each in made.suggestions) >= suggest.LEAST


# ---- The sheet.


@pytest.mark.parametrize("count", [1, 4, 9])
def test_the_sheet_has_the_photo_and_a_tile_for_each(lite, chelsea, monkeypatch, count):
    laid = []
    grid = sheets.grid
    monkeypatch.setattr(
        sheets, "grid", lambda tiles, *rest: laid.append(tiles) or grid(tiles, *rest)
    )
    made = suggest.suggest(request(chelsea, lite), count=count)
    (tiles,) = laid
    assert [label for label, _ in tiles] == [
        "chelsea.png",
        *(each.target for each in made.suggestions),
    ]
    assert len(tiles) == count + 1
    pictures = [np.asarray(picture) for _, picture in tiles]
    for index, picture in enumerate(pictures):
        assert not any(np.array_equal(picture, other) for other in pictures[:index])
    assert made.sheet.width > made.sheet.height


def test_long_labels_fit():
    made = suggest._widened(
        [("photo", Image.new("RGB", (40, 60))), ("class:" + "x" * 30, Image.new("RGB", (40, 60)))]
    )
    assert made[0][1].size == made[1][1].size
    assert made[0][1].width > 150


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (4, 2), (8, 4), (10, 5), (25, 5)])
def test_the_last_row_is_full_where_it_can_be(count, columns):
    assert suggest._columns(count, (256, 171)) == columns


def test_the_same_every_time(lite, chelsea):
    first, second = (suggest.suggest(request(chelsea, lite), count=2) for _ in range(2))
    assert first.suggestions == second.suggestions
    assert first.sheet.tobytes() == second.sheet.tobytes()


def test_a_thumbnail_is_the_dream_of_its_target(lite, chelsea):
    plan = suggest.prepare(request(chelsea, lite), count=1)
    made = suggest.run(plan)
    job = suggest.jobs.prepare(
        replace(request(chelsea, lite), overrides=QUICK | {"target": made.suggestions[0].target})
    )
    tile = np.asarray(still.dream(job.recipe, job.photo, lite).image.convert("RGB"))
    sheet = np.asarray(made.sheet)
    left = sheets.GAP + (sheet.shape[1] - sheets.GAP) // 2  # the second of two in a row
    cut = sheet[sheets.GAP : sheets.GAP + tile.shape[0], left : left + tile.shape[1]]
    assert np.array_equal(cut, tile)


def test_it_is_written_whole_and_never_over_another(lite, chelsea, tmp_path):
    asked = request(chelsea, lite, to_file=True)
    plan = suggest.prepare(asked, count=1)
    made = suggest.run(plan)
    paths = [suggest.save(plan, made) for _ in range(2)]
    assert [path.name for path in paths] == [
        "chelsea-suggestions.png",
        "chelsea-suggestions-2.png",
    ]
    with Image.open(paths[0]) as written:
        assert written.size == made.sheet.size
    (tmp_path / "mine.png").write_text("mine")
    with pytest.raises(OutputError, match="mine.png"):
        suggest.prepare(replace(asked, output=tmp_path / "mine.png"))
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_without_thumbnails_there_is_nothing_to_save(cat):
    assert cat.sheet is None
    with pytest.raises(UsageError, match="thumbnails"):
        cat.save("cat.png")


@pytest.mark.parametrize("asks", [1, 3])
def test_stopped_it_makes_nothing(lite, chelsea, asks):
    asked = iter(range(99))
    with pytest.raises(Interrupted):
        suggest.suggest(request(chelsea, lite), count=4, stop=lambda: next(asked) + 1 >= asks)


def test_progress_goes_through_both_stages(lite, chelsea):
    told = []
    suggest.suggest(request(chelsea, lite), count=3, on_progress=lambda *each: told.append(each))
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(suggest.STAGES)
    shares = [share for stage, share in told if stage == "dreaming"]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


# ---- What is refused.


@pytest.mark.parametrize("count", [0, -1, 25, 2.5, True, "9"])
def test_a_bad_count(chelsea, count):
    with pytest.raises(UsageError, match="count"):
        suggest.prepare(request(chelsea), count=count)


@pytest.mark.parametrize("photo", [None, "sky", "noise"])
def test_there_has_to_be_a_photo(photo):
    with pytest.raises(UsageError, match="no photo"):
        suggest.prepare(request(photo))


def test_a_target_is_refused(chelsea):
    with pytest.raises(UsageError, match="block8:37"):
        suggest.prepare(request(chelsea, overrides={"target": "block8:37"}))


def test_a_photo_that_is_not_there():
    with pytest.raises(InputError, match="nowhere.png"):
        suggest.prepare(request("nowhere.png"))


def test_the_plan_is_told(chelsea):
    text = suggest.prepare(request(chelsea, size=None, to_file=True)).describe()
    assert "256x170" in text
    assert "chelsea-suggestions.png" in text


def test_a_recipe_says_how_to_dream_and_on_what(lite, tmp_path):
    Image.effect_noise((80, 64), 60).convert("RGB").save(tmp_path / "photo.png")
    job = suggest.jobs.prepare(
        request("photo.png", lite, overrides=QUICK | {"target": "block5", "mix.blend": 0.25})
    )
    still.dream(job.recipe, job.photo, lite).save("dream.png")
    plan = suggest.prepare(Request(recipe="dream.png", network=lite, threads=1, to_file=False))
    assert plan.photo.name == "photo.png"
    assert plan.job.recipe.settings.mix.blend == 0.25
    assert plan.notes == ()


def test_what_is_wrong_is_said_without_loading_torch():
    code = (
        "import sys; from dreamer.render import suggest; from dreamer.render.look import Request\n"
        "from dreamer.errors import UsageError\n"
        "try: suggest.prepare(Request(photo='sky'))\n"
        "except UsageError: print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
