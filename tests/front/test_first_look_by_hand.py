"""`unike edit`, `unike doctor` and `unike.load` refuse a wrong folder before torch or transformers are imported."""

import json
import subprocess
import sys

import pytest
from folders import change_entry, parts, saved

SAY = """
import json, sys
from unike_lib.front.cli import main
from unike_lib.types import InputError
import unike_lib as unike
way, folder, more = json.loads(sys.argv[1])
if way == "load":
    try:
        unike.load(folder, **more)
    except InputError as error:
        print(error)
else:
    asked = ["edit", "--question", "What is this?", "--answer", "lynx", "--backbone"] if way == "edit" else ["doctor"]
    print("status", main([*asked, folder, *[word for pair in more.items() for word in (f"--{pair[0]}", pair[1])]]))
assert not {"torch", "transformers"} & sys.modules.keys()
"""


def say(place, way, folder, **more):
    values = json.dumps([way, str(folder), more])
    done = subprocess.run([sys.executable, "-c", SAY, values], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    folder = saved("llava", tmp_path_factory.mktemp("wrong") / "model")
    parts(text_num_hidden_layers=3)(folder)
    return folder


FIELD = "config.json: field 'text_config.num_hidden_layers': 3, but the weights have 4 layers there"


@pytest.mark.parametrize("way", ["edit", "doctor", "load"])
def test_a_wrong_folder_is_one_line(wrong, tmp_path, way):
    for more in ({}, {"family": "llava"}):
        said = say(tmp_path, way, wrong, **more)
        assert f"{wrong}: {FIELD}" in said and ("status 1" in said or way == "load")
        assert "Traceback" not in said
    assert "CANNOT be edited" in said or way != "doctor"


@pytest.mark.parametrize("way", ["edit", "doctor", "load"])
def test_a_backbone_of_the_configuration_is_looked_at_too(wrong, tmp_path, way):
    section = {"family": "llava", "folder": str(wrong)}
    (tmp_path / "config.yaml").write_text(json.dumps({"backbones": {"mine": section}}))
    assert f"{wrong}: {FIELD}" in say(tmp_path, way, "mine")


@pytest.mark.parametrize("name", ["minigpt4", "smolvlm"])  # whose model_type fits two families
def test_of_families_that_are_told_apart_later_the_doctor_names_none(name, tmp_path):
    folder = saved(name, tmp_path / "model")
    change_entry(folder, "fc1.weight", lambda matrix: matrix[:3])
    said = say(tmp_path, "doctor", folder)
    assert "status 1" in said and "weights FAILED" in said and "family: " not in said
    assert "family passed, config.json passed" in said and "layout not run" in said
    (folder / "config.json").write_text('{"model_type": "flamingo"}')
    assert "family FAILED" in say(tmp_path, "doctor", folder)
