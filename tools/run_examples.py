"""Run the commands of every example, as its README gives them: python tools/run_examples.py .smoke

What the smoke run in that folder made of the embedded benchmark and its backbones is copied beside the examples first,
so nothing is trained twice. An example's results stay in its folder, examples/*/results/, in the place of earlier ones.
"""

import itertools
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
# Stages that an example takes over: they hold nothing of a method, a metric or a table.
TAKEN_OVER = "benchmark", "tower", "backbones"


PROGRAMS = "snakemake", "unike", "python"


def commands_of(readme: Path) -> list[list[str]]:
    """The indented lines of a README that begin with a program's name, as words."""
    lines = [line.strip() for line in readme.read_text().splitlines() if line.startswith("    ")]
    commands = [shlex.split(line) for line in lines if line.startswith(tuple(f"{name} " for name in PROGRAMS))]
    if not commands:
        sys.exit(f"{readme}: expected an indented line that begins with one of {', '.join(PROGRAMS)}")
    return commands


def products_of(folder: Path, command: list[str]) -> list[Path]:
    """The files that a command writes: Snakemake's targets, and those that are named behind --html or --save."""
    if command[0] == "snakemake":
        return [folder / name for name in command[command.index("--") + 1 :]]
    pairs = itertools.pairwise(command)
    return [EXAMPLES.parent / path for name, path in pairs if name in ("--html", "--save")]


def run_example(folder: Path, stages: Path) -> list[Path]:
    """Run one example; the files that its commands ask for. Exits with a command's status if that fails."""
    commands = commands_of(folder / "README.md")
    shutil.rmtree(folder / "results", ignore_errors=True)
    shutil.rmtree(folder / ".snakemake", ignore_errors=True)
    if any("presets/smoke.yaml" in command for command in commands):
        for stage in TAKEN_OVER:
            # `cp --archive` keeps times: what was made from what stays in order.
            (folder / "results/stages").mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", stages / stage, folder / "results/stages"], check=True)
    for command in commands:
        print(f"{folder.name}: {shlex.join(command)}", flush=True)
        ended = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True)
        if ended.returncode:
            print(ended.stdout, ended.stderr, sep="\n", file=sys.stderr)
            sys.exit(f"{folder.name}: the command ended with {ended.returncode}")
    return [path for command in commands for path in products_of(folder, command)]


if __name__ == "__main__":
    for example in sorted(path.parent for path in EXAMPLES.glob("*/README.md")):
        for product in run_example(example, Path(sys.argv[1]) / "results/stages"):
            if not product.is_file():
                sys.exit(f"{product}: the command ended well and did not write it")
