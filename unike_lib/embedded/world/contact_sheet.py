"""A picture of some edits with everything that is asked about them, to see at a glance what a benchmark is."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import load_image
from unike_lib.io import atomic_path
from unike_lib.types import EditCase, Query

CASES = 24
CELLS_PER_ROW = 4
CELL_INCHES = (4.4, 1.75)
DPI = 110
LINE_LETTERS = 78
PICTURES: dict[str, str] = {"rel": "edit", "m_gen": "rephrased picture", "m_loc": "locality picture"}


def draw_contact_sheet(files: Sequence[Path], image_root: Path, out: Path) -> None:
    """Draw 24 edits, equally many of each annotation file, as a PNG; image names start from `image_root`.

    A cell has the edit's picture, the rephrased one and the locality picture, and below them the questions.

    Raises:
        InputError: an annotation file or a picture is missing or broken.
    """
    share = -(-CASES // len(files))
    cases = [case for file in files for case in read_cases(file)[:share]][:CASES]
    rows = -(-len(cases) // CELLS_PER_ROW)
    figure = Figure(figsize=(CELLS_PER_ROW * CELL_INCHES[0], rows * CELL_INCHES[1]), dpi=DPI)
    for number, case in enumerate(cases):
        row, column = divmod(number, CELLS_PER_ROW)
        corner = column / CELLS_PER_ROW, 1 - (row + 1) / rows
        _draw_cell(figure, case, image_root, (*corner, 1 / CELLS_PER_ROW, 1 / rows))
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_cell(figure: Figure, case: EditCase, root: Path, box: tuple[float, float, float, float]) -> None:
    left, bottom, width, height = box
    queries = {probe.kind: probe.query for probe in case.probes}
    for place, (kind, title) in enumerate(PICTURES.items()):
        share = width / len(PICTURES)
        axes = figure.add_axes((left + (place + 0.03) * share, bottom + 0.47 * height, 0.94 * share, 0.44 * height))
        axes.imshow(load_image([root], str(queries[kind].image)), aspect="equal")
        axes.set_title(title, fontsize=6.5, pad=2)
        axes.set_axis_off()
    x, y = left + 0.02 * width, bottom + 0.47 * height
    figure.text(x, y, _describe(case, queries), fontsize=6.5, va="top", parse_math=False)


def _describe(case: EditCase, queries: dict[str, Query]) -> str:
    lines = [
        f"{case.request.id}:  {case.request.prompt}  =  {case.request.target}",
        f"rephrased:  {queries['t_gen'].prompt}",
        f"text locality:  {queries['t_loc'].prompt}  =  {queries['t_loc'].answer}",
        f"picture locality:  {queries['m_loc'].prompt}  =  {queries['m_loc'].answer}",
    ]
    filled = [textwrap.fill(line, LINE_LETTERS, subsequent_indent="    ", max_lines=2) for line in lines]
    return "\n".join(filled)
