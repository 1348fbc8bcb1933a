import contextlib
import io
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dreamer.errors import InputError
from dreamer.media import formats, gathering, reading
from dreamer.media.gathering import Found, Gathered, gather, natural, read_list

ODD_NAMES = [
    "with spaces.jpg",
    'it\'s "quoted".jpg',
    "two\nlines.jpg",
    "😀👩‍🚀 dröm.jpg",
    "-o.jpg",
    "--recursive.jpg",
    "[1]*?.jpg",
    "back\\slash.jpg",
    "x" * 251 + ".jpg",
    "ü" * 125 + "x.jpg",
    os.fsdecode(b"caf\xe9.jpg"),
    "Case.jpg",
    "case.jpg",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, so that paths are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*paths: str) -> None:
    """Make empty files (and folders, for paths that end in a slash) in the current folder."""
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if not path.endswith("/"):
            Path(path).touch()


def paths(gathered: Gathered) -> list[str]:
    return [photo.path for photo in gathered.photos]


def below(gathered: Gathered) -> dict[str, str]:
    return {photo.path: photo.below for photo in gathered.photos}


def close(monkeypatch: pytest.MonkeyPatch, *closed: str, error: OSError | None = None) -> None:
    """Make folders of these names impossible to list, for a superuser as well."""
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if os.path.basename(path.rstrip("/")) in closed:
            raise error or PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


# Files as arguments


def test_a_file_is_taken_whatever_its_suffix(here: Path) -> None:
    make("a.jpg", "notes.txt", "none", "deep/er/b.png", ".hidden.jpg")
    named = ["notes.txt", "a.jpg", "none", "deep/er/b.png", ".hidden.jpg", f"{here}/deep/../a.jpg"]
    gathered = gather(named[:5])
    assert gathered == Gathered(tuple(Found(path, "") for path in named[:5]), (), 0, ())
    assert paths(gather(named)) == named[:5]


def test_arguments_keep_their_order(here: Path) -> None:
    make("z.jpg", "a.jpg", "m/2.jpg", "m/1.jpg", "p10.jpg", "p9.jpg")
    assert paths(gather(["z.jpg", "m", "p*.jpg", "a.jpg"], listed=["b/../z.jpg", "m/2.jpg"])) == [
        *["z.jpg", "m/1.jpg", "m/2.jpg", "p9.jpg", "p10.jpg", "a.jpg"]
    ]


def test_a_photo_given_twice_is_taken_once_the_first_time(here: Path) -> None:
    make("in/a.jpg", "in/b.jpg", "other/")
    os.symlink("../in/b.jpg", "other/link.jpg")
    os.symlink("in", "door")
    inputs = ["./in/b.jpg", "other", "in/a.jpg", "in", "door/a.jpg", f"{here}/in/a.jpg", "in/*"]
    gathered = gather(inputs, listed=["in/../in/b.jpg"])
    assert gathered.photos == (Found("./in/b.jpg", ""), Found("in/a.jpg", ""))
    assert gathered.refused == ()
    assert paths(gather(["other", "in"])) == ["other/link.jpg", "in/a.jpg"]


def test_hard_links_are_two_photos(here: Path) -> None:
    make("in/a.jpg")
    os.link("in/a.jpg", "in/b.jpg")
    assert paths(gather(["in"])) == ["in/a.jpg", "in/b.jpg"]


@pytest.mark.parametrize("name", ["", "nothing.jpg", "a.jpg/below", "a.jpg/", "x" * 256, "a\0b"])
def test_an_argument_that_is_not_there_is_refused_at_once(here: Path, name: str) -> None:
    make("a.jpg")
    with pytest.raises(InputError) as caught:
        gather(["a.jpg", name])
    if len(name) < 256:
        shown = name.replace("\0", "\\x00")
        assert caught.value.message == f"There is no file or folder '{shown}'."
    else:
        assert "File name too long" in caught.value.message
    assert caught.value.advice.startswith("Check the name")


def test_without_arguments_there_is_nothing_and_no_error() -> None:
    assert gather([]) == Gathered((), (), 0, ())


# Folders


def test_a_folder_gives_its_pictures_in_natural_order_and_counts_the_rest(here: Path) -> None:
    make("in/IMG_10.jpg", "in/IMG_2.JPG", "in/b.Png", "in/a.txt", "in/none", "in/a.jpg.bak")
    gathered = gather(["in"])
    assert gathered.photos == (
        *(Found("in/b.Png", ""), Found("in/IMG_2.JPG", ""), Found("in/IMG_10.jpg", "")),
    )
    assert gathered.left_out == 3
    assert gathered.folders == (str(here / "in"),)


