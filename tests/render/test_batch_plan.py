import builtins
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from batching import ASKED, Batch, items_of, looks, photo, tree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamer.errors import InputError, OutputError, UsageError
from dreamer.media import files, metadata
from dreamer.media.gathering import Found
from dreamer.recipe import MOST_SEED, Recipe
from dreamer.render.batch import names, plan
from dreamer.render.batch.plan import Done, Judge, Refused, Todo
from dreamer.render.look import read_recipe

WITHOUT = replace(ASKED, metadata=False)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Two photos, of which nothing is made yet."""
    photo(tmp_path / "in" / "rose.png")
    photo(tmp_path / "in" / "below" / "tulip.jpg", (80, 60), "red")
    return Batch(tmp_path / "in", tmp_path / "out")


@pytest.fixture
def done(batch: Batch) -> Batch:
    """The same, all made."""
    assert {result.status for result in batch.run()} == {"done"}
    return batch


def verdicts(batch: Batch, **options: bool) -> dict[str, object]:
    return {verdict.item.output: verdict for verdict in batch.judge(**options)}


def kinds(batch: Batch, **options: bool) -> list[type]:
    return [type(verdict) for verdict in batch.judge(**options)]


def refusal(batch: Batch, output: str, **options: bool) -> str:
    verdict = verdicts(batch, **options)[output]
    assert isinstance(verdict, Refused)
    for line in (verdict.error.message, verdict.error.advice):
        assert line.splitlines() == [line]
    return verdict.error.message


ROSE, TULIP = "rose-dream.png", "below/tulip-dream.png"


def later(path: Path) -> None:
    """Give a file another time, as copying or touching it does."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


# ---- What is done.


def test_all_is_to_be_made_at_first(batch: Batch) -> None:
    found = verdicts(batch)
    assert list(found) == [ROSE, TULIP]
    for verdict, size in zip(found.values(), [(64, 48), (80, 60)], strict=True):
        assert isinstance(verdict, Todo)
        assert not verdict.replaces
        assert verdict.recipe.size == size
    assert not batch.out.exists()


