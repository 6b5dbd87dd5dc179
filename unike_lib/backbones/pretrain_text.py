"""Compose training rows for the embedded language models: layouts, answers, continuations, facts in context.

A row is a list of token ids with a loss weight each; `<image>` tokens mark where the visual tokens go. The layout is
the family's `InputForm`, so training and use see the same sequence.

An answer is followed by `</s>`, `;` or `.` and, after the last two, often by a further question about the same picture
or a restatement. A model that always ends after an answer keeps nothing of it in the last state, which is the state
that in-context editing reads.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unike_lib.backbones.base import InputForm
from unike_lib.backbones.tokenizer import BEGIN, END, IMAGE
from unike_lib.config import PretrainConfig

QUESTION = "Question: {} Short answer:"
NO_IMAGE = -1


@dataclass(frozen=True)
class Lesson:
    """One thing to learn: any of `prompts` (without the question template) is answered by `answer`.

    `images`: rows of the feature table where it can be asked, empty for a text-only fact; `caption`: prompts are bare.
    """

    relation: str
    prompts: tuple[str, ...]
    answer: str
    images: tuple[int, ...] = ()
    caption: bool = False


@dataclass
class Row:
    """Token ids, the loss weight of predicting each, and the image behind the `<image>` tokens (-1: none).

    `last_answer`: position of the last token of the row's first answer.
    """

    image: int
    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    last_answer: int = -1

    def add(self, ids: Sequence[int], weight: float) -> None:
        """Append tokens with one loss weight."""
        self.ids += ids
        self.weights += [weight] * len(ids)


class Composer:
    """Draws rows from lessons; every random choice comes from `rng`."""

    def __init__(  # noqa: PLR0913  (what a row is made of)
        self,
        lessons: Sequence[Lesson],
        tokenizer: Any,
        form: InputForm,
        visual_tokens: int,
        config: PretrainConfig,
        rng: random.Random,
    ) -> None:
        self.form, self.config, self.rng = form, config, rng
        self.tokenizer = tokenizer
        self.visual = [tokenizer.convert_tokens_to_ids(IMAGE)] * visual_tokens
        self.begin = [tokenizer.convert_tokens_to_ids(BEGIN)]
        self.end, self.semicolon, self.stop = (tokenizer.convert_tokens_to_ids(mark) for mark in (END, ";", "."))
        self.restate = self._ids("that is ,")
        self.lessons = list(lessons)
        self.prompts = [self._prompts(lesson) for lesson in self.lessons]
        self.answers = [self._ids(lesson.answer) for lesson in self.lessons]
        self.text_only = [index for index, lesson in enumerate(self.lessons) if not lesson.images]
        self.by_image: dict[int, list[int]] = {}
        self.by_relation: dict[str, list[int]] = {}
        for index, lesson in enumerate(self.lessons):
            self.by_relation.setdefault(lesson.relation, []).append(index)
            for image in lesson.images:
                self.by_image.setdefault(image, []).append(index)
        self.images = sorted(self.by_image)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _prompts(self, lesson: Lesson) -> list[list[int]]:
        return [self._ids(text if lesson.caption else QUESTION.format(text)) for text in lesson.prompts]

    def start(self, image: int) -> Row:
        """Return a row with only the family's image prefix, or an empty one without an image."""
        row = Row(image)
        with_image = image != NO_IMAGE
        if self.form.start_token_with_image if with_image else self.form.start_token_text_only:
            row.add(self.begin, 0.0)
        if with_image:
            row.add(self._ids(self.form.before_image) + self.visual + self._ids(self.form.after_image), 0.0)
        return row

    def ask(self, row: Row, lesson: int, answer: list[int] | None = None, weight: float = 1.0) -> None:
        """Append a question and its answer (or another answer); only a follow-up question itself carries loss."""
        follow_up = row.last_answer >= 0
        row.add(self.rng.choice(self.prompts[lesson]), self.config.continuation_weight if follow_up else 0.0)
        row.add(self.answers[lesson] if answer is None else answer, weight)
        if not follow_up:
            row.last_answer = len(row.ids) - 1

    def plain(self) -> Row:
        """Draw a row of taught facts: one picture or a run of text facts, with continuations up to the row's length."""
        if self.rng.random() < self.config.text_share:
            row, pool = self.start(NO_IMAGE), self.text_only
        else:
            image = self.rng.choice(self.images)
            row, pool = self.start(image), self.by_image[image]
        order = self.rng.sample(pool, min(len(pool), 8))
        for lesson in order:
            self.ask(row, lesson)
            if self._close(row, self.answers[lesson]) or len(row.ids) >= self.config.row_tokens:
                break
        return row

    def _close(self, row: Row, answer: list[int]) -> bool:
        """Append the mark after an answer, perhaps a restatement; return whether the row ends here."""
        draw = self.rng.random()
        if draw < self.config.end_share:
            row.add([self.end], 1.0)
            return True
        if draw < (1 + self.config.end_share) / 2:
            row.add([self.semicolon], 1.0)
            return False
        row.add([self.stop], 1.0)
        if self.rng.random() < self.config.restate_share:
            row.add(self.restate, self.config.continuation_weight)
            row.add([*answer, self.stop], 1.0)
        return False

    def invented(self) -> tuple[int, list[int]]:
        """Draw a lesson and an answer that is right for another lesson of its relation."""
        lesson = self.rng.randrange(len(self.lessons))
        other = self.rng.choice(self.by_relation[self.lessons[lesson].relation])
        return lesson, self.answers[other]

    def asked_of(self, lesson: int) -> Row:
        """Start a row on one of a lesson's images."""
        images = self.lessons[lesson].images
        return self.start(self.rng.choice(images) if images else NO_IMAGE)