def test_paths_start_with_the_argument_as_it_was_given(here: Path) -> None:
    make("in/a.jpg")
    for argument in ("in", "in/", "./in", ".//in", str(here / "in"), "in/../in"):
        (found,) = gather([argument]).photos
        assert found == Found(os.path.join(argument, "a.jpg"), "")
        assert os.path.samefile(found.path, "in/a.jpg")
    os.chdir("in")
    assert paths(gather(["."])) == ["./a.jpg"]


def test_what_is_hidden_is_left_out_silently(here: Path) -> None:
    make("in/a.jpg", "in/._a.jpg", "in/.b.jpg", "in/.DS_Store", "in/.thumbs/c.jpg")
    gathered = gather(["in"], recursive=True)
    assert (paths(gathered), gathered.left_out) == (["in/a.jpg"], 0)
    assert paths(gather(["in/.thumbs"])) == ["in/.thumbs/c.jpg"]


def test_subfolders_are_taken_only_if_wanted(here: Path) -> None:
    make("in/a.jpg", "in/sub/b.jpg")
    assert paths(gather(["in"])) == ["in/a.jpg"]
    assert paths(gather(["in"], recursive=True)) == ["in/a.jpg", "in/sub/b.jpg"]


def test_files_come_before_subfolders_and_both_in_natural_order(here: Path) -> None:
    make("in/z.jpg", "in/d10/a.jpg", "in/d9/b.jpg", "in/d9/a/1.jpg", "in/D1/x.jpg", "in/e.d/1.gif")
    assert below(gather(["in"], recursive=True)) == {
        "in/z.jpg": "",
        "in/D1/x.jpg": "D1",
        "in/d9/b.jpg": "d9",
        "in/d9/a/1.jpg": "d9/a",
        "in/d10/a.jpg": "d10",
        "in/e.d/1.gif": "e.d",
    }
    assert paths(gather(["in"], recursive=True)) == [
        *["in/z.jpg", "in/D1/x.jpg", "in/d9/b.jpg", "in/d9/a/1.jpg", "in/d10/a.jpg"],
        "in/e.d/1.gif",
    ]
    for pattern in ("in/**", "in/**/*.[jg]*"):
        assert gather([pattern]).photos == gather(["in"], recursive=True).photos


def test_the_order_is_not_that_of_the_disk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shuffled:
        def __init__(self, path: str) -> None:
            with scandir(path) as listing:
                self.entries = list(listing)
            chance.shuffle(self.entries)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    make(*(f"in/{folder}/{name}.jpg" for folder in "aBc" for name in ("x1", "X1", "x2", "x10")))
    scandir, chance = os.scandir, random.Random(0)
    monkeypatch.setattr(os, "scandir", Shuffled)
    for pattern in ("in", "in/**/*.jpg", "in/*/x*"):
        orders = {gather([pattern], recursive=True).photos for _ in range(20)}
        assert len(orders) == 1


def test_every_picture_that_can_be_read_or_written_is_taken_from_a_folder(here: Path) -> None:
    Image.init()
    known = {suffix for suffix, name in Image.EXTENSION.items() if name in reading._READ}
    assert set(formats.SUFFIXES) <= gathering.PICTURES
    # Animations, and pictures without limits to their values, are not what folders are for.
    assert known - gathering.PICTURES <= {".apng", ".avifs", ".pfm"}
    assert gathering.PICTURES - known == {".heic", ".heif", ".hif"}
    make(*(f"in/a{suffix}" for suffix in gathering.PICTURES))
    assert len(gather(["in"]).photos) == len(gathering.PICTURES)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_found(here: Path, name: str) -> None:
    folder = name.removesuffix(".jpg")
    make(name, f"in/{folder}/{name}")
    assert gather([name]).photos == (Found(name, ""),)
    found = (Found(f"in/{folder}/{name}", folder),)
    assert gather(["in"], recursive=True).photos == found
    assert gather(["in/**/*.jpg"]).photos == found
    assert gather([], listed=[f"in/{folder}"]).photos == (Found(f"in/{folder}/{name}", ""),)


def test_odd_names_lie_side_by_side(here: Path) -> None:
    make(*(f"in/{name}" for name in ODD_NAMES))
    assert sorted(paths(gather(["in"]))) == sorted(f"in/{name}" for name in ODD_NAMES)


