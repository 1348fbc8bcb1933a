import os
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dreamer.errors import UsageError
from dreamer.media import formats
from dreamer.recipe import MOST_SEED
from dreamer.render.batch import names

# Whatever a name on a disk can be: any characters, and bytes that are no text.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
STEMS = st.one_of(TEXTS, st.binary(max_size=300).map(os.fsdecode), st.sampled_from([".", "..", ""]))
SEEDS = st.integers(0, MOST_SEED)
SPECS = st.sampled_from(["", ":06d", ":>30", ":.3e", ":x", ":_", ":_^99", ":c", ":n", ":.200f"])
PIECES = st.one_of(
    st.sampled_from([f"{{{field}}}" for field in names.FIELDS]),
    SPECS.map(lambda spec: f"{{seed{spec}}}"),
    st.sampled_from(["{stem:.0}", "{stem:.3}", "{stem:_>300}", "{{", "}}", "/", "-", "..", "."]),
    st.text(st.sampled_from(string.printable), max_size=5),
)
TEMPLATES = st.lists(PIECES, min_size=1, max_size=6).map("".join)


def values(**given: str | int) -> dict[str, str | int]:
    usual = {"stem": "rose", "name": "rose.jpg", "parent": "garden", "preset": "dream"}
    return {**usual, "seed": 7, "network": "googlenet"} | given


def fill(text: str, below: str = "", **given: str | int) -> str:
    return names.template(text).fill(below, values(**given))


@given(TEMPLATES, st.lists(STEMS, max_size=3).map("/".join), STEMS, STEMS, STEMS, SEEDS)
@example("{seed:c}/{stem}", "", "a", "b", "c", 47)
@example("{parent}/{stem}", "../..", "..", "/", "\0", 0)
@example("{stem}.jpg", "x" * 300, "." * 254, "", "", 0)
def test_no_template_and_no_value_leads_out_of_the_folder_or_makes_a_name_that_is_too_long(
    text: str, below: str, stem: str, parent: str, preset: str, seed: int
) -> None:
    try:
        template = names.template(text)
    except UsageError:
        assume(False)
    below = below.replace("\0", "")
    output = template.fill(below, values(stem=stem, parent=parent, preset=preset, seed=seed))
    parts = output.split("/")
    # As many folders as the template and the photo's place have: a value adds none.
    mirrored = [part for part in below.split("/") if part not in ("", ".", "..")]
    assert len(parts) == len(mirrored) + text.count("/") + 1
    for part in parts:
        assert part not in ("", ".", "..")
        assert "\0" not in part
        assert len(os.fsencode(part)) <= 255
    assert os.path.normpath(os.path.join("out", output)) == os.path.join("out", output)
    # The suffix is what says how to write it, in every way to ask for it.
    assert os.path.splitext(output)[1] == template.suffix
    assert formats.by_suffix(output) == formats.by_suffix(template.suffix)


@given(
    st.text(st.characters(exclude_characters="/\\\0", exclude_categories=("Cs",)), min_size=1),
    st.integers(1, 4),
)
def test_a_value_that_fits_stays_as_it_is(stem: str, count: int) -> None:
    assume(len(stem.encode()) < 200)
    assume(stem.strip("."))
    assert fill("{stem}-{seed}.jpg", "a/b", stem=stem) == f"a/b/{stem}-7.jpg"


LONG = st.text(st.sampled_from("aü😀"), min_size=130, max_size=255)


@given(LONG, LONG)
def test_two_long_names_stay_two(one: str, other: str) -> None:
    def cut(stem: str) -> str:
        return stem.encode()[:255].decode(errors="ignore")

    one, other = cut(one), cut(other)
    assume(one != other)
    assert fill("{stem}-{preset}", stem=one) != fill("{stem}-{preset}", stem=other)


def test_names_that_differ_only_where_they_are_cut_stay_two() -> None:
    ends = {
        fill("{stem}-{preset}.jpg", stem="x" * 250 + end) for end in ("aaaaa", "aaaab", "a", "")
    }
    ends |= {fill("{stem}-{preset}.jpg", stem="x" * 255, preset=preset) for preset in ("a", "b")}
    folders = {fill("{stem}/x", stem="y" * 280 + end).split("/")[0] for end in "ab"}
    mirrored = {fill("x", "z" * 280 + end).split("/")[0] for end in "ab"}
    assert [len(ends), len(folders), len(mirrored)] == [6, 2, 2]
    assert all(name.endswith(".jpg") for name in ends)


