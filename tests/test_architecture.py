"""The map in ARCHITECTURE.md holds: imports point one way, files and functions stay short, tables need no torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "unike_lib"
LAYERS = [
    "benchmark",
    "criteria",
    "backbones",
    "knowledge",
    "editing",
    "methods",
    "evaluation",
    "reporting",
    "embedded",
]
FILES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))


def layer(parts: tuple[str, ...]) -> int:
    """Position in the order of imports; modules at the top of the library (config, types, io ...) come first."""
    return LAYERS.index(parts[0]) + 1 if parts and parts[0] in LAYERS else 0


def library_imports(tree: ast.AST) -> set[tuple[str, ...]]:
    """Return imported library modules as parts below `unike_lib`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {tuple(name.split(".")[1:]) for name in names if name.split(".")[0] == "unike_lib"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_imports_point_one_way(file):
    own = layer(file.relative_to(LIBRARY).parts)
    for parts in library_imports(ast.parse(file.read_text())):
        assert layer(parts) <= own, f"{file.name} imports {'.'.join(parts)}, which comes later"


def imported_at_once(body: list[ast.stmt]) -> set[str]:
    """Return the names that importing a module imports: not those inside functions or `if TYPE_CHECKING`."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            names |= imported_at_once(node.body) | imported_at_once(node.orelse)
        elif isinstance(node, ast.ClassDef | ast.Try | ast.With):
            names |= imported_at_once(node.body)
    return names


def test_tables_and_figures_import_no_torch():
    wanted = [path for path in FILES if path.parent.name == "reporting"]
    wanted += [LIBRARY / name for name in ("config.py", "runtime.py", "code_digest.py")]
    seen = set(wanted)
    while wanted:
        file = wanted.pop()
        for name in imported_at_once(ast.parse(file.read_text()).body):
            first, *rest = name.split(".")
            assert first not in {"torch", "transformers", "faiss", "safetensors"}, f"{file} imports {name}"
            path = LIBRARY.joinpath(*rest).with_suffix(".py")
            if first == "unike_lib" and rest and path.is_file() and path not in seen:
                seen.add(path)
                wanted.append(path)
    assert LIBRARY / "io.py" in seen


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
    for node in ast.parse(file.read_text()).body:
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