def test_a_folder_without_pictures_is_refused_and_says_how_to_go_on(here: Path) -> None:
    make("in/sub/a.jpg", "in/notes.txt", "empty/", "in/.hidden/a.jpg")
    with pytest.raises(InputError) as caught:
        gather(["in"])
    assert caught.value.message == "There are no pictures in 'in'."
    assert "--recursive" in caught.value.advice
    for recursive in (False, True):
        with pytest.raises(InputError) as caught:
            gather(["empty"], recursive=recursive)
        assert caught.value.message == "There are no pictures in 'empty'."
        assert "--recursive" not in caught.value.advice
    with pytest.raises(InputError, match="no pictures in 'empty' and 1 more"):
        gather(["empty", "in"])
    with pytest.raises(InputError, match="no pictures in 'empty'"):
        gather([], listed=["empty"])
    with pytest.raises(InputError, match=r"no pictures in 'i\*'"):
        gather(["i*"])


def test_a_folder_without_pictures_beside_others_is_no_error(here: Path) -> None:
    make("empty/", "in/sub/a.jpg", "b.jpg")
    assert paths(gather(["empty", "in", "b.jpg"])) == ["b.jpg"]
    gathered = gather(["empty"], listed=["gone.jpg"])
    assert [refused.path for refused in gathered.refused] == ["gone.jpg"]


# Patterns


def test_a_pattern_is_expanded_where_no_shell_did_it(here: Path) -> None:
    make("a1.jpg", "a10.jpg", "a2.jpg", "b.jpg", ".a3.jpg", "a.txt")
    assert paths(gather(["a*.jpg"])) == ["a1.jpg", "a2.jpg", "a10.jpg"]
    assert paths(gather(["[!a].jpg"])) == ["b.jpg"]
    assert paths(gather(["?.*"])) == ["a.txt", "b.jpg"]
    assert paths(gather([".*.jpg"])) == [".a3.jpg"]
    assert paths(gather([f"{here}/*.txt"])) == [f"{here}/a.txt"]
    assert paths(gather(["./*.txt"])) == ["./a.txt"]


def test_below_is_what_lies_between_the_fixed_folder_and_the_file(here: Path) -> None:
    make("in/a/x/1.jpg", "in/b/x/2.jpg", "in/b/y/3.jpg", "in/0.jpg")
    assert below(gather(["in/*/x/*.jpg"])) == {"in/a/x/1.jpg": "a/x", "in/b/x/2.jpg": "b/x"}
    assert below(gather(["in/b/x/?.jpg"])) == {"in/b/x/2.jpg": ""}
    assert below(gather(["in/**/*.jpg"])) == {
        "in/0.jpg": "",
        "in/a/x/1.jpg": "a/x",
        "in/b/x/2.jpg": "b/x",
        "in/b/y/3.jpg": "b/y",
    }
    assert below(gather(["**/x/*.jpg"])) == {"in/a/x/1.jpg": "in/a/x", "in/b/x/2.jpg": "in/b/x"}
    assert below(gather(["in/*/y/3.jpg"])) == {"in/b/y/3.jpg": "b/y"}


def test_below_never_leads_out_of_the_output_folder(here: Path) -> None:
    make("in/a/1.jpg", "2.jpg", "3.jpg")
    patterns = ["in/*/../../2.jpg", "in/*/../../../*/[3].jpg", "in/*/./1.jpg"]
    gathered = gather(patterns)
    assert [photo.below for photo in gathered.photos] == ["", here.name, "a"]
    assert all(os.path.exists(path) for path in paths(gathered))


def test_folders_that_a_pattern_matches_are_listed_below_their_name(here: Path) -> None:
    make("in/a/1.jpg", "in/a/x.txt", "in/a/deep/2.jpg", "in/b/3.jpg", "in/c.jpg", "in/.h/4.jpg")
    gathered = gather(["in/*"])
    assert below(gathered) == {"in/c.jpg": "", "in/a/1.jpg": "a", "in/b/3.jpg": "b"}
    assert paths(gathered) == ["in/c.jpg", "in/a/1.jpg", "in/b/3.jpg"]
    assert gathered.left_out == 1
    assert below(gather(["in/*"], recursive=True))["in/a/deep/2.jpg"] == "a/deep"
    assert paths(gather(["in/*/"])) == ["in/a/1.jpg", "in/b/3.jpg"]
    assert below(gather(["*/a"])) == {"in/a/1.jpg": "in/a"}


