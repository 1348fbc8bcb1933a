import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer import targets
from dreamer.errors import InputError, UsageError
from dreamer.networks import imagenet, rows
from dreamer.networks.rows import Layer, Row
from dreamer.target_files import Files, Like, Unread
from dreamer.targets import Term

ROW = Row(
    name="tiny",
    minimum=8,
    axis="nchw",
    weights=(),
    layers=(
        Layer("stem", 4, 2, 0.2),
        Layer("block1.conv-0", 8, 4, 0.4),
        Layer("block2", 8, 4, 0.6),
        Layer("block3", 16, 8, 0.8),
        Layer("logits", 1000, 0, 1.0),
    ),
    levels={"edges": ("stem",), "parts": ("block2", "block3")},
    aliases={"relu1": "stem"},
)

NAMES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.]|-[A-Za-z0-9_]){0,12}", fullmatch=True)
WEIGHTS = st.builds(math.copysign, st.floats(1e-6, 1e6), st.sampled_from([-1, 1]))
COUNTS = st.integers(0, 10**9 - 1)
PATHS = st.text(min_size=1, max_size=20).filter(lambda path: path.isprintable() and '"' not in path)
DIRECTIONS = st.dictionaries(COUNTS, WEIGHTS, min_size=1, max_size=4).map(
    lambda shares: tuple(sorted(shares.items()))
)
TERMS = st.one_of(
    st.builds(Term, WEIGHTS, st.just("level"), st.sampled_from(rows.LEVELS)),
    st.builds(Term, WEIGHTS, st.just("layer"), NAMES.filter(lambda name: name not in rows.LEVELS)),
    st.builds(
        Term,
        WEIGHTS,
        st.just("layer"),
        NAMES.filter(lambda name: name not in rows.LEVELS and name.lower() != "class"),
        COUNTS,
        st.none() | st.tuples(COUNTS, COUNTS),
    ),
    st.builds(
        lambda weight, index: Term(weight, "class", imagenet.name(index), index),
        WEIGHTS,
        st.integers(0, 999),
    ),
    st.builds(
        lambda weight, name, shares: Term(weight, "layer", name, direction=shares),
        WEIGHTS,
        NAMES.filter(lambda name: name not in rows.LEVELS),
        DIRECTIONS,
    ),
    st.builds(
        lambda weight, kind, name, path: Term(weight, kind, name, path=path),
        WEIGHTS,
        st.sampled_from(["like", "direction"]),
        NAMES | st.sampled_from(rows.LEVELS),
        PATHS,
    ),
)


