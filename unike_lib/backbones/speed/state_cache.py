"""What the frozen layers make of questions, kept in memory or on disk, so that those who ask again share a pass.

In memory: whole rows, as `Backbone.prepare` returned them. On disk: keys and values of all layers, and the states that
enter those layers where edits begin; they hold for every edit from such a layer on, and, up to its last prompt token,
for a question with any other answer.

Example:
    >>> cache_states(backbone, queries, depths, Path("eval_vqa.safetensors"), fingerprint)  # doctest: +SKIP
    >>> backbone.cache = StateCache(backbone, [Path("eval_vqa.safetensors")])        # doctest: +SKIP
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import DynamicCache

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Batch, Prepared
from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.backbones.no_cache import NoCache
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.checksum import check_content
from unike_lib.io import first_line, write_tensors
from unike_lib.types import InputError, Query, beside_alike

ROWS = 64
INDEX = "index"


@dataclass(frozen=True)
class _Row:
    """Where a question lies: its file, part, number and first token there; how long it is; its answer's ids."""

    file: Path
    part: str
    number: int
    start: int
    tokens: int
    answer: list[int]

    def agrees(self, answer: Sequence[int]) -> int:
        """Return up to how many tokens, prompt included, the row is that of this answer too."""
        same = [one == other for one, other in zip(self.answer, answer, strict=False)]
        return self.tokens - len(self.answer) + (same.index(False) if False in same else len(same))

    def read(self, files: Mapping[Path, Any], name: str, tokens: int, place: int | slice) -> Tensor:
        """Return [token, ...] of a tensor whose second axis is taken at `place`, from files that are open."""
        return files[self.file].get_slice(f"{name}.{self.part}")[self.start : self.start + tokens, place]