def test_two_stars_are_the_folders_at_any_depth(here: Path) -> None:
    make("in/a.jpg", "in/x.txt", "in/b/c/d.jpg", "in/b/c/.e.jpg", "in/.f/g.jpg")
    for pattern in ("in/**", "in/**/", "in/**/**"):
        gathered = gather([pattern])
        assert below(gathered) == {"in/a.jpg": "", "in/b/c/d.jpg": "b/c"}
        assert gathered.left_out == 1
    assert paths(gather(["in/**/c/**/*.jpg"])) == ["in/b/c/d.jpg"]
    assert paths(gather(["in/**/x.txt"])) == ["in/x.txt"]


def test_a_file_that_a_pattern_matches_is_taken_as_if_it_had_been_named(here: Path) -> None:
    make("in/a.jpg", "in/b.txt")
    os.mkfifo("in/c.jpg")
    gathered = gather(["in/*"])
    assert gathered.photos == gather(["in/a.jpg", "in/b.txt", "in/c.jpg"]).photos
    assert gathered.left_out == 0


def test_a_name_that_looks_like_a_pattern_is_a_name_if_it_exists(here: Path) -> None:
    make("a[1].jpg", "a1.jpg", "[2024] Rome/b.jpg", "[2024] Rome/c.jpg", "2 Rome/d.jpg", "*/e.jpg")
    assert paths(gather(["a[1].jpg"])) == ["a[1].jpg"]
    assert paths(gather(["[2024] Rome"])) == ["[2024] Rome/b.jpg", "[2024] Rome/c.jpg"]
    assert below(gather(["[2024] Rome/b*.jpg"])) == {"[2024] Rome/b.jpg": ""}
    assert below(gather(["[2] Rome/*"])) == {"2 Rome/d.jpg": "2 Rome"}
    assert paths(gather(["*/*.jpg"])) == ["*/e.jpg"]
    with pytest.raises(InputError, match=r"no file or folder '\*/f.jpg'"):
        gather(["*/f.jpg"])


@pytest.mark.parametrize("pattern", ["x*.jpg", "in/*.png", "*/x/*", "gone/**/*.jpg", "a.jpg/*"])
def test_a_pattern_that_matches_nothing_is_refused_at_once(here: Path, pattern: str) -> None:
    make("a.jpg", "in/b.jpg")
    with pytest.raises(InputError) as caught:
        gather(["a.jpg", pattern])
    assert caught.value.message == f"Nothing matches '{pattern}'."
    assert "pattern" in caught.value.advice


def test_a_pattern_that_matches_what_is_taken_already_is_no_error(here: Path) -> None:
    make("a.jpg")
    assert paths(gather(["a.jpg", "*.jpg", "."])) == ["a.jpg"]


@pytest.mark.parametrize("pattern", ["[z-a]*", "[", "[]", "[!]", "***", "a**b", "*" * 200 + "x"])
def test_odd_patterns_match_nothing_or_something_and_end(here: Path, pattern: str) -> None:
    make("a" * 200 + ".jpg", "a2b.jpg")
    started = time.monotonic()
    with contextlib.suppress(InputError):
        assert gather([pattern]).photos
    assert time.monotonic() - started < 5


# Lists


def test_what_is_missing_from_a_list_is_refused_alone(here: Path) -> None:
    make("a.jpg", "in/b.jpg")
    gathered = gather([], listed=["gone.jpg", "a.jpg", "a.jpg/x", "x\0", "", "y" * 300, "in"])
    assert paths(gathered) == ["a.jpg", "in/b.jpg"]
    missing = ["gone.jpg", "a.jpg/x", "x\0", "", "y" * 300]
    assert [refused.path for refused in gathered.refused] == missing
    assert gathered.refused[0].error.message == "There is no file or folder 'gone.jpg'."
    assert gathered.refused[0].error.advice


def test_a_list_has_no_patterns(here: Path) -> None:
    make("a.jpg", "[b].jpg", "b.jpg")
    gathered = gather([], listed=["*.jpg", "[b].jpg"])
    assert paths(gathered) == ["[b].jpg"]
    assert [refused.path for refused in gathered.refused] == ["*.jpg"]