def resolved(text: str) -> list[tuple[float, str]]:
    return [(term.weight, term.label) for term in targets.resolve(targets.parse(text), ROW)]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("parts", [Term(1, "level", "parts")]),
        ("-parts", [Term(-1, "level", "parts")]),
        ("+ parts", [Term(1, "level", "parts")]),
        ("block8", [Term(1, "layer", "block8")]),
        ("block8:37", [Term(1, "layer", "block8", 37)]),
        ("block8:37@4,5", [Term(1, "layer", "block8", 37, (4, 5))]),
        ("block8:37@4, 5", [Term(1, "layer", "block8", 37, (4, 5))]),
        ("0.7*a", [Term(0.7, "layer", "a")]),
        (".5 * a", [Term(0.5, "layer", "a")]),
        ("2.*a", [Term(2, "layer", "a")]),
        ("1e-1*a", [Term(0.1, "layer", "a")]),
        ("-2E+1*a", [Term(-20, "layer", "a")]),
        ("a+b", [Term(1, "layer", "a"), Term(1, "layer", "b")]),
        ("a + -0.5*b", [Term(1, "layer", "a"), Term(-0.5, "layer", "b")]),
        ("a - -0.5*b", [Term(1, "layer", "a"), Term(0.5, "layer", "b")]),
        ("  a\n - b ", [Term(1, "layer", "a"), Term(-1, "layer", "b")]),
        ("block8:[37]", [Term(1, "layer", "block8", direction=((37, 1),))]),
        (
            "2*block8:[ 37,-0.5*12, + 3 ] - b",
            [
                Term(2, "layer", "block8", direction=((3, 1), (12, -0.5), (37, 1))),
                Term(-1, "layer", "b"),
            ],
        ),
        ("direction:v/a-b.npy@block8-0", [Term(1, "direction", "block8-0", path="v/a-b.npy")]),
        ("-like:../photo.jpg@parts", [Term(-1, "like", "parts", path="../photo.jpg")]),
        ("Like:37@b", [Term(1, "like", "b", path="37")]),
        ("like:a+b*c@d", [Term(1, "like", "d", path="a+b*c")]),
        ('like:"my @photo.jpg"@b', [Term(1, "like", "b", path="my @photo.jpg")]),
        ("like:37", [Term(1, "layer", "like", 37)]),
        ("class:zebra", [Term(1, "class", "zebra", 340)]),
        ("class:340", [Term(1, "class", "zebra", 340)]),
        ("class:great_white_shark", [Term(1, "class", "great white shark", 2)]),
        ('class:"Great White Shark"', [Term(1, "class", "great white shark", 2)]),
        ("class:black-and-tan_coonhound", [Term(1, "class", "black-and-tan coonhound", 165)]),
    ],
)
def test_every_form_of_a_term_is_read(text: str, terms: list[Term]) -> None:
    assert targets.parse(text).terms == tuple(terms)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a-b", ["a-b"]),
        ("block1.block1-0.f", ["block1.block1-0.f"]),
        ("a - b", ["a", "b"]),
        ("a -b", ["a", "b"]),
        ("a- b", ["a", "b"]),
        ("a-2*b", ["a", "b"]),
        ("block1-0-2*b", ["block1-0", "b"]),
        ("a:3-b", ["a:3", "b"]),
    ],
)
def test_a_dash_inside_a_name_is_a_minus_only_before_a_weight(text: str, labels: list[str]) -> None:
    assert [term.label for term in targets.parse(text).terms] == labels


@given(st.lists(TERMS, min_size=1, max_size=5).map(tuple).map(targets.Target))
def test_the_text_of_a_target_reads_back_as_the_same_target(target: targets.Target) -> None:
    assert targets.parse(str(target)) == target


@given(st.text(alphabet="ab8.-+*:@,\"' \nclass1e_[]like", max_size=30))
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        target = targets.parse(text)
    except UsageError:
        return
    assert targets.parse(str(target)) == target


def test_the_canonical_text_is_the_same_for_every_spelling() -> None:
    texts = {
        str(targets.parse(text))
        for text in (
            "0.7*parts + 0.3*class:zebra - 0.2*block3",
            "+.70*parts+3e-1*class:340 -0.2 * block3",
            '0.7*parts - -0.3*class:"Zebra"-0.20*block3',
        )
    }
    assert texts == {"0.7*parts + 0.3*class:zebra - 0.2*block3"}


def test_every_class_has_a_text_of_its_own() -> None:
    terms = [Term(1.0, "class", imagenet.name(index), index) for index in range(1000)]
    assert [targets.parse(term.label).terms[0] for term in terms] == terms
    assert len({term.label for term in terms}) == 1000