class StateCache(NoCache):
    """The kept states of one backbone; those on disk are read as they are asked for.

    A file is open for a batch only: what is read of it counts as the process's memory as long as it is.

    Raises:
        InputError: a file is missing, broken or damaged, or another backbone's.
    """

    def __init__(self, backbone: Backbone, paths: Iterable[Path] = ()) -> None:
        self._known: dict[tuple[tuple[Query, ...], int], Prepared] | None = None
        self._prompts: dict[tuple[Query, tuple[int, ...]], Tensor] = {}
        self._attention_input = backbone.attention_input
        self._decoder, self._device, self._width = backbone.decoder, backbone.device, backbone.width
        self._rows: dict[tuple[str | None, str, str], list[_Row]] = {}
        self._depths: list[int] = []
        for path in paths:
            try:
                check_content(path)
                with safe_open(path, framework="pt") as file:
                    index = json.loads(bytes(file.get_tensor(INDEX).tolist()))
            except (OSError, SafetensorError, ValueError) as error:
                raise InputError(
                    f"{path}: no readable states of frozen layers; "
                    f"delete it, so that it is made anew ({first_line(error)})"
                ) from None
            if (index["layers"], index["width"]) != (len(self._decoder.layers), self._width):
                raise InputError(f"{path}: frozen layers of another backbone; delete it, so that it is made anew")
            self._depths = index["depths"]
            for row in index["rows"]:
                question = (row["image"], row["prompt"], row["style"])
                place = _Row(path, str(row["part"]), row["number"], row["start"], row["tokens"], row["answer"])
                self._rows.setdefault(question, []).append(place)

    @contextmanager
    def remembering(self, on: bool = True) -> Iterator[None]:
        """Keep prepared rows in memory until the outermost such context ends; off: not in this one."""
        before = self._known
        self._known = None if not on else {} if before is None else before
        try:
            yield
        finally:
            self._known = before

    def recall(self, queries: Sequence[Query], first: int) -> Prepared | None:
        """Return the rows of queries at layer `first`, if they are remembered."""
        return None if self._known is None else self._known.get((tuple(queries), first))

    def remember(self, queries: Sequence[Query], prepared: Prepared) -> None:
        """Keep the rows of queries, within `remembering`."""
        if self._known is not None:
            self._known[tuple(queries), prepared.first] = prepared

    def prompt_states(self, query: Query, layers: Sequence[int]) -> Tensor | None:
        """Return s = LN1(h) at a question's last prompt token, [layer, d]; None if it is not kept."""
        if (query, tuple(layers)) in self._prompts:
            return self._prompts[query, tuple(layers)]
        rows = self._of(query)
        if not rows:
            return None
        row = rows[0]
        with safe_open(row.file, framework="pt") as file:
            entering = file.get_slice(f"prompts.{row.part}")[row.number].to(self._device)
        states = torch.stack([self._attention_input(layer, entering[layer]) for layer in layers])
        self.remember_prompt_states(query, layers, states)
        return states

    def remember_prompt_states(self, query: Query, layers: Sequence[int], states: Tensor) -> None:
        """Keep them as long as the process lives."""
        self._prompts[query, tuple(layers)] = states

    def entering(self, queries: Sequence[Query], batch: Batch, first: int) -> Tensor | None:
        """Return the states that enter layer `first`, [row, token, d]; None if not all questions are kept.

        What an answer has beyond the kept one is run through the frozen layers behind it.
        """
        found, depth = self._find(queries, batch), self._depth(first)
        if found is None or not depth:
            return None
        counts = torch.tensor([tokens for _, tokens in found], device=batch.lengths.device)
        hidden = self._states(found, depth, batch)
        if bool((counts < batch.lengths).any()):
            if batch.positions is not None:
                return None
            self._run_rest(found, counts, depth, batch, hidden)
        return self._decoder.run(hidden, range(depth, first), sees=batch.sees, positions=batch.positions)

    def begin(self, queries: Sequence[Query], batch: Batch, past: KVCache, first: int) -> tuple[Tensor, int] | None:
        """Return states [row, token, d] and the layer, at most `first`, that they enter; None if a row is not kept.

        `past` gets the keys and values of the layers below.
        """
        found, depth = self._find(queries, batch), self._depth(first)
        if found is None or not depth:
            return None
        counts = torch.tensor([tokens for _, tokens in found], device=batch.lengths.device)
        whole = bool((counts == batch.lengths).all())
        if not whole and batch.positions is not None:
            return None
        if whole:
            self._fill(past, found, depth, batch.embeddings.shape[1])
            return self._states(found, depth, batch), depth
        hidden = self._states(found, depth, batch)
        parts = self._run_rest(found, counts, depth, batch, hidden)
        # The rest lies behind the longest kept row; what is taken for padding is never seen.
        places = torch.arange(batch.mask.shape[1], device=counts.device).expand(len(counts), -1)
        places = torch.where(places < counts[:, None], places, places - counts[:, None] + counts.max())
        places = places.clamp(max=parts.mask.shape[1] - 1)[:, None, :, None]
        layers: Any = parts.cache.layers
        for index, layer in enumerate(layers):
            at = places.to(layer.keys.device).expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3])
            past.cache.update(layer.keys.gather(2, at), layer.values.gather(2, at), index)
        return hidden, depth

    def _run_rest(
        self, found: Sequence[tuple[_Row, int]], counts: Tensor, depth: int, batch: Batch, hidden: Tensor
    ) -> KVCache:
        """Run what rows have behind the `counts` tokens that are kept up to layer `depth`, and put it into `hidden`.

        Returns:
            Keys and values of the layers below: kept tokens, padded to the longest, then the rest.
        """
        past = KVCache(batch.context())
        self._fill(past, found, depth, int(counts.max()))
        past.mask = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]
        fresh, real = batch.suffix(counts)
        with oom_as_input_error(real):
            left = forward_with_cache(self._decoder, fresh, past, real, layers=range(depth))
        where = batch.mask & (torch.arange(batch.mask.shape[1], device=counts.device) >= counts[:, None])
        hidden[where] = left[real]
        return past

    def _depth(self, first: int) -> int:
        return max((depth for depth in self._depths if depth <= first), default=0)

    def _of(self, query: Query) -> list[_Row]:
        """Return the kept rows of a question, each with another answer."""
        return [] if query.context else self._rows.get((query.image, query.prompt, query.style), [])

    def _find(self, queries: Sequence[Query], batch: Batch) -> list[tuple[_Row, int]] | None:
        """Return, for each question, the kept row that agrees with it longest, and how many tokens do."""
        found = []
        for query, targets in zip(queries, batch.targets, strict=True):
            rows = self._of(query)
            if not rows:
                return None
            answer = targets[targets != IGNORED].tolist()
            found.append(max(((row, row.agrees(answer)) for row in rows), key=lambda pair: pair[1]))
        return found

    def _states(self, found: Sequence[tuple[_Row, int]], depth: int, batch: Batch) -> Tensor:
        """Return the states that enter a layer, zeros where none are kept: [row, token, d]."""
        place = self._depths.index(depth)
        states = batch.embeddings.new_zeros(*batch.mask.shape, self._width)
        with _opened(found) as files:
            for row, (kept, tokens) in enumerate(found):
                states[row, :tokens] = kept.read(files, "states", tokens, place).to(self._device)
        return states

    def _fill(self, past: KVCache, found: Sequence[tuple[_Row, int]], depth: int, tokens: int) -> None:
        """Give `past` the keys and values of the layers below `depth`, padded to so many tokens."""
        with _opened(found) as files:
            parts = [kept.read(files, "past", count, slice(0, depth)) for kept, count in found]
            padded = parts[0].new_zeros(len(parts), tokens, *parts[0].shape[1:])
            for row, part in enumerate(parts):
                padded[row, : len(part)] = part
        for index in range(depth):
            layer = self._decoder.layers[index]
            both = padded[:, :, index].to(layer.device).unflatten(-1, (-1, layer.attention.head_dim))
            past.cache.update(both[:, :, 0].transpose(1, 2), both[:, :, 1].transpose(1, 2), index)


