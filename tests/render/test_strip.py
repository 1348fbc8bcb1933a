"""A strip of drafts: each is what its recipe makes alone, and what cannot be made is named."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

import dreamer
from dreamer import presets
from dreamer.errors import InputError, NetworkError, UsageError
from dreamer.media import images
from dreamer.networks.network import Network
from dreamer.render import job as jobs
from dreamer.render import still, strip

SIZE = 80
SOME = ("edges", "eyes", "veil", "towers", "whisper")
GUIDED = 'schema = 1\ndescription = "a"\ntarget = "guide:cup.png@parts"\n[ascent]\nsteps = 2\n'
KEEPING = 'schema = 1\nextends = "edges"\n[mask]\nwhere = "ellipse:0.5,0.5,0.2,0.3"\n'
LIKENESS = 'schema = 1\nextends = "edges"\n[likeness]\namount = 0.5\n'


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> Network:
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture(scope="module")
def photo(chelsea):
    return images.load(str(chelsea))


def made(photo, net, names=SOME, **options):
    return strip.make(photo, network=net, names=names, size=SIZE, threads=1, **options)


def alone(draft, photo, net):
    return np.asarray(still.dream(draft.recipe, photo, net).image.convert("RGB"), np.float32)


def apart(draft, other):
    return np.abs(np.asarray(draft.image.convert("RGB"), np.float32) - other).mean()


def test_every_preset_has_a_draft_with_the_recipe_of_the_command(net, chelsea):
    found = strip.make(str(chelsea), network=net, size=48, quality="draft", threads=1)
    assert [draft.preset for draft in found.drafts] == list(presets.names())
    assert (found.failed, found.partial) == ({}, False)
    for draft in found.drafts:
        request = jobs.Request(
            photo=str(chelsea),
            preset=draft.preset,
            network=net,
            size=48,
            overrides={"ascent.quality": "draft"},
            threads=1,
            to_file=False,
        )
        assert draft.recipe == jobs.prepare(request).recipe
        assert draft.image.size == draft.recipe.size == (48, 32)


def test_drafts_are_what_their_recipes_make_alone(net, photo):
    before = np.asarray(images.to_image(images.resize(photo, SIZE).pixels), np.float32)
    # Ascent amplifies every rounding, that of waves the most: a few steps, and none of waves.
    names = ("edges", "eyes", "dream", "whisper", "towers", "engraving")
    for draft in made(photo, net, names, quality="draft").drafts:
        other = alone(draft, photo, net)
        assert apart(draft, other) < 0.15 * np.abs(other - before).mean(), draft.preset


def test_one_step_differs_by_rounding_alone(net, photo, tmp_path):
    names = []
    for name in ("edges", "eyes", "towers", "dream"):
        path = tmp_path / f"{name}-once.toml"
        path.write_text(
            f'schema = 1\nextends = "{name}"\n[ascent]\nsteps = 1\ncoarse_steps = 1.0\n'
        )
        names.append(str(path))
    found = made(photo, net, names)
    assert [draft.preset for draft in found.drafts] == names
    for draft in found.drafts:
        assert apart(draft, alone(draft, photo, net)) < 0.02


def test_what_steers_a_dream_steers_its_draft(net, photo, coffee, tmp_path):
    with Image.open(coffee) as cup:
        cup.convert("RGB").resize((90, 60)).save(tmp_path / "cup.png")
    paths = []
    for name, text in (("guided", GUIDED), ("keeping", KEEPING), ("likeness", LIKENESS)):
        (tmp_path / f"{name}.toml").write_text(text)
        paths.append(str(tmp_path / f"{name}.toml"))
    found = made(photo, net, [*paths, "edges"])
    assert found.failed == {}
    before = np.asarray(images.to_image(images.resize(photo, SIZE).pixels), np.float32)
    for draft in found.drafts:
        other = alone(draft, photo, net)
        assert apart(draft, other) < 0.15 * np.abs(other - before).mean(), draft.preset


def test_presets_that_cannot_be_used_are_named_and_the_others_go_on(net, photo, tmp_path):
    broken, lost = tmp_path / "broken.toml", tmp_path / "lost.toml"
    broken.write_text('schema = 1\nextends = "nowhere"\n')
    lost.write_text('schema = 1\ndescription = "a"\ntarget = "guide:gone.jpg@parts"\n')
    nothing = tmp_path / "nothing.toml"
    nothing.write_text(
        'schema = 1\nextends = "edges"\n[mask]\nwhere = "white.png"\ninvert = true\n'
    )
    Image.new("L", (9, 9), 255).save(tmp_path / "white.png")
    names = [str(broken), "edges", str(lost), "no such preset", str(nothing)]
    found = made(photo, net, names)
    assert [draft.preset for draft in found.drafts] == ["edges"]
    assert set(found.failed) == {name for name in names if name != "edges"}
    assert "gone.jpg" in found.failed[str(lost)].message
    assert all(isinstance(error, UsageError) for error in found.failed.values())
    assert not found.partial


def test_drafts_are_told_when_they_are_finished_and_the_share_only_grows(net, photo):
    told, shares, seen = [], [], []

    def step(share):
        shares.append(share)
        seen.append(len(told))

    found = made(photo, net, on_draft=told.append, on_step=step)
    assert sorted(draft.preset for draft in told) == sorted(SOME)
    assert {id(draft) for draft in told} == {id(draft) for draft in found.drafts}
    assert shares == sorted(shares)
    assert math.isclose(shares[-1], 1)
    assert seen[-1] > seen[0] == 0  # the first was told long before the last was finished


def test_stopping_keeps_what_is_finished(net, photo):
    told = []
    found = made(photo, net, on_draft=told.append, stop=lambda: bool(told))
    assert found.partial
    assert [draft.preset for draft in found.drafts] == [draft.preset for draft in told]
    assert len(told) == 1
    assert made(photo, net, stop=lambda: True).drafts == ()


def test_another_dream_can_be_made_between_the_steps(net, photo):
    usual = made(photo, net, SOME[:2])
    threads = []

    def dream(_):
        if not threads:
            with torch.no_grad():
                dreamer.dream("noise", network=net, size=64, preset="whisper", threads=2)
        threads.append(torch.get_num_threads())

    found = made(photo, net, SOME[:2], on_step=dream)
    assert set(threads) == {1}
    for draft, other in zip(found.drafts, usual.drafts, strict=True):
        assert draft.image.tobytes() == other.image.tobytes()


@pytest.mark.parametrize("start", ["sky", "noise", None])
def test_what_is_made_from_the_seed_needs_no_photo(net, start):
    found = made(start, net, ("edges", "dream"), seed=3)
    assert {draft.recipe.origin.start for draft in found.drafts} == {start or "sky"}
    assert {draft.recipe.seed for draft in found.drafts} == {3}
    assert found.drafts[0].image.size == (SIZE, round(SIZE * 2 / 3))


def test_photos_are_taken_as_files_bytes_and_with_transparency(net, photo, chelsea):
    usual = made(photo, net, ("edges",)).drafts[0].image.tobytes()
    assert made(str(chelsea), net, ("edges",)).drafts[0].image.tobytes() == usual
    assert made(chelsea.read_bytes(), net, ("edges",)).drafts[0].image.tobytes() == usual
    cut = io.BytesIO()
    Image.new("RGBA", (90, 60), (200, 100, 50, 100)).save(cut, "PNG")
    (draft,) = made(cut.getvalue(), net, ("edges",)).drafts
    assert draft.image.mode == "RGBA"


def test_what_is_wrong_with_more_than_a_preset_is_an_error(net, photo, monkeypatch):
    with pytest.raises(InputError, match=r"gone\.png"):
        made("gone.png", net)
    with pytest.raises(InputError, match="A draft of .* needs at least"):
        strip.make(photo, network=net, names=SOME, size=20)
    with pytest.raises(UsageError, match="quality"):
        made(photo, net, quality="drafty")
    with pytest.raises(UsageError, match="size"):
        strip.make(photo, network=net, names=SOME, size=0)
    with pytest.raises(UsageError, match="threads"):
        strip.make(photo, network=net, names=SOME, threads=0)
    real = still.steering.asking

    def broken(*given):
        for said in real(*given):
            if hasattr(said, "score"):
                object.__setattr__(said, "score", math.nan)
            yield said

    monkeypatch.setattr(still.steering, "asking", broken)
    with pytest.raises(NetworkError, match="not numbers"):
        made(photo, net)