def test_folders_of_a_list_are_listed_as_arguments_are(here: Path) -> None:
    make("in/a.jpg", "in/sub/b.jpg", "in/c.txt")
    assert gather([], listed=["in"], recursive=True) == gather(["in"], recursive=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\n \t\r\n", []),
        (b"a.jpg", ["a.jpg"]),
        (b"a.jpg\nb c.jpg\n\n", ["a.jpg", "b c.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n\r\n", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\n\xef\xbb\xbfb.jpg", ["a.jpg", "\ufeffb.jpg"]),
        (b' a.jpg \n# b.jpg\n"c.jpg"\n~/*.jpg', [" a.jpg ", "# b.jpg", '"c.jpg"', "~/*.jpg"]),
        (b"caf\xe9.jpg\n\xc3\xbc.jpg", [os.fsdecode(b"caf\xe9.jpg"), "ü.jpg"]),
        (b"a\nb.jpg\0\0 \0c\r.jpg\r\0", ["a\nb.jpg", " ", "c\r.jpg\r"]),
        (b"a.jpg\0", ["a.jpg"]),
        (b"a\x0bb.jpg\n\xe2\x80\xa8.jpg", ["a\x0bb.jpg", "\u2028.jpg"]),
    ],
)
def test_a_list_is_read_as_it_is_written(here: Path, data: bytes, expected: list[str]) -> None:
    Path("list").write_bytes(data)
    assert read_list("list") == expected
    stream = io.BytesIO(data)
    assert read_list(stream) == expected
    assert not stream.closed


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name)))
def test_any_names_go_through_a_list_with_null_bytes(names: list[bytes]) -> None:
    data = b"".join(name + b"\0" for name in names)
    if not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        assert [os.fsencode(path) for path in read_list(io.BytesIO(data))] == names


def test_the_output_of_find_is_such_a_list(here: Path) -> None:
    make(*(f"in/{name}" for name in ODD_NAMES))
    command = ["find", "in", "-name", "*.jpg", "-print0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        listed = read_list(process.stdout)  # type: ignore[arg-type]
    gathered = gather([], listed=listed)
    assert sorted(paths(gathered)) == sorted(f"in/{name}" for name in ODD_NAMES)
    assert gathered.refused == ()


def test_a_list_that_cannot_be_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/", "file")
    os.symlink("circle", "circle")
    for path in ("gone.txt", "file/list"):
        with pytest.raises(InputError, match=f"There is no file '{path}'"):
            read_list(path)
    for path in ("in", "circle", "a\0b"):
        with pytest.raises(InputError, match="cannot be read: .+") as caught:
            read_list(path)
        assert caught.value.advice

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="'file' cannot be read: Permission denied"):
        read_list("file")


def test_a_stream_that_cannot_be_read_is_refused(here: Path) -> None:
    stream = io.BytesIO()
    stream.close()
    with pytest.raises(InputError, match="list on standard input cannot be read"):
        read_list(stream)


def test_too_long_a_list_is_refused_even_one_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "LIST_BYTES", 1_000_000)
    assert len(read_list(io.BytesIO(b"a\n" * 500_000))) == 500_000
    for source in ("/dev/zero", io.BytesIO(b"a\n" * 500_000 + b"b")):
        with pytest.raises(InputError, match="more than 1 MB"):
            read_list(source)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_not_taken_apart(here: Path, encoding: str) -> None:
    Path("list").write_bytes("\ufeffa.jpg\r\nb.jpg\r\n".encode(encoding))
    with pytest.raises(InputError, match="'list' is UTF-16") as caught:
        read_list("list")
    assert "UTF-8" in caught.value.advice


# Folders that are not entered


def test_the_output_folder_is_not_entered_from_above(here: Path) -> None:
    make("in/a.jpg", "in/out/b.jpg", "in/out/deep/c.jpg", "in/outer/d.jpg")
    expected = ["in/a.jpg", "in/outer/d.jpg"]
    for without in ("in/out", Path("in/out"), here / "in" / "out", "in/gone/../out"):
        for inputs in (["in"], ["."], ["in/**/*.jpg"], ["in/**"], ["i*"], ["in/*"]):
            found = gather(inputs, recursive=True, without=[without])
            assert [os.path.normpath(path) for path in paths(found)] == expected
            assert str(here / "in" / "out") not in found.folders
    assert len(gather(["in"], recursive=True, without=["in/not-yet-there"]).photos) == 4


def test_the_output_folder_is_not_entered_through_a_link(here: Path) -> None:
    make("in/a.jpg", "out/b.jpg", "out/deep/c.jpg")
    os.symlink("../out", "in/door")
    os.symlink("../out/deep", "in/window")
    os.symlink("out", "other name")
    for inputs in (["in"], ["in/**/*.jpg"], ["in/*"], ["i?/door/*.jpg", "in"], ["in/w*/*", "in"]):
        if len(inputs) == 2:
            with pytest.raises(InputError, match="Nothing matches"):
                gather(inputs, without=["other name"])
        else:
            found = gather(inputs, recursive=True, without=["other name"])
            assert paths(found) == ["in/a.jpg"]


