import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer import presets
from dreamer.settings import QUALITIES, Ascent, Setting, Settings, all_settings, check
from dreamer.settings import setting as setting_at


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.choices:
        return st.sampled_from(setting.choices)
    match setting.kind.__name__:
        case "int":
            assert setting.minimum is not None
            assert setting.maximum is not None
            return st.integers(int(setting.minimum), int(setting.maximum))
        case "float":
            return st.floats(setting.minimum, setting.maximum)
        case "bool":
            return st.booleans()
        case "dict":
            masks = ["not:auto", "rest", "ellipse:0.5,0.5,0.25,0.25", '"my mask.png"']
            names = ["vgg16", "googlenet"] if setting.path == "targets" else masks
            return st.dictionaries(st.sampled_from(names), st.sampled_from(["edges", "-0.5*parts"]))
    some = {
        "target": ["parts", "0.7*block8:3@4,5 - class:zebra", "class:jack-o'-lantern"],
        "mask.where": ["", "alpha", "ellipse:0.5,0.5,0.25,0.25", "not:mask.png"],
        "mask.keep": ["", "faces", "edges,dark"],
        "likeness.layer": ["edges", "block8"],
    }
    if setting.path in some:
        return st.sampled_from(some[setting.path])
    assert setting.path == "description"
    texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=120)
    return texts.filter(lambda text: text.strip() != "" and len(text.splitlines()) == 1)


@st.composite
def all_values(draw: st.DrawFn) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in all_settings():
        *section, key = setting.path.split(".")
        table = values.setdefault(section[0], {}) if section else values
        table[key] = draw(values_of(setting))
    return values


@given(all_values())
def test_settings_of_any_values_read_back_from_their_toml_and_their_dump(
    values: dict[str, Any],
) -> None:
    settings = check(values)
    assert isinstance(settings, Settings)
    read = tomllib.loads(presets.to_toml(settings))
    assert read.pop("schema") == 1
    assert check(read) == settings
    assert check(settings.model_dump()) == settings


def test_every_setting_has_one_description_a_closed_range_and_a_flag_of_its_own() -> None:
    flags = [setting.flag for setting in all_settings() if setting.flag]
    assert len(flags) == len(set(flags))
    for setting in all_settings():
        assert setting.description.endswith(".")
        assert "\n" not in setting.description
        if setting.kind in (int, float):
            assert setting.minimum is not None
            assert setting.maximum is not None
            assert setting.minimum <= setting.default <= setting.maximum


def test_settings_do_not_change_after_they_are_made() -> None:
    settings = check({"description": "d", "target": "parts"})
    assert isinstance(settings, Settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.octaves.count = 3
    with pytest.raises(ValueError, match="frozen"):
        settings.target = "edges"


def test_every_quality_has_its_share_of_the_steps_and_the_usual_one_all() -> None:
    names = setting_at("ascent.quality").choices
    assert names == tuple(QUALITIES)
    shares = [Ascent.model_validate({"quality": name}).share for name in names]
    assert shares == sorted(shares)
    assert Ascent().share == 1.0
