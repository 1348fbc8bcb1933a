"""The commands as a user runs them, in process; the few that need one as a process."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.media import images
from dreamer.render.job import read_recipe

QUICK = ("--octaves", "2", "--steps", "2", "--threads", "2")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(tmp_path):
    import skimage.data

    with Image.open(Path(skimage.data.__file__).parent / "chelsea.png") as opened:
        opened.convert("RGB").resize((120, 80)).save(tmp_path / "cat.png")
    return "cat.png"


@pytest.fixture
def run(capfd):
    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def leftovers(folder="."):
    return [path for path in Path(folder).rglob("*") if path.name.endswith(".part")]


def pixels(path):
    return images.load(str(path)).pixels


def test_the_default_name_is_in_outputs_and_the_path_is_the_last_thing_said(run, photo):
    code, out, _ = run("dream", photo, *QUICK)
    assert code == 0
    assert out.splitlines()[-1] == os.path.join("outputs", "cat-dream.png")
    assert not torch.equal(pixels("outputs/cat-dream.png"), pixels(photo))


def test_the_same_recipe_is_kept_and_another_gets_a_number(run, photo):
    run("dream", photo, *QUICK)
    before = Path("outputs/cat-dream.png").stat()
    code, out, err = run("dream", photo, *QUICK)
    assert (code, out.strip()) == (0, os.path.join("outputs", "cat-dream.png"))
    assert "kept" in err
    assert Path("outputs/cat-dream.png").stat().st_mtime_ns == before.st_mtime_ns
    code, out, _ = run("dream", photo, *QUICK, "--seed", 4)
    assert (code, out.strip()) == (0, os.path.join("outputs", "cat-dream-2.png"))


def test_an_output_with_another_recipe_is_left_alone_unless_told(run, photo):
    run("dream", photo, "-o", "out.png", *QUICK)
    before = Path("out.png").read_bytes()
    code, _, err = run("dream", photo, "-o", "out.png", *QUICK, "--seed", 1)
    assert code == 5
    assert "out.png" in err
    assert Path("out.png").read_bytes() == before
    assert run("dream", photo, "-o", "out.png", *QUICK, "--seed", 1, "--overwrite")[0] == 0
    assert Path("out.png").read_bytes() != before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_a_result_tells_how_it_was_made_and_is_made_again_to_the_byte(run, photo, suffix):
    run("dream", photo, "-o", f"a{suffix}", *QUICK, "--seed", 5, "-t", "block8:3 + 0.5*parts")
    code, out, _ = run("inspect", f"a{suffix}", "--json")
    recipe = json.loads(out)["result"]["recipe"]
    assert (code, recipe["seed"], recipe["threads"]) == (0, 5, 2)
    assert str(Path.cwd()) not in out
    code, _, err = run("dream", photo, "--from", f"a{suffix}", "-o", f"b{suffix}")
    assert (code, err) == (0, "")
    assert Path(f"a{suffix}").read_bytes() == Path(f"b{suffix}").read_bytes()
    # The photo is found by its name and hash as well.
    assert run("dream", "--from", f"a{suffix}", "-o", f"c{suffix}")[0] == 0
    assert Path(f"a{suffix}").read_bytes() == Path(f"c{suffix}").read_bytes()


def test_a_recipe_gives_another_photo_the_same_look_and_says_so(run, photo):
    run("dream", photo, "-o", "a.png", *QUICK, "--seed", 5)
    code, _, err = run("dream", "sky", "--size", 96, "--from", "a.png", "-o", "b.png")
    assert code == 0
    assert "unlike the recipe in the file: the photo, the size" in err
    assert read_recipe("b.png").settings == read_recipe("a.png").settings


def test_a_renamed_photo_is_the_same_photo_to_the_byte(run, photo):
    run("dream", photo, "-o", "a.png", *QUICK)
    Path(photo).rename("moved.png")
    assert run("dream", "moved.png", "--from", "a.png", "-o", "b.png") == (0, "b.png\n", "")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_small_photo_that_was_enlarged_is_made_again(run):
    Image.effect_noise((24, 20), 60).convert("RGB").save("tiny.png")
    run("dream", "tiny.png", "--size", 96, "-o", "a.png", *QUICK)
    assert run("dream", "tiny.png", "--from", "a.png", "-o", "b.png") == (0, "b.png\n", "")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_network_named_goes_over_the_recipe_s(run, photo):
    run("dream", photo, "-o", "a.png", *QUICK)
    text = read_recipe("a.png").model_copy(update={"network": "googlenet"}).to_json()
    images.save(pixels("a.png"), "g.png", recipe=text)
    named = ("--network", "efficientnet_lite0", "--weights", "IMAGENET1K_V1")
    _, out, _ = run("dream", photo, "--from", "g.png", *named, "--dry-run")
    assert "efficientnet_lite0" in out


def test_a_note_about_the_photo_is_said_once(run, photo):
    start = Image.open(photo)
    start.save("two.gif", save_all=True, append_images=[start.rotate(90)])
    _, _, err = run("dream", "two.gif", "-o", "out.png", *QUICK)
    assert err.count("frames") == 1


def test_what_differs_from_a_recipe_is_said_in_the_user_s_words(run, photo):
    run("dream", photo, "-o", "a.png", *QUICK)
    _, _, err = run("dream", photo, "--from", "a.png", "-o", "b.png", "--strength", 0.5)
    assert err == "Note: unlike the recipe in the file: ascent.strength (0.5 instead of 1.0).\n"


def test_a_recipe_finds_its_own_weights_or_asks_for_them(run, photo, tmp_path):
    from dreamer.networks import rows, weights

    row = rows.row("efficientnet_lite0")
    own = weights.locate(row.published()).read_bytes()
    Path("own.pth").write_bytes(own + b"\0")  # the same tensors in another file
    run("dream", photo, "-o", "a.png", *QUICK, "--weights", "own.pth")
    code, _, err = run("dream", photo, "--from", "a.png", "-o", "b.png")
    assert code == 3
    assert "--weights" in err
    given = ("--weights", "own.pth")
    assert run("dream", photo, "--from", "a.png", "-o", "b.png", *given)[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_dreams_that_run_at_once_all_get_a_name(run, photo, monkeypatch):
    from dreamer.render.still import Dream

    save = Dream.save

    def late(made, target, **options):
        if not Path("outputs").exists():
            Path("outputs").mkdir()
            Path(target).write_bytes(b"another's")
        return save(made, target, **options)

    monkeypatch.setattr(Dream, "save", late)
    code, out, _ = run("dream", photo, *QUICK)
    assert (code, out.strip()) == (0, os.path.join("outputs", "cat-dream-2.png"))
    assert Path("outputs/cat-dream.png").read_bytes() == b"another's"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_dreamed_and_shown_as_it_is(photo):
    name = os.fsdecode(b"\xff\xfe.png")
    Path(photo).rename(name)
    made = subprocess.run(
        [sys.executable, "-m", "dreamer", "dream", name, *QUICK], capture_output=True, check=True
    )
    assert made.stdout == b"outputs/\xff\xfe-dream.png\n"
    assert read_recipe(os.fsdecode(made.stdout.strip())).origin.name == "\ufffd\ufffd.png"


@pytest.mark.parametrize("flag", ["--strength", "--step-size", "--steps"])
def test_with_nothing_to_do_the_result_is_the_photo_to_the_byte(run, photo, flag):
    assert run("dream", photo, "-o", "out.png", flag, 0)[0] == 0
    assert torch.equal(pixels("out.png"), pixels(photo))


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "CMYK", "1"])
def test_every_kind_of_picture_dreams_and_keeps_its_transparency(run, mode):
    start = Image.effect_noise((96, 64), 80).convert("RGBA" if mode == "RGBA" else mode)
    if "A" in mode:
        start.putalpha(Image.linear_gradient("L").resize((96, 64)))
    start.save("in.tif" if mode == "CMYK" else "in.png")
    name = "in.tif" if mode == "CMYK" else "in.png"
    assert run("dream", name, "-o", "out.png", *QUICK)[0] == 0
    with Image.open("out.png") as made:
        assert made.mode == ("RGBA" if "A" in mode else "RGB")
        if "A" in mode:
            assert made.getchannel("A").tobytes() == start.getchannel("A").tobytes()


def test_stdin_and_stdout_carry_pictures_and_nothing_else(photo):
    made = subprocess.run(
        [sys.executable, "-m", "dreamer", "dream", "-", "-o", "-", *QUICK],
        input=Path(photo).read_bytes(),
        capture_output=True,
        check=True,
    )
    with Image.open(io.BytesIO(made.stdout)) as picture:
        assert (picture.format, picture.size) == ("PNG", (120, 80))
    assert made.stderr == b""


@pytest.mark.parametrize("start", ["sky", "noise", None])
def test_no_photo_is_needed(run, start):
    arguments = [start] if start else []
    assert run("dream", *arguments, "--size", 96, "-o", "out.png", *QUICK)[0] == 0
    assert read_recipe("out.png").origin.start == (start or "sky")


def test_a_dry_run_shows_the_plan_and_makes_nothing(run, photo, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(Path("cache").absolute()))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    plan = ("dream", photo, "--dry-run", "--network", "googlenet")
    code, out, err = run(*plan)
    assert code == 0
    assert "inception" in out
    assert "will be fetched" in err
    assert json.loads(run(*plan, "--json")[1])["result"]["dry_run"]
    assert run(*plan, "--offline")[0] == 3
    assert not Path("outputs").exists()


def test_no_metadata_leaves_the_recipe_out(run, photo):
    run("dream", photo, "-o", "out.png", *QUICK, "--no-metadata")
    assert read_recipe("out.png") is None
    assert run("inspect", "out.png")[0] == 4
    run("dream", photo, "-o", "a.png", *QUICK)
    code, _, err = run("dream", photo, "-o", "a.png", *QUICK, "--no-metadata")
    assert (code, "kept" in err) == (5, False)


def test_the_same_weights_are_the_same_however_they_are_given(run, photo):
    from dreamer.networks import rows, weights

    path = weights.locate(rows.row("efficientnet_lite0").published())
    run("dream", photo, "-o", "a.png", *QUICK)
    code, _, err = run("dream", photo, "-o", "a.png", *QUICK, "--weights", path)
    assert (code, "kept" in err) == (0, True)


def test_a_detail_level_brings_its_own_preset_or_replaces_the_target(run, photo):
    run("dream", photo, "-o", "a.png", *QUICK, "--detail", "edges")
    assert read_recipe("a.png").preset == "edges"
    run("dream", photo, "-o", "b.png", *QUICK, "--detail", "edges", "-p", "fur")
    made = read_recipe("b.png")
    assert (made.preset, made.settings.target) == ("fur", "edges")
    assert made.terms == read_recipe("a.png").terms
    run("dream", photo, "-o", "c.png", "--detail", "edges", "--from", "b.png", "--seed", 2)
    assert read_recipe("c.png").terms == made.terms


def test_luma_moves_all_colours_alike(run, photo):
    run("dream", photo, "-o", "out.png", *QUICK, "--color", "luma")
    moved = (pixels("out.png") - pixels(photo)) * 255
    assert moved.abs().mean() > 1
    assert (moved[0] - moved[2]).abs().max() <= 1.01


def test_quiet_says_nothing_but_the_path(run, photo):
    run("dream", photo, "-o", "out.png", *QUICK)
    code, out, err = run("dream", photo, "-o", "out.png", *QUICK, "-q")
    assert (code, out, err) == (0, "out.png\n", "")


ENVELOPE = {"schema", "command", "status", "result", "error"}


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (
            ("dream", "sky", "--size", "64", "--steps", "1"),
            {"output", "recipe", "recipe_hash", "seconds", "kept", "dry_run", "notes"},
        ),
        (("presets", "list"), {"presets"}),
        (("presets", "show", "eyes"), {"name", "source", "settings"}),
        (("networks", "list"), {"networks"}),
        (("networks", "verify", "efficientnet_lite0"), {"networks"}),
        (("layers",), {"network", "layers"}),
        (("doctor",), {"checks"}),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_the_envelope_keeps_its_keys(run, arguments, keys):
    code, out, _ = run(*arguments, "--json")
    envelope = json.loads(out)
    assert code == 0
    assert set(envelope) == ENVELOPE
    assert envelope["schema"] == 1
    assert envelope["status"] == "success"
    assert set(envelope["result"]) == keys


def test_an_error_fills_the_envelope_too(run):
    code, out, err = run("dream", "gone.jpg", "--json")
    envelope = json.loads(out)
    assert code == envelope["error"]["code"] == 4
    assert "gone.jpg" in envelope["error"]["message"]
    assert envelope["error"]["advice"] in err


def test_the_contact_sheet_holds_every_preset(run, photo):
    code, out, _ = run("presets", "sheet", photo, "--size", 64, "-q")
    assert code == 0
    with Image.open(out.strip()) as sheet:
        assert sheet.width > 4 * 64


def test_a_broken_preset_is_left_out_of_the_sheet_and_named(run, photo):
    Path("presets").mkdir()
    Path("presets/odd.toml").write_text('schema = 1\nextends = "odd"\n')
    code, out, err = run("presets", "sheet", photo, "--size", 64, "--json")
    assert code == 1
    assert set(json.loads(out)["result"]["failed"]) == {"odd"}
    assert "Left out: odd" in err


def test_ctrl_c_keeps_the_tiles_so_far(run, photo, monkeypatch):
    from dreamer.cli import console
    from dreamer.render import strip

    whole = []
    monkeypatch.setattr(console.StopOnInterrupt, "__call__", lambda _: bool(whole))
    made = strip.make

    def make(*given, on_draft, **more):
        return made(*given, on_draft=lambda draft: (on_draft(draft), whole.append(1)), **more)

    monkeypatch.setattr(strip, "make", make)
    code, out, err = run("presets", "sheet", photo, "--size", 64)
    assert code == 130
    assert "so far" in err
    with Image.open(out.strip()) as sheet:
        assert sheet.width > 64


@pytest.mark.parametrize("flag", ["strength", "octaves", "octave-scale", "steps", "jitter"])
def test_the_help_names_the_range_of_every_number(run, flag):
    from dreamer.settings import all_settings

    (found,) = (each for each in all_settings() if each.flag == f"--{flag}")
    _, out, _ = run("dream", "--help")
    said = " ".join(out.replace("│", " ").split())
    said = said.partition(f"--{flag} ")[2].partition(" --")[0]
    assert f"{found.minimum:g} to {found.maximum:g}" in said


def test_fetch_and_verify_over_a_mirror(run, tmp_path, monkeypatch):
    import hashlib

    from dreamer.networks import rows

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("DREAMER_MIRROR", (tmp_path / "mirror").as_uri())
    name = rows.row("squeezenet1_1").published().filename
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / name).write_bytes(b"not the weights")
    code, _, err = run("networks", "fetch", "squeezenet1_1")
    assert code == 3
    assert "squeezenet1_1" in err
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert hashlib.sha256(b"not the weights").hexdigest()[:8] not in name


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("dream", "--help")])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv = ['dreamer', *sys.argv[1:]]\n"
        "from dreamer.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_importing_the_package_imports_no_torch():
    code = "import dreamer, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_embedded_network_dreams_without_torchvision(photo):
    code = (
        "import sys, dreamer\n"
        f"dreamer.dream({photo!r}, steps=1, octaves=1).save('out.png')\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_keeps_the_dream_so_far_and_the_next_run_finishes_it(run):
    command = ["dream", "sky", "--size", "128", "--octaves", "1", "-o", "out.png"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamer", *command, "--steps", "10000", "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while b"Dreaming" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out.decode().strip() == "out.png"
    part = read_recipe("out.png")
    assert part.partial
    assert not leftovers()
    from dreamer.recipe import Recipe
    from dreamer.render import job as jobs

    request = jobs.Request(
        photo="sky",
        size=128,
        output=Path("out.png"),
        overrides={"octaves.count": 1, "ascent.steps": 10000},
        threads=part.threads,
    )
    again = jobs.prepare(request)
    assert isinstance(part, Recipe)
    assert (again.kept, again.replaces_partial) == (False, True)