def test_what_is_done_is_known_without_opening_a_photo_or_a_result(
    done: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise AssertionError(f"{path} was opened")

    items, records = done.items(), done.records()
    judge = Judge(done.out, done.request, records)
    monkeypatch.setattr(builtins, "open", refuse)
    found = [judge(item) for item in items]
    monkeypatch.undo()
    assert [type(verdict) for verdict in found] == [Done, Done]
    for verdict in found:
        assert isinstance(verdict, Done)
        assert verdict.record is records[verdict.item.key]


def test_a_run_over_what_is_done_changes_nothing(done: Batch) -> None:
    before, journal = tree(done.out), (done.out / "journal.jsonl").read_bytes()
    results = done.run()
    assert done.runner.tasks == []
    assert [result.status for result in results] == ["skipped", "skipped"]
    assert tree(done.out) == before
    assert (done.out / "journal.jsonl").read_bytes() == journal


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
def test_a_photo_that_was_touched_or_moved_is_done_still_and_known_anew(
    batch: Batch, request_: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.request = request_
    batch.run()
    before = tree(batch.out)
    later(batch.photos / "rose.png")
    batch.run()
    assert batch.runner.tasks == []
    records = batch.records()
    assert records[ROSE].input_stat == plan.file_stat(batch.photos / "rose.png")
    assert tree(batch.out) == before
    batch.photos = batch.photos.rename(tmp_path / "moved")
    batch.run()
    assert batch.runner.tasks == []
    assert batch.records()[ROSE].input == str(tmp_path / "moved" / "rose.png")
    monkeypatch.chdir(tmp_path)
    batch.photos = Path("moved")
    batch.run()
    assert batch.runner.tasks == []
    assert batch.records()[ROSE].input == "moved/rose.png"
    after = tree(batch.out)
    assert after.pop("index.html") != before.pop("index.html")  # it tells where the photo is
    assert after == before
    # The next time nothing needs to be opened any more.
    lines = (batch.out / "journal.jsonl").read_bytes()
    batch.run()
    assert (batch.out / "journal.jsonl").read_bytes() == lines


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
def test_results_that_were_copied_elsewhere_are_done_there(
    batch: Batch, request_: object, tmp_path: Path
) -> None:
    batch.request = request_
    batch.run()
    shutil.copytree(batch.out, tmp_path / "copy", copy_function=shutil.copy)
    batch.out = tmp_path / "copy"
    later(batch.out / ROSE)
    before = tree(batch.out)
    batch.run()
    assert batch.runner.tasks == []
    assert tree(batch.out) == before
    assert batch.records()[ROSE].output_stat == plan.file_stat(batch.out / ROSE)


def test_another_photo_of_the_same_size_and_time_is_not_taken_for_done(
    done: Batch, tmp_path: Path
) -> None:
    path = done.photos / "rose.png"
    other = photo(tmp_path / "other" / "rose.png", (64, 48), "gold")
    length = max(path.stat().st_size, other.stat().st_size)
    for each in (path, other):
        os.truncate(each, length)
        os.utime(each, (1, 1))
    shutil.rmtree(done.out)
    done.run()
    assert plan.file_stat(path) == plan.file_stat(other)
    assert kinds(replace(done, photos=other)) == [Refused]


def test_a_photo_that_changed_is_not_taken_for_done(done: Batch) -> None:
    photo(done.photos / "rose.png", (64, 48), "gold")
    later(done.photos / "rose.png")
    assert "exists, with another recipe" in refusal(done, ROSE)
    before = tree(done.out)
    results = done.run()
    assert [result.status for result in results] == ["failed", "skipped"]
    assert results[0].error is not None
    assert results[0].error.exit_code == 5
    assert done.runner.tasks == []
    after = tree(done.out)
    assert after.pop("index.html") != before.pop("index.html")
    assert after == before


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
@pytest.mark.parametrize("change", [{"seed": 5}, {"size": 56}, {"metadata": None}])
def test_a_run_with_other_options_spoils_nothing_for_the_right_ones(
    batch: Batch, request_: object, change: dict[str, object]
) -> None:
    batch.request = right = request_
    batch.run()
    before = tree(batch.out)
    if "metadata" in change:
        change = {"metadata": not right.metadata}
    batch.request = replace(right, **change)
    assert all("exists" in refusal(batch, output) for output in (ROSE, TULIP))
    for _ in range(2):
        results = batch.run()
        assert [result.status for result in results] == ["failed", "failed"]
        assert batch.runner.tasks == []
    batch.request = right
    assert [result.status for result in batch.run()] == ["skipped", "skipped"]
    assert tree(batch.out) == before
    records = batch.records().values()
    assert {record.status for record in records if record.output} == {"done"}


def test_a_result_that_is_gone_is_made_again_and_nothing_else(done: Batch) -> None:
    before = tree(done.out)
    (done.out / ROSE).unlink()
    done.run()
    assert done.runner.made == ["rose.png"]
    assert tree(done.out) == before


def test_a_result_that_another_program_changed_is_not_touched(done: Batch) -> None:
    for name in (ROSE, TULIP):
        Image.new("RGB", (5, 5)).save(done.out / name)
    before = tree(done.out)
    assert "exists already" in refusal(done, ROSE)
    done.run()
    assert {name: data for name, data in tree(done.out).items() if name != "index.html"} == {
        name: data for name, data in before.items() if name != "index.html"
    }


def test_what_is_no_picture_in_the_place_of_a_result_is_not_touched(batch: Batch) -> None:
    batch.out.mkdir()
    (batch.out / ROSE).write_bytes(b"mine")
    (batch.out / "below").mkdir()
    (batch.out / TULIP).symlink_to("nowhere")
    for output in (ROSE, TULIP):
        assert "exists already" in refusal(batch, output)
    (batch.out / ROSE).unlink()
    (batch.out / ROSE).mkdir()
    assert "exists already" in refusal(batch, ROSE)
    (batch.out / ROSE).rmdir()
    os.mkfifo(batch.out / ROSE)
    assert "exists already" in refusal(batch, ROSE)


def test_without_its_journal_a_folder_is_known_by_the_recipes_in_it(done: Batch) -> None:
    (done.out / "journal.jsonl").unlink()
    assert kinds(done) == [Done, Done]
    done.run()
    assert done.runner.tasks == []
    records = done.records()
    assert records[ROSE].input_size == (64, 48)
    assert records[ROSE].recipe == read_recipe(str(done.out / ROSE)).hash  # type: ignore[union-attr]
    lines = (done.out / "journal.jsonl").read_bytes()
    done.run()
    assert (done.out / "journal.jsonl").read_bytes() == lines


def test_a_result_that_was_known_by_its_recipe_is_not_known_any_more_once_it_is_changed(
    done: Batch,
) -> None:
    (done.out / "journal.jsonl").unlink()
    done.run()
    length = (done.out / ROSE).stat().st_size
    Image.new("RGB", (5, 5)).save(done.out / ROSE)
    os.truncate(done.out / ROSE, length)
    later(done.out / ROSE)
    assert "exists already" in refusal(done, ROSE)


def test_results_without_a_recipe_are_known_by_the_journal_and_only_by_it(batch: Batch) -> None:
    batch.request = WITHOUT
    batch.run()
    assert metadata.read(batch.out / ROSE) is None
    assert kinds(batch) == [Done, Done]
    (batch.out / "journal.jsonl").unlink()
    assert kinds(batch) == [Refused, Refused]
    assert "exists already" in refusal(batch, ROSE)


def test_results_with_and_without_a_recipe_are_not_taken_for_each_other(done: Batch) -> None:
    done.request = WITHOUT
    assert kinds(done) == [Refused, Refused]
    shutil.rmtree(done.out)
    done.run()
    done.request = ASKED
    assert kinds(done) == [Refused, Refused]


def test_what_is_made_of_nothing_is_done_as_well(tmp_path: Path) -> None:
    items, _ = plan.items((), ("sky", "noise"), looks(), names.template("{stem}"))
    batch = Batch(tmp_path, tmp_path / "out")
    for kind in (Todo, Done):
        judge = Judge(batch.out, ASKED, batch.records())
        found = [judge(item) for item in items]
        assert [type(verdict) for verdict in found] == [kind, kind]
        batch.run(verdicts=found)
    (batch.out / "journal.jsonl").unlink()
    judge = Judge(batch.out, replace(ASKED, seed=1), {}, renew=True)
    assert [type(judge(item)) for item in items] == [Done, Done]
    others, _ = plan.items((), ("sky",), looks(replace(ASKED, seed=1)), names.template("{stem}"))
    assert isinstance(judge(others[0]), Refused)


def test_a_dream_that_was_stopped_early_is_made_again(done: Batch) -> None:
    whole = (done.out / ROSE).read_bytes()
    recipe = Recipe.model_validate_json(str(metadata.read(whole)))
    part = recipe.model_copy(update={"partial": True}).to_json()
    Image.new("RGB", (1, 1)).save(done.out / ROSE, **metadata.save_options("PNG", part))
    verdict = verdicts(done)[ROSE]
    assert isinstance(verdict, Todo)
    assert verdict.replaces
    done.run()
    assert (done.out / ROSE).read_bytes() == whole


def test_overwrite_makes_all_again_whatever_is_there(done: Batch) -> None:
    before = tree(done.out)
    (done.out / ROSE).write_bytes(b"something else")
    done.request = replace(ASKED, overwrite=True)
    for verdict in done.judge():
        assert isinstance(verdict, Todo)
        assert verdict.replaces
    done.run()
    assert done.runner.made == ["rose.png", "tulip.jpg"]
    assert tree(done.out) == before


# ---- Photos that are replaced by others while a folder is watched.


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
@pytest.mark.parametrize("size", [(64, 48), (72, 48)])
def test_renewing_makes_the_dream_of_a_changed_photo_again(
    batch: Batch, request_: object, size: tuple[int, int]
) -> None:
    batch.request = request_
    batch.run()
    photo(batch.photos / "rose.png", size, "gold")
    later(batch.photos / "rose.png")
    assert kinds(batch) == [Refused, Done]
    found = batch.judge(renew=True)
    assert [type(verdict) for verdict in found] == [Todo, Done]
    assert isinstance(found[0], Todo)
    assert found[0].replaces
    assert [result.status for result in batch.run(verdicts=found)] == ["done", "skipped"]
    assert kinds(batch, renew=True) == [Done, Done]
    assert kinds(batch) == [Done, Done]


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"size": 56}, {"threads": 2}, {"overrides": {"octaves.count": 2}}]
)
def test_renewing_replaces_no_dream_of_the_same_photo(
    batch: Batch, request_: object, change: dict[str, object]
) -> None:
    batch.request = request_
    batch.run()
    batch.request = replace(request_, **change)
    assert all("exists" in refusal(batch, output, renew=True) for output in (ROSE, TULIP))


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
@pytest.mark.parametrize("change", [{"seed": 5}, {"overrides": {"octaves.count": 2}}])
def test_renewing_replaces_no_other_dream_of_a_changed_photo(
    batch: Batch, request_: object, change: dict[str, object]
) -> None:
    batch.request = request_
    batch.run()
    photo(batch.photos / "rose.png", (64, 48), "gold")
    later(batch.photos / "rose.png")
    batch.request = replace(request_, **change)
    assert kinds(batch, renew=True) == [Refused, Refused]