def test_the_folders_of_the_photo_come_before_those_of_the_template() -> None:
    assert fill("{preset}/{stem}", "2024/Rome") == "2024/Rome/dream/rose.png"


def test_a_name_of_dots_alone_gets_another_first_character() -> None:
    for stem in ("", ".", "..", "..."):
        assert fill("{stem}/{stem}.jpg", stem=stem) == f"_{stem}/_{stem}.jpg"


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_the_suffix_chooses_the_format(suffix: str) -> None:
    assert fill("{stem}" + suffix) == "rose" + suffix
    assert fill("{stem}" + suffix.upper()) == "rose" + suffix.upper()
    assert names.template("{stem}" + suffix.upper()).suffix == suffix.upper()


def test_without_a_suffix_it_is_a_png_whatever_the_values_look_like() -> None:
    assert fill("{stem}-{preset}", stem="a.jpg", preset="v1.5") == "a.jpg-v1.5.png"
    assert fill("v1.5/{name}") == "v1.5/rose.jpg.png"
    assert fill("{{a.jpg}}") == "{a.jpg}.png"


def test_fields_are_written_as_their_format_says() -> None:
    assert fill("{preset}/{stem}-{seed:06d}.webp") == "dream/rose-000007.webp"
    assert fill("{name}_{network:.4}_{parent:_>8}_{seed:x}") == "rose.jpg_goog___garden_7.png"


def test_by_default_the_seed_is_in_the_name_only_if_there_are_several() -> None:
    assert fill(names.default(1)) == "rose-dream.png"
    assert fill(names.default(2)) == "rose-dream-7.png"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{stam}", "Did you mean stem"),
        ("{seeds}", "Did you mean seed"),
        ("{}", "There are stem, name"),
        ("{0}", "There are stem, name"),
        ("{stem.__class__}", "There are stem, name"),
        ("{stem[0]}", "There are stem, name"),
        ("{stem!r}", "There are stem, name"),
        ("{seed:{stem}}", "There are stem, name"),
        ("{two\nlines}", r"two\nlines"),
        ("{stem", "expected '}'"),
        ("{", "{{ and }}"),
        ("stem}", "{{ and }}"),
        ("{stem:d}", "{seed:06d}"),
        ("{seed:s}", "{seed:06d}"),
        ("{seed:.3}", "{seed:06d}"),
        ("{seed:c}", "{seed:06d}"),
        ("{seed:/>9}", "{seed:06d}"),
        ("{seed:>99999999999}", "255 bytes"),
        ("{seed:.99999f}", "255 bytes"),
        ("{stem:" + "9" * 5000 + "}", "255 bytes"),
        ("/tmp/{stem}", "-o chooses the folder"),
        ("../{stem}", "-o chooses the folder"),
        ("a/../../{stem}", "-o chooses the folder"),
        ("./{stem}", "-o chooses the folder"),
        ("a//{stem}", "-o chooses the folder"),
        ("{stem}/", "-o chooses the folder"),
        ("{stem:.0}/x", "-o chooses the folder"),
        ("a\\{stem}", "-o chooses the folder"),
        ("a\0{stem}", "-o chooses the folder"),
        ("{stem}.bmp", ".png, .jpg"),
        ("{stem}.", ".png, .jpg"),
        ("{stem}.jpgg", "Did you mean .jpg"),
        ("{stem}.a\rb", r"'.a\rb' is no format"),
    ],
)
def test_a_mistake_in_a_template_is_said_with_what_to_do(text: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.template(text)
    assert named in str(caught.value)
    for line in (caught.value.message, caught.value.advice):
        assert line
        assert line.splitlines() == [line]


@given(TEMPLATES)
@example("{stem}.\r")
@example("{stem:\n")
def test_every_template_is_taken_or_refused_with_advice(text: str) -> None:
    refused: list[UsageError] = []
    try:
        names.template(text)
    except UsageError as error:
        refused.append(error)
    assert all(error.advice and len(str(error).splitlines()) == 1 for error in refused)
