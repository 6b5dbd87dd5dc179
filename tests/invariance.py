"""Tables do not depend on --cores nor on how many sessions run side by side: two small runs from nothing, compared.

    python tests/invariance.py

It takes some minutes, so it is a command of its own and not one of the tests.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SMALL = {"tables": {"table1": {"methods": ["unike"]}, "table2": {"methods": ["unike"]}}}
TARGETS = ("results/table1.csv", "results/table2.csv")
RUNS = {"1": 64, "2": 3}  # cores -> sessions side by side


def tables(folder: Path, cores: str, sessions: int) -> dict[str, bytes]:
    """Run the workflow in miniature and return its tables."""
    overlay = folder / "small.yaml"
    overlay.write_text(yaml.safe_dump(SMALL | {"evaluation": {"sessions": sessions}}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    files = ["--configfile", ROOT / "presets" / "smoke.yaml", overlay]
    subprocess.run([*command, "--cores", cores, *files, "--", *TARGETS], check=True, cwd=ROOT)
    found = sorted((folder / "results").glob("table*"))
    return {file.name: file.read_bytes() for file in found if not file.stem.endswith("_cost")}  # costs are measured


def main() -> None:
    found = {}
    for cores, sessions in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[cores] = tables(Path(folder), cores, sessions)
    first, second = found.values()
    differing = sorted(name for name in first | second if first.get(name) != second.get(name))
    if differing or not first:
        sys.exit(f"tables that depend on --cores or on the batch: {', '.join(differing) or 'none was made'}")
    print(f"{len(first)} tables are the same, byte by byte, with {RUNS} (cores: sessions side by side)")


if __name__ == "__main__":
    main()
