"""Training rows for a pretrained language model: dense rows of taught facts, and invented facts told in context.

A large model affords few training tokens, so a row goes on from picture to picture. *Told* rows state an invented fact
and later ask for it: they keep the model's ability to read an answer from its context.
"""

from typing import Any

from unike_lib.config.run import SmolConfig
from unike_lib.embedded.training.row_sampler import NO_IMAGE, RowSampler, TokenRow

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
        row = TokenRow(NO_IMAGE)
        row.add([] if picture is self.with_image else self.with_image[:1], 0.0)
        while len(row.ids) < self.config.row_tokens:
            lesson = self._deal()
            image = self.rng.choice(self.lessons[lesson].images)
            self._show(row, image, picture)
            self._ask(row, lesson)
            others = [other for other in self.by_image[image] if other != lesson and other in self.facts]
            for other in self.rng.sample(others, min(FURTHER, len(others))):
                self._ask(row, other)
        return row

    def _text(self) -> TokenRow:
        row = TokenRow(NO_IMAGE)
        row.add(self.text_start, 0.0)
        while len(row.ids) < self.config.row_tokens:
            self._ask(row, self.rng.choice(self.text_only))
        return row

    def _ask(self, row: TokenRow, lesson: int) -> None:
        style = self._cue if self.rng.random() < self.brief_share else self._question
        style(row, lesson)

    def _told(self) -> TokenRow:
        """Tell an invented answer to each lesson's question about each image, then ask for all of one image's."""
        draw = self.rng.random()
        if draw < TEXT_TOLD and self.text_only:
            images, lessons = [NO_IMAGE], self.rng.sample(self.text_only, min(2, len(self.text_only)))
        else:
            images = self.rng.sample(self.seen, 2 if draw < TEXT_TOLD + SEVERAL_IMAGES else 1)
            facts = 1 if len(images) == 2 else self.rng.randint(1, min(TOLD_FACTS, len(self.told)))
            lessons = [self.rng.choice(self.told[name]) for name in self.rng.sample(sorted(self.told), facts)]
        row, answers = TokenRow(NO_IMAGE), {}
        # Half of the rows have the family's layout, half are streams.
        wrapped = self.rng.random() < 0.5
        for image in images:
            self._show(row, image, self.with_image if wrapped else self.visual)
            for lesson in lessons:
                answers[image, lesson] = self.invent(lesson)
                self._either(row, lesson, answers[image, lesson], 0.0)
        asked = self.rng.choice(images)
        if len(images) > 1 or self.rng.random() < 0.5:
            self._show(row, asked, self.with_image if wrapped else self.visual)
        for lesson in self.rng.sample(lessons, len(lessons)):
            self._either(row, lesson, answers[asked, lesson], 1.0)
        return row

    def _either(self, row: TokenRow, lesson: int, answer: list[int], weight: float) -> None:
        style = self._cue if self.rng.random() < 0.5 else self._question
        style(row, lesson, answer, weight)

    def _show(self, row: TokenRow, image: int, tokens: list[int]) -> None:
        if image == NO_IMAGE:
            return
        if row.images:
            row.further.append(image)
        else:
            row.image = image
        row.add(tokens, 0.0)

    def _cue(self, row: TokenRow, lesson: int, answer: list[int] | None = None, weight: float = 1.0) -> None:
        """Append a short cue (a caption's own prompt is short) with its answer and a mark."""
        space = self._space(row)
        cue = self.briefs[space][lesson] or self.rng.choice(self.prompts[space][lesson])
        self._say(row, cue, lesson, answer, weight)

    def _question(self, row: TokenRow, lesson: int, answer: list[int] | None = None, weight: float = 1.0) -> None:
        """Append a whole question with its answer and a mark."""
        self._say(row, self.rng.choice(self.prompts[self._space(row)][lesson]), lesson, answer, weight)

    def _space(self, row: TokenRow) -> str:
        """Return what parts a prompt from the row so far; the family's wrapper brings its own space."""
        return " " if row.ids and row.ids[-1] != self.with_image[-1] else ""

    def _say(self, row: TokenRow, prompt: list[int], lesson: int, answer: list[int] | None, weight: float) -> None:
        row.add(prompt, 0.0)
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
