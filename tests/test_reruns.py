"""What an edit of the library runs again: the digests of all scripts and rooms, before it and after it."""

import re
import shutil
from pathlib import Path

import pytest

from unike_lib.code_digest import code_digest, entry_digest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
ENTRIES = ("criteria", "benchmark/formats", "backbones/families")  # found by name: no script imports them
# Scripts that edit, and those that run a backbone besides.
EDIT = {"run_edits", "sweep", "search", "train_editor"}
RUN = EDIT | {"answer_before", "collect_triplets", "diagnose", "extract_ffn_inputs", "extract_states", "keep_frozen"}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy") / "unike_lib"
    return shutil.copytree(ROOT / "unike_lib", folder, ignore=shutil.ignore_patterns("__pycache__", "weights", "data"))


def digests(library):
    rooms = {room.parent.name: entry_digest(room, library) for room in library.glob("methods/*/__init__.py")}
    for folder in ENTRIES:
        files = library.glob(f"{folder}/[!_]*.py")
        rooms |= {file.relative_to(library).as_posix(): entry_digest(file, library) for file in files}
    return rooms | {script.stem: code_digest(script, library=library) for script in SCRIPTS}


def changed_by(library, file, was, now):
    """The scripts and rooms whose digest an edit of a file changes."""
    path, before = library / file, digests(library)
    text = path.read_text()
    assert re.search(was, text, re.MULTILINE), was
    path.write_text(re.sub(was, now, text, count=1, flags=re.MULTILINE))
    after = digests(library)
    path.write_text(text)
    return {name for name, digest in after.items() if digest != before[name]}


@pytest.mark.parametrize("file", ["backbones/decoder.py", "editing/patch.py", "methods/mend/network.py", "io.py"])
def test_a_comment_and_a_better_docstring_run_nothing_again(library, file):
    assert changed_by(library, file, r"^import", "# Explained.\nimport") == set()
    assert changed_by(library, file, r'^"""', '"""In other words: ') == set()


def test_a_constant_of_one_method_is_its_rooms(library):
    assert changed_by(library, "methods/mend/network.py", r"EPSILON = 1\.0e-7", "EPSILON = 1.0e-6") == {"mend"}
    assert changed_by(library, "methods/ke/settings.py", r"400|3\.0e-4", "5.0e-4") == set()  # a value is a parameter
    assert changed_by(library, "methods/mend/__init__.py", r'title="MEND"', 'title="Mend"') == set()


@pytest.mark.parametrize(
    ("file", "was", "now", "changed"),
    [
        ("criteria/exact.py", r"\.all\(\)", ".any()", {"criteria/exact.py"}),
        (
            "criteria/token.py",
            r"len\(reply\.wanted\)",
            "max(1, len(reply.wanted))",
            {"criteria/token.py", "criteria/mmedit.py"},
        ),
        # The embedded benchmark is written in MMEdit's form, too.
        (
            "benchmark/formats/mmedit.py",
            r'"image_rephrase"',
            '"image"',
            {f"benchmark/formats/{name}.py" for name in ("mmedit", "vlkeb", "vlkeb_onehop", "cckeb", "mmke_bench")}
            | {"write_benchmark"},
        ),
        ("backbones/families/llava.py", r'"llava"', '"other"', {"backbones/families/llava.py"}),
        (
            "backbones/families/idefics3.py",
            r"def tiled_once",
            "def tiled_twice",
            {"backbones/families/idefics3.py", "backbones/families/smolvlm.py"},
        ),
    ],
)
def test_a_constant_of_an_entry_is_its_own_and_that_of_those_that_build_on_it(library, file, was, now, changed):
    assert changed_by(library, file, was, now) == changed


def test_a_constant_of_what_methods_share_is_theirs(library):
    shared = changed_by(library, "methods/shared/neuron_training.py", r"KEY_NOISE = 0\.1", "KEY_NOISE = 0.2")
    assert {"t_patcher", "unike"} <= shared and not shared & {"mend", "ke", "serac", "ike", "fine_tune", *EDIT}


def test_a_constant_of_the_core_runs_again_what_runs_a_backbone(library):
    found = changed_by(library, "backbones/decoder.py", r"self\.attention\.scaling\)", "self.attention.scaling * 2)")
    assert found >= RUN | {"mend", "unike"}
    assert not found & {"write_report", "draw_sweep", "train_encoders", "build_memory", "write_benchmark"}


def test_a_constant_of_the_encoders_training_is_that_stages(library):
    found = changed_by(library, "knowledge/encoder_training.py", r"^(\w+ = )(\d+)", r"\g<1>1\2")
    assert "train_encoders" in found and not found & RUN
