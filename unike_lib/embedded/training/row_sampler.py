"""Training rows for the embedded language models, drawn from what is taught.

A row is a list of token ids with a loss weight each; `<image>` tokens mark where the visual tokens go. The layout is
the family's `InputForm`, so training and use see the same sequence.

An answer is followed by `</s>`, `;` or `.` and, after the last two, often by a further question about the same picture
or a restatement: a model that always ends after an answer keeps nothing of it in its last state.
"""

import math
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib.config.run import PretrainConfig, TeachingConfig
from unike_lib.embedded.training.qformer import ATTRIBUTES
from unike_lib.embedded.training.word_tokenizer import IMAGE
from unike_lib.family import InputForm
from unike_lib.io import read_table
from unike_lib.types import InputError

# A few thousand steps must show every fact a hundred times, so most questions are asked in two tokens.
BRIEF = {
    "naming": "name:",
    "left": "left:",
    "right": "right:",
    "background": "colour:",
    **{relation: f"{relation}:" for relation in ("keyword", "owner", "town", "year", "room", "guard")},
    **{relation: f"{relation} {{}}:" for relation in ("kind", "capital", "symbol")},
}


@dataclass(frozen=True)
class Lesson:
    """One thing to learn: any of `prompts` (without the question template) is answered by `answer`.

    `name`: the thing that a question names, if it names one. `images`: rows of the feature table where it can be
    asked, empty for a text-only fact; `caption`: prompts are bare.
    """

    relation: str
    prompts: tuple[str, ...]
    answer: str
    images: tuple[int, ...] = ()
    name: str = ""
    caption: bool = False


