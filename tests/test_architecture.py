"""The map in ARCHITECTURE.md holds: imports keep to their contracts, files and functions stay short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unike_lib.method import methods

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "unike_lib"
FILES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))


def test_imports_keep_to_the_contracts():
    """They stand in pyproject.toml. (In a process of its own: import-linter sets up logging anew.)"""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def split_names(code):
    """Put a space where a capital letter follows a small one."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", code)


@pytest.mark.parametrize("folder", ["backbones", "editing"])
def test_what_methods_share_names_none_of_them(folder):
    """Neither in code nor in words, except to cite a paper's equation or appendix, or what its code does."""
    names = {name for method in methods().values() if method.kind != "unedited" for name in (method.name, method.title)}
    words = "|".join(name.replace("-", "[-_ ]?") for name in names | {name.capitalize() for name in names})
    named = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])(?!_lib| (?:Eq|App)\. \w|'s code)")
    files = {file: named.findall(split_names(file.read_text())) for file in (LIBRARY / folder).rglob("*.py")}
    found = {file: [name for name in some if name != "more"] for file, some in files.items()}  # a word, as M-ORE is not
    assert len(found) > 5 and not {file.name: some for file, some in found.items() if some}
    assert named.findall(split_names("MendNet of a.fine_tune: KE (UniKE Eq. 7)")) == ["Mend", "fine_tune", "KE"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_files_and_functions_are_short(file):
    text = file.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{file.name}: {node.name}"


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.name == "__init__.py" and file.parent.parent != LIBRARY / "methods"],
    ids=lambda file: file.parent.name,
)
def test_package_files_hold_no_code(file):
    body = ast.parse(file.read_text()).body
    if file.parent == LIBRARY:  # `unike_lib.load`, which nothing imports before it is asked for
        names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        assert names == ["__getattr__"] and "import torch" not in file.read_text()
        body = [node for node in body if not isinstance(node, ast.FunctionDef | ast.ImportFrom)]
    for node in body:
        version = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
        assert version or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)), ast.unparse(node)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_scripts_are_thin(file):
    text = file.read_text()
    assert text.count("\n") <= 40
    assert "with Stage(snakemake)" in text


def test_every_script_belongs_to_a_rule():
    rules = "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    for file in SCRIPTS:
        assert f'"../workflow_scripts/{file.name}"' in rules
        assert f'code=lib("{file.stem}"' in rules
    assert rules.count("../workflow_scripts/") == len(SCRIPTS)
