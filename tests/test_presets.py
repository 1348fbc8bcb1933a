import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer import preset_files, presets
from dreamer.errors import UsageError
from dreamer.preset_files import key_lines
from dreamer.presets import PresetError

BASIC = 'schema = 1\ndescription = "d"\ntarget = "parts"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the three places that presets come from, all of them empty."""
    for folder in ("presets", "user", "built-in"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAMER_PRESETS", str(tmp_path / "user"))
    monkeypatch.setattr(preset_files, "_built_in_folder", lambda: tmp_path / "built-in")
    return tmp_path


def write(path: Path, text: str = BASIC) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def problems(name: str | Path) -> tuple[str, ...]:
    with pytest.raises(PresetError) as caught:
        presets.load(name)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.advice
    return caught.value.problems


# --- finding ---


def test_presets_are_found_in_the_working_folder_then_the_users_then_the_built_in(
    here: Path,
) -> None:
    for name, places in {
        "one": ["presets", "user", "built-in"],
        "two": ["user", "built-in"],
        "three": ["built-in"],
    }.items():
        for place in places:
            write(here / place / f"{name}.toml", BASIC.replace('"d"', f'"{place}"'))
    assert presets.names() == ["one", "three", "two"]
    assert [
        (entry.found.name, entry.found.source, entry.description) for entry in presets.listing()
    ] == [
        ("one", "./presets", "presets"),
        ("three", "built-in", "built-in"),
        ("two", "user", "user"),
    ]
    assert presets.load("two").settings.description == "user"


@pytest.mark.skipif(os.name == "nt", reason="the folders of Unix")
def test_the_users_folder_is_in_the_configuration_folder_unless_a_variable_names_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DREAMER_PRESETS")
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    write(here / "home/.config/dreamer/presets/mine.toml")
    assert presets.find("mine").source == "user"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))
    assert presets.names() == []
    write(here / "config/dreamer/presets/yours.toml")
    assert presets.names() == ["yours"]


def test_a_variable_that_names_no_folder_is_an_error_and_not_ignored(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMER_PRESETS", str(here / "nowhere"))
    with pytest.raises(UsageError, match="DREAMER_PRESETS is set to"):
        presets.names()


def test_the_built_in_folder_is_called_built_in_in_a_checkout_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preset_files, "_built_in_folder", lambda: here / "presets")
    write(here / "presets" / "one.toml")
    assert [entry.found.source for entry in presets.listing()] == ["built-in"]


def test_a_preset_can_be_given_as_a_path(here: Path) -> None:
    path = write(here / "elsewhere" / "mine.toml")
    for given_as in (path, str(path), "elsewhere/mine.toml", "./elsewhere/mine.toml"):
        preset = presets.load(given_as)
        assert (preset.name, preset.found.source) == ("mine", "file")


@pytest.mark.parametrize("name", ["partz", "Parts"])
def test_an_unknown_name_offers_the_nearest(here: Path, name: str) -> None:
    write(here / "built-in" / "parts.toml")
    with pytest.raises(UsageError) as caught:
        presets.load(name)
    assert f"no preset named '{name}'" in caught.value.message
    assert "Did you mean parts?" in caught.value.advice


