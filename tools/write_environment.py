"""Write environment.yml and pixi.toml: the pins of requirements.lock, as conda and pixi read them (`make config`)."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = ">=3.11,<3.13"
NOTE = "# Made from requirements.lock by `make config`; how to use it: docs/environment.md.\n"


def pins(lock: str) -> list[tuple[str, str]]:
    """Return name and version of every line of a lock file that is no comment."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    return [(name, version) for name, _, version in (line.partition("==") for line in lines)]


def conda(lock: str) -> str:
    """Return environment.yml: Python from conda-forge, everything else at the lock's versions from PyPI."""
    packages = "".join(f"      - {name}=={version}\n" for name, version in pins(lock))
    head = "name: unike\nchannels: [conda-forge, nodefaults]\ndependencies:\n"
    return f'{NOTE}{head}  - "python{PYTHON}"\n  - pip\n  - pip:\n{packages}'


def pixi(lock: str) -> str:
    """Return pixi.toml: the same, with this project installed editable."""
    head = '[workspace]\nname = "unike"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n\n'
    packages = "".join(f'{name} = "=={version}"\n' for name, version in pins(lock))
    own = 'unike = { path = ".", editable = true }\n'
    return f'{NOTE}{head}[dependencies]\npython = "{PYTHON}"\n\n[pypi-dependencies]\n{own}{packages}'


def write(folder: Path = ROOT) -> None:
    """Write both files into a folder, from the lock file of this project."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (folder / "environment.yml").write_text(conda(lock), encoding="utf-8")
    (folder / "pixi.toml").write_text(pixi(lock), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
