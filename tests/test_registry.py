"""Entries are found in a package, in other installed packages, and in a user's file; errors are one line."""

import re
from typing import Annotated

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from unike_lib.registry import EntryName, entry_file, find_entries, find_entry, load_entry
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
        f"[{name}.things]\nx = {name}_plugin:THING\n[{name}.broken]\ny = nowhere:X\n[{name}.odd]\nz = {name}_odd:X\n"
    )
    (tmp_path / f"{name}_odd.py").write_text("X = 1 / 0\n")
    assert list(find_entries(name, "THING", f"{name}.things")) == ["own", "brought"]
    assert entry_file("brought", name, "THING", f"{name}.things") == tmp_path / f"{name}_plugin.py"
    with pytest.raises(InputError, match="'brought': expected one of own"):
        entry_file("brought", name, "THING")
    with pytest.raises(InputError, match=rf"nowhere:X \(entry point 'y' of {name}.broken\): cannot be loaded"):
        find_entries(name, "THING", f"{name}.broken")
    with pytest.raises(InputError, match=r"_odd:X .*cannot be loaded \(ZeroDivisionError: division by zero\)"):
        find_entries(name, "THING", f"{name}.odd")


def test_a_users_file_is_imported_once(tmp_path):
    path = tmp_path / "my file.py"
    path.write_text(entry("mine") + "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: 'int'\n")
    first = load_entry(f"{path}:THING")
    assert first.name == "mine" and load_entry(f"{path}:THING") is first
    assert find_entry(f"{path}:THING", "unike_lib", "THING") is first
    assert entry_file(f"{path}:THING", "unike_lib", "THING") == path


def test_users_files_of_one_name_are_two_and_one_that_failed_is_read_again(tmp_path):
    one, other = tmp_path / "one" / "mine.py", tmp_path / "other" / "mine.py"
    for path, text in ((one, entry("first")), (other, "import no_such_module\n")):
        path.parent.mkdir()
        path.write_text(text)
    assert load_entry(f"{one}:THING").name == "first"
    with pytest.raises(InputError, match="cannot be imported"):
        load_entry(f"{other}:THING")
    other.write_text(entry("second"))
    assert load_entry(f"{other}:THING").name == "second"


def test_a_setting_that_names_an_entry_is_checked_and_completed(package, tmp_path):
    place = EntryName(package(a=entry("first"), b=entry("second")), "THING", "")
    setting = TypeAdapter(Annotated[str, place])
    (tmp_path / "mine.py").write_text(entry("mine"))
    for name in ("second", f"{tmp_path}/mine.py:THING"):
        assert setting.validate_python(name) == name
    for wrong, message in (("third", "expected one of first, second"), ("none.py:THING", "no such file")):
        with pytest.raises(ValueError, match=message):
            setting.validate_python(wrong)
    check = Draft202012Validator(setting.json_schema())
    taken = [name for name in ("first", "third", "my/own.py:THING", "my/own.py:OTHER") if check.is_valid(name)]
    assert taken == ["first", "my/own.py:THING"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "no such file"),
        ("x = 1\n", "has no 'THING'"),
        ("THING = 3\n", "expected an entry with a name, found 3"),
        (entry(" "), "expected an entry with a name, found <"),
        (entry(3), "expected an entry with a name, found <"),
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