@pytest.mark.parametrize("request_", [ASKED, WITHOUT])
def test_renewing_replaces_no_dream_of_a_photo_of_another_name(
    batch: Batch, request_: object
) -> None:
    batch.request = request_
    batch.run()
    (batch.photos / "rose.png").unlink()
    photo(batch.photos / "rose.jpg", (64, 48), "gold")
    assert "exists" in refusal(batch, ROSE, renew=True)


def test_renewing_replaces_nothing_that_is_no_dream(batch: Batch) -> None:
    photo(batch.out / ROSE)
    assert kinds(batch, renew=True) == [Refused, Todo]
    batch.run()
    Image.new("RGB", (5, 5)).save(batch.out / TULIP)
    photo(batch.photos / "below" / "tulip.jpg", (64, 48), "gold")
    assert kinds(batch, renew=True) == [Refused, Refused]


# ---- Photos that cannot be dreamed on.


def test_each_photo_that_cannot_be_dreamed_on_fails_alone(tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    photo(inputs / "good.png")
    photo(inputs / "small.png", (64, 20))
    photo(inputs / "gone.png")
    (inputs / "empty.png").touch()
    (inputs / "text.jpg").write_text("this is no picture\n")
    (inputs / "circle.png").symlink_to("circle.png")
    (inputs / "nowhere.png").symlink_to("nothing")
    os.mkfifo(inputs / "pipe.png")
    listed = sorted(inputs.iterdir())
    items = items_of(listed)
    (inputs / "gone.png").unlink()
    judge = Judge(tmp_path / "out", ASKED, {})
    signal.alarm(20)  # a pipe that is opened is waited for, for ever
    try:
        found = {item.name: judge(item) for item in items}
    finally:
        signal.alarm(0)
    assert isinstance(found.pop("good.png"), Todo)
    said = {
        "small.png": "needs at least",
        "gone.png": "There is no file",
        "empty.png": "is empty",
        "text.jpg": "is not a picture that can be read",
        "circle.png": "Too many levels of symbolic links",
        "nowhere.png": "There is no file",
        "pipe.png": "is a device or a pipe",
    }
    assert found.keys() == said.keys()
    for name, verdict in found.items():
        assert isinstance(verdict, Refused)
        assert isinstance(verdict.error, InputError)
        assert said[name] in verdict.error.message
        assert str(inputs / name) in verdict.error.message
        assert verdict.error.advice


def test_a_size_that_the_network_or_the_format_does_not_take_fails_alone(batch: Batch) -> None:
    batch.request = replace(ASKED, size=20)
    assert kinds(batch) == [Refused, Refused]
    photo(batch.photos / "long.png", (17_000, 40))
    batch.request, batch.name = ASKED, "{stem}.webp"
    found = verdicts(batch)
    assert [type(verdict) for verdict in found.values()] == [Refused, Todo, Todo]
    assert "WEBP holds at most 16383 pixels" in refusal(batch, "long.webp")


def test_a_neuron_that_a_picture_does_not_have_fails_alone(batch: Batch) -> None:
    photo(batch.photos / "large.png", (640, 480))
    batch.request = replace(ASKED, overrides={"target": "block8:3@20,20"})
    assert kinds(batch) == [Todo, Refused, Refused]


def test_what_is_refused_keeps_nothing_of_the_file(batch: Batch) -> None:
    (batch.photos / "rose.png").write_bytes(b"no picture" * 1000)
    verdict = verdicts(batch)[ROSE]
    assert isinstance(verdict, Refused)
    error = verdict.error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


# ---- Names of results.


def planned(
    paths: list[str], presets: tuple[str, ...] = (), seeds: int = 1, name: str = ""
) -> tuple[list[str], list[str]]:
    """The outputs of photos that need not be there, and what is said of those that clash."""
    found = [Found(path, "") for path in paths]
    template = names.template(name or names.default(seeds))
    items, clashes = plan.items(found, (), looks(ASKED, presets, seeds), template)
    for each in clashes:
        assert isinstance(each.error, UsageError)
        assert each.item.output == ""
    return [item.output for item in items], [str(each.error) for each in clashes]


def test_every_photo_gets_every_preset_and_every_seed() -> None:
    outputs, clashes = planned(["a/1.jpg", "b/2.jpg"], ("parts", "eyes", "parts"), 2)
    assert outputs == [
        f"{number}-{preset}-{seed}.png"
        for number in (1, 2)
        for preset in ("parts", "eyes")
        for seed in (0, 1)
    ]
    assert clashes == []


@pytest.mark.parametrize(
    ("paths", "presets", "seeds", "name", "told"),
    [
        (["a/1.jpg", "b/1.jpg"], (), 1, "{stem}", "{parent}"),
        (["a/1.jpg", "b/1.jpg"], (), 1, "{preset}/{name}", "{parent}"),
        (["a/1.jpg", "a/1.png"], (), 1, "{stem}", "{name}"),
        (["a/1.jpg", "b/1.png"], (), 1, "{stem}", "{name}"),
        (["a/1.jpg"], ("parts", "eyes"), 1, "{stem}", "{preset}"),
        (["a/1.jpg"], (), 2, "{stem}-{preset}", "{seed}"),
        (["a/1.jpg"], ("parts", "eyes"), 2, "{stem}-{seed}", "{preset}"),
        (["a/1.jpg", "b/1.jpg"], (), 1, "{parent:.0}{stem}", "Rename one of them"),
        (["x/a/1.jpg", "y/a/1.jpg"], (), 1, "{parent}-{stem}", "--recursive"),
        (["x/a/1.jpg", "y/a/1.jpg"], (), 1, "{stem}", "--recursive"),
    ],
)
def test_two_results_of_one_name_are_said_with_the_field_that_tells_them_apart(
    paths: list[str], presets: tuple[str, ...], seeds: int, name: str, told: str
) -> None:
    _, clashes = planned(paths, presets, seeds, name)
    assert clashes
    assert told in clashes[0]
    assert f"'{paths[0]}'" in clashes[0]
    assert f"'{paths[-1]}'" in clashes[0]
    if told.startswith("{"):
        better, left = planned(paths, presets, seeds, f"{name}-{told}")
        assert left == []
        assert len(better) == len(paths) * max(1, len(presets)) * seeds


def test_two_presets_of_one_name_are_said(tmp_path: Path) -> None:
    text = 'schema = 1\ndescription = "x"\ntarget = "parts"\n'
    (tmp_path / "dream.toml").write_text(text)
    _, clashes = planned(["a/1.jpg"], ("dream", str(tmp_path / "dream.toml")))
    assert len(clashes) == 1
    assert "Give one of the presets 'dream' another name" in clashes[0]


def test_the_first_of_two_results_of_one_name_can_be_made() -> None:
    outputs, clashes = planned(["a/1.jpg", "b/1.jpg", "c/2.jpg"])
    assert outputs == ["1-dream.png", "2-dream.png"]
    assert len(clashes) == 1


def test_a_picture_made_of_nothing_and_a_photo_called_like_it_clash() -> None:
    photos = [Found("photos/sky.jpg", "")]
    _, clashes = plan.items(photos, ("sky",), looks(), names.template("{stem}"))
    assert "{name}" in str(clashes[0].error)


def test_seeds_count_up_and_end(tmp_path: Path) -> None:
    request = replace(ASKED, seed=MOST_SEED - 1)
    assert [look.seed for look in looks(request, seeds=2)] == [MOST_SEED - 1, MOST_SEED]
    with pytest.raises(UsageError) as caught:
        looks(request, seeds=3)
    assert "--seed" in caught.value.advice


STEMS = st.text(st.sampled_from("aA1.-_ü\n\\ "), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(STEMS, STEMS), max_size=12, unique=True),
    st.sampled_from(["{stem}", "{name}", "{parent}/{stem}", "{name}-{parent}", "x"]),
)
@settings(deadline=None)
def test_no_two_items_have_one_name_and_none_is_lost(
    paths: list[tuple[str, str]], name: str
) -> None:
    found = [Found(f"{folder}/{stem}.jpg", folder) for folder, stem in paths]
    items, clashes = plan.items(found, (), looks(), names.template(name))
    outputs = [item.output for item in items]
    assert len(set(outputs)) == len(outputs)
    assert len(items) + len(clashes) == len(paths)
    assert {item.path for item in items} | {each.item.path for each in clashes} == {
        each.path for each in found
    }