def test_every_layer_of_every_network_can_be_written_as_a_target() -> None:
    for network in rows.names():
        row = rows.row(network)
        for layer in row.layers:
            assert targets.parse(layer.name).terms == (Term(1.0, "layer", layer.name),)
        for level in rows.LEVELS:
            assert targets.resolve(targets.parse(level), row)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("parts +", "ends where a name should follow"),
        ("-", "ends where a name should follow"),
        ("guise:photo.jpg@parts", "no kind of target named 'guise'"),
        ("clas:zebra", "Did you mean class?"),
        ("class:zebrra", "zebra"),
        ("class:1000", "1000"),
        ("class:CARDIGAN", "474"),
        ("class:great white shark", 'class:"tiger cat"'),
        ("class:", 'class:"tiger cat"'),
        ("block8:37@4", "block8:37@4,5"),
        ("block8:37@-4,5", "block8:37@4,5"),
        ("block8:1.5", "block8:37@4,5"),
        ("block8:" + "9" * 1500, "block8:37@4,5"),
        ("block8:" + "9" * 5000, "5007 characters"),
        ("parts:37", "a channel of a detail level"),
        ("parts:[37]", "a direction of a detail level"),
        ("likes:photo.jpg@parts", "Did you mean like?"),
        ("like:photo.jpg", "like:photo.jpg@parts"),
        ("like:my photo.jpg@parts", 'like:"my photo.jpg"@parts'),
        ("direction:a.npy", "direction:numbers.npy@block8"),
        ("block8:[]", "block8:[37, -0.5*12]"),
        ("block8:[37", "block8:[37, -0.5*12]"),
        ("block8:[x]", "block8:[37, -0.5*12]"),
        ("block8:[1, 2, 1]", "channel 1 twice"),
        ("block8:[0*1]", "weight 0.0"),
        ("nan*parts", "A weight is a plain number"),
        ("inf*parts", "A weight is a plain number"),
        ("0.7**parts", "at '*parts'"),
        ("parts*0.7", "A weight is a plain number"),
        ("2*3*parts", "at '3*parts'"),
        ("1e999*parts", "weight inf"),
        ("0*parts", "weight 0.0"),
        ("1e7*parts", "weight 10000000.0"),
        ("1e-7*parts", "weight 1e-07"),
        ("parts - 0.0*block3", "weight 0.0"),
        ("1e-999*parts", "weight 0.0"),
        ("parts block3", "cannot be read at 'parts block3'"),
        ("2 parts", "cannot be read at '2 parts'"),
        ("parts + \N{SNOWMAN}", "cannot be read at '\N{SNOWMAN}'"),
    ],
)
def test_what_is_not_a_target_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        targets.parse(text)
    assert words in f"{caught.value.message} {caught.value.advice}"


def test_a_level_shares_its_weight_equally_among_its_layers() -> None:
    assert resolved("0.6*parts") == [(0.3, "block2"), (0.3, "block3")]


def test_weights_are_those_of_the_text_whatever_the_order() -> None:
    # The trap: 2*a + 3*b that computes 6*a + 3*b.
    assert resolved("2*stem + 3*block2 - 4*block3:1") == [
        (2, "stem"),
        (3, "block2"),
        (-4, "block3:1"),
    ]
    assert resolved("-block2") == [(-1, "block2")]


def test_the_same_layer_twice_is_one_term_with_the_sum_of_the_weights() -> None:
    assert resolved("parts + block3") == [(0.5, "block2"), (1.5, "block3")]
    assert resolved("stem + relu1") == [(2, "stem")]
    assert resolved("stem + stem:1") == [(1, "stem"), (1, "stem:1")]


def test_terms_that_cancel_are_left_out_and_refused_if_nothing_is_left() -> None:
    assert resolved("0.1*stem + 0.2*stem - 0.3*stem + block2") == [(1, "block2")]
    with pytest.raises(UsageError, match="cancel each other out on tiny"):
        resolved("parts - 0.5*block2 - 0.5*block3")


