"""An edit and what it changes, as lines of text or as a page: the edit, rephrasings, without the picture, unrelated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unike_lib.characters import visible
from unike_lib.front.edit import Edit
from unike_lib.front.finding import evaluation_files, image_roots
from unike_lib.front.model import Model
from unike_lib.front.neighbours import nearest_unrelated
from unike_lib.front.questions import Answer
from unike_lib.io import write_text
from unike_lib.reporting.pages import picture_address, render_page
from unike_lib.types import EditRequest, Query

EDIT, TEXT, PICTURE = "the edit", "rephrased", "another picture"
ALONE, NEAR, NEAR_TEXT = "without the picture", "unrelated, near", "unrelated, text only"
WIDEST = 38  # letters of a column
THUMBNAIL = 224  # pixels


@dataclass(frozen=True)
class Line:
    """A question of a kind with its answers; `verdict`: right or wrong, kept or changed."""

    kind: str
    answer: Answer

    @property
    def verdict(self) -> str:
        """What became of it, in a word."""
        if self.answer.right is not None:
            return "right" if self.answer.right else "wrong"
        return "changed" if self.answer.changed else "kept"

    @property
    def good(self) -> bool | None:
        """Whether that is as it should be; None: nobody says what it should be."""
        if self.kind == ALONE:
            return None
        return self.verdict in ("right", "kept")


def lines_of(
    model: Model, edit: Edit, results: Path, rephrased: Sequence[str] = (), pictures: Sequence[str] = (), near: int = 2
) -> list[Line]:
    """Ask what an edit changes.

    Args:
        model: the model.
        edit: of it.
        results: where the benchmark's files are, if they are.
        rephrased, pictures: other words for the question, other pictures of the same thing.
        near: how many unrelated questions, with a picture and without.
    """
    request = edit.request
    asked: list[tuple[str, Query]] = [(EDIT, request.query)]
    asked += [(TEXT, replace(request.query, prompt=text)) for text in rephrased]
    asked += [(PICTURE, replace(request.query, image=picture)) for picture in pictures]
    if request.image is not None:
        asked.append((ALONE, replace(request.query, image=None, answer=None)))
    for query in unrelated(model, request, results, near):
        asked.append((NEAR_TEXT if query.image is None else NEAR, replace(query, answer=None)))
    answers = edit.answers(*(query for _, query in asked))
    return [Line(kind, answer) for (kind, _), answer in zip(asked, answers, strict=True)]


def unrelated(model: Model, request: EditRequest, results: Path, most: int) -> list[Query]:
    """Return the nearest unrelated questions: of the benchmark, where it is built, else plain facts."""
    files, roots = evaluation_files(model.config, model.name, results), image_roots(model.config, results)
    return nearest_unrelated(request, files, roots, most, model.section.text_locality)


def headline(edit: Edit) -> str:
    """Say what was edited, how, and whether it worked."""
    request, failed = edit.request, [failure for failure in edit.failures if failure]
    picture = f" ({request.image})" if request.image else ""
    said = f'{edit.model.name}, {edit.method}: "{request.prompt}"{picture} -> "{request.target}"'
    return f"{said}, in {edit.seconds:.1f} s" + "".join(f"; failed: {failure}" for failure in failed)


def as_text(edit: Edit, lines: Sequence[Line]) -> str:
    """Return the edit and what it changed as a table of plain text."""
    rows = [("", "question", "picture", "before", "after", "")]
    for line in lines:
        answer, picture = line.answer, Path(line.answer.image or "-").name
        rows.append((line.kind, answer.question, picture, answer.before, answer.after, line.verdict))
    shown = [tuple(_short(" ".join(cell.split())) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    return visible("\n".join([headline(edit), "", *table]))


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def write_page(edit: Edit, lines: Sequence[Line], out: Path) -> None:
    """Write the edit and what it changed as one self-contained HTML page."""
    pictures = {}
    for name in sorted({line.answer.image for line in lines if line.answer.image is not None}):
        picture = edit.model.pictures.open(name)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        pictures[name] = picture_address(picture)
    page = render_page("one_edit.html", title=headline(edit), edit=edit, lines=lines, pictures=pictures)
    write_text(out, page)
