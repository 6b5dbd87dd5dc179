"""Settings of the editing methods, and how a variant's name becomes settings; `config` says what the sources mean."""

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from unike_lib.section import Count, Fraction, Positive, Section
from unike_lib.trained_methods import KeMethod, MendMethod, SeracMethod


class BaseMethod(Section):
    """No edit: the unedited backbone."""

    method: Literal["base"]


class GradientMethod(Section):
    """What methods trained by gradient on the one edit sample share."""

    steps: Count = Field(description="Optimiser steps an edit.")
    learning_rate: Positive = Field(description="Adam / AdamW learning rate.")


class FineTuneMethod(GradientMethod):
    """FT: the last layer's FFN matrices, AdamW, edit loss only."""

    method: Literal["fine-tune"]
    steps: Count = Field(15, description="VLKEB.")
    learning_rate: Positive = Field(1.0e-4, description="VLKEB: 1e-4 .. 2e-4 at 7B.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW decay of the weight change (ours).")


class NeuronMethod(GradientMethod):
    """Extra FFN neurons with T-Patcher's losses: shared by T-Patcher and UniKE."""

    neurons: Count = Field(10, description="Extra key-value pairs a layer, n_e (paper D.3: 10).")
    key_init: Literal["query", "random"] = Field("query", description="h / |h|^2 (T-Patcher), or random directions.")
    activation_weight: float = Field(1.0, ge=0, description="Weight of the activation loss (T-Patcher: 1).")
    memory_weight: float = Field(5.0, ge=0, description="Weight of the memory loss (T-Patcher: 5).")
    memory_margin: float = Field(-3.0, description="Unrelated states' activations go below this (T-Patcher: -3).")
    difference_margin: float = Field(3.0, description="Distance kept from the edit's own activation (T-Patcher: 3).")
    activation_top: Count = Field(5, description="Neurons, the least activated, in the activation loss (T-Patcher: 5).")
    memory_top: Count = Field(1000, description="Activations the memory loss averages over (T-Patcher: 1000).")


class TPatcherMethod(NeuronMethod):
    """T-Patcher: neurons in the FFN of the edited layers."""

    method: Literal["t-patcher"]
    steps: Count = Field(30, description="Ours.")
    learning_rate: Positive = Field(1.0e-2, description="T-Patcher: Adam 1e-2.")


class ContextSettings(Section):
    """What goes in front of the question: shared by IKE and UniKE's Intrin + IKE."""

    prompt: Literal["mmedit", "wrapped"] = Field(
        "mmedit",
        description="mmedit: demonstrations found among all by the fact's own, which is the last of them; the question "
        "as it stands, like theirs (EasyEdit). wrapped: found by question and answer; the question in its template.",
    )
    demonstrations: int = Field(32, ge=0, description="Demonstrations before the new fact (paper: 8-40; MMEdit: 32).")
    retriever: str = Field(
        "backbone",
        min_length=1,
        description="What finds similar edits: backbone (mean of its token embeddings), minilm (MMEdit's "
        "all-MiniLM-L6-v2, of the extra 'ike'), or a folder with such a model.",
    )


class IkeMethod(ContextSettings):
    """IKE: demonstrations and the new fact in front of the question."""

    method: Literal["ike"]


