"""A frozen multimodal language model: queries laid out, run up to the first edited layer once, then to logits.

`encode` lays queries out as padded embeddings; `prepare` also runs the frozen layers below the edited ones, or takes
their states from a cache; `forward` runs the rest, with an edit or without, and returns logits only where they are
read. `forward(prepare(queries))` equals the model's full forward; `forward.answer_logits` is what edits are asked by.

Example:
    >>> prepared = backbone.prepare([Query("images/cat.png", "what is this ?", "cat")])        # doctest: +SKIP
    >>> logits = backbone.forward(prepared, where=prepared.batch.targets >= 0)                 # doctest: +SKIP
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unike_lib.backbones.batch import IGNORED, Answers, Batch, Prepared, Tail, sees_pictures
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.edit import Edit, PassContext, Trace
from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.backbones.no_cache import NoCache
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.backbones.positions import check_lengths, grid_positions
from unike_lib.backbones.reach import edited_layers, layers_with_pictures, refuse_below
from unike_lib.family import Family
from unike_lib.types import InputError, Query


class Backbone:
    """A frozen image-and-text language model whose last layers can be run with a patch.

    Args:
        model: a Hugging Face model of the family, whole.
        tokenizer: its tokenizer.
        family: its input layout, and where its parts lie.
        images: returns the visual tokens [image, token, d] of images by name.
        layers: the edited layers E (default: the last four); all layers from the first of them on are run by `forward`.
        question: template around a question, with one {}.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        family: Family,
        images: Callable[[Sequence[str]], Tensor],
        layers: tuple[int, ...] | None = None,
        question: str = "{}",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.form = family.form
        self.on_grid, self.both_ways = family.square is not None, family.picture_both_ways
        self.images = images
        self.question = question
        self.decoder = Decoder(model.get_submodule(family.decoder), model.get_submodule(family.head), family.decoders)
        depth, self.added = len(self.decoder.layers), layers_with_pictures(model.config)
        self.layers = edited_layers(layers, depth, self.added)
        self.editable = self.decoder.layers[self.added :]  # those that an edit may act in
        cards = sorted({str(layer.device) for layer in self.decoder.layers[self.layers[0] :]})
        if len(cards) > 1:
            raise InputError(f"device: the layers from the first edited one on lie on {', '.join(cards)}; expected one")
        self.cache = NoCache()

    @property
    def device(self) -> torch.device:
        """Where the edited layers live, and with them batches and patches."""
        return self.decoder.layers[-1].device

    @property
    def _embed(self) -> Any:
        return self.decoder.model.get_input_embeddings()

    @property
    def width(self) -> int:
        """Hidden width d."""
        return self.decoder.layers[0].width

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Token ids that end a generated answer: the generation config's (one, several or none) and the tokenizer's."""
        ids = self.model.generation_config.eos_token_id
        found = {*(ids if isinstance(ids, list) else [ids]), self.tokenizer.eos_token_id}
        return frozenset(found - {None})

    def attention_input(self, layer: int, hidden: Tensor) -> Tensor:
        """Return s = LN1(h) of states that enter a layer, [..., d]."""
        module = self.decoder.layers[layer]
        return module.attention_input(hidden.to(module.device)).to(self.device)

    def answer_ids(self, answer: str) -> list[int]:
        """Return the token ids of an answer."""
        return self._ids(self.form.answer_prefix + answer)

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Return the input embeddings [..., d] of token ids, with zeros where pictures have what is added later."""
        embedded: Tensor = self._embed(ids)
        if self.added:
            embedded = nn.functional.pad(embedded, (0, self.added * self.width))
        return embedded.to(self.device)

    def prompt_ids(self, query: Query) -> list[int]:
        """Return the token ids of a query's prompt in the question template, without context, image and marks."""
        return self._ids(self._templated(query))

    def _templated(self, query: Query) -> str:
        return self.question.format(query.prompt) if query.style == "question" else query.prompt

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of answer token ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def encode(self, queries: Sequence[Query], answers: Answers | None = None) -> Batch:
        """Lay out queries as rows of embeddings.

        Args:
            queries: questions with or without image and answer.
            answers: token ids that take the place of the queries' own answers.

        Raises:
            InputError: a query has no tokens, or more than the model has positions, or an image is unknown.
        """
        own = [self.form.answer_prefix + query.answer if query.answer else "" for query in queries]
        texts = [self._texts(query) for query in queries]
        known = self._ids_by_text({*(own if answers is None else ()), *(text for *pair, _ in texts for text in pair)})
        prompts = self._ids_by_text({prompt for *_, prompt in texts}, self.form.start_token_before_prompt)
        marked = bool(self.form.picture_mark)  # a prompt with a picture begins with its mark, which stands for none
        skipped = [int(marked and query.image is not None) for query in queries]
        parts = [
            (known[before], known[after], prompts[prompt][skip:])
            for (before, after, prompt), skip in zip(texts, skipped, strict=True)
        ]
        if answers is None:
            answers = [known[answer] for answer in own]
        names = sorted({query.image for query in queries if query.image is not None})
        visual = dict(zip(names, self.images(names).to(self.device), strict=True)) if names else {}
        rows = self._rows(queries, parts, answers, visual)
        lengths = torch.tensor([row.shape[0] for row in rows])
        answer_lengths = torch.tensor([len(ids) for ids in answers])
        last_prompt = lengths - answer_lengths - 1
        targets = torch.full((len(rows), int(lengths.max())), IGNORED)
        for row, (ids, start) in enumerate(zip(answers, last_prompt.tolist(), strict=True)):
            targets[row, start : start + len(ids)] = torch.tensor(ids, dtype=torch.long)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        device, positions = self.device, None
        counts = [0 if query.image is None else len(visual[query.image]) for query in queries]
        check_lengths(self.decoder.limit, queries, lengths.tolist(), counts if self.on_grid else ())
        starts = [len(before_image) + self.form.start_token_with_image for before_image, *_ in parts]
        if self.on_grid:
            grids = [grid_positions(*span, padded.shape[1]) for span in zip(starts, counts, strict=True)]
            positions = torch.stack(grids, 1).to(device)
        picture = torch.tensor([starts, counts], device=device).T
        sees = sees_pictures(picture, padded.shape[1]) if self.both_ways and any(counts) else None
        last_prompt, lengths = last_prompt.to(device), lengths.to(device)
        return Batch(padded, targets.to(device), last_prompt, lengths, positions, picture, sees=sees)

    def _texts(self, query: Query) -> tuple[str, str, str]:
        """Return what is tokenised each by itself: before the image, after it, and the prompt in its frame."""
        prompt, form = query.context + self._templated(query), self.form
        if query.image is None:
            return "", "", form.text_only.format(prompt)
        return form.before_image, form.after_image, form.with_image.format(prompt)

    def _rows(
        self,
        queries: Sequence[Query],
        parts: Sequence[Sequence[list[int]]],
        answers: Sequence[Sequence[int]],
        visual: dict[str, Tensor],
    ) -> list[Tensor]:
        """Return the embeddings of rows, [token, d] each; `parts` are the ids of their `_texts`."""
        form, before, after = self.form, [], []
        for query, (before_image, after_image, prompt), answer in zip(queries, parts, answers, strict=True):
            start = form.start_token_text_only if query.image is None else form.start_token_with_image
            before.append([self.tokenizer.bos_token_id] * start + before_image)
            after.append(after_image + prompt + list(answer))
            if query.image is None and not before[-1] + prompt:
                raise InputError(f"query {query}: the prompt has no tokens; expected a question with words")
        # All rows are embedded at once: a call a row costs more than the look-up.
        flat = [token for pair in zip(before, after, strict=True) for ids in pair for token in ids]
        sizes = [len(ids) for pair in zip(before, after, strict=True) for ids in pair]
        pieces = self.embed(torch.tensor(flat, device=self.device)).split(sizes)
        rows = []
        for query, first, last in zip(queries, pieces[::2], pieces[1::2], strict=True):
            image = [] if query.image is None else [visual[query.image].to(first.dtype)]
            rows.append(torch.cat([first, *image, last]))
        return rows

    def _ids_by_text(self, texts: set[str], special: bool = False) -> dict[str, list[int]]:
        """Return the token ids of texts, each by itself, from one call; `special`: with the tokenizer's own marks."""
        known = sorted(texts if special else texts - {""})
        found = self.tokenizer(known, add_special_tokens=special)["input_ids"] if known else []
        return {"": [], **dict(zip(known, found, strict=True))}

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    @torch.no_grad()
    def run_below(self, batch: Batch, first: int | None = None) -> Prepared:
        """Run the frozen layers below layer `first` (default: the first edited one).

        Raises:
            InputError: no edit can begin there (`reach.edited_layers`), or no memory is left.
        """
        first = self.layers[0] if first is None else first
        refuse_below(first, len(self.decoder.layers), self.added)
        with oom_as_input_error(batch.mask):
            hidden = self.decoder.start(batch.embeddings)
            masks = self.decoder.masks(hidden, batch.sees, batch.positions, batch.mask)
            hidden = self.decoder.through(hidden, range(first), masks)
        return Prepared(hidden.to(self.device), batch, first)

    def prepare(self, queries: Sequence[Query], first: int | None = None) -> Prepared:
        """Encode queries and run the frozen layers below layer `first`, as far as `cache` has not their states."""
        first = self.layers[0] if first is None else first
        known = self.cache.recall(queries, first)
        if known is None:
            batch = self.encode(queries)
            entering = self.cache.entering(queries, batch, first)
            known = self.run_below(batch, first) if entering is None else Prepared(entering, batch, first)
            self.cache.remember(queries, known)
        return known

    @torch.no_grad()
    def prepare_with_cache(self, queries: Sequence[Query], first: int, answers: Answers | None = None) -> Prepared:
        """Encode queries for a pass that keeps keys and values, so that answers can be written behind it.

        What `cache` has of the layers below `first` is taken from it, keys and values included.
        """
        batch = self.encode(queries, answers)
        past = KVCache(batch.context(), batch.positions, batch.sees)
        entering, reached = self.cache.begin(queries, batch, past, first) or (batch.embeddings, 0)
        return Prepared(entering, batch, reached, past)

    def forward(
        self, prepared: Prepared, edit: Edit | None = None, where: Tensor | None = None, trace: Trace | None = None
    ) -> Tensor:
        """Run the layers from where the prepared rows stand.

        Args:
            prepared: rows ordered by session, the same number for each of the edit's sessions.
            edit: the edit; None is the unedited model.
            where: bool [row, token], the positions to read; None reads all.
            trace: filled with the inner states of the layers run.

        Returns:
            Logits in float32: [position read, vocabulary], or [row, token, vocabulary] if `where` is None.
        """
        batch, last = prepared.batch, self.decoder.layers[-1].index
        layers, sees, positions = range(prepared.first, last + 1), batch.sees, batch.positions
        if prepared.past is not None:
            prepared.past.context.trace = trace
            hidden = forward_with_cache(self.decoder, prepared.hidden, prepared.past, batch.mask, edit, layers)
        elif where is not None and last in layers and not self._seen_whole(last, edit, trace):
            return self.read(self.tail(prepared, edit, where, trace), edit)
        else:
            context = self._begun(batch, edit, trace)
            with oom_as_input_error(batch.mask):
                hidden = self.decoder.run(prepared.hidden, layers, edit, context, sees, positions)
        with oom_as_input_error(batch.mask):
            return self.decoder.logits(self.decoder.finish(hidden if where is None else hidden[where]))

    def _seen_whole(self, last: int, edit: Edit | None, trace: Trace | None) -> bool:
        """Return whether all tokens pass the last FFN: an edit or a trace looks at them there."""
        traced = trace is not None and trace.states and last in self.layers
        return traced or (edit is not None and edit.sees_all(last))

    @staticmethod
    def _begun(batch: Batch, edit: Edit | None, trace: Trace | None) -> PassContext:
        """Return the context of a pass that an edit has begun."""
        context = batch.context(trace)
        if edit is not None:
            edit.begin(context)
        return context

    def tail(self, prepared: Prepared, edit: Edit | None, where: Tensor, trace: Trace | None = None) -> Tail:
        """Run the layers from where the prepared rows stand, up to the last FFN, which only matters where it is read.

        An edit that differs in the last FFN alone has the same tail. Arguments are those of `forward`.
        """
        batch, last = prepared.batch, self.decoder.layers[-1]
        context, layers = self._begun(batch, edit, trace), range(prepared.first, last.index)
        sees, positions = batch.sees, batch.positions
        with oom_as_input_error(batch.mask):
            hidden = self.decoder.run(prepared.hidden, layers, edit, context, sees, positions)
            hidden = last.through_attention(hidden, self.decoder.masks(hidden, sees, positions), edit, context)
        counts = where.sum(1, keepdim=True)
        most = int(counts.max())
        order = where.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        mask = torch.arange(most, device=where.device) < counts
        context.positions = order
        return Tail(hidden.gather(1, order[..., None].expand(-1, -1, hidden.shape[2])), mask, context)

    def read(self, tail: Tail, edit: Edit | None) -> Tensor:
        """Return the logits [position read, vocabulary] in float32."""
        with oom_as_input_error(tail.mask):
            hidden = self.decoder.layers[-1].through_ffn(tail.states, edit, tail.context)
            return self.decoder.logits(self.decoder.finish(hidden[tail.mask]))
