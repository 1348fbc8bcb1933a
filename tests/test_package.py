"""The wheel and the checkout: what a user installs holds what a dream needs."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import dreamer
from dreamer import preset_files

ROOT = Path(dreamer.__file__).parent.parent


def test_the_wheel_carries_the_presets_and_the_data(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("dreamer-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "site")
    names = {path.stem for path in (ROOT / "presets").glob("*.toml")}
    assert len(names) >= 14
    found = {path.stem for path in (tmp_path / "site/dreamer/_presets").glob("*.toml")}
    assert found == names
    pages = {path.name for path in (ROOT / "dreamer/studio/assets").iterdir()}
    assert "index.html" in pages
    assert {path.name for path in (tmp_path / "site/dreamer/studio/assets").iterdir()} == pages
    code = (
        "import dreamer, dreamer.presets as presets; "
        "assert 'site' in dreamer.__file__, dreamer.__file__; "
        "dreamer.dream('sky', preset='eyes', size=64, steps=1).save('out.png'); "
        "print(len(presets.names()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) == len(names)


def test_the_checkout_finds_its_own_presets():
    assert preset_files.find("eyes").path.parent == ROOT / "presets"


def test_the_version_is_said_once():
    assert metadata.version("dreamer") == dreamer.__version__
