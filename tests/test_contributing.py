"""The lists of CONTRIBUTING.md are true: what they name is enough, in a copy of the library with nothing else new."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Heading -> how many files its list has: the thing itself, its test, and for a method a preset that shows it.
FILES = {"A method": 3, "A criterion": 2, "A probe": 2, "A dialect": 2, "A family of models": 2, "A table": 0}
# An example's file, and the place that its list gives it in the library.
ADDED = {
    "own_method/steer.py": "methods/steer/__init__.py",
    "own_metric/likelihood.py": "criteria/log_probability.py",
    "own_benchmark/dialect.py": "benchmark/formats/cards.py",
    "own_backbone/family.py": "backbones/families/bare.py",
}
LOOKED_UP = """
import json, sys
from unike_lib.benchmark.dialect import find_dialect
from unike_lib.config.run import load_config
from unike_lib.criterion import find_criterion
from unike_lib.family import families
from unike_lib.method import find_method, row_title
from unike_lib.table_parts import table_parts
config = load_config(json.loads(sys.argv[1]))
parts = table_parts(config, "mine")
print(json.dumps([find_method("steer").name, find_criterion(parts.criteria[-1]).name, find_dialect("cards").name,
                  families()["bare"].name, parts.titles["steer"], parts.entry.paper]))
"""


def listed(heading):
    """The files that a section lists."""
    part = re.search(rf"(?ms)^## {heading}[^\n]*\n(.*?)(?=^## |\Z)", TEXT)
    assert part, heading
    return re.findall(r"(?m)^- `([^`]+)`", part[1])


def test_each_list_has_so_many_files_in_folders_that_are_there():
    assert re.findall(r"(?m)^## ([^(\n]*?) *(?:\(|$)", TEXT) == list(FILES)
    for heading, number in FILES.items():
        assert len(listed(heading)) == number, heading
        for name in listed(heading):
            assert (ROOT / name.split("<")[0]).parent.is_dir() if "<" in name else (ROOT / name).is_file(), name


def test_links_lead_to_every_example():
    links = [Path(link) for link in re.findall(r"\]\(([^)]+)\)", TEXT)]
    assert sorted(link.parent.name for link in links) == sorted(path.name for path in (ROOT / "examples").iterdir())
    assert all((ROOT / link).is_file() for link in links)


def test_one_file_each_is_all_that_the_library_needs(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", "weights", "data")
    shutil.copytree(ROOT / "unike_lib", tmp_path / "unike_lib", ignore=ignored)
    for example, place in ADDED.items():
        target = tmp_path / "unike_lib" / place
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "examples" / example, target)
    own = yaml.safe_load((ROOT / "examples/own_table/config.yaml").read_text())["tables"]["three-edits"]
    values = {
        "methods": {"steer": {"method": "steer"}},
        "evaluation": {"criteria": ["token", "mmedit", "log_probability"]},
        "backbones": {"mine": {"family": "bare", "folder": "model"}},
        "tables": {"mine": own | {"backbones": ["mine"], "methods": ["fine-tune", "steer"]}},
    }
    command = [sys.executable, "-c", LOOKED_UP, json.dumps(values)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == ["steer", "log_probability", "cards", "bare", "Steering", None]