# ---- Where the results go.


def check(batch: Batch, listed: list[Path] | None = None) -> None:
    folders = [os.path.realpath(path) for path in listed or ()]
    plan.check_folder(batch.out, batch.items(), folders)


def test_a_folder_of_its_own_is_taken_wherever_it_is(batch: Batch) -> None:
    listed = [batch.photos, batch.photos / "below"]
    items = batch.items()
    for out in (batch.out, batch.photos / "dreams", batch.photos / "below" / "x" / "y"):
        plan.check_folder(out, items, [os.path.realpath(path) for path in listed])
        assert not out.exists()


def test_the_folder_of_the_photos_is_refused(batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("in")
    for out in (batch.photos, batch.photos / "below" / "..", tmp_path / "link"):
        batch.out = out
        with pytest.raises(OutputError, match="among the photos") as caught:
            check(batch, [batch.photos])
        assert "-o" in caught.value.advice


def test_a_folder_within_the_results_that_leads_to_the_photos_is_refused(
    batch: Batch, tmp_path: Path
) -> None:
    batch.out.mkdir()
    (batch.out / "below").symlink_to(batch.photos / "below")
    with pytest.raises(OutputError, match="among the photos"):
        check(batch, [batch.photos, batch.photos / "below"])
    # A batch into the folder above its photos is fine as long as nothing lands among them.
    out = Batch(batch.photos / "below", batch.photos)
    check(out, [batch.photos / "below"])
    out.name = "below/{stem}"
    with pytest.raises(OutputError, match="among the photos"):
        check(out, [batch.photos / "below"])


def test_a_result_that_would_replace_a_photo_is_refused(batch: Batch, tmp_path: Path) -> None:
    out = Batch(batch.photos / "rose.png", batch.photos, name="{stem}")
    with pytest.raises(OutputError, match="among the photos"):
        check(out)
    # Through a link, whatever it is called.
    out = Batch(batch.photos / "rose.png", tmp_path / "out")
    out.out.mkdir()
    (out.out / ROSE).symlink_to(batch.photos / "rose.png")
    with pytest.raises(OutputError, match="would replace a photo"):
        check(out)
    (out.out / ROSE).unlink()
    (tmp_path / "another").mkdir()
    (out.out / "linked").symlink_to(batch.photos)
    out.name = "linked/{stem}"
    with pytest.raises(OutputError, match="among the photos"):
        check(out)


def test_a_photo_of_the_batch_is_never_written_even_if_all_is_overwritten(
    batch: Batch, tmp_path: Path
) -> None:
    before = tree(batch.photos)
    batch.request = replace(ASKED, overwrite=True)
    batch.run()
    os.link(batch.photos / "rose.png", tmp_path / "hard")
    (batch.out / ROSE).unlink()
    os.link(batch.photos / "rose.png", batch.out / ROSE)  # one file under two names
    batch.run()
    assert tree(batch.photos) == before
    assert (batch.out / ROSE).read_bytes() != before["rose.png"]


def test_a_folder_that_cannot_be_is_refused(batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    batch.out = tmp_path / "file"
    with pytest.raises(OutputError, match="a folder in its path is a file"):
        check(batch)
    batch.out = tmp_path / "out"
    (batch.out / "index.html").mkdir(parents=True)
    with pytest.raises(OutputError, match="it is a folder"):
        check(batch)


def test_names_that_differ_in_case_only_are_refused_where_they_are_one(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(batch.photos / "ROSE.png")
    check(batch)
    monkeypatch.setattr(files, "folds_case", lambda folder: folder == batch.out)
    with pytest.raises(UsageError, match="does not tell upper from lower case") as caught:
        check(batch)
    assert "'rose-dream.png'" in caught.value.message
    assert "'ROSE-dream.png'" in caught.value.message
    assert caught.value.advice


# ---- Shards.

FOLDERS = st.lists(st.sampled_from(["a", "b", "..", ".", "", "ü"]), max_size=3).map("/".join)


@given(
    st.lists(st.tuples(FOLDERS, STEMS), max_size=30, unique=True),
    st.integers(1, 7),
    st.sampled_from(["/", "/mnt/disk/", "../x/", ""]),
)
@example([("..", "rose"), ("../..", "rose")], 2, "/")
@settings(max_examples=40, deadline=None)
def test_shards_have_every_item_once_wherever_the_photos_are(
    paths: list[tuple[str, str]], count: int, place: str
) -> None:
    def outputs(place: str, index: int) -> list[str]:
        found = [Found(f"{place}{stem}.jpg", below) for below, stem in paths]
        items, _ = plan.items(found, (), looks(), names.template("{stem}-{preset}"))
        return [item.output for item in plan.in_shard(items, index, count)]

    parts = [outputs("", index) for index in range(1, count + 1)]
    assert [outputs(place, index) for index in range(1, count + 1)] == parts
    together = [output for part in parts for output in part]
    assert len(set(together)) == len(together)
    assert all(".." not in output.split("/") for output in together)
    count = 1
    assert sorted(outputs("", 1)) == sorted(together)


def test_shards_share_the_work_about_equally() -> None:
    found = [Found(f"IMG_{index}.jpg", "") for index in range(1000)]
    items, _ = plan.items(found, (), looks(), names.template("{stem}"))
    assert all(200 < len(plan.in_shard(items, index, 4)) < 300 for index in range(1, 5))


def test_a_large_folder_that_is_done_is_recognised_soon(tmp_path: Path) -> None:
    count = 160
    batch = Batch(photo(tmp_path / "in" / "0.png").parent, tmp_path / "out")
    for index in range(1, count):
        os.link(batch.photos / "0.png", batch.photos / f"{index}.png")
    batch.run()
    began = time.process_time()
    assert kinds(batch) == [Done] * count
    assert time.process_time() - began < 0.4  # 2,000 in 5 seconds, at the most
