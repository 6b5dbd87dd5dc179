"""Which library files a script depends on."""

import ast
from pathlib import Path

import pytest

from unike_lib.code_digest import code_digest, entry_digest, imported_names, library_files

ROOT = Path(__file__).parents[1]


@pytest.fixture
def library(tmp_path):
    """A library in which a -> b -> pack.c, and d stands alone."""
    folder = tmp_path / "unike_lib"
    (folder / "pack").mkdir(parents=True)
    (folder / "a.py").write_text("import json\nimport unike_lib.b\n")
    (folder / "b.py").write_text("def f():\n    from unike_lib.pack import c\n    return c\n")
    (folder / "pack" / "c.py").write_text("from unike_lib import a\n")
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "d.py").write_text("from unike_lib.config import Config\n")
    (folder / "config.py").write_text("")
    (folder / "configure.py").write_text("")
    (folder / "table.csv").write_text("1\n")
    return folder


def script(library, text):
    file = library.parent / "script.py"
    file.write_text(text)
    return file


def test_follows_imports_also_in_functions_and_circles(library):
    found = library_files(script(library, "from unike_lib.a import x\n"), library)
    assert [file.relative_to(library).as_posix() for file in found] == ["a.py", "b.py", "pack/c.py"]


def test_no_import_of_the_project_is_overlooked():
    for file in sorted((ROOT / "unike_lib").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert modules <= set(imported_names(file)), file


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    pass\nexcept OSError:\n    import unike_lib.a\n",
        "try:\n    pass\nfinally:\n    import unike_lib.a\n",
        "match 1:\n    case _:\n        import unike_lib.a\n",
        "for x in []:\n    pass\nelse:\n    with x:\n        import unike_lib.a\n",
        "class A:\n    async def f(self):\n        import unike_lib.a\n",
    ],
)
def test_imports_are_found_in_every_kind_of_block(library, text):
    assert "unike_lib.a" in imported_names(script(library, text))


def test_configuration_is_left_out(library):
    """And the settings of methods, which are parameters; no module whose name only begins like one of these."""
    text = "if True:\n    from unike_lib import d, configure\nimport unike_lib.methods.shared.some_settings\n"
    (library / "methods" / "shared").mkdir(parents=True)
    (library / "methods" / "shared" / "some_settings.py").write_text("")
    found = library_files(script(library, text), library)
    assert [file.name for file in found] == ["configure.py", "d.py"]


def test_digest_changes_with_the_code_behind_a_script_only(library):
    file = script(library, "from unike_lib import a\n")
    before = code_digest(file, library=library)
    (library / "d.py").write_text("changed = 1\n")
    assert code_digest(file, library=library) == before
    (library / "pack" / "c.py").write_text("changed = 1\n")
    assert code_digest(file, library=library) != before


CODE = 'LIMIT = 3\n\n\nclass A:\n    def f(self, x=1):\n        return "a"\n'
EXPLAINED = """'Of a module.'

# A comment.
LIMIT = 3  # units
class A:
    'Of a class.'

    def f(self,
          x=1):
        'Of a function.'
        return "a"  # no more
"""


def test_comments_docstrings_and_layout_change_no_digest(library):
    file, code = script(library, "from unike_lib import d\n"), library / "d.py"
    code.write_text(CODE)
    before = code_digest(file, library=library)
    for text in (EXPLAINED, EXPLAINED.replace("Of a", "About a")):
        code.write_text(text)
        assert code_digest(file, library=library) == before


@pytest.mark.parametrize("was, now", [("3", "4"), ("x=1", "x=2"), ('"a"', '"b"'), ("return", "yield"), ("f(", "g(")])
def test_every_change_of_code_changes_the_digest(library, was, now):
    file, code = script(library, "from unike_lib import d\n"), library / "d.py"
    code.write_text(CODE)
    before = code_digest(file, library=library)
    code.write_text(CODE.replace(was, now))
    assert code_digest(file, library=library) != before


def test_digest_covers_package_data(library):
    file = script(library, "import json\n")
    before = code_digest(file, ["*.csv"], library=library)
    (library / "table.csv").write_text("2\n")
    assert code_digest(file, ["*.csv"], library=library) != before
    with pytest.raises(FileNotFoundError, match=r"\*\.tsv"):
        code_digest(file, ["*.tsv"], library=library)


def test_a_room_is_code_but_for_its_manifest_and_settings(library, tmp_path):
    """It is not imported by name: its functions count and what they import, its default values do not."""
    room, settings = library / "methods" / "x" / "__init__.py", library / "methods" / "x" / "settings.py"
    room.parent.mkdir(parents=True)
    settings.write_text("STEPS = 3\n")
    text = (
        "from unike_lib.methods.x.settings import STEPS\n\n\ndef build():\n    import unike_lib.d\n\n\nMETHOD = [1]\n"
    )
    room.write_text(text)
    digests = [entry_digest(room, library)]
    for changed, content in (
        (settings, "STEPS = 4\n"),
        (room, text.replace("[1]", "[2]")),
        (room, text.replace("():", "(x):")),
        (library / "d.py", "changed = 1\n"),
        (room.parent / "editor.py", "STEPS = 1\n"),
        (room.parent / "editor.py", "STEPS = 2\n"),
    ):
        changed.write_text(content)
        digests.append(entry_digest(room, library))
    assert digests[0] == digests[1] == digests[2] and len(set(digests[2:])) == 5
    own = tmp_path / "own.py"
    own.write_text("def build():\n    return 1\n")
    first = entry_digest(own, library)
    own.write_text("def build():\n    return 2\n")
    assert entry_digest(own, library) != first