def test_an_argument_in_the_output_folder_is_taken(here: Path) -> None:
    make("in/a.jpg", "in/out/b.jpg", "in/out/deep/er/c.jpg")
    inside = ["in/out/b.jpg", "in/out/deep/er/c.jpg"]
    for inputs in (["in/out"], ["in/out/**/*.jpg"], inside):
        assert paths(gather(inputs, recursive=True, without=["in/out"])) == inside
    assert paths(gather(["in/out/deep"], recursive=True, without=["in/out"])) == inside[1:]
    found = gather(["in", "in/out"], recursive=True, without=["in/out"])
    assert paths(found) == ["in/a.jpg", *inside]
    assert paths(gather(["in"], without=["in", "/"])) == ["in/a.jpg"]


def test_the_output_folder_alone_is_no_reason_to_advise_recursion(here: Path) -> None:
    make("in/out/b.jpg")
    with pytest.raises(InputError) as caught:
        gather(["in"], without=["in/out"])
    assert "--recursive" not in caught.value.advice


# Links


def test_a_linked_file_is_taken_under_the_name_of_the_link(here: Path) -> None:
    make("store/123", "in/")
    os.symlink("../store/123", "in/photo.jpg")
    os.symlink("../store/123", "in/photo.txt")
    gathered = gather(["in"])
    assert gathered.photos == (Found("in/photo.jpg", ""),)
    assert gathered.left_out == 1


def test_broken_links_are_taken_and_each_fails_later(here: Path) -> None:
    make("in/")
    for name in ("a.jpg", "b.jpg", "c.txt"):
        os.symlink("gone", f"in/{name}")
    os.symlink("circle.jpg", "in/circle.jpg")
    broken = ["in/a.jpg", "in/b.jpg", "in/circle.jpg"]
    gathered = gather(["in"])
    assert (paths(gathered), gathered.left_out) == (broken, 1)
    assert paths(gather(broken)) == paths(gather([], listed=broken)) == broken
    assert paths(gather(["in/*.jpg"])) == broken


def test_linked_folders_are_followed_under_the_name_of_the_link(here: Path) -> None:
    make("elsewhere/a.jpg", "elsewhere/sub/b.jpg", "in/")
    os.symlink("../elsewhere", "in/album")
    gathered = gather(["in"], recursive=True)
    assert below(gathered) == {"in/album/a.jpg": "album", "in/album/sub/b.jpg": "album/sub"}
    assert gathered.folders == tuple(
        str(here / folder) for folder in ("in", "elsewhere", "elsewhere/sub")
    )
    assert below(gather(["in/album"])) == {"in/album/a.jpg": ""}


