"""Training rows for a pretrained language model: dense rows of taught facts, and invented facts told in context.

A large model affords few training tokens, so a row goes on from picture to picture. *Told* rows state an invented fact
and later ask for it: they keep the model's ability to read an answer from its context.
"""

from typing import Any

from unike_lib.config.run import SmolConfig
from unike_lib.embedded.training.row_sampler import RowSampler, TokenRow

# How often a lesson of a relation is dealt per round; others once. A thing stands in many captions.
DEALT = {"caption": 0.14, "naming": 0.4, "left": 0.1, "right": 0.1, "position": 0.1, "background": 2.0}
FURTHER = 3  # at most so many further facts of the same picture
TOLD_FACTS = 3  # at most so many are told in a row about one picture
SEVERAL_IMAGES = 0.4  # share of told rows with a second picture, about which another answer is told
TEXT_TOLD = 0.15  # share of told rows without a picture


class DenseRowSampler(RowSampler):
    """Draws few, dense rows; `config.brief_start` and `brief_end` are the share of streams."""

    config: SmolConfig

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.visual = [token for token in self.with_image if token == self.image_id]
        self.seen = sorted(self.by_image)
        self.told: dict[str, list[int]] = {}
        self.facts: set[int] = set()  # lessons that no other relation repeats: they need the most rows
        self.alike: dict[tuple[str, int], list[list[str]]] = {}
        for index, lesson in enumerate(self.lessons):
            words = lesson.answer.split()
            self.alike.setdefault((lesson.relation, len(words)), []).append(words)
            if lesson.images and lesson.relation not in DEALT:
                self.facts.add(index)
            if lesson.images and not lesson.name and lesson.relation != "background":
                self.told.setdefault(lesson.relation, []).append(index)
        self.deck: list[int] = []

    def plain(self) -> TokenRow:
        """Draw a row: told, text-only, or of taught facts about several pictures."""
        draw = self.rng.random()
        if draw < self.config.told_share:
            return self._told()
        if draw < self.config.told_share + self.config.text_share:
            return self._text()
        return self._taught()

    def _deal(self) -> int:
        """Return the next lesson with a picture; the lessons of a relation come up equally often."""
        while not self.deck:
            for index, lesson in enumerate(self.lessons):
                times = DEALT.get(lesson.relation, 1.0) if lesson.images else 0.0
                self.deck += [index] * int(times + self.rng.random())
            self.rng.shuffle(self.deck)
        return self.deck.pop()

    def _taught(self) -> TokenRow:
        picture = self.with_image if self.rng.random() < self.config.wrapped_share else self.visual
        row = TokenRow()
        row.add([] if picture is self.with_image else self.with_image[:1], 0.0)
        while len(row.ids) < self.config.row_tokens:
            lesson = self._deal()
            image = self.rng.choice(self.lessons[lesson].images)
            row.show(image, picture)
            self._ask(row, lesson, self.brief_share)
            others = [other for other in self.by_image[image] if other != lesson and other in self.facts]
            for other in self.rng.sample(others, min(FURTHER, len(others))):
                self._ask(row, other, self.brief_share)
        return row

    def _text(self) -> TokenRow:
        row = TokenRow()
        row.add(self.text_start, 0.0)
        while len(row.ids) < self.config.row_tokens:
            self._ask(row, self.rng.choice(self.text_only), self.brief_share)
        return row

    def _told(self) -> TokenRow:
        """Tell an invented answer to each lesson's question about each image, then ask for all of one image's."""
        draw = self.rng.random()
        images: list[int | None] = [None]
        if draw < TEXT_TOLD and self.text_only:
            lessons = self.rng.sample(self.text_only, min(2, len(self.text_only)))
        else:
            images = [*self.rng.sample(self.seen, 2 if draw < TEXT_TOLD + SEVERAL_IMAGES else 1)]
            facts = 1 if len(images) == 2 else self.rng.randint(1, min(TOLD_FACTS, len(self.told)))
            lessons = [self.rng.choice(self.told[name]) for name in self.rng.sample(sorted(self.told), facts)]
        row, answers = TokenRow(), {}
        # Half of the rows have the family's layout, half are streams.
        picture = self.with_image if self.rng.random() < 0.5 else self.visual
        for image in images:
            if image is not None:
                row.show(image, picture)
            for lesson in lessons:
                answers[image, lesson] = self.invent(lesson)
                self._ask(row, lesson, 0.5, answers[image, lesson], 0.0)
        asked = self.rng.choice(images)
        if (len(images) > 1 or self.rng.random() < 0.5) and asked is not None:
            row.show(asked, picture)
        for lesson in self.rng.sample(lessons, len(lessons)):
            self._ask(row, lesson, 0.5, answers[asked, lesson])
        return row

    def _ask(
        self, row: TokenRow, lesson: int, briefly: float, answer: list[int] | None = None, weight: float = 1.0
    ) -> None:
        """Append a question, its answer (or another one) and a mark; a short cue takes its place at a chance `briefly`.

        A caption's own prompt is short. What parts a question from the row so far is a space; the family's wrapper
        brings its own.
        """
        space = " " if row.ids and row.ids[-1] != self.with_image[-1] else ""
        cue = self.briefs[space][lesson] if self.rng.random() < briefly else []
        row.add(cue or self.rng.choice(self.prompts[space][lesson]), 0.0)
        row.add(self.answers[lesson] if answer is None else answer, weight)
        draw = self.rng.random()
        mark = self.end if draw < self.config.end_share else self.rng.choice((self.semicolon, self.period))
        row.add([mark], weight * self.config.mark_weight)

    def invent(self, lesson: int) -> list[int]:
        """Return an answer that fits a lesson's relation: each word from a random answer with as many words.

        A caption is taken whole, from other pictures: its words do not stand in fixed places.
        """
        words = self.lessons[lesson].answer.split()
        choices = self.alike[self.lessons[lesson].relation, len(words)]
        whole = self.rng.choice(choices)
        caption = self.lessons[lesson].caption
        mixed = whole if caption else [self.rng.choice(choices)[place] for place in range(len(words))]
        return self._ids(self.form.answer_prefix + " ".join(mixed))