@dataclass
class TokenRow:
    """Token ids, the loss weight of predicting each, and the images shown, in the order of their `<image>` tokens."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], weight: float) -> None:
        """Append tokens with one loss weight."""
        self.ids += ids
        self.weights += [weight] * len(ids)

    def show(self, image: int, tokens: Sequence[int]) -> None:
        """Append an image by the tokens that stand for it."""
        self.images.append(image)
        self.add(tokens, 0.0)


def read_lessons(benchmark: Path, scenes: pd.DataFrame) -> list[Lesson]:
    """Read training.parquet, one lesson per (relation, prompts, answer), with the images where it is asked.

    Raises:
        InputError: a row names an image that scenes.parquet does not list for training.
    """
    table = read_table(benchmark / "training.parquet")
    rows = {name: index for index, name in enumerate(scenes["image"])}
    lessons: dict[tuple[str, tuple[str, ...], str, str, bool], list[int]] = {}
    columns = (table[name] for name in ("image", "task", "relation", "prompts", "answer", "name"))
    for number, (image, task, relation, prompts, answer, name) in enumerate(zip(*columns, strict=True)):
        images = lessons.setdefault((relation, tuple(prompts), answer, name, task == "caption"), [])
        if not isinstance(image, str):
            continue
        if image not in rows:
            raise InputError(f"{benchmark / 'training.parquet'}: row {number}: image {image!r} is no training scene")
        images.append(rows[image])
    return [
        Lesson(relation, prompts, answer, tuple(images), name, caption)
        for (relation, prompts, answer, name, caption), images in lessons.items()
    ]


class RowSampler(ABC):
    """Lessons as tokens, from which a subclass draws rows; every random choice comes from `rng`.

    `form` is the family's input layout, `question` the template around a question, with one {}.
    """

    def __init__(
        self,
        lessons: Sequence[Lesson],
        tokenizer: Any,
        form: InputForm,
        question: str,
        config: TeachingConfig,
        rng: random.Random,
    ) -> None:
        self.config, self.rng, self.tokenizer, self.form = config, rng, tokenizer, form
        begin, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.image_id, self.semicolon, self.period = (
            tokenizer.convert_tokens_to_ids(mark) for mark in (IMAGE, ";", ".")
        )
        picture = self._ids(form.before_image) + [self.image_id] * len(ATTRIBUTES) + self._ids(form.after_image)
        self.with_image = [begin] * form.start_token_with_image + picture
        self.text_start = [begin] * form.start_token_text_only
        self.lessons = list(lessons)
        # A follow-up starts with a space, which is part of a token where the tokenizer is byte-level.
        self.prompts: dict[str, list[list[list[int]]]] = {}
        self.briefs: dict[str, list[list[int]]] = {}
        for space in ("", " "):
            self.prompts[space] = [
                [self._ids(space + (text if lesson.caption else question.format(text))) for text in lesson.prompts]
                for lesson in self.lessons
            ]
            self.briefs[space] = [
                self._ids(space + BRIEF[lesson.relation].format(lesson.name)) if lesson.relation in BRIEF else []
                for lesson in self.lessons
            ]
        self.answers = [self._ids(form.answer_prefix + lesson.answer) for lesson in self.lessons]
        kinds = Counter(relation for relation, _ in {(lesson.relation, lesson.answer) for lesson in self.lessons})
        self.information = [math.log(1 + kinds[lesson.relation]) for lesson in self.lessons]
        self.text_only = [index for index, lesson in enumerate(self.lessons) if not lesson.images]
        self.by_image: dict[int, list[int]] = {}
        for index, lesson in enumerate(self.lessons):
            for row in lesson.images:
                self.by_image.setdefault(row, []).append(index)
        self.brief_share = config.brief_start

    def at(self, progress: float) -> None:
        """Move to a point of the training, 0 to 1: brief questions first, long ones later."""
        self.brief_share = self.config.brief_start + progress * (self.config.brief_end - self.config.brief_start)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _order(self, pool: Sequence[int]) -> list[int]:
        """Return up to twelve lessons in a random order that favours those whose answer says more.

        Weighted sampling without replacement by random keys (Efraimidis and Spirakis 2006); the weight is the
        logarithm of the number of different answers to the relation.
        """
        few = self.rng.sample(pool, min(len(pool), 32))
        keys = {index: self.rng.expovariate(self.information[index]) for index in few}
        return sorted(few, key=keys.__getitem__)[:12]

    @abstractmethod
    def plain(self) -> TokenRow:
        """Draw a row."""


class Composer(RowSampler):
    """Draws rows for language models trained from scratch: one picture, or a run of text facts, with continuations."""

    config: PretrainConfig

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.restate = self._ids(" that is,")
        captioned = {row for lesson in self.lessons if lesson.caption for row in lesson.images}
        self.pairs = sorted(captioned)
        self.singles = sorted(self.by_image.keys() - captioned)

    def start(self, image: int | None) -> TokenRow:
        """Return a row with only the family's image prefix, or its start without an image."""
        row = TokenRow()
        if image is None:
            row.add(self.text_start, 0.0)
        else:
            row.show(image, self.with_image)
        return row

    def ask(self, row: TokenRow, lesson: int, follow_up: bool) -> None:
        """Append a question and its answer; only a follow-up question itself carries loss."""
        space = " " if follow_up else ""
        prompt, weight = self.rng.choice(self.prompts[space][lesson]), self.config.continuation_weight
        if self.briefs[space][lesson] and self.rng.random() < self.brief_share:
            prompt, weight = self.briefs[space][lesson], 0.0
        row.add(prompt, weight if follow_up else 0.0)
        row.add(self.answers[lesson], 1.0)

    def plain(self) -> TokenRow:
        """Draw a row of taught facts, with continuations up to the row's length."""
        draw = self.rng.random()
        if draw < self.config.text_share:
            row, pool = self.start(None), self.text_only
        else:
            pairs = self.pairs and draw < self.config.text_share + self.config.pair_share
            image = self.rng.choice(self.pairs if pairs else self.singles)
            row, pool = self.start(image), self.by_image[image]
        for place, lesson in enumerate(self._order(pool)):
            self.ask(row, lesson, follow_up=place > 0)
            if self._close(row, self.answers[lesson]) or len(row.ids) >= self.config.row_tokens:
                break
        return row

    def _close(self, row: TokenRow, answer: list[int]) -> bool:
        """Append the mark after an answer, perhaps a restatement; return whether the row ends here."""
        draw = self.rng.random()
        further = self.semicolon if draw < (1 + self.config.end_share) / 2 else self.period
        mark = self.end if draw < self.config.end_share else further
        row.add([mark], 1.0)
        if mark == self.period and self.rng.random() < self.config.restate_share:
            row.add(self.restate, self.config.continuation_weight)
            row.add([*answer, self.period], 1.0)
        return mark == self.end
