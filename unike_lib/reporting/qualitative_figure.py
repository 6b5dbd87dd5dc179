"""Examples as a picture for print: a block an edit, a column a question, a row who answers."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL.Image import Image

from unike_lib.io import atomic_path
from unike_lib.reporting.plotting import NO_DATES, STYLE, write_drawn
from unike_lib.reporting.qualitative import KIND_TITLES, Example, speaker_title, verdict_word
from unike_lib.reporting.table_text import TASK_TITLES

# Inches, at a type size of 6 points.
WIDTH, NAMES, COLUMN = 7.2, 0.85, 1.27
LINE, PICTURE, GAP = 0.095, 0.85, 0.09
LETTERS = 25  # a line of a column
GOOD, BAD, PLAIN = "#00694f", "#a84300", "#5a6169"


class Sheet:
    """A figure that is filled with blocks from top to bottom."""

    def __init__(self, height: float) -> None:
        self.height, self.top = height, height
        self.figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(self.figure)

    def write(self, column: int, lines: Sequence[str], first: int = 0, **look: Any) -> None:
        """Write lines of text below the current top; column -1 holds names."""
        left = (GAP if column < 0 else NAMES + column * COLUMN) / WIDTH
        top = (self.top - first * LINE) / self.height
        usual: dict[str, Any] = {"fontsize": 6, "va": "top", "linespacing": 1.08}
        self.figure.text(left, top, "\n".join(lines), **(usual | look))

    def show(self, column: int, picture: Image, height: float) -> None:
        """Show a picture below the current top, in a box of this height [inches]."""
        left = (NAMES + column * COLUMN) / WIDTH
        place = (left, (self.top - height) / self.height, PICTURE / WIDTH, height / self.height)
        panel = self.figure.add_axes(place)
        panel.imshow(np.asarray(picture))
        panel.set_anchor("NW")
        panel.set_axis_off()

    def down(self, inches: float) -> None:
        """Move the current top down."""
        self.top -= inches

    def rule(self) -> None:
        """Draw a thin line across, at the current top."""
        y = (self.top + GAP / 2) / self.height
        self.figure.add_artist(Line2D([GAP / WIDTH, 1 - GAP / WIDTH], [y, y], color="#dddddd", linewidth=0.5))


@dataclass(frozen=True)
class Block:
    """An example with its pictures loaded; `height`: the inches that it takes."""

    example: Example
    pictures: tuple[Image | None, ...]

    @classmethod
    def load(cls, example: Example, load: Callable[[str], Image]) -> "Block":
        """Open the pictures that the example asks about."""
        names = [asked.image for asked in example.asked]
        return cls(example, tuple(None if name is None else load(name) for name in names))

    @property
    def picture_height(self) -> float:
        """Inches of the tallest picture, all drawn equally wide."""
        return min(PICTURE, max(PICTURE * each.height / each.width for each in self.pictures if each is not None))

    @property
    def height(self) -> float:
        """The sum of what `draw` moves down."""
        methods = self.example.asked[0].answers
        rows = sum(LINE * (1 + max(map(len, _texts(self.example, method)))) + GAP for method in methods)
        head = 4 * LINE + 2 * GAP + self.picture_height + GAP
        return head + LINE * max(map(len, _questions(self.example))) + GAP + rows + 2 * GAP

    def draw(self, sheet: "Sheet") -> None:
        """Draw title, pictures, questions, and a row of answers for each method."""
        example = self.example
        title = f"{example.backbone}, {TASK_TITLES.get(example.task, example.task)}: {example.case}"
        sheet.write(-1, [title], fontsize=8, fontweight="bold")
        sheet.down(2 * LINE + GAP)
        for column, asked in enumerate(example.asked):
            sheet.write(column, KIND_TITLES[asked.kind].split(": "), fontweight="bold")
        sheet.down(2 * LINE + GAP)
        for column, picture in enumerate(self.pictures):
            if picture is None:
                sheet.write(column, ["(no image)"], color=PLAIN)
            else:
                sheet.show(column, picture, self.picture_height)
        sheet.down(self.picture_height + GAP)
        sheet.write(-1, ["question"], color=PLAIN)
        for column, lines in enumerate(_questions(example)):
            sheet.write(column, lines)
        sheet.down(LINE * max(map(len, _questions(example))) + GAP)
        for method in example.asked[0].answers:
            self._draw_answers(sheet, method)
        sheet.down(2 * GAP)

    def _draw_answers(self, sheet: "Sheet", method: str) -> None:
        sheet.rule()
        sheet.write(-1, [speaker_title(method)])
        texts = _texts(self.example, method)
        for column, (asked, lines) in enumerate(zip(self.example.asked, texts, strict=True)):
            answer = asked.answers[method]
            colour = PLAIN if answer.good is None else GOOD if answer.good else BAD
            sheet.write(column, [verdict_word(asked.kind, answer)], color=colour, fontweight="bold")
            sheet.write(column, lines, first=1)
        sheet.down(LINE * (1 + max(map(len, texts))) + GAP)


def draw_qualitative(examples: Sequence[Example], load: Callable[[str], Image], out: Path) -> None:
    """Draw the first example of every backbone and task as PNG; `load` opens an image by its name."""
    firsts = list({(example.backbone, example.task): example for example in reversed(examples)}.values())[::-1]
    blocks = [Block.load(example, load) for example in firsts]
    with style.context(STYLE, after_reset=True):
        sheet = Sheet(2 * GAP + sum(block.height for block in blocks))
        sheet.down(GAP)
        for block in blocks:
            block.draw(sheet)
        with atomic_path(out) as temporary:
            write_drawn(sheet.figure, temporary, out, format="png", metadata=NO_DATES["png"])


def _questions(example: Example) -> list[list[str]]:
    wanted = [(f"“{asked.question}”", f"→ {asked.wanted or '(no text)'}") for asked in example.asked]
    return [[line for text in pair for line in _wrapped(text)] for pair in wanted]


def _texts(example: Example, method: str) -> list[list[str]]:
    return [_wrapped(asked.answers[method].text or "(no text)") for asked in example.asked]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LETTERS, max_lines=4, placeholder=" …") or [""]