def test_a_class_is_its_logit_and_a_neuron_keeps_its_place() -> None:
    target = targets.parse("class:zebra + block3:2@4,5 + relu1")
    one, two, three = targets.resolve(target, ROW)
    assert (one.layer, one.channel, one.at, one.label) == ("logits", 340, None, "class:zebra")
    assert (two.layer, two.channel, two.at, two.label) == ("block3", 2, (4, 5), "block3:2@4,5")
    assert (three.layer, three.channel, three.label) == ("stem", None, "stem")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("block4", "Did you mean block3, block2"),
        ("prts", "Did you mean parts"),
        ("relu2", "relu1"),
        ("block2-block3", "A minus needs a space before it"),
        ("block3:16", "Its channels are 0 to 15."),
        ("nothing", "dreamer layers --network tiny"),
    ],
)
def test_unknown_layers_and_channels_are_refused_with_what_there_is(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        targets.resolve(targets.parse(text), ROW)
    assert words in f"{caught.value.message} {caught.value.advice}"


def test_deepest_is_the_last_layer_in_execution_order() -> None:
    def deepest(text: str) -> str:
        return targets.deepest(targets.resolve(targets.parse(text), ROW), ROW).name

    assert deepest("block3 + stem") == "block3"
    assert deepest("stem - 0.1*block2:1") == "block2"
    assert deepest("edges + class:zebra") == "logits"


def test_a_resolved_target_describes_itself_as_the_sum_it_is() -> None:
    terms = targets.resolve(targets.parse("parts - 0.2*class:zebra + stem:1"), ROW)
    assert targets.describe(terms) == "0.5*block2 + 0.5*block3 - 0.2*class:zebra + stem:1"


@pytest.mark.parametrize("weight", [0.0, math.inf, math.nan])
def test_a_term_made_in_python_is_held_to_the_same_weights(weight: float) -> None:
    with pytest.raises(UsageError, match="weight"):
        Term(weight, "level", "parts")


# Files: a photo of 2x2 pixels, and a direction for the four channels of `stem`.


@pytest.fixture
def here(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "far").mkdir()
    Image.new("RGB", (2, 2), "teal").save("far/my photo.png")
    Image.new("RGB", (2, 2), "red").save("my photo.png")
    np.save("v.npy", np.array([[0.5, 0, -2, 0]], np.float32))
    return tmp_path


def test_a_direction_resolves_to_its_channels_and_is_merged_with_its_like():
    (found,) = targets.resolve(targets.parse("2*block3:[2, -0.5*1] + block3:[-.5*1, 2]"), ROW)
    assert (found.weight, found.layer, found.channel) == (3, "block3", None)
    assert found.direction == ((1, -0.5), (2, 1.0))
    assert found.label == "block3:[-0.5*1, 2]"
    assert resolved("block3:[2] + block3:2") == [(1, "block3:[2]"), (1, "block3:2")]
    with pytest.raises(UsageError, match="no channel 16"):
        resolved("block3:[2, 16]")


@pytest.mark.parametrize(
    ("name", "text"),
    [("v.npy", None), ("v.txt", "0.5, 0\n-2 0\n"), ("v.json", "[0.5, 0, -2, 0]")],
)
def test_a_direction_is_read_from_its_file_when_it_is_resolved(here, name, text):
    if text is not None:
        (here / name).write_text(text)
    target = targets.parse(f"3*direction:{here}/{name}@relu1")
    (found,) = targets.resolve(target, ROW)
    assert found.direction == ((0, 0.5), (2, -2.0))
    assert (found.weight, found.layer, found.label) == (3, "stem", f"direction:{name}@stem")
    assert not [term for term in targets.resolve(targets.parse("stem"), ROW) if term.direction]


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_where_a_direction_points_is_all_that_counts(here, scale):
    (here / "v.json").write_text(json.dumps([scale, 0, -2 * scale, 0]))
    (found,) = targets.resolve(targets.parse("direction:v.json@stem"), ROW)
    assert found.direction == ((0, 0.5), (2, -1.0))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.csv", b"1", ".npy, .txt or .json"),
        ("none.npy", None, "no file 'none.npy'"),
        ("v.txt", b"1 2 3", "3 numbers; layer 'stem' has 4 channels"),
        ("v.txt", b"1 2 3 x", "does not hold plain numbers"),
        ("v.txt", b"0 0 0 0", "nothing but zeros"),
        ("v.txt", b"1 2 3 nan", "not numbers"),
        ("v.json", b"[1, 2, 3, Infinity]", "not numbers"),
        ("v.json", b"[1, 2, 3, true]", "does not hold plain numbers"),
        ("v.json", b'{"a": 1}', "does not hold plain numbers"),
        ("v.json", b"[" * 99999, "does not hold plain numbers"),
        ("w.npy", b"\x93NUMPY\x01\x00", "does not hold plain numbers"),
        ("w.npy", np.array([1, "a", None, 2], object).dumps(), "does not hold plain numbers"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_file_that_is_no_direction_is_refused_with_the_reason(here, name, content, words):
    if content is not None:
        (here / name).write_bytes(content)
    with pytest.raises((UsageError, InputError)) as caught:
        resolved(f"direction:{name}@stem")
    assert words in f"{caught.value.message} {caught.value.advice}"


def test_a_file_that_is_too_large_for_a_direction_is_not_read(here):
    with open("v.txt", "wb") as stream:
        stream.truncate(10_000_001)
    with pytest.raises(InputError, match="too large"):
        resolved("direction:v.txt@stem")


def test_a_pickled_array_is_never_unpickled(here):
    np.save("o.npy", np.array([1, 2, 3, None], object), allow_pickle=True)
    with pytest.raises(InputError, match="does not hold plain numbers"):
        resolved("direction:o.npy@stem")


def test_a_direction_needs_a_layer_and_a_caricature_takes_a_level(here):
    with pytest.raises(UsageError, match="a direction of a detail level"):
        resolved("direction:v.npy@parts")
    target = targets.parse('0.6*like:"far/my photo.png"@parts - 0.1*like:"far/my photo.png"@block3')
    one, two = targets.resolve(target, ROW)
    assert (one.weight, one.layer, one.label) == (0.3, "block2", 'like:"my photo.png"@block2')
    assert (two.weight, two.layer) == (pytest.approx(0.2), "block3")
    assert one.like is not None
    assert one.like == two.like
    assert one.like.name == "my photo.png"
    assert one.like.path == str(here / "far/my photo.png")
    assert len(one.like.sha256) == 64
    assert targets.describe([one]) == '0.3*like:"my photo.png"@block2'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("like:none.png@stem", "no file 'none.png'"),
        ("like:v.npy@stem", "'v.npy' is not a picture"),
        ("like:none.png@stam", "Did you mean stem"),
    ],
)
def test_a_photo_that_is_none_is_refused(here, text, words):
    with pytest.raises((UsageError, InputError)) as caught:
        resolved(text)
    assert words in f"{caught.value.message} {caught.value.advice}"


