import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer.errors import UsageError
from dreamer.mask_text import Mask, parse, parse_keep, parse_region, without_folder

CENTRES = st.floats(-1, 2)
RADII = st.floats(0, 2, exclude_min=True)
PATHS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='"'), min_size=1
)
MASKS = st.one_of(
    st.builds(Mask, st.sampled_from(["alpha", "auto"]), inverted=st.booleans()),
    st.just(Mask("rest")),
    st.builds(lambda path, no: Mask("file", path, inverted=no), PATHS, st.booleans()),
    st.builds(
        lambda *spec: Mask("ellipse", ellipse=spec[:4], inverted=spec[4]),
        *(CENTRES, CENTRES, RADII, RADII, st.booleans()),
    ),
)


@pytest.mark.parametrize(
    ("text", "mask", "canonical"),
    [
        ("alpha", Mask("alpha"), "alpha"),
        (" AUTO ", Mask("auto"), "auto"),
        ("not:auto", Mask("auto", inverted=True), "not:auto"),
        ("not: not:auto", Mask("auto"), "auto"),
        ("rest", Mask("rest"), "rest"),
        (
            "ellipse: .5, 0.40,3e-1,1",
            Mask("ellipse", ellipse=(0.5, 0.4, 0.3, 1.0)),
            "ellipse:0.5,0.4,0.3,1",
        ),
        ("ellipse:-0,-1,2,2", Mask("ellipse", ellipse=(0, -1, 2, 2)), "ellipse:0,-1,2,2"),
        ("mask.png", Mask("file", "mask.png"), "mask.png"),
        ("my mask.png", Mask("file", "my mask.png"), '"my mask.png"'),
        ('not:"my mask.png"', Mask("file", "my mask.png", inverted=True), 'not:"my mask.png"'),
        ("./auto", Mask("file", "./auto"), "./auto"),
        ("file:auto", Mask("file", "auto"), '"auto"'),
        ('file:"not:a.png"', Mask("file", "not:a.png"), '"not:a.png"'),
        ("a=b.png", Mask("file", "a=b.png"), '"a=b.png"'),
        (r"masks\cat", Mask("file", r"masks\cat"), r"masks\cat"),
    ],
)
def test_masks_are_read_and_written_canonically(text: str, mask: Mask, canonical: str) -> None:
    assert parse(text) == mask
    assert str(mask) == canonical
    assert parse(canonical) == mask


@given(MASKS)
def test_what_is_written_is_read_again(mask: Mask) -> None:
    assert parse(str(mask)) == mask
    assert parse_region(f"{mask}=parts - 0.5*class:zebra") == (mask, "parts - 0.5*class:zebra")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("not:", "is empty"),
        ("elipse", "Did you mean ellipse"),
        ("alfa", "Did you mean alpha"),
        ("portrait", "./portrait"),
        ("ellipse", "ellipse:X,Y,RX,RY"),
        ("ellipse:0.5,0.5,0.3", "no four numbers"),
        ("ellipse:0.5,0.5,0.3,0.3,1", "no four numbers"),
        ("ellipse:0.5,0.5,nan,0.3", "no four numbers"),
        ("ellipse:0.5,0.5,1e999,0.3", "no four numbers"),
        ("ellipse:0.5,0.5,0,0.3", "radii"),
        ("ellipse:0.5,0.5,-0.1,0.3", "radii"),
        ("ellipse:0.5,0.5,2.1,0.3", "radii"),
        ("ellipse:2.5,0.5,0.2,0.3", "centre"),
        ("not:rest", "where the other regions are"),
        ('""', "no path"),
        ('"a.png', "no path"),
        ("a\nb.png", "control characters"),
        ("a/" * 501, "too long"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_kept_is_named_once_and_ordered() -> None:
    assert parse_keep("faces") == ("faces",)
    assert parse_keep("light, Dark,faces,edges") == ("faces", "edges", "dark", "light")
    for text, said in (
        ("face", "Did you mean faces"),
        ("", "faces, edges, dark, light"),
        ("faces,", "faces, edges, dark, light"),
        ("dark,dark", "twice"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_keep(text)


def test_a_region_is_a_mask_and_the_text_of_a_target() -> None:
    assert parse_region("auto = class:zebra") == (Mask("auto"), "class:zebra")
    assert parse_region("a.png=like:b=c.jpg@parts") == (Mask("file", "a.png"), "like:b=c.jpg@parts")
    assert parse_region('"a=b.png"=eyes') == (Mask("file", "a=b.png"), "eyes")
    for text in ("auto", "auto=", "=parts", '"a=b.png"', ""):
        with pytest.raises(UsageError, match="ellipse:0.5,0.4,0.3,0.35=class:zebra"):
            parse_region(text)


def test_folders_are_left_out() -> None:
    assert without_folder(parse("not:some/where/a.png")) == parse("not:a.png")
    assert without_folder(parse("some/mask")) == Mask("file", "mask")
    assert without_folder(Mask("auto")) == Mask("auto")


def test_nothing_heavy_is_imported() -> None:
    program = "import sys, dreamer.mask_text; print({'torch', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