def test_each_real_folder_is_listed_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a.jpg", "in/sub/b.jpg", "other/x.txt")
    os.symlink("../in", "other/door")
    scandir, listed = os.scandir, []

    def note(path: str) -> Any:
        listed.append(os.path.realpath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", note)
    gathered = gather(["in/sub", "in", "other", "./in", "other/door/sub"], recursive=True)
    assert paths(gathered) == ["in/sub/b.jpg", "in/a.jpg"]
    assert sorted(listed) == [str(here / folder) for folder in ("in", "in/sub", "other")]
    assert gathered.left_out == 1


@pytest.mark.parametrize(
    "inputs", [["in"], ["in/**/*.jpg"], ["in/**"], ["in/*"], ["in/**/**/[12].jpg"]]
)
def test_links_in_circles_end_and_photos_have_their_plain_paths(
    here: Path, inputs: list[str]
) -> None:
    make("in/a/1.jpg", "in/b/2.jpg", "in/b/c/3.jpg", "side/4.jpg")
    for folder in ("in/a", "in/b", "side"):
        for number in range(5):
            os.symlink("..", f"{folder}/a-up{number}")
            os.symlink(".", f"{folder}/a-self{number}")
    os.symlink("b", "in/a link")
    os.symlink("../side", "in/aside")
    started = time.monotonic()
    found = below(gather([*inputs, "in/b/c"], recursive=True))
    assert time.monotonic() - started < 10
    plain = {"in/a/1.jpg": "a", "in/aside/4.jpg": "aside", "in/b/2.jpg": "b"}
    if "12" not in inputs[0]:
        assert found == plain | {"in/b/c/3.jpg": "b/c"}
    else:
        assert found == {"in/a/1.jpg": "a", "in/b/2.jpg": "b", "in/b/c/3.jpg": ""}


def test_circles_in_a_pattern_with_many_parts_end(here: Path) -> None:
    make("in/a/1.jpg")
    for number in range(9):
        os.symlink("..", f"in/a/up{number}")
    started = time.monotonic()
    assert len(gather(["in/**/a/**/a/**/a/**/up*/**/*.jpg"]).photos) == 1
    assert len(gather(["in/*/*/*/*/*/*/*/*/*/*/*/*.jpg"]).photos) == 1
    assert time.monotonic() - started < 10


# Trees and folders that resist


@pytest.fixture
def deep(here: Path) -> Iterator[int]:
    """A tree of 3,000 folders, too deep for a path: how many of them a path can reach."""
    os.makedirs("in")
    os.chdir("in")
    for _ in range(3000):
        Path("p.jpg").touch()
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    # Less the end of the text, for the system; the current folder takes no part of it.
    yield (os.pathconf(".", "PC_PATH_MAX") - 1 - len("in")) // len("/d")
    os.chdir(here)
    subprocess.run(["rm", "-rf", "in"], check=True)  # deeper than Python can remove


def test_a_deep_tree_is_no_trouble(deep: int) -> None:
    assert deep > 1500
    for inputs in (["in"], ["in/**"], ["in/**/p.jpg"]):
        gathered = gather(inputs, recursive=True)
        assert len(gathered.photos) > 1500
        assert gathered.photos[1500].below == "/".join("d" * 1500)
        # Where the names get too long the rest is refused, and said so.
        assert deep - 2 <= len(gathered.photos) <= deep + 1
        (refused,) = gathered.refused
        assert refused.error.message.endswith("cannot be listed: File name too long.")


def test_pipes_sockets_and_devices_in_folders_are_left_out(here: Path) -> None:
    make("in/a.jpg")
    os.mkfifo("in/pipe.jpg")
    os.symlink("pipe.jpg", "in/link.jpg")
    os.symlink("/dev/zero", "in/zero.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket.jpg")
        gathered = gather(["in"])
    assert (paths(gathered), gathered.left_out) == (["in/a.jpg"], 4)


def test_a_pipe_as_an_argument_is_left_to_the_reader(here: Path) -> None:
    os.mkfifo("pipe.jpg")
    named = ["pipe.jpg", "/dev/null"]
    assert paths(gather(named)) == paths(gather([], listed=named)) == named
    for path in named:
        with pytest.raises(InputError, match="a device or a pipe"):
            reading.probe(path)


@pytest.mark.parametrize(
    "inputs", [["in"], ["in/**/*.jpg"], ["in/**"], ["in/*"], ["in/*/*", "in/[a]*"], ["in/c*", "in"]]
)
def test_a_folder_that_cannot_be_listed_is_refused_and_the_rest_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, inputs: Sequence[str]
) -> None:
    make("in/a.jpg", "in/closed/b.jpg", "in/open/c.jpg")
    close(monkeypatch, "closed")
    gathered = gather(inputs, recursive=True)
    assert sorted(paths(gathered)) == ["in/a.jpg", "in/open/c.jpg"]
    (refused,) = gathered.refused
    assert refused.path == "in/closed"
    assert refused.error.message == ("The folder 'in/closed' cannot be listed: Permission denied.")
    assert "permissions" in refused.error.advice
    assert str(here / "in/closed") not in gathered.folders


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), FileNotFoundError(2, "Gone")])
def test_an_argument_that_cannot_be_listed_is_refused_and_no_exception(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    make("closed/a.jpg")
    close(monkeypatch, "closed", ".", error=error)
    for argument in ("closed", "closed/", "closed/*.jpg", "*"):
        for gathered in (gather([argument]), gather([argument], listed=["closed", "closed"])):
            assert not gathered.photos
            assert not gathered.folders
            assert len({refused.path for refused in gathered.refused}) == len(gathered.refused)
            assert str(error.strerror) in gathered.refused[0].error.message
    assert [refused.path for refused in gather([], listed=["closed"]).refused] == ["closed"]
    assert [refused.path for refused in gather(["*"]).refused] == ["."]


def test_a_folder_that_breaks_off_in_the_middle_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            yield from list(scandir("in"))[:1]
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            pass

    make("in/a.jpg", "in/b.jpg")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda _: Broken())
    gathered = gather(["in"])
    assert (len(gathered.photos), len(gathered.refused)) == (0, 1)


