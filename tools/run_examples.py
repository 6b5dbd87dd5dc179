"""Run the command of every example, as its README gives it: python tools/run_examples.py .smoke

What the smoke run in that folder made of the embedded benchmark and its backbones is copied beside the examples first,
so nothing is trained twice. An example's results stay in its folder, examples/*/results/, in the place of earlier ones.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
# Stages that an example takes over: they hold nothing of a method, a metric or a table.
TAKEN_OVER = "benchmark", "tower", "backbones"


def command_of(readme: Path) -> list[str]:
    """The one indented line of a README that begins with `snakemake`, as words."""
    lines = [line.strip() for line in readme.read_text().splitlines() if line.startswith("    snakemake ")]
    if len(lines) != 1:
        sys.exit(f"{readme}: expected one indented line that begins with snakemake, found {len(lines)}")
    return shlex.split(lines[0])


def run_example(folder: Path, stages: Path) -> list[Path]:
    """Run one example; the files that its command asks for. Exits with the command's status if that fails."""
    command = command_of(folder / "README.md")
    shutil.rmtree(folder / "results", ignore_errors=True)
    shutil.rmtree(folder / ".snakemake", ignore_errors=True)
    if "presets/smoke.yaml" in command:
        for stage in TAKEN_OVER:
            # `cp --archive` keeps times: what was made from what stays in order.
            (folder / "results/stages").mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", stages / stage, folder / "results/stages"], check=True)
    print(f"{folder.name}: {shlex.join(command)}", flush=True)
    ended = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True)
    if ended.returncode:
        print(ended.stdout, ended.stderr, sep="\n", file=sys.stderr)
        sys.exit(f"{folder.name}: the command ended with {ended.returncode}")
    return [folder / name for name in command[command.index("--") + 1 :]]


if __name__ == "__main__":
    for example in sorted(path.parent for path in EXAMPLES.glob("*/README.md")):
        for product in run_example(example, Path(sys.argv[1]) / "results/stages"):
            if not product.is_file():
                sys.exit(f"{product}: the command ended well and did not write it")
