"""Run a pre-norm decoder layer by layer, with an edit beside the frozen weights.

The families differ as data (`DecoderLayout`), not as code. Rows are padded on the right, so under a causal mask no real
token ever sees padding and positions are 0, 1, 2, ...

States may be wider than the model, [row, token, d + n d]: the n parts behind its own width are added to them behind the
next n layers, one each (Qwen3-VL, whose first layers get something of a picture added).

Example:
    >>> hidden = decoder.run(decoder.start(embeddings), range(len(decoder.layers))) # doctest: +SKIP
    >>> decoder.logits(decoder.finish(hidden))                                      # doctest: +SKIP
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from unike_lib.backbones.edit import Edit, PassContext, Rotation
from unike_lib.backbones.reach import position_limit, window_of, windowed_mask
from unike_lib.family import DECODERS, DecoderLayout
from unike_lib.types import InputError

# What an edit adds to the output of a matrix, given the matrix's name and its input; None: nothing.
Change = Callable[[str, Tensor], Tensor | None]
WINDOWED = "windowed"  # among masks: those that layers with a sliding window have instead of the others
ALIKE = "alike"  # among masks: which tokens are the same, where that is looked for (`speed/shared_tokens.py`)
SLIDING = "sliding_attention"  # the kind of such layers, as configurations name it


class DecoderLayer:
    """One frozen layer, taken apart: norm, attention, norm, FFN."""

    def __init__(self, index: int, module: nn.Module, names: DecoderLayout, window: int | None = None) -> None:
        self.index, self.window = index, window
        self.module = module
        self.names = names
        self.attention: Any = module.get_submodule(names.attention)
        self.width = int(self.part(f"{names.attention}.q_proj").in_features)

    @property
    def device(self) -> torch.device:
        """Where its weights live."""
        return self.attention.q_proj.weight.device

    def part(self, name: str) -> Any:
        """Return a submodule by its dotted name."""
        return self.module.get_submodule(name)

    def attention_input(self, hidden: Tensor) -> Tensor:
        """Return s = LN1(h), [row, token, d]."""
        return self.part(self.names.attention_norm)(self._apart(hidden)[0])

    def forward(self, hidden: Tensor, masks: dict[str, Any], edit: Edit | None, context: PassContext | None) -> Tensor:
        """Return the layer's output [row, token, d]; `edit` acts on attention, weights, FFN and output."""
        return self.through_ffn(self.through_attention(hidden, masks, edit, context), edit, context)

    def through_attention(
        self, hidden: Tensor, masks: dict[str, Any], edit: Edit | None, context: PassContext | None
    ) -> Tensor:
        """Return x = h + a, the states between attention and FFN, [row, token, d]."""
        inputs = self.attention_input(hidden)
        hidden = hidden.to(inputs.device)  # of this layer, where a model lies on several cards
        own = {name: mask for name, mask in masks.items() if name not in (WINDOWED, ALIKE)}
        if self.window is not None:
            own |= masks.get(WINDOWED, {})
        if edit is not None and context is not None and edit.in_attention:
            with self._changed(lambda name, entering: edit.weight(self.index, name, entering, context)):
                attended = self.attention(hidden_states=inputs, **own)[0]
        else:
            attended = self.attention(hidden_states=inputs, **own)[0]
        if edit is not None and context is not None:
            context.rotation = own.get("position_embeddings")
            attended = edit.attention(self, inputs, attended, context)
        if context is not None and context.trace is not None and context.trace.states:
            context.trace.attention_inputs[self.index] = inputs
        hidden, later = self._apart(hidden)
        left = hidden + self._behind(self.names.norm_behind_attention, attended)
        return left if later is None else torch.cat([left, later], -1)

    def _apart(self, states: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return states [row, token, d], and what is added to them later [row, token, n d]; None: nothing."""
        if states.shape[-1] == self.width:
            return states, None
        return states[..., : self.width], states[..., self.width :]

    def _behind(self, norm: str | None, outputs: Tensor) -> Tensor:
        """Return what a block adds to the states: its output, behind the norm that a layer may have there.

        Reading: the attention output that a shift mixes with what is known, and the FFN output that neurons add to,
        are those in front of such a norm. There a neuron is one more column of the FFN's last matrix, as in the paper.
        """
        return outputs if norm is None else self.part(norm)(outputs)

    @contextmanager
    def _changed(self, change: Change) -> Iterator[None]:
        """Let the attention's matrices have what `change` adds to their outputs, meanwhile."""

        def add(name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
            added = change(name, inputs)
            return outputs if added is None else outputs + added

        handles = [
            self.part(name).register_forward_hook(lambda _, given, outputs, name=name: add(name, given[0], outputs))
            for name in self.names.attention_matrices.values()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def through_ffn(self, hidden: Tensor, edit: Edit | None, context: PassContext | None) -> Tensor:
        """Return the layer's output [row, token, d] from the states between attention and FFN."""
        hidden, later = self._apart(hidden)
        left = self._through_ffn(hidden, edit, context)
        if later is None:
            return left
        return torch.cat([left + later[..., : self.width], later[..., self.width :]], -1)

    def _through_ffn(self, hidden: Tensor, edit: Edit | None, context: PassContext | None) -> Tensor:
        inputs = self.part(self.names.ffn_norm)(hidden)
        if context is not None and context.trace is not None and context.trace.states:
            context.trace.ffn_inputs[self.index] = inputs
        if edit is None or context is None:
            return hidden + self._behind(self.names.norm_behind_ffn, self.ffn(inputs))
        outputs = self.ffn(inputs, lambda name, entering: edit.weight(self.index, name, entering, context))
        outputs = edit.ffn(self, inputs, outputs, context)
        return edit.block(self, hidden + self._behind(self.names.norm_behind_ffn, outputs), context)

    def ffn(self, inputs: Tensor, change: Change | None = None) -> Tensor:
        """Return FFN(q) [row, token, d]; `change` says what is added to the output of each of its matrices."""
        up = self._linear(self.names.up, inputs, change)
        if self.names.gate is None:
            activated = self.activate(up)
        else:
            activated = self.activate(self._linear(self.names.gate, inputs, change)) * up
        return self._linear(self.names.down, activated, change)

    def activate(self, values: Tensor) -> Tensor:
        """Apply the FFN's own non-linearity."""
        # OPT keeps a plain function or module as an attribute, Llama a registered module.
        return attrgetter(self.names.activation)(self.module)(values)

    def _linear(self, name: str, inputs: Tensor, change: Change | None) -> Tensor:
        outputs: Tensor = self.part(name)(inputs)
        added = None if change is None else change(name, inputs)
        return outputs if added is None else outputs + added

    def attend(
        self, query: Tensor, memory: Tensor, rotation: Rotation | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the layer's own attention over a memory that serves as keys and values (UniKE App. A).

        Args:
            query: pre-attention states s, [row, token, d].
            memory: pre-attention states, [row, slot, d]; slots have no mask, and their keys are never rotated.
            rotation: cos and sin [row or 1, token, head_d] to rotate queries with; None leaves them unrotated too.
            bias: added to the attention logits of each slot, [row, slot].

        Returns:
            Outputs after W_o [row, token, d], and the weights averaged over heads [row, token, slot].
        """
        queries, keys, values = self._heads("q", query), self._heads("k", memory), self._heads("v", memory)
        if rotation is not None:
            queries, _ = apply_rotary_pos_emb(queries, queries, *rotation)
        groups = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        scores = (queries @ keys.transpose(-1, -2) * self.attention.scaling).float()
        if bias is not None:  # cosines over a small temperature: too large for half precision
            scores = scores + bias[:, None, None]
        weights = scores.softmax(-1)
        mixed = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
        return self.part(f"{self.names.attention}.{self.names.output}")(mixed), weights.mean(1)

    def _heads(self, kind: str, states: Tensor) -> Tensor:
        """Return queries, keys or values of states [row, head, token, head_d], behind their norm where there is one."""
        heads = getattr(self.attention, f"{kind}_proj")(states).unflatten(-1, (-1, self.attention.head_dim))
        norm = getattr(self.attention, f"{kind}_norm", None)
        return (heads if norm is None else norm(heads)).transpose(1, 2)


class Decoder:
    """A causal pre-norm language model, opened to be run layer by layer.

    `head` is the projection onto the vocabulary, which `language_model` may have, too; `layouts` are those of the
    decoders that are known, by `model_type`.

    Raises:
        InputError: the model's type has no layout, or its layers are post-norm, or text sees what follows it.
    """

    def __init__(
        self, language_model: nn.Module, head: nn.Module, layouts: Mapping[str, DecoderLayout] = DECODERS
    ) -> None:
        self.model: Any = language_model
        self.head = head
        base: Any = getattr(language_model, "model", language_model)
        self.stack: Any = getattr(base, "decoder", base)
        config: Any = language_model.config
        if config.model_type not in layouts:
            raise InputError(f"decoder: model_type {config.model_type!r}: expected one of {', '.join(layouts)}")
        if not getattr(config, "do_layer_norm_before", True):
            raise InputError("decoder: post-norm OPT (opt-350m) is not supported; use a pre-norm model")
        if getattr(config, "use_bidirectional_attention", None):
            raise InputError("decoder: use_bidirectional_attention is set; expected a decoder whose text is causal")
        self.names = layouts[config.model_type]
        self.limit = position_limit(config)
        windows = [window_of(config, module.get_submodule(self.names.attention)) for module in self.stack.layers]
        self.window = next((window for window in windows if window is not None), None)
        # Kinds of layers that have rotary positions each (Gemma 3); most models have one for all.
        kinds, rotary = getattr(config, "layer_types", None) or (), getattr(config, "rope_parameters", None) or ()
        self.kinds = set(kinds) & set(rotary)
        modules = zip(self.stack.layers, windows, strict=True)
        self.layers = [DecoderLayer(i, module, self.names, window) for i, (module, window) in enumerate(modules)]

    def start(self, embeddings: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the states entering layer 0 [row, token, d] from input embeddings; OPT adds its positions here.

        `positions`, [row or 1, token], are those of the tokens; None: from 0 on.
        """
        if not self.names.learned_positions:
            return embeddings
        if positions is None:
            positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        # Padding may lie behind the last position; real tokens do not (`positions.check_lengths`).
        embedded = self.stack.embed_positions(None, position_ids=positions.clamp(max=self.limit - 1))
        if self.stack.project_in is not None:
            embeddings = self.stack.project_in(embeddings)
        return embeddings + embedded.to(embeddings)

    def run(
        self,
        hidden: Tensor,
        layers: Iterable[int],
        edit: Edit | None = None,
        context: PassContext | None = None,
        sees: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the states [row, token, d] after the given layers, in their order.

        `sees`, bool [row, token, token], says which tokens (last axis) each token attends to; None: all up to itself.
        `positions` are a batch's own; None: from 0 on. An edit needs the context of its pass.
        """
        return self.through(hidden, layers, self.masks(hidden, sees, positions), edit, context)

    def through(
        self,
        hidden: Tensor,
        layers: Iterable[int],
        masks: dict[str, Any],
        edit: Edit | None = None,
        context: PassContext | None = None,
    ) -> Tensor:
        """Return the states [row, token, d] after the given layers, in their order; `masks` are those of `masks`."""
        for index in layers:
            hidden = self.layers[index].forward(hidden, masks, edit, context)
        return hidden

    def masks(
        self, hidden: Tensor, sees: Tensor | None, positions: Tensor | None = None, real: Tensor | None = None
    ) -> dict[str, Any]:
        """Return what attention takes besides states: who sees whom, where tokens are (rotary); `real`: no padding."""
        config = self.stack.config
        if sees is None:
            mask = create_causal_mask(config=config, inputs_embeds=hidden, attention_mask=None, past_key_values=None)
        else:
            lowest = torch.finfo(hidden.dtype).min
            mask = torch.zeros_like(sees, dtype=hidden.dtype).masked_fill(~sees, lowest)[:, None]
        masks: dict[str, Any] = {"attention_mask": mask}
        keys = hidden.shape[1] if sees is None else sees.shape[2]
        windowed: dict[str, Any] = {}
        if self.window is not None and keys > self.window:
            windowed["attention_mask"] = windowed_mask(config, hidden, sees, self.window)
        if not self.names.learned_positions:
            if positions is None:
                positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
            for kind in self.kinds or {None}:
                own, by_kind = (windowed if kind == SLIDING else masks), {} if kind is None else {"layer_type": kind}
                own["position_embeddings"] = self.stack.rotary_emb(hidden, position_ids=positions, **by_kind)
        return masks | {WINDOWED: windowed}

    def finish(self, hidden: Tensor) -> Tensor:
        """Apply the final norm (and OPT's output projection) to states that left the last layer."""
        if not self.names.learned_positions:
            return self.stack.norm(hidden)
        if self.stack.final_layer_norm is not None:
            hidden = self.stack.final_layer_norm(hidden)
        return hidden if self.stack.project_out is None else self.stack.project_out(hidden)

    def logits(self, finished: Tensor) -> Tensor:
        """Return vocabulary logits [..., vocabulary] in float32."""
        return self.head(finished).float().to(finished.device)