def test_a_path_that_may_not_be_looked_at_says_why(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    make("closed/a.jpg")
    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(InputError, match="'closed/a.jpg' cannot be found: Permission denied"):
        gather(["closed/a.jpg"])
    (refused,) = gather([], listed=["closed/a.jpg"]).refused
    assert "Permission denied" in refused.error.message


# What is told about folders


def test_the_folders_that_photos_came_out_of_are_told(here: Path) -> None:
    make("in/a.jpg", "in/sub/b.jpg", "c/1.jpg", "d/2.jpg", "e/x/3.jpg", "f/", "in/.h/")
    os.symlink("in", "door")
    gathered = gather(["door", "c/1.jpg", "d/*.jpg", "e/**/3.*", "f"], recursive=True)
    assert gathered.folders == tuple(
        str(here / folder) for folder in ("in", "in/sub", "d", "e/x", "f")
    )


# Speed


def test_many_files_are_gathered_without_a_look_at_each(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(*(f"in/{folder}/{number}.jpg" for folder in range(3) for number in range(500)))
    asked = []
    for name in ("stat", "lstat"):
        ask = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, ask=ask, **k: [asked.append(a), ask(*a, **k)][1])
    assert len(gather(["in"], recursive=True).photos) == 1500
    assert len(asked) < 50


def test_gathering_needs_nothing_heavy() -> None:
    program = (
        "import sys, dreamer.media.gathering\n"
        "print(sorted({'torch', 'PIL', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"


# The order of names

NAMES = st.text(st.one_of(st.sampled_from("aAbB01290._ ß²٣"), st.characters()), max_size=12)


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_2.jpg", "IMG_10.jpg", "IMG_100.jpg"],
        ["a.jpg", "a1.jpg", "a2.jpg", "a10.jpg", "aa.jpg"],
        ["A.jpg", "a.jpg", "B.jpg", "b.jpg"],
        ["x7.jpg", "x8.jpg", "x09.jpg", "x10.jpg"],
        ["v1.2.png", "v1.10.png", "v2.0.png"],
        ["0", "00", "1", "01", "001", "2"],
        ["2024-9-30.jpg", "2024-10-1.jpg"],
        ["1" * 5000, "2" * 5000, "1" * 5001],
    ],
)
def test_names_are_in_the_order_that_people_expect(names: list[str]) -> None:
    by_key = sorted(random.Random(0).sample(names, len(names)), key=natural)
    if names[0] == "0":
        assert [int(name) for name in by_key] == [0, 0, 1, 1, 1, 2]
    else:
        assert by_key == names


@given(NAMES, NAMES, NAMES)
def test_the_order_of_names_is_total(one: str, two: str, three: str) -> None:
    assert (natural(one) == natural(two)) == (one == two)
    assert (natural(one) < natural(two)) + (natural(two) < natural(one)) == (one != two)
    if natural(one) <= natural(two) <= natural(three):
        assert natural(one) <= natural(three)


@given(st.lists(NAMES, unique=True), st.randoms())
def test_the_order_of_names_is_the_same_wherever_they_start(
    names: list[str], chance: random.Random
) -> None:
    expected = sorted(names, key=natural)
    chance.shuffle(names)
    assert sorted(names, key=natural) == expected


@given(
    NAMES.filter(lambda text: text[-1:] not in set("0123456789")),
    NAMES.filter(lambda text: text[:1] not in set("0123456789")),
    st.integers(0, 10**30),
    st.integers(0, 10**30),
)
def test_numbers_count_by_their_value(start: str, end: str, one: int, two: int) -> None:
    in_order = natural(f"{start}{one}{end}") < natural(f"{start}{two}{end}")
    assert in_order == (one < two)


@given(NAMES, NAMES)
def test_letters_count_without_their_case_first(one: str, two: str) -> None:
    if natural(one.casefold())[0] < natural(two.casefold())[0]:
        assert natural(one) < natural(two)
    assert natural(one)[0] == natural(one.casefold())[0]


@pytest.mark.parametrize("name", ["²", "٣٤", "Ⅷ", "x²3", "१२", "9" * 100_000, "\udce9", ""])
def test_no_name_is_too_odd_to_be_sorted(name: str) -> None:
    others = ["a", "1", "10", "²", "٣", "9" * 99_999, "é", name + "1", name + "a"]
    in_order = sorted({name, *others}, key=natural)
    assert sorted(in_order, key=natural, reverse=True) == list(reversed(in_order))


def test_only_0_to_9_count_by_their_value() -> None:
    for name in ("x²3", "٣٤", "१२"):
        assert natural(name)[0].startswith(name[:2])