class UnikeMethod(NeuronMethod, ContextSettings):
    """UniKE: extra neurons, zeta, and the latent in-context shift."""

    method: Literal["unike"]
    steps: Count = Field(10, description="Released: 10.")
    learning_rate: Positive = Field(7.5e-4, description="Released: 7.5e-4 at 7B.")
    intrinsic: bool = Field(True, description="Train extra neurons (off: only Latent-IKE).")
    latent: bool = Field(True, description="Latent in-context shift (off: only Intrin).")
    in_context: bool = Field(False, description="IKE's context in front of the question (Intrin + IKE: latent off).")
    top_k: Count = Field(40, description="Retrieved states a query and layer (paper: 40).")
    memory_keys: Literal["h_sem", "encoded"] = Field(
        "h_sem", description="What a query is compared with: h_sem (paper 3.2), or Enc_sem(h_pos)."
    )
    retrieval_temperature: Positive | None = Field(
        None, description="Adds cosine(query, key) / this to the attention logits of a slot; null: no (paper)."
    )
    edit_slots: bool = Field(False, description="Each session's own edits become memory slots too (not in the paper).")
    shift_in_training: bool = Field(
        True, description="The shift is active while the neurons are trained (paper); off: they are trained without."
    )
    alpha: Literal["dynamic", "scoped"] | Fraction = Field(
        "dynamic",
        description="Inclusion of h_know: Eq. 7, or fixed (Fig. 4b); scoped (not in the paper): the share of the "
        "retrieval that falls on the session's own edits.",
    )
    scope_neurons: bool = Field(
        False, description="The neurons' output is multiplied by the same share (not in the paper); alpha: scoped."
    )
    alpha_scale: float = Field(1.0, ge=0, le=2, description="Factor on the dynamic alpha (paper: 1).")
    alpha_convention: Literal["text", "printed"] = Field(
        "text", description="text: a' = (1-alpha) a + alpha h_know (3.3, Fig. 4b); printed: Eq. 7 as printed."
    )
    alpha_operands: Literal["mixture", "attention_outputs"] = Field(
        "mixture", description="What Sim compares: Enc_sem(mixture of h_pos) with s; or Enc_sem(h_know) with a (Eq. 7)."
    )
    attention: Literal["projected", "raw"] = Field(
        "projected", description="projected: through the layer's W_q, W_k, W_v, W_o (App. A); raw: softmax(s H^T) H."
    )
    rotate_memory: bool = Field(False, description="Rotary models: queries rotate by position; entries stand at 0.")
    h_pos: Literal["last", "answer_mean"] = Field(
        "last", description="Memory value: last answer token (paper) or mean."
    )
    zeta: Literal["off", "random", "semantic", "truthfulness"] = Field(
        "truthfulness", description="Direction added to the new values (Eq. 6, Fig. 4c)."
    )
    zeta_map: Literal["fitted", "per_edit"] = Field(
        "fitted", description="W_zeta: ridge fit once, or learned in each edit."
    )
    beta: float = Field(0.1, ge=0, description="Editing scalar of Eq. 6; unstated in the paper.")

    @model_validator(mode="after")
    def _scope_has_edits(self) -> "UnikeMethod":
        if self.scope_neurons and self.alpha != "scoped":
            raise ValueError("scope_neurons: true needs alpha: scoped")
        if self.alpha == "scoped" and not (self.edit_slots and self.retrieval_temperature):
            raise ValueError("alpha: scoped needs edit_slots: true and a retrieval_temperature")
        return self


MethodSettings = (
    BaseMethod | FineTuneMethod | TPatcherMethod | UnikeMethod | MendMethod | KeMethod | IkeMethod | SeracMethod
)
Method = Annotated[MethodSettings, Field(discriminator="method")]
METHOD_NAMES = {get_args(kind.model_fields["method"].annotation)[0] for kind in get_args(MethodSettings)}
METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def resolve_method(
    methods: dict[str, dict[str, Any]],
    name: str,
    backbone: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> MethodSettings:
    """Return the settings of a method variant.

    An entry may name another by `like` and say what differs; `by_backbone: {<backbone>: {...}}` says what differs on a
    backbone.

    Args:
        methods: the entries by name.
        name: the variant.
        backbone: whose differences apply; None: no backbone's.
        overrides: fields that come last.

    Raises:
        ValueError: unknown name, unknown field, or a value out of bounds; the message names the variant.
    """
    if name not in methods:
        raise ValueError(f"methods: unknown method {name!r}; known: {sorted(methods)}")
    settings = dict(methods[name])
    parent = settings.pop("like", None)
    settings = _on_backbone(name, settings, backbone)
    if parent is not None:
        if not isinstance(parent, str) or parent == name or parent not in methods or "like" in methods[parent]:
            raise ValueError(f"methods.{name}: like: {parent!r} must be an entry without 'like'")
        settings = {**_on_backbone(parent, methods[parent], backbone), **settings}
    try:
        return METHOD.validate_python({**settings, **(overrides or {})})
    except ValidationError as error:
        raise ValueError(f"methods.{name}: {_first_problem(error)}") from None


def setting_text(value: Any) -> str:
    """Return a setting's value as text, as YAML writes it: 0.5, 40, true, null, dynamic."""
    return value if isinstance(value, str) else json.dumps(value)


def _on_backbone(name: str, entry: dict[str, Any], backbone: str | None) -> dict[str, Any]:
    """Return an entry's own fields with those of one backbone over them."""
    own = {field: value for field, value in entry.items() if field != "by_backbone"}
    changes = entry.get("by_backbone", {})
    if not isinstance(changes, dict) or not all(isinstance(each, dict) for each in changes.values()):
        raise ValueError(f"methods.{name}: by_backbone: expected {{backbone: {{field: value}}}}, found {changes!r}")
    return {**own, **changes.get(backbone, {})}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"] if part not in METHOD_NAMES)
    return f"{field}: {problem['msg']}" if field else problem["msg"]