@contextmanager
def _opened(found: Sequence[tuple[_Row, int]]) -> Iterator[dict[Path, Any]]:
    """Open the files of some rows."""
    with ExitStack() as stack:
        yield {path: stack.enter_context(safe_open(path, framework="pt")) for path in {row.file for row, _ in found}}


def cached_depths(backbone: Backbone, first_layers: Iterable[int | None]) -> list[int]:
    """Return the layers whose entering states are kept: where edits begin, from the first edited layer on.

    first_layers: of each method: None is the backbone's first edited layer; -3 the third from the end; 0 the end.
    """
    depth = len(backbone.decoder.layers)
    layers = {backbone.layers[0] if first is None else depth + first for first in first_layers}
    return sorted(layer for layer in layers if layer >= backbone.layers[0])


@torch.no_grad()
def cache_states(
    backbone: Backbone, queries: Sequence[Query], depths: Sequence[int], out: Path, fingerprint: str
) -> None:
    """Run questions with their answers through the unedited model, each once, and write what its layers make of them.

    `depths`: the layers whose entering states are kept, from `cached_depths`.
    """
    unique = sorted(set(queries), key=beside_alike)
    rows = []
    tensors: dict[str, Tensor] = {}
    for start in tqdm(range(0, len(unique), ROWS), desc="frozen layers", unit="batch"):
        asked, part = unique[start : start + ROWS], str(start // ROWS)
        batch = backbone.encode(asked)
        states, past, prompts = _run(backbone, batch, depths)
        tensors |= {f"states.{part}": states[batch.mask], f"past.{part}": past[batch.mask], f"prompts.{part}": prompts}
        starts = (batch.lengths.cumsum(0) - batch.lengths).tolist()
        answers = [targets[targets != IGNORED].tolist() for targets in batch.targets]
        places = zip(asked, starts, batch.lengths.tolist(), answers, strict=True)
        for number, (query, first, tokens, answer) in enumerate(places):
            question = {"image": query.image, "prompt": query.prompt, "style": query.style}
            place = {"part": part, "number": number, "start": first, "tokens": tokens}
            rows.append(question | place | {"answer": answer})
    index = {"layers": len(backbone.decoder.layers), "width": backbone.width, "depths": depths, "rows": rows}
    packed = torch.tensor(list(json.dumps(index).encode()), dtype=torch.uint8)
    write_tensors(out, {**tensors, INDEX: packed}, fingerprint)


def _run(backbone: Backbone, batch: Batch, depths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states that enter some layers [row, token, depth, d], keys and values of all, and prompts' states.

    Keys and values are [row, token, layer, 2, heads * head_d]; prompts' states enter each layer at the last prompt
    token, [row, layer, d].
    """
    decoder, cache = backbone.decoder, DynamicCache()
    with oom_as_input_error(batch.mask):
        hidden = decoder.start(batch.embeddings)
        masks = decoder.masks(hidden, batch.sees, batch.positions, batch.mask) | {"past_key_values": cache}
        entering = []
        for index in range(len(decoder.layers)):
            entering.append(hidden)
            hidden = decoder.through(hidden, [index], masks)
        entering.append(hidden)
    kept: Any = cache.layers
    flat = [[part.transpose(1, 2).flatten(2).cpu() for part in (each.keys, each.values)] for each in kept]
    past = torch.stack([torch.stack(pair, 2) for pair in flat], 2)
    rows = torch.arange(len(batch.lengths), device=batch.lengths.device)
    prompts = [
        states[rows.to(states.device), batch.last_prompt.to(states.device), : backbone.width].cpu()
        for states in entering[:-1]
    ]
    return torch.stack([entering[depth].cpu() for depth in depths], 2), past, torch.stack(prompts, 1)
