"""How long a drawing job needs before it draws: a fresh Python that opens the frame of a script and its imports."""

import os
import subprocess
import sys

from bench.subjects import ROOT
from bench.timing import Row, compare, in_turn

IMPORTS = "from unike_lib.runtime import Stage; from unike_lib.reporting.figures import draw_sweep"


def measure(rounds: int) -> list[Row]:
    def start(program: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)

    ways = {
        "with torch": lambda: start(f"import torch; {IMPORTS}"),
        "without": lambda: start(IMPORTS),
    }
    return [compare("start of a drawing job", in_turn(ways, rounds), "< 1.5 s")]
