"""Settings of the editing methods, and how a variant's name becomes settings; `config` says what the sources mean."""

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class SeracMethod(Section):
    """SERAC: stored edits, a scope classifier, a counterfactual language model; both trained on the method split."""

    method: Literal["serac"]
    width: Count = Field(128, description="Hidden width of both models (ours).")
    heads: Count = Field(4, description="Attention heads of both models (ours).")
    scope_layers: Count = Field(2, description="Layers of the scope classifier (SERAC: DistilBERT's 6).")
    counterfactual_layers: Count = Field(2, description="Layers of the counterfactual model (MMEdit: OPT-125M's 12).")
    steps: Count = Field(600, description="Most optimiser steps of each model (ours).")
    rows: int = Field(16, ge=2, description="Training edits a step (ours).")
    learning_rate: Positive = Field(1.0e-3, description="AdamW learning rate (SERAC: Adam 1e-5, pretrained models).")
    check: Count = Field(50, description="Steps between looks at the development edits (ours).")
    patience: Count = Field(6, description="Looks without progress until training stops (ours).")
    random_targets: Fraction = Field(0.5, description="Share of training targets made of random tokens (ours).")
    scope_radius: Positive = Field(1.0, description="Squared distance that counts as 1, in editing alone (ours).")
    leak_answer: bool = Field(
        False,
        description="The classifier reads question and answer, as released by MMEdit; off: question only (SERAC).",
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "SeracMethod":
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, found {self.heads}")
        return self


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


class TrainedMethod(Section):
    """Editors that are trained once a backbone, on the method-training edits of both tasks (Reading)."""

    steps: Count = Field(description="Optimiser steps at most.")
    batch: Count = Field(description="Training edits a step.")
    learning_rate: Positive = Field(description="Of the editor's weights.")
    check_every: Count = Field(description="Steps between two checks on development edits (ours).")
    patience: Count = Field(description="Checks in a row without a better objective that end the training (ours).")


class NetworkMethod(TrainedMethod):
    """A network that writes weight changes of the last layers' FFN matrices: shared by MEND and KE."""

    layers: Count = Field(3, description="FFNs of so many last layers are edited (MMEdit: 3).")
    swapped: Fraction = Field(0.5, description="Share of training edits with another answer as their target (ours).")
    together: Count = Field(
        1, description="Training edits of a batch that are made together in every second step (ours)."
    )
    strength: float = Field(1.0, ge=0, description="Factor on what is written, in editing alone (ours).")

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "NetworkMethod":
        if self.batch % self.together:
            raise ValueError(f"together: expected a divisor of the batch {self.batch}, found {self.together}")
        return self


class MendMethod(NetworkMethod):
    """MEND: gradient factors through a shared low-rank MLP."""

    method: Literal["mend"]
    steps: Count = Field(800, description="Ours (MMEdit: 30K of one edit).")
    batch: Count = Field(8, description="Ours (MMEdit: 1).")
    learning_rate: Positive = Field(1.0e-4, description="Adam; tuned: development edits (MEND: 1e-6).")
    check_every: Count = Field(100, description="Ours.")
    patience: Count = Field(3, description="Ours.")
    rank: Count = Field(64, description="Rank of the IDMLP's layers; ours (MEND: 1920).")
    edit_rate: Positive = Field(3.0e-3, description="Learned edit learning rates at the start; tuned (MEND: 1e-4).")
    edit_rate_step: Positive = Field(3.0e-4, description="Adam learning rate of those rates; ours (MEND: 1e-4).")
    accumulation: Count = Field(1, description="Batches a step; ours (MEND: 2, of one edit each).")
    clip: Positive = Field(100.0, description="Largest norm of a step's gradient (MEND: 100).")
    edit_weight: float = Field(
        0.3, ge=0, description="Loss weight of the edit itself; tuned (MMEdit: not in the loss)."
    )
    text_weight: float = Field(0.3, ge=0, description="Loss weight of the rephrased text; tuned (MMEdit: 0.1).")
    image_weight: float = Field(0.3, ge=0, description="Loss weight of the rephrased image; tuned (MMEdit: 0.1).")
    locality_weight: float = Field(1.0, ge=0, description="Loss weight of text and image locality (MMEdit: 1).")


class KeMethod(NetworkMethod):
    """KE: an LSTM over the edit's text writes masks for its gradient."""

    method: Literal["ke"]
    swapped: Fraction = Field(0.8, description="As for MEND; tuned: development edits.")
    steps: Count = Field(600, description="Ours (VLKEB: 30K).")
    batch: Count = Field(8, description="Ours.")
    learning_rate: Positive = Field(3.0e-4, description="RMSprop (De Cao et al.: 3e-4).")
    check_every: Count = Field(100, description="Ours.")
    patience: Count = Field(3, description="Ours.")
    hidden: Count = Field(128, description="Hidden width of the LSTM, a direction, and of the conditioners (De Cao).")
    condition: Count = Field(1024, description="Width of the condition (De Cao et al.: 1024).")
    scale: Positive = Field(100.0, description="Bound of the factor on a change; tuned: development edits (De Cao: 1).")
    margin: Positive = Field(0.03, description="Locality divergence allowed at the start, nats; tuned (De Cao: 1e-3).")
    margin_factor: float = Field(0.8, gt=0, le=1, description="Shrinks the margin at a check (De Cao et al.: 0.8) ...")
    margin_accuracy: Fraction = Field(0.9, description="... where edits are right above this share (De Cao: 0.9).")
    margin_floor: Positive = Field(1.0e-7, description="Least margin, nats (VLKEB: 1e-7).")
    multiplier_rate: Positive = Field(0.1, description="RMSprop rate of the constraint's multiplier (De Cao: 0.1).")


TRAINED = ("mend", "ke", "serac")  # methods whose editor is trained before any edit
TRAINED_ON_TEXT = ("serac",)  # those of them whose training does not run the backbone
IN_EDITING_ALONE = {"strength", "scope_radius"}  # their settings that the training does not read

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