def test_naming_presets_imports_neither_pydantic_nor_torch_and_reading_one_not_torch() -> None:
    code = (
        "import sys; from dreamer import presets; presets.names();"
        "assert not {'pydantic', 'torch', 'PIL', 'numpy'} & sys.modules.keys();"
        "presets.listing();"
        "assert not {'torch', 'torchvision', 'PIL', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- extends ---


def test_what_extends_keeps_the_values_that_it_does_not_set(here: Path) -> None:
    write(here / "built-in/base.toml", BASIC + "strong = true\n[octaves]\ncount = 3\nscale = 1.3\n")
    write(here / "user/middle.toml", 'schema = 1\nextends = "base"\noctaves.count = 5\n')
    write(here / "presets/top.toml", 'schema = 1\nextends = "middle"\ntarget = "edges"\n')
    settings = presets.load("top").settings
    assert (settings.target, settings.description, settings.strong) == ("edges", "d", True)
    assert (settings.octaves.count, settings.octaves.scale) == (5, 1.3)


def test_a_preset_may_extend_the_one_of_its_own_name_further_down(here: Path) -> None:
    write(here / "built-in/eyes.toml")
    write(here / "user/eyes.toml", 'schema = 1\nextends = "eyes"\noctaves.count = 5\n')
    write(here / "presets/eyes.toml", 'schema = 1\nextends = "eyes"\noctaves.scale = 1.25\n')
    octaves = presets.load("eyes").settings.octaves
    assert (octaves.count, octaves.scale) == (5, 1.25)


def test_a_users_preset_does_not_change_a_built_in_one_that_extends_that_name(here: Path) -> None:
    write(here / "built-in/base.toml")
    write(here / "built-in/more.toml", 'schema = 1\nextends = "base"\noctaves.count = 5\n')
    write(here / "user/base.toml", BASIC.replace("parts", "edges"))
    assert presets.load("more").settings.target == "parts"
    assert presets.load("base").settings.target == "edges"


def test_a_file_extends_its_neighbours_by_name_and_others_by_a_path_from_itself(here: Path) -> None:
    write(here / "a/base.toml", BASIC.replace("parts", "edges"))
    write(here / "b/base.toml", BASIC.replace("parts", "objects"))
    write(here / "built-in/base.toml")
    by_name = write(here / "a/one.toml", 'schema = 1\nextends = "base"\n')
    by_path = write(here / "a/two.toml", 'schema = 1\nextends = "../b/base.toml"\n')
    assert presets.load(by_name).settings.target == "edges"
    assert presets.load(by_path).settings.target == "objects"


def test_presets_that_extend_each_other_in_a_circle_are_refused(here: Path) -> None:
    write(here / "user/a.toml", 'schema = 1\nextends = "b"\n')
    write(here / "user/b.toml", 'schema = 1\n\nextends = "c"\n')
    write(here / "user/c.toml", 'schema = 1\nextends = "a"\n')
    (problem,) = problems("a")
    assert problem.startswith(f"{Path('user/c.toml')}:2: extends:")
    assert "a -> b -> c -> a" in problem


def test_extending_what_is_not_there_is_refused_beside_all_other_errors(here: Path) -> None:
    write(here / "user/base.toml")
    write(here / "user/a.toml", 'schema = 1\nextends = "bass"\n[octaves]\ncount = 99\n')
    one, two = problems("a")
    assert one.startswith(f"{Path('user/a.toml')}:2: extends:")
    assert "Did you mean base?" in one
    assert two.startswith(f"{Path('user/a.toml')}:4: octaves.count:")
    write(here / "user/a.toml", "schema = 1\nextends = 3\n")
    assert "not a preset's name" in problems("a")[0]
    write(here / "user/a.toml", 'schema = 1\nextends = "a"\n')
    assert "no preset to extend named 'a'" in problems("a")[0]


def test_a_new_target_does_away_with_the_targets_for_single_networks(here: Path) -> None:
    write(here / "user/base.toml", BASIC + '[targets]\ngooglenet = "inception4c:37"\n')
    base = presets.load("base")
    assert base.settings.target_on("googlenet") == "inception4c:37"
    assert base.settings.target_on("vgg16") == "parts"
    write(here / "user/kept.toml", 'schema = 1\nextends = "base"\n')
    assert presets.load("kept").settings.target_on("googlenet") == "inception4c:37"
    write(here / "user/new.toml", 'schema = 1\nextends = "base"\ntarget = "edges"\n')
    assert presets.load("new").settings.target_on("googlenet") == "edges"
    flagged = presets.merge(base, {"target": "edges"})
    assert flagged.settings.target_on("googlenet") == "edges"


# --- errors ---


def test_every_error_is_reported_at_once_with_its_line_and_the_nearest_valid_name(
    here: Path,
) -> None:
    write(
        here / "user/base.toml",
        'schema = 1\ndescription = "d"\n\nstong = true\n[octaves]\nscale = 100.0\ncount = 99\n',
    )
    write(
        here / "user/bad.toml",
        """# a comment
schema = 1
extends = "base"
target = "class:zebrra"

[octaves]
count = 4.5

[ascent]  # a table
steps = [
    1,
    2,
]
count = 3
"step_sise" = 0.1

[colour]
mode = "lumma"

[color]
mode = "free"

[targets]
googlnet = "parts"
vgg16 = "features.99"
""",
    )
    found = problems("bad")
    bad, base = Path("user/bad.toml"), Path("user/base.toml")
    expected = {
        f"{bad}:4: target:": "Did you mean zebra",
        f"{bad}:7: octaves.count:": "4.5",
        f"{bad}:10: ascent.steps:": "integer",
        f"{bad}:14: ascent.count:": "It belongs in [octaves].",
        f"{bad}:15: ascent.step_sise:": "Did you mean step_size?",
        f"{bad}:18: colour.mode:": "Did you mean luma?",
        f"{bad}:20: color:": "Did you mean colour?",
        f"{bad}:24: targets.googlnet:": "Did you mean googlenet",
        f"{bad}:25: targets.vgg16:": "dreamer layers --network vgg16",
        f"{base}:4: stong:": "Did you mean strong?",
        f"{base}:6: octaves.scale:": "100.0 is not valid. It can be",
    }
    assert len(found) == len(expected)
    for start, words in expected.items():
        (problem,) = (problem for problem in found if problem.startswith(start))
        assert words in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ("", "1: schema:", "Begin the file with schema = 1."),
        ("target = 'parts'\nschema = 0", "2: schema:", "It can be 1."),
        ("schema = true", "1: schema:", "It can be 1."),
        ("schema = 2\nnew_thing = 3", "1: schema:", "newer"),
        ("schema = 0x" + "f" * 20000, "1: schema:", "newer"),
        ("schema = 1\ntarget = = 3", "2:10:", "Invalid value"),
        ('schema = 1\n[ascent\nsteps = "', "2:8:", "Expected ']'"),
        ("schema = 1\nx = [1,\n", "2:8:", "Invalid value"),
        ("schema = 1\nx = '''a\nb", "3:2:", "Expected"),
        ("schema = 1\nschema = 1", "2:11:", "Cannot overwrite"),
        ("x = " + "[" * 30000, "1:", ""),
        ("schema = 1\noctaves = 3", "2: octaves:", "[octaves]"),
        ('schema = 1\ndescription = """a\nb"""', "2: description:", "one line"),
        ('schema = 1\ndescription = " "', "2: description:", "one line"),
        ("schema = 1\noctaves.scale = nan", "2: octaves.scale:", "finite"),
        ("schema = 1\noctaves.count = true", "2: octaves.count:", "integer"),
        ("schema = 1\noctaves.count = 0x" + "f" * 20000, "2: octaves.count:", "It can be"),
        ("schema = 1\nstrong = 1", "2: strong:", "boolean"),
        ("schema = 1\n[mix]\ntarget = 'x'", "3: mix.target:", "above the first [table]"),
        ("schema = 1\n\nextend = 'x'", "3: extend:", "Did you mean extends?"),
        ("schema = 1\ntarget = 3", "2: target:", "string"),
        ("schema = 1\ndescription = 'd'", "1: target:", "is missing"),
        ("schema = 1\ntargets = {vgg16 = 3}", "2: targets.vgg16:", "string"),
        ("schema = 1\n[[ascent]]\nsteps = 3", "2: ascent:", "[ascent]"),
    ],
)
def test_each_mistake_is_refused_with_its_line_and_the_reason(
    here: Path, text: str, start: str, words: str
) -> None:
    write(here / "user/bad.toml", text)
    found = problems("bad")
    assert any(
        problem.startswith(f"{Path('user/bad.toml')}:{start}") and words in problem
        for problem in found
    ), found


