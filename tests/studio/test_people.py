"""What is whose, and under which names it is kept."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer.errors import OutputError, UsageError
from dreamer.studio import people
from dreamer.studio.people import People, Person, Photo, safe_name

TOLD: list[tuple[str, str]] = []


def someone(folder: Path, key: str = "a") -> Person:
    TOLD.clear()
    return Person(
        key, folder, lambda name, data: TOLD.append((name, data.get("id", data.get("made"))))
    )


def put(person: Person, name: str = "a.png", data: bytes = b"data", kind: str = "photo") -> Photo:
    photo = Photo(name, 4, 3, kind, str(hash(data)))  # type: ignore[arg-type]
    path = person.path(photo)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    person.give(photo)
    return photo


def make(person: Person, file: str = "a-eyes.png", **facts: object) -> people.Made:
    person.folder.mkdir(parents=True, exist_ok=True)
    (person.folder / file).write_bytes(b"made")
    usual = {"kind": "dream", "width": 4, "height": 3, "command": "", "asked": {}, "photo": None}
    return person.add(file=file, **(usual | facts))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("photo.jpg", "photo.jpg"),
        ("a b.JPEG", "a_b.JPEG"),
        ("été.png", "été.png"),
        ("e\u0301te\u0301.png", "été.png"),
        ("../../etc/passwd", "passwd.png"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("..", "photo.png"),
        ("", "photo.png"),
        ("...", "photo.png"),
        (".hidden.png", "hidden.png"),
        ("-rf.png", "rf.png"),
        ("a\0b\n.png", "a_b.png"),
        ("<script>alert(1)</script>.png", "script.png"),
        ('"><img src=x onerror=alert(1)>.png', "img_src_x_onerror_alert_1.png"),
        ("CON.png", "CON_.png"),
        ("nul", "nul_.png"),
        ("com1.tar.png", "com1_.tar.png"),
        ("sky.png", "sky_.png"),
        ("noise", "noise_.png"),
        ("page.html", "page.html.png"),
        ("run.exe", "run.exe.png"),
        ("cat.svg", "cat.svg.png"),
        ("\u202egpj.png", "gpj.png"),
    ],
)
def test_names_are_safe_anywhere(said: str, kept: str) -> None:
    assert safe_name(said, ".png") == kept


@given(st.text(max_size=400))
def test_any_name_becomes_a_file_in_its_folder(name: str) -> None:
    kept = safe_name(name, ".png")
    assert kept == os.path.basename(kept)
    assert kept[0] not in ".-_"
    assert len(os.fsencode(kept)) <= 110
    assert not {*"/\\:*?\"<>|'@;,=#%& \0\n"} & {*kept}
    assert safe_name(kept, ".png") == kept


def test_nothing_is_made_for_one_who_only_looks(tmp_path: Path) -> None:
    person = someone(tmp_path / "a")
    assert person.state() == {"photos": [], "made": [], "presets": []}
    assert not (tmp_path / "a").exists()


def test_a_photo_is_found_by_its_id_alone(tmp_path: Path) -> None:
    person = someone(tmp_path)
    photo = put(person)
    (tmp_path / "photos" / "other.png").write_bytes(b"not given")
    assert person.photo("a.png") is photo
    for wrong in ("other.png", "./a.png", "../photos/a.png", str(person.path(photo)), "", None, 3):
        with pytest.raises(UsageError, match="There is no photo"):
            person.photo(wrong)


def test_a_name_that_is_wrong_is_cut_and_shown_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        someone(tmp_path).photo("x\n\0" * 500)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_the_same_picture_given_twice_is_one(tmp_path: Path) -> None:
    person = someone(tmp_path)
    photo = put(person)
    assert person.free("photo", "b.png", photo.sha256) == ("a.png", photo)
    assert person.free("mask", "b.png", photo.sha256) == ("b.png", None)
    assert person.free("photo", "a.png", "another") == ("a-2.png", None)
    person.path(photo).unlink()
    assert person.free("photo", "c.png", photo.sha256) == ("c.png", None)


def test_a_link_that_leads_out_is_no_free_name(tmp_path: Path) -> None:
    person = someone(tmp_path / "a")
    (tmp_path / "a" / "photos").mkdir(parents=True)
    (tmp_path / "a" / "photos" / "b.png").symlink_to(tmp_path / "outside.png")
    assert person.free("photo", "b.png", "x") == ("b-2.png", None)


def test_what_is_there_is_there_after_a_restart(tmp_path: Path) -> None:
    person = someone(tmp_path)
    put(person)
    make(person, notes=["a note"], partial=True, seconds=1.5, recipe="hash")
    again = someone(tmp_path)
    assert again.state() == person.state()
    assert again.made == person.made
    assert again.photos == person.photos


def test_what_was_removed_meanwhile_is_not_shown(tmp_path: Path) -> None:
    person = someone(tmp_path)
    put(person)
    put(person, "b.png", b"other")
    make(person)
    (tmp_path / "photos" / "a.png").unlink()
    (tmp_path / "a-eyes.png").unlink()
    again = someone(tmp_path)
    assert [*again.photos] == ["b.png"]
    assert again.state()["made"] == []


PHOTO = {"id": "a.png", "width": 1, "height": 1, "kind": "photo", "sha256": "x"}
MADE = {"kind": "dream", "width": 1, "height": 1, "command": "", "asked": {}, "photo": None}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"photos": 3, "made": []}',
        '{"photos": [3], "made": []}',
        '{"photos": [{"id": 3}], "made": []}',
        json.dumps({"photos": [PHOTO | {"id": "../../outside.png"}], "made": []}),
        json.dumps({"photos": [PHOTO | {"id": 3}], "made": []}),
        json.dumps({"photos": [], "made": [MADE | {"id": "m1", "file": "../outside.png"}]}),
        json.dumps({"photos": [], "made": [MADE | {"id": "m1", "file": "/etc/passwd"}]}),
        json.dumps({"photos": [], "made": [MADE | {"id": 3, "file": "a"}]}),
        json.dumps({"photos": [], "made": [MADE | {"id": "m" + "9" * 5000, "file": "a"}]}),
    ],
    ids=range(13),
)
def test_a_list_that_is_damaged_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "outside.png").write_bytes(b"not ours")
    folder = tmp_path / "studio" / "a"
    (folder / "photos").mkdir(parents=True)
    (folder / ".studio.json").write_text(text)
    person = someone(folder)
    assert person.state() == {"photos": [], "made": [], "presets": []}
    make(person)
    assert [*someone(folder).made] == ["m1"]


def test_ids_are_never_used_again(tmp_path: Path) -> None:
    person = someone(tmp_path)
    assert [make(person, f"{k}.png").id for k in range(3)] == ["m1", "m2", "m3"]
    again = make(person, "2.png", kind="preview")
    assert again.id == "m4"
    assert [*person.made] == ["m1", "m2", "m4"]
    assert [*someone(tmp_path).made] == ["m1", "m2", "m4"]


def test_what_is_replaced_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    person = someone(tmp_path)
    first = make(person, "a-zoom-preview.mp4", kind="preview", thumb=b"small")
    assert (person.previews / f"{first.id}.jpg").is_file()
    second = make(person, "a-zoom-preview.mp4", kind="preview", thumb=b"small")
    assert [("made", first.id), ("gone", first.id), ("made", second.id)] == TOLD
    assert [path.name for path in person.previews.iterdir()] == [f"{second.id}.jpg"]


def test_a_photo_that_cannot_be_noted_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone(tmp_path)

    def full(self: Person) -> None:
        raise OutputError("The disk is full.", "Free some.")

    with monkeypatch.context() as patched:
        patched.setattr(Person, "_write", full)
        with pytest.raises(OutputError):
            put(person)
    assert (person.state()["photos"], [*person.given.iterdir()]) == ([], [])
    assert TOLD == []


def test_a_result_that_cannot_be_noted_is_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone(tmp_path)

    def full(self: Person) -> None:
        raise OutputError("The disk is full.", "Free some.")

    monkeypatch.setattr(Person, "_write", full)
    made = make(person)
    assert "The disk is full." in made.notes[0]
    assert [("made", made.id)] == TOLD


def test_a_photo_whose_file_is_gone_is_none(tmp_path: Path) -> None:
    person = someone(tmp_path)
    photo = put(person)
    person.path(photo).unlink()
    assert person.state()["photos"] == []
    with pytest.raises(UsageError, match="There is no photo"):
        person.photo(photo.id)


def test_addresses_hold_nothing_that_ends_them(tmp_path: Path) -> None:
    person = someone(tmp_path)
    made = make(person, 'a-<b> #?%".png')
    url = person.shown(made)["url"]
    assert url.startswith("/made/m1/")
    assert not {*'<> #?"'} & {*url}
    assert person.shown(made)["name"] == 'a-<b> #?%".png'


def test_there_is_an_end_to_what_one_person_may_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone(tmp_path)
    person.room()
    put(person)
    monkeypatch.setattr(people, "MOST_FILES", 1)
    with pytest.raises(UsageError, match="2 files"):
        person.room()
    monkeypatch.setattr(people, "MOST_FILES", 100)
    monkeypatch.setattr(people, "MOST_BYTES", 3)
    with pytest.raises(UsageError, match="GB here already"):
        person.room()


def test_a_file_that_gets_its_name_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone(tmp_path)
    put(person)
    monkeypatch.setattr(people, "_files_below", lambda _: iter([str(tmp_path / "gone.part")]))
    person.room()


def test_two_people_have_nothing_in_common(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    both = People(tmp_path, lambda key, name, _: told.append((key, name)))
    put(both["a"])
    make(both["b"], "b.png")
    assert told == [("a", "photo"), ("b", "made")]
    assert both["b"].photos == {}
    assert both["a"].made == {}
    assert both["a"] is both["a"]
    with pytest.raises(UsageError):
        both["b"].photo("a.png")
    assert both["a"].folder != both["b"].folder


def test_small_pictures_and_lists_are_written_whole(tmp_path: Path) -> None:
    person = someone(tmp_path)
    person.keep_preview("m1", b"small")
    put(person)
    assert (person.previews / "m1.jpg").read_bytes() == b"small"
    assert not [*tmp_path.rglob("*.part")]
