"""Entries are found in a package, in other installed packages, and in a user's file; errors are one line."""

import re

import pytest

from unike_lib.registry import entry_file, find_entries, find_entry, load_entry
from unike_lib.types import InputError

ENTRY = "class Entry:\n    def __init__(self, name):\n        self.name = name\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return what writes a package of modules, name -> code, and gives the package's name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules):
        name = re.sub(r"\W", "_", tmp_path.name)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for module, code in modules.items():
            (folder / f"{module}.py").write_text(code)
        return name

    return write


def entry(name):
    return f"{ENTRY}THING = Entry({name!r})\n"


def test_every_module_with_the_attribute_is_an_entry(package):
    name = package(b=entry("second"), a=entry("first"), other="x = 1\n")
    found = find_entries(name, "THING")
    assert list(found) == ["first", "second"] and found["first"].name == "first"
    assert find_entry("second", name, "THING") is found["second"]
    assert [entry_file(each, name, "THING").name for each in found] == ["a.py", "b.py"]
    with pytest.raises(InputError, match=r"'third': expected one of first, second, or path/to/file\.py:THING"):
        find_entry("third", name, "THING")


def test_two_entries_of_one_name_or_of_another_kind_are_refused(package):
    name = package(a=entry("one"), b=entry("one"))
    with pytest.raises(InputError, match=rf"{name}\.b:THING: the name 'one' is taken"):
        find_entries(name, "THING")
    with pytest.raises(InputError, match=rf"{name}\.a:THING: expected a int, found Entry"):
        find_entries(name, "THING", kind=int)


def test_an_installed_package_brings_entries(package, tmp_path):
    name = package(a=entry("own"))
    (tmp_path / f"{name}_plugin.py").write_text(entry("brought"))
    info = tmp_path / f"{name}_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[{name}.things]\nx = {name}_plugin:THING\n[{name}.broken]\ny = nowhere:X\n"
    )
    assert list(find_entries(name, "THING", f"{name}.things")) == ["own", "brought"]
    with pytest.raises(InputError, match=rf"nowhere:X \(entry point 'y' of {name}.broken\): cannot be loaded"):
        find_entries(name, "THING", f"{name}.broken")


def test_a_users_file_is_imported_once(tmp_path):
    path = tmp_path / "my file.py"
    path.write_text(entry("mine") + "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: 'int'\n")
    first = load_entry(f"{path}:THING")
    assert first.name == "mine" and load_entry(f"{path}:THING") is first
    assert find_entry(f"{path}:THING", "unike_lib", "THING") is first
    assert entry_file(f"{path}:THING", "unike_lib", "THING") == path


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "no such file"),
        ("x = 1\n", "has no 'THING'"),
        ("THING = 3\n", "expected an entry with a name, found 3"),
        ("import no_such_module\n", "cannot be imported .ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:\n", "cannot be imported .SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_users_file_is_said(tmp_path, code, message):
    path = tmp_path / "mine.py"
    if code is not None:
        path.write_text(code)
    with pytest.raises(InputError, match=rf"mine\.py:THING: .*{message}"):
        load_entry(f"{path}:THING")