def test_a_file_is_read_once_and_travels_on(here):
    target = targets.parse('like:"far/my photo.png"@stem + direction:v.npy@stem')
    files = Files()
    first = targets.resolve(target, ROW, files)
    for path in ("far/my photo.png", "v.npy"):
        (here / path).unlink()
    travelled = pickle.loads(pickle.dumps(files))
    again = targets.resolve(target, ROW, travelled)
    assert again == first
    assert first[0].like is not None
    assert again[0].like is not None
    assert again[0].like.path == first[0].like.path
    moved = targets.resolve(target, ROW, travelled.moved({first[0].like.sha256: "/there.png"}))
    assert moved == first
    assert moved[0].like is not None
    assert moved[0].like.path == "/there.png"


def test_names_can_be_checked_without_reading_a_file():
    target = targets.parse("like:none.png@parts - like:none2.png@parts + direction:none.npy@stem")
    assert len(targets.resolve(target, ROW, Unread())) == 5
    with pytest.raises(UsageError, match="Did you mean|stem"):
        targets.resolve(targets.parse("like:none.png@stam"), ROW, Unread())


def test_two_files_of_one_name_are_refused_where_names_must_do():
    target = targets.parse('like:"far/my photo.png"@stem + like:"./far/my photo.png"@block2')
    assert str(targets.without_folders(target)) == (
        'like:"my photo.png"@stem + like:"my photo.png"@block2'
    )
    with pytest.raises(UsageError, match="have one name"):
        targets.without_folders(targets.parse("like:a/x.png@stem + like:b/x.png@stem"))


def test_the_same_photo_is_the_same_wherever_it_was_found():
    assert Like("a.png", "1", "/x/a.png") == Like("a.png", "1", "/y/a.png")
    assert hash(Like("a.png", "1", "/x/a.png")) == hash(Like("a.png", "1", ""))
    assert Like("a.png", "1") != Like("a.png", "2")
