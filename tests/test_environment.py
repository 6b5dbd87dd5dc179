"""The environment: ranges in pyproject.toml, pins in requirements.lock, and the files of conda, pixi and containers."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools import write_environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LOCK}
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = [*PROJECT["dependencies"], *EXTRAS["cpu"], *EXTRAS["dev"]]


@pytest.mark.parametrize("text", LOCKED)
def test_a_pin_lies_in_the_range_that_is_asked_for(text):
    asked = Requirement(text)
    assert asked.specifier.contains(PINS[canonicalize_name(asked.name)])


def test_dependencies_are_ranges_so_that_other_packages_can_stand_beside():
    """From the tested version to the next major one; but weights of one version."""
    for asked in map(Requirement, PROJECT["dependencies"]):
        pin = PINS[canonicalize_name(asked.name)]
        major = int(pin.split(".")[0])
        weights = asked.name.startswith("efficientnet")
        assert asked.specifier.contains(f"{major}.9999") is not weights
        assert not asked.specifier.contains(f"{major + 1}.0")


def test_what_conda_and_pixi_read_has_the_pins_of_the_lock(tmp_path):
    write_environment.write(tmp_path)
    for name in ("environment.yml", "pixi.toml"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"{name}: run make config"
    *python, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert packages == {"pip": LOCK}
    pixi = tomllib.loads((ROOT / "pixi.toml").read_text())
    assert pixi["pypi-dependencies"].pop("unike") == {"path": ".", "editable": True}
    assert [f"{name}{version}" for name, version in pixi["pypi-dependencies"].items()] == LOCK
    versions = [Requirement(python[0]).specifier, SpecifierSet(pixi["dependencies"]["python"])]
    assert versions == [SpecifierSet(PROJECT["requires-python"])] * 2


def test_the_container_installs_the_lock_alone_and_ci_builds_it_where_it_can():
    text = (ROOT / "Containerfile").read_text()
    installs = re.findall(r"pip install (.+)$", text, re.MULTILINE)
    assert installs == ["--no-cache-dir --requirement requirements.lock", "--no-cache-dir --no-deps --editable ."]
    assert SpecifierSet(PROJECT["requires-python"]).contains(
        re.search(r"^FROM .*python:([\d.]+)", text, re.MULTILINE)[1]
    )
    assert "build --file Containerfile" in (ROOT / ".ci" / "run").read_text()