def test_files_that_are_no_presets_are_refused_by_name(here: Path) -> None:
    (here / "user/bytes.toml").write_bytes(b"schema = 1\nx = '\xff'\n")
    assert problems("bytes")[0].startswith(f"{Path('user/bytes.toml')}:2: ")
    write(here / "user/huge.toml", "# " + "x" * 70000)
    (here / "folder.toml").mkdir()
    for name, words in {
        "huge": "larger than 64 KiB",
        "folder.toml": "folder.toml cannot be read",
        "nowhere.toml": "no preset file 'nowhere.toml'",
        "./nowhere": "no preset file './nowhere'",
        "x" * 5000 + ".toml": "no preset file",
        "~nobody-by-that-name/x.toml": "no preset file",
    }.items():
        with pytest.raises(UsageError, match=words):
            presets.load(name)


def test_a_broken_preset_is_listed_with_its_error(here: Path) -> None:
    write(here / "user/good.toml")
    write(here / "user/bad.toml", "schema = 7")
    bad, good = presets.listing()
    assert (bad.found.name, bad.description) == ("bad", None)
    assert isinstance(bad.error, PresetError)
    assert (good.found.name, good.description, good.error) == ("good", "d", None)


def test_files_of_windows_editors_are_read(here: Path) -> None:
    text = BASIC.replace("\n", "\r\n") + "[octaves]\r\ncount = 99\r\n"
    (here / "user/notepad.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert problems("notepad")[0].startswith(f"{Path('user/notepad.toml')}:5: octaves.count:")


def test_key_lines_finds_every_key_of_every_way_to_write_one() -> None:
    text = (
        "# [comment]\na = 1\n\nb.c = '''\n[not.a.table]\nd = 1\n'''\n"
        "e = {f = 1, g = [\n 1, # ]\n]}\n[h.\"i.j\"]\n'k l' = [\n\n]\n[[m]]\nn = 1\n[[m]]\nn = 2"
    )
    assert key_lines(text) == {
        ("a",): 2,
        ("b",): 4,
        ("b", "c"): 4,
        ("e",): 8,
        ("e", "f"): 8,
        ("e", "g"): 8,
        ("h", "i.j"): 11,
        ("h", "i.j", "k l"): 12,
        ("m",): 15,
        ("m", "0"): 15,
        ("m", "0", "n"): 16,
        ("m", "1"): 17,
        ("m", "1", "n"): 18,
    }


# --- flags over presets ---


def test_flags_go_over_a_preset_and_those_not_given_leave_it(here: Path) -> None:
    write(here / "user/base.toml", BASIC + "[octaves]\ncount = 3\nscale = 1.3\n")
    base = presets.load("base")
    merged = presets.merge(base, {"octaves.count": 5, "octaves.scale": None, "target": "0.5*edges"})
    octaves = merged.settings.octaves
    assert (octaves.count, octaves.scale, merged.settings.target) == (5, 1.3, "0.5*edges")
    assert merged.name == "base"
    assert base.settings.octaves.count == 3
    assert presets.merge(base, {}) == base


def test_errors_of_flags_are_reported_at_once_and_name_the_flag(here: Path) -> None:
    write(here / "user/base.toml")
    with pytest.raises(PresetError) as caught:
        presets.merge(
            presets.load("base"),
            {"octaves.count": 99, "target": "class:zebrra", "colour.mode": "lumma", "foo.bar": 1},
        )
    found = {problem.split(":")[0]: problem for problem in caught.value.problems}
    assert found.keys() == {"--octaves", "--target", "--color", "foo"}
    assert "99 is not valid. It can be" in found["--octaves"]
    assert "zebra" in found["--target"]
    assert "Did you mean luma?" in found["--color"]


def test_steps_that_are_asked_for_are_as_many_whatever_the_quality(here: Path) -> None:
    write(here / "user/base.toml", BASIC + '[ascent]\nsteps = 9\nquality = "draft"\n')
    base = presets.load("base")
    assert base.settings.ascent.quality == "draft"
    fine = presets.merge(base, {"ascent.quality": "fine"}).settings.ascent
    assert (fine.quality, fine.steps) == ("fine", 9)
    for overrides in ({"ascent.steps": 5}, {"ascent.steps": 5, "ascent.quality": "fine"}):
        ascent = presets.merge(base, overrides).settings.ascent
        assert (ascent.quality, ascent.steps) == ("normal", 5)


@pytest.mark.parametrize("others", [{}, {"ascent.steps": 5}])
def test_an_unknown_quality_is_refused_with_those_that_there_are(
    here: Path, others: dict[str, object]
) -> None:
    write(here / "user/base.toml")
    with pytest.raises(UsageError) as caught:
        presets.merge(presets.load("base"), {"ascent.quality": "fein", **others})
    assert "--quality: 'fein' is not valid" in str(caught.value)
    assert "Did you mean fine? It can be draft, normal, fine." in str(caught.value)


def test_a_written_preset_loads_as_the_same_settings(here: Path) -> None:
    write(here / "user/base.toml", BASIC + '[targets]\nvgg16 = "features.22"\n')
    base = presets.load("base")
    settings = presets.merge(base, {"description": '\x7f \\ " \t \N{SNOWMAN}'}).settings
    write(here / "user/copy.toml", presets.to_toml(settings))
    assert presets.load("copy").settings == settings


# --- the built-in presets ---


def test_every_built_in_preset_is_valid_and_says_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAMER_PRESETS", str(tmp_path))
    entries = presets.listing()
    assert entries
    assert [(entry.found.name, str(entry.error)) for entry in entries if entry.error] == []
    assert all(entry.found.source == "built-in" for entry in entries)
