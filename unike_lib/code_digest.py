"""Which library files a script depends on, so that an edit of the library runs again what it can change, no more."""

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent
# Rules name the settings that shape their results as parameters, and the rooms of their methods as code; these modules
# change nothing by themselves.
LEFT_OUT = re.compile(r"unike_lib\.(config(\.\w+)?|method|registry|runtime|methods\.(\w+\.)?(\w+_)?settings)")
MANIFEST = "METHOD"  # of a room: its values are settings, too
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(script: Path, data: Sequence[str] = (), library: Path = LIBRARY) -> str:
    """Return 16 hex digits that change with any library code that a script imports, or with package data that it reads.

    Comments, docstrings and layout are not code: whoever explains a line better runs nothing again.

    Args:
        script: a Python file outside the library.
        data: patterns of package data below the library, such as "reporting/paper/*.csv".
        library: the library's folder.

    Raises:
        FileNotFoundError: a pattern fits no file.
    """
    files = library_files(script, library)
    for pattern in data:
        found = sorted(library.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{library / pattern}: no such package data")
        files += found
    digest = hashlib.sha256()
    for file in files:
        content = _code_digest_of(file) if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(library).as_posix()}:{content}\n".encode())
    return digest.hexdigest()[:16]


def entry_digest(file: Path, library: Path = LIBRARY) -> str:
    """Return 16 hex digits that change with the code of an entry's file, the user's own or the library's, and with the
    library code that it imports (`registry.entry_file`). Of a folder, all files count; a method's manifest and settings
    are left out: their values are parameters."""
    parts = sorted(file.parent.glob("*.py")) if file.name == "__init__.py" else [file]
    own = [part for part in parts if part.stem != "settings"]
    digests = [f"{part.name}:{_code_digest_of(part)}:{code_digest(part, library=library)}" for part in own]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def library_files(script: Path, library: Path = LIBRARY) -> list[Path]:
    """Return every library file that a script imports, directly or through others, sorted.

    Package files (`__init__.py`) are left out: they hold no code.
    """
    found: dict[str, Path] = {}
    wanted = [script]
    while wanted:
        for name in imported_names(wanted.pop()):
            file = None if name in found or LEFT_OUT.fullmatch(name) else module_file(name, library)
            if file is not None:
                found[name] = file
                wanted.append(file)
    return sorted(found.values())


def imported_names(file: Path) -> tuple[str, ...]:
    """Return every dotted name that a Python file imports, anywhere in it: modules, and names within modules."""
    return _names_in(file.read_text(encoding="utf-8"), str(file))


def _code_digest_of(file: Path) -> str:
    """Return the SHA-256 of a Python file's code."""
    return _digest_in(file.read_text(encoding="utf-8"), str(file))


# A file is parsed once, however many scripts depend on it: every job of a workflow asks for all of them.
@cache
def _parsed(text: str, filename: str) -> ast.Module:
    return ast.parse(text, filename=filename)


@cache
def _digest_in(text: str, filename: str) -> str:
    tree = _parsed(text, filename)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.Assign) and _assigns_manifest(node))]
    for node in (tree, *_statements(tree)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _assigns_manifest(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == MANIFEST for target in node.targets)


@cache
def _names_in(text: str, filename: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in _statements(_parsed(text, filename)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a node, at any depth: many times fewer than its nodes."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, part, ()):
            yield child
            yield from _statements(child)


@cache
def module_file(name: str, library: Path = LIBRARY) -> Path | None:
    """Return the file of a library module; None for packages, names within modules, and everything else."""
    first, *rest = name.split(".")
    if first != library.name or not rest:
        return None
    file = library.joinpath(*rest).with_suffix(".py")
    return file if file.is_file() else None
