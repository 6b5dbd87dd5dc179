"""Load a model with an edit that runs beside its frozen weights. Needs torch, transformers and safetensors alone.

    from load import load

    model = load()               # or load(base="folder or hub id of the base"); then model.generate, model(...)
    model.edit.prompt = 12       # rows hold prompt and answer: tokens of the prompt, pictures counted; None: all
    model.edit.on = False        # the base as it was

Rows are padded in front or not at all. What an edit reads of a prompt holds for the tokens generated behind it.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent


def load(base: str | Path | None = None, folder: str | Path = HERE, **settings: Any) -> Any:
    """Return the base with the edit in force, as `model.edit`; `settings` go to its `from_pretrained`."""
    folder = Path(folder)
    about = json.loads((folder / "edit.json").read_text(encoding="utf-8"))
    if base is None:
        base = folder / about["base"] if about["inside"] else about["base"]
    settings.setdefault("dtype", getattr(torch, about["dtype"]))
    model: Any = getattr(transformers, about["class"]).from_pretrained(base, **settings).eval()
    tensors = load_file(folder / "edit.safetensors", device=str(model.device))
    parts = []
    with _files_of(folder):
        for number, part in enumerate(about["parts"]):
            own = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{number}.")}
            parts.append(getattr(import_module(part["file"]), part["class"])(own, part["settings"]))
    model.edit = Edit(model, about, parts)
    return model


@contextmanager
def _files_of(folder: Path) -> Iterator[None]:
    """Import a folder's own files by their names; modules so named of another folder, or of the user's, come back."""
    names = [file.stem for file in folder.glob("*.py")]
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


class Layer:
    """One layer of the decoder; `names`: where its parts lie."""

    def __init__(self, index: int, module: nn.Module, names: dict[str, Any]) -> None:
        self.index, self.module, self.names = index, module, names

    def part(self, name: str) -> Any:
        """Return a submodule by its dotted name."""
        return self.module.get_submodule(name)

    def activate(self, values: Tensor) -> Tensor:
        """Apply the FFN's own non-linearity."""
        return attrgetter(self.names["activation"])(self.module)(values)

    def attend(
        self, query: Tensor, memory: Tensor, rotation: tuple[Tensor, Tensor] | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the layer's own attention of states [row, token, d] over a memory [row, slot, d], and mean weights."""
        attention: Any = self.part(self.names["attention"])

        def heads(kind: str, states: Tensor) -> Tensor:
            made = getattr(attention, f"{kind}_proj")(states).unflatten(-1, (-1, attention.head_dim))
            norm = getattr(attention, f"{kind}_norm", None)
            return (made if norm is None else norm(made)).transpose(1, 2)

        queries, keys, values = heads("q", query), heads("k", memory), heads("v", memory)
        if rotation is not None:
            cos, sin = (each.unsqueeze(1) for each in rotation)
            first, second = queries.chunk(2, dim=-1)
            queries = queries * cos + torch.cat([-second, first], dim=-1) * sin
        groups = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        scores = (queries @ keys.transpose(-1, -2) * attention.scaling).float()
        weights = (scores if bias is None else scores + bias[:, None, None]).softmax(-1)
        mixed = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
        return getattr(attention, self.names["output"])(mixed), weights.mean(1)


class Now:
    """The pass under way.

    last [row]: the last prompt token; order [row, token]: how far behind it the tokens under way stand, for padding a
    number above 0; kept: what parts keep for tokens that follow; shares: by layer (None: all), how far each row means
    each edit, [row, edit]; rotation: that of the tokens; unedited: by layer, what the unedited model makes of the last
    prompt token, [row, d].
    """

    def __init__(self, last: Tensor) -> None:
        self.last, self.order = last, last
        self.kept: dict[Any, dict[str, Tensor]] = {}
        self.shares: dict[int | None, Tensor] = {}
        self.unedited: dict[int, Tensor] = {}
        self.rotation: tuple[Tensor, Tensor] | None = None
        self.entering: Tensor | None = None

    def shares_at(self, layer: int) -> Tensor | None:
        """Return the shares at a layer; None: every edit acts wholly."""
        return self.shares.get(layer, self.shares.get(None))

    def kept_by(self, part: object, layer: int) -> dict[str, Tensor]:
        """Return what a part keeps at a layer, to be read and filled."""
        return self.kept.setdefault((id(part), layer), {})

    @property
    def rows(self) -> Tensor:
        """The numbers of the rows."""
        return torch.arange(len(self.last), device=self.last.device)


class Edit:
    """Parts of an edit in the forward of a model: `on`: whether they act; `prompt`: tokens of the prompt, or None."""

    def __init__(self, model: Any, about: dict[str, Any], parts: list[Any]) -> None:
        self.on, self.prompt, self.parts, self.names = True, None, parts, about["names"]
        self._now, self._quiet = Now(torch.zeros(0)), False
        self._mask: Any = None
        model.register_forward_pre_hook(self._asked, with_kwargs=True)
        self._stack = model.get_submodule(about["stack"])
        self.layers = [Layer(index, module, self.names) for index, module in enumerate(self._stack.layers)]
        self._stack.register_forward_pre_hook(self._begin, with_kwargs=True)
        entrance = self.names["gate"] or self.names["up"]
        for layer in self.layers:
            layer.part(self.names["attention"]).register_forward_hook(partial(self._attended, layer), with_kwargs=True)
            layer.part(entrance).register_forward_pre_hook(self._entering)
            for name in about["matrices"]:
                layer.part(name).register_forward_hook(partial(self._multiplied, layer, name))

    @property
    def _acts(self) -> bool:
        return self.on and not self._quiet

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _asked(self, _: Any, args: Any, given: dict[str, Any]) -> None:
        self._mask = given.get("attention_mask")

    def _begin(self, stack: Any, args: Any, given: dict[str, Any]) -> None:
        """Begin a pass: a new one if nothing is cached before it."""
        if not self._acts:
            return
        entering = given.get("inputs_embeds") if given.get("input_ids") is None else given["input_ids"]
        entering = args[0] if entering is None else entering
        rows, tokens = entering.shape[:2]
        past = given.get("past_key_values")
        seen = 0 if past is None else int(past.get_seq_length())
        if not seen:
            last = torch.as_tensor(tokens if self.prompt is None else self.prompt, device=entering.device) - 1
            self._now = Now(last.expand(rows))
        self._now.order = torch.arange(seen, seen + tokens, device=entering.device) - self._now.last[:, None]
        if not seen:
            if isinstance(self._mask, Tensor) and self._mask.shape == (rows, tokens):
                self._now.order = self._now.order.masked_fill(self._mask.to(entering.device) == 0, tokens)
            self._read_unedited(args, given)
            for part in self.parts:
                if hasattr(part, "begin"):
                    part.begin(self._now)

    def _read_unedited(self, args: Any, given: dict[str, Any]) -> None:
        wanted = {layer for part in self.parts for layer in getattr(part, "reads", ())}
        if not wanted:
            return
        now, handles = self._now, []
        for index in wanted:
            norm = self.layers[index].part(self.names["attention_norm"])
            keep = partial(lambda at, _, __, s: now.unedited.__setitem__(at, s[now.rows, now.last]), index)
            handles.append(norm.register_forward_hook(keep))
        with self._quietly():
            self._stack(*args, **{**given, "past_key_values": None, "use_cache": False})
        for handle in handles:
            handle.remove()

    def _attended(self, layer: Layer, _: Any, args: Any, given: dict[str, Any], outputs: Any) -> Any:
        if not self._acts:
            return outputs
        self._now.rotation = given.get("position_embeddings")
        inputs = args[0] if args else given["hidden_states"]
        with self._quietly():
            attended = self._through("attention", outputs[0], lambda act, so_far: act(layer, inputs, so_far, self._now))
        return (attended, *outputs[1:])

    def _entering(self, _: Any, args: Any) -> None:
        self._now.entering = args[0]

    def _multiplied(self, layer: Layer, name: str, _: Any, args: Any, outputs: Tensor) -> Tensor:
        if not self._acts:
            return outputs
        rows, now = len(self._now.last), self._now
        inputs, made = (each.reshape(rows, -1, each.shape[-1]) for each in (args[0], outputs))  # OPT's are flat
        for part in self.parts:
            added = part.weight(layer, name, inputs, now) if hasattr(part, "weight") else None
            made = made if added is None else made + added
        if name == self.names["down"]:
            assert now.entering is not None
            entering = now.entering.reshape(rows, -1, now.entering.shape[-1])
            with self._quietly():
                made = self._through("ffn", made, lambda act, so_far: act(layer, entering, so_far, now))
        return made.reshape(outputs.shape)

    def _through(self, hook: str, outputs: Tensor, call: Callable[[Any, Tensor], Tensor]) -> Tensor:
        for part in self.parts:
            if hasattr(part, hook):
                outputs = call(getattr(part, hook), outputs)
        return outputs
