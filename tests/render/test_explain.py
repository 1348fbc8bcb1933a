"""What a network sees: the numbers against plain twins, and the page as people see it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dreamer
from dreamer.errors import InputError, Interrupted, OutputError, UsageError
from dreamer.media import images
from dreamer.networks import network
from dreamer.networks.network import Network
from dreamer.render import explain
from dreamer.render.explaining import heat, pictures, seeing
from dreamer.render.look import Request

DREAM = {"octaves.count": 1, "ascent.steps": 2}
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1400, "height": 900}


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "STEPS", 2)
    monkeypatch.setattr(pictures, "SIDE", 48)
    monkeypatch.setattr(seeing, "USUAL", 4)


@pytest.fixture(scope="module")
def lite() -> Network:
    return network.load("efficientnet_lite0")


def request(photo, net=None, **options) -> Request:
    return Request(photo=str(photo), network=net, size=96, threads=1, overrides=DREAM, **options)


class Colours(nn.Module):
    """Channels of red, green and blue; the last one answers a lot, whatever it is shown."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(4, 6, 3, 2, 1)
        self.last = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, classes)
        with torch.no_grad():
            self.conv.weight.zero_()
            for channel in range(3):
                self.conv.weight[channel, channel] = 0.01
                self.conv.weight[channel, (channel + 1) % 3] = -0.01
            self.conv.weight[3] = 0.5
            self.conv.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 100.0]))

    def forward(self, x):
        x = self.last(self.mix(self.relu(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def colours(classes: int = 4) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = Colours(classes)
    return Network.from_module(module, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), name="colours", size=64)


class OneSize(nn.Module):
    """Takes 32x32 only, so it is shown windows: no map of ours leads to its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, 8)
        self.fc = nn.Linear(64, 1000)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


# ---- The numbers.


def test_probabilities_are_the_softmax_of_the_logits_at_the_size_of_training(lite, chelsea):
    photo = images.load(str(chelsea)).pixels
    usual = seeing.usual(lite, ["block2"], 64)
    seen = seeing.see(photo, lite, ["block2"], usual=usual)
    assert seen.size == (149, 224)
    with torch.no_grad():
        logits = lite.features(["logits"])(seeing.shown(photo, 224, 32))["logits"]
    plain = logits.flatten().double().numpy()
    plain = np.exp(plain - plain.max())
    plain /= plain.sum()
    assert np.allclose(seen.probabilities.numpy(), plain, rtol=1e-5, atol=1e-9)
    first, *rest = seen.classes(5)
    assert first.name == "Egyptian cat"
    assert first.probability == pytest.approx(plain.max(), rel=1e-5)
    assert [each.index for each in (first, *rest)] == np.argsort(-plain)[:5].tolist()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_channel_that_looks_for_what_is_there_comes_first_whatever_its_scale(channel):
    net = colours()
    photo = torch.full((3, 64, 64), 0.4)
    photo[channel, 24:40, 24:40] = 1.0
    photo[(channel + 1) % 3, 24:40, 24:40] = 0.0
    usual = seeing.usual(net, ["conv"], 64)
    seen = seeing.see(photo, net, ["conv"], usual=usual, longer=64)
    assert seen.maps["conv"].mean((1, 2)).argmax() == 3  # what is raw would be misleading
    assert seen.strongest("conv", 4)[0].channel == channel
    strongest = seen.maps["conv"][channel].flatten().argmax().item()
    assert divmod(strongest, 16)[0] in range(6, 10)
    assert divmod(strongest, 16)[1] in range(6, 10)


def test_how_far_a_channel_is_above_its_usual_response_is_as_it_is_said():
    rng = np.random.default_rng(0)
    reference, maps = rng.normal(3, 2, (5, 2, 6, 5)), rng.normal(4, 2, (2, 6, 5))

    def response(values):
        return np.sort(values.reshape(2, -1))[:, -3:].mean(1)

    usual = seeing.Usual(
        torch.tensor(reference.mean((0, 2, 3))),
        torch.tensor(reference.std((0, 2, 3))),
        torch.tensor(np.mean([response(each) for each in reference], 0)),
    )
    plain = response(maps) - np.mean([response(each) for each in reference], 0)
    plain /= reference.std((0, 2, 3))
    assert np.allclose(usual.above(torch.tensor(maps)).numpy(), plain)


def test_grad_cam_is_the_papers():
    rng = np.random.default_rng(0)
    maps, gradient = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))
    plain = np.zeros((4, 5))
    for channel in range(3):
        plain += gradient[channel].mean() * maps[channel]
    found = seeing.grad_cam(torch.tensor(maps), torch.tensor(gradient))
    assert np.allclose(found.numpy(), np.maximum(plain, 0))


@pytest.mark.parametrize(
    ("name", "goes_on"), [("resnet18", torch.nn.Identity()), ("densenet121", torch.nn.ReLU())]
)
def test_gradients_are_those_of_finite_differences_where_activations_work_in_place(name, goes_on):
    """Both return copies, and the second goes on with a ReLU in place on what was copied."""
    net = network.load(name, random_seed=0)
    layer = next(each.name for each in reversed(net.row.layers) if each.stride)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    answers = net.features([layer, "logits"])(picture.requires_grad_())
    maps, logits = answers[layer], answers["logits"].flatten()
    gradient = seeing._gradient(logits[7], maps)
    assert gradient is not None
    body = net.features([layer, "logits"]).body.body
    classifier = getattr(body, "fc", None) or body.classifier
    assert maps.shape[2:] == (2, 2)

    def logit(values):
        means = goes_on(values).mean((1, 2))
        return (classifier.weight[7].double() @ means + classifier.bias[7].double()).item()

    start = maps[0].detach().double()
    assert logit(start) == pytest.approx(logits[7].item(), abs=1e-4)
    for place in [(0, 0, 0), (3, 1, 0), (100, 0, 1), (63, 1, 1)]:
        up, down = start.clone(), start.clone()
        up[place] += 1e-4
        down[place] -= 1e-4
        wanted = (logit(up) - logit(down)) / 2e-4
        assert gradient[0][place].item() == pytest.approx(wanted, abs=1e-5)


def test_a_class_is_found_where_it_is(lite, chelsea):
    cat = images.resize(images.load(str(chelsea)), 112).pixels
    photo = torch.full((3, 224, 224), 0.5)
    photo[:, 130 : 130 + cat.shape[1], 100:212] = cat
    found = seeing.places(photo, lite, [285])
    assert (found.how, found.layer) == ("Grad-CAM", "head")
    spread = seeing.spread(found.maps, found.stride, (224, 224), (224, 224))[0]
    inside = torch.zeros(224, 224, dtype=torch.bool)
    inside[110:224, 84:224] = True
    assert spread[inside].mean() > 4 * spread[~inside].mean()


def test_without_gradients_squares_are_covered_instead():
    torch.manual_seed(0)
    net = Network.from_module(OneSize(), (0.5,) * 3, (0.5,) * 3, size=32)
    photo = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = seeing.places(photo, net, [3, 900])
    assert (found.how, found.stride, found.maps.shape) == ("occlusion", 4, (2, 8, 8))
    logits = net.features(["logits"])
    covered = photo.clone()
    covered[:, 4:8, 12:16] = photo.mean((1, 2))[:, None, None]
    with torch.no_grad():
        lost = (logits(photo[None])["logits"] - logits(covered[None])["logits"]).flatten()
    assert found.maps[0, 1, 3].item() == pytest.approx(max(0, lost[3].item()), abs=1e-6)
    assert found.maps[1, 1, 3].item() == pytest.approx(max(0, lost[900].item()), abs=1e-6)


def test_a_plain_picture_has_no_edges_along_its_border(lite):
    plain = torch.full((1, 3, 96, 64), 0.7)
    maps = seeing.inside(["block2"], plain, lite)["block2"]
    assert maps.shape[2:] == (24, 16)
    assert torch.allclose(maps, maps[:, :, 12:13, 8:9].expand_as(maps), atol=1e-4)
    with torch.no_grad():
        bare = lite.features(["block2"])(plain)["block2"]
    assert (bare - maps).abs().amax() > 1


def test_a_map_is_laid_where_its_neurons_are():
    maps = torch.zeros(1, 3, 4)
    maps[0, 2, 1] = 1.0
    # The last row reaches 8 px beyond what was shown.
    spread = seeing.spread(maps, 16, (40, 64), (80, 128))
    assert spread.shape == (1, 80, 128)
    row, column = divmod(spread[0].argmax().item(), 128)
    assert 70 <= row < 80
    assert 40 <= column <= 56


def test_the_pictures_of_what_is_usual_are_always_the_same():
    first, again = seeing.usual_pictures(48, 4), seeing.usual_pictures(48, 4)
    assert torch.equal(first, again)
    assert first.shape == (4, 3, 48, 48)
    assert first.amin() >= 0
    assert first.amax() <= 1
    assert first[0].std() > 0.1  # leaves


# ---- Heat.


def test_heat_is_nothing_at_the_floor_and_all_at_the_peak():
    found = heat.strength(torch.tensor([0.0, 1.0, 2.0, 5.0]), 1.0, 3.0)
    assert found.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert heat.strength(torch.tensor([4.0]), 3.0, 3.0).tolist() == [0.0]


def test_the_colours_are_those_of_the_table_and_get_lighter_all_the_way():
    values = torch.linspace(0, 1, 101)
    found = heat.colours(values[None])[:, 0].numpy()
    stops = np.linspace(0, 1, len(heat.COLOURS))
    table = np.array(heat.COLOURS)
    for channel in range(3):
        plain = np.interp(values.numpy(), stops, table[:, channel])
        assert np.allclose(found[channel], plain, atol=1e-6)
    linear = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    # What people without red cones, and without green ones, see of it: about the rest.
    for weights in ((0.2126, 0.7152, 0.0722), (0.0, 0.92, 0.08), (0.55, 0.37, 0.08)):
        assert (np.diff(np.array(weights) @ linear) > 0).all()


def test_without_heat_a_picture_is_only_dim_and_pale():
    photo = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    grey = np.tensordot([0.2126, 0.7152, 0.0722], photo.numpy(), 1)
    plain = 0.7 * (0.15 * photo.numpy() + 0.85 * grey)
    assert np.allclose(heat.overlay(photo, torch.zeros(8, 8)).numpy(), plain, atol=1e-6)
    hot = heat.overlay(photo, torch.ones(8, 8))
    assert (hot[0] - hot[2] > 0.05).all()


# ---- What is asked for, and refused.


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"classes": 0}, UsageError),
        ({"channels": 9}, UsageError),
        ({"channels": 2.0}, UsageError),
        ({"atlas": "nowhere"}, InputError),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(options, error, chelsea):
    with pytest.raises(error):
        explain.prepare(request(chelsea), **options)


def test_only_pages_are_written_and_none_is_replaced(tmp_path, chelsea):
    with pytest.raises(UsageError, match=r"\.html"):
        explain.prepare(request(chelsea, output=tmp_path / "cat.png"))
    (tmp_path / "cat.html").touch()
    with pytest.raises(OutputError, match="exists"):
        explain.prepare(request(chelsea, output=tmp_path / "cat.html"))
    replaced = request(chelsea, output=tmp_path / "cat.html", overwrite=True)
    assert explain.prepare(replaced).output == tmp_path / "cat.html"


def test_the_default_name_gets_a_number_when_it_is_taken(tmp_path, chelsea):
    name = tmp_path / "outputs" / "chelsea-explained.html"
    name.parent.mkdir()
    name.touch()
    assert explain.prepare(request(chelsea)).output.name == "chelsea-explained-2.html"


def test_large_photos_are_dreamed_on_at_512_px_and_small_ones_as_they_are(astronaut, coffee):
    plan = explain.prepare(Request(photo=str(coffee)))
    assert plan.job.recipe.size == (512, 341)
    Image.open(astronaut).convert("RGB").resize((80, 60)).save("small.png")
    assert explain.prepare(Request(photo="small.png")).job.recipe.size == (80, 60)


def test_each_detail_level_has_one_layer_and_levels_may_share_it(lite):
    found = explain.levels(lite.row)
    assert [each.layer for each in found] == ["block2", "block5", "block8", "block9", "block11"]
    few = explain.levels(colours().row)
    assert sum(len(each.names) for each in few) == 5
    assert len({each.layer for each in few}) == len(few)


def test_an_atlas_of_another_network_is_refused(tmp_path, lite, monkeypatch):
    class Record:
        class recipe:  # noqa: N801
            network = "vgg16"

    (tmp_path / "atlas.json").touch()
    monkeypatch.setattr(pictures.store, "read", lambda _: Record)
    with pytest.raises(InputError, match="vgg16"):
        pictures.check_atlas(tmp_path, lite.row)


def test_pictures_that_an_atlas_has_are_taken_and_the_others_made(tmp_path, lite):
    (tmp_path / "atlas" / "block2").mkdir(parents=True)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "atlas" / "block2" / "003.png")
    shares = []
    units = [("block2", 3), ("block2", 4), ("block5", 79)]
    found = pictures.channel_pictures(
        units, lite, atlas=tmp_path / "atlas", workers=2, on_share=shares.append
    )
    assert {unit: each.source for unit, each in found.items()} == {
        ("block2", 3): "atlas",
        ("block2", 4): "made",
        ("block5", 79): "made",
    }
    assert found["block2", 3].pixels[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


# ---- The whole.


@pytest.fixture(scope="module")
def cat(lite, chelsea):
    """One whole explanation, with as little work as can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "STEPS", 2)
        patch.setattr(pictures, "SIDE", 48)
        patch.setattr(seeing, "USUAL", 4)
        return explain.explain(request(chelsea, lite), classes=3, channels=2)


def test_an_explanation_holds_what_was_asked_for(cat):
    assert (cat.photo.shape, cat.dream.shape) == ((3, 64, 96), (3, 64, 96))
    assert not torch.equal(cat.photo, cat.dream)
    assert 3 <= len(cat.classes) <= 6
    assert all(each.heat is not None for each in cat.classes[:1])
    assert [each.level for each in cat.channels[::2]] == [level.name for level in cat.levels]
    assert len(cat.channels) == 10
    assert len(cat.gained) == 2
    assert all(each.after > each.before for each in cat.gained)
    for each in (*cat.channels, *cat.gained):
        assert len(each.heat) == 2
        assert all(part.shape == (64, 96) for part in each.heat)
        assert max(part.amax().item() for part in each.heat) > 0.5
    assert cat.recipe.target == "0.5*block9 + 0.5*block8"


def test_what_a_residual_layer_only_passes_on_is_listed_once(cat, lite):
    usual = seeing.usual(lite, ["block8", "block9"], 224)
    seen = seeing.see(cat.photo, lite, ["block8", "block9"], usual=usual)
    listed = {
        layer: [each.channel for each in cat.channels if each.layer == layer]
        for layer in ("block8", "block9")
    }
    for first in listed["block8"]:
        for second in listed["block9"]:
            assert not seeing.alike(seen.maps["block8"][first], seen.maps["block9"][second])


def test_a_network_of_other_classes_is_explained_without_classes(chelsea):
    made = explain.explain(request(chelsea, colours()), channels=1, dream=False)
    assert made.classes is None
    assert made.to_dict()["classes"] is None
    assert made.dream is None
    assert made.gained == ()
    assert "not trained on ImageNet" in made.page()
    assert "dreamer visualize" not in made.page()


@pytest.mark.parametrize("after", [0, 3])
def test_stopping_writes_nothing(after, lite, chelsea, tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > after

    with pytest.raises(Interrupted):
        explain.explain(request(chelsea, lite), channels=1, stop=stop)
    assert not list(tmp_path.iterdir())


def test_a_page_that_was_taken_meanwhile_is_not_lost(cat, tmp_path, chelsea):
    plan = explain.prepare(request(chelsea))
    plan.output.parent.mkdir()
    plan.output.write_text("theirs")
    assert explain.save(plan, cat).name == "chelsea-explained-2.html"
    assert plan.output.read_text() == "theirs"
    with pytest.raises(OutputError):
        cat.save(plan.output)


def test_python_explains_a_photo_where_nothing_can_be_written(chelsea, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").touch()  # where pages go by default
    made = dreamer.explain(chelsea, dream=False, classes=2, channels=1, size=96)
    assert made.classes[0].name == "Egyptian cat"
    made.save(tmp_path / "page.html")
    assert "Egyptian cat" in (tmp_path / "page.html").read_text("utf-8")


# ---- The page.


@pytest.fixture
def visit(browser, tmp_path):
    """Write an explanation's page and open it; nothing may go wrong on it or be asked for."""
    contexts, wrong, asked = [], [], []

    def open_page(made, viewport=DESKTOP):
        written = made.save(tmp_path / "page.html", overwrite=True)
        context = browser.new_context(viewport=viewport)
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda said: wrong.append(said.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        shown.on("request", lambda sent: asked.append(sent.url))
        shown.goto(written.as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert sum(url.startswith("file:") for url in asked) == len(contexts)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_shows_all_its_pictures_and_is_no_wider_than_the_screen(visit, cat, viewport):
    shown = visit(cat, viewport)
    pictures = shown.evaluate(
        "[...document.images].map((one) => [one.complete, one.naturalWidth, one.clientWidth,"
        " one.alt])"
    )
    placed = sum(each.heat is not None for each in cat.classes)
    assert len(pictures) == 2 + 2 * placed + 3 * (len(cat.channels) + len(cat.gained))
    assert all(
        done and natural > 0 and width > 60 and alt for done, natural, width, alt in pictures
    )
    wide = shown.evaluate("document.documentElement.scrollWidth")
    assert wide <= viewport["width"]
    boxes = shown.evaluate(
        "[...document.querySelectorAll('main *')].map((one) => one.getBoundingClientRect().right)"
    )
    assert max(boxes) <= viewport["width"]
    # The bars have the lengths of their numbers.
    first = shown.evaluate(
        "(() => { const bar = document.querySelector('.share svg');"
        " return bar.firstElementChild.getBoundingClientRect().width / bar.clientWidth; })()"
    )
    assert first == pytest.approx(cat.classes[0].before, abs=0.01)


def test_what_a_photo_is_called_is_text_on_the_page(visit, cat):
    from dataclasses import replace

    name = "</style><script>alert(1)</script>{{ 7 * 7 }}<img src=x onerror=alert(2)>.jpg"
    shown = visit(replace(cat, name=name, notes=(name,)))
    assert name in shown.text_content("h1")
    assert name in shown.text_content(".notes")
    assert shown.evaluate("document.scripts.length") == 0


def test_the_recipe_is_left_out_when_it_is_to_be(cat):
    assert "Recipe of the dream" in cat.page()
    assert "Recipe of the dream" not in cat.page(metadata=False)
