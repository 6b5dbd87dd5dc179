"""What the originals of the methods use, and which settings of a table's row depart from it.

A setting without an entry has no known original: the paper is silent, or the setting is ours alone and off by default.

Reading: a row's layers are compared as they are written: numbers depart from `last_four` whatever the model's depth.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unike_lib.config import Config
from unike_lib.methods import MethodSettings, resolve_method, setting_text
from unike_lib.table_config import RowsConfig


@dataclass(frozen=True)
class Original:
    """A setting's value in the original.

    source: where that is said; equation: another value changes what is computed, not only how far or how long; last:
    all numbers from `value` to this one are the original's.
    """

    value: Any
    source: str
    equation: bool = False
    last: float | None = None

    def has(self, value: Any) -> bool:
        """Whether a setting has the original's value."""
        if self.last is None:
            return bool(value == self.value)
        return bool(self.value <= value <= self.last)

    @property
    def text(self) -> str:
        """The value as text: "10", "0.0001 to 0.0002", "15000 or more"."""
        first = _shown(self.value)
        if self.last is None:
            return first
        return f"{first} or more" if math.isinf(self.last) else f"{first} to {_shown(self.last)}"


@dataclass(frozen=True)
class Departure:
    """A setting of a row that is not its original's; both values as text."""

    field: str
    value: str
    original: str
    source: str
    equation: bool

    @property
    def text(self) -> str:
        """For example "alpha_scale 0.1 (UniKE Eq. 7: 1)"."""
        return f"{self.field} {self.value} ({self.source}: {self.original})"


_NEURONS = {
    "neurons": Original(10, "UniKE D.3"),
    "key_init": Original("query", "T-Patcher", equation=True),
    "activation_weight": Original(1.0, "T-Patcher"),
    "memory_weight": Original(5.0, "T-Patcher"),
    "memory_margin": Original(-3.0, "T-Patcher"),
    "difference_margin": Original(3.0, "T-Patcher"),
    "activation_top": Original(5, "T-Patcher"),
    "memory_top": Original(1000, "T-Patcher"),
}
_EDITORS = {
    "layers": Original(3, "MMEdit", equation=True),
    "swapped": Original(0.0, "MMEdit"),
    "together": Original(1, "MMEdit"),
    "strength": Original(1.0, "no such factor", equation=True),
}
# Method -> setting -> original. What a method's own paper and code say; of MEND, IKE, SERAC and KE, as MMEdit and VLKEB
# run them on multimodal models.
METHOD_ORIGINALS: Mapping[str, Mapping[str, Original]] = {
    "fine-tune": {
        "steps": Original(15, "VLKEB"),
        "learning_rate": Original(1.0e-4, "VLKEB", last=2.0e-4),
    },
    "t-patcher": _NEURONS | {"learning_rate": Original(1.0e-2, "T-Patcher")},
    "unike": _NEURONS
    | {
        "steps": Original(10, "released"),
        "learning_rate": Original(7.5e-4, "released"),
        "intrinsic": Original(True, "UniKE Eq. 3", equation=True),
        "latent": Original(True, "UniKE Eq. 2", equation=True),
        "in_context": Original(False, "UniKE 3.2", equation=True),
        "demonstrations": Original(8, "UniKE Fig. 4a", last=40),
        "retriever": Original("minilm", "MMEdit"),
        "prompt": Original("mmedit", "MMEdit", equation=True),
        "top_k": Original(40, "UniKE 4.1", equation=True),
        "memory_keys": Original("h_sem", "UniKE 3.2", equation=True),
        "retrieval_temperature": Original(None, "UniKE Eq. 2", equation=True),
        "edit_slots": Original(False, "UniKE 3.2", equation=True),
        "shift_in_training": Original(True, "UniKE 3.2", equation=True),
        "alpha": Original("dynamic", "UniKE Eq. 7", equation=True),
        "scope_neurons": Original(False, "UniKE Eq. 3", equation=True),
        "alpha_scale": Original(1.0, "UniKE Eq. 7", equation=True),
        "alpha_convention": Original("printed", "UniKE Eq. 7, unlike its 3.3 and Fig. 4b", equation=True),
        "alpha_operands": Original("attention_outputs", "UniKE Eq. 7", equation=True),
        "attention": Original("projected", "UniKE App. A", equation=True),
        "h_pos": Original("last", "UniKE 3.3", equation=True),
        "zeta": Original("truthfulness", "UniKE Eq. 6", equation=True),
    },
    "mend": _EDITORS
    | {
        "steps": Original(30000, "MMEdit"),
        "batch": Original(1, "MMEdit"),
        "learning_rate": Original(1.0e-6, "MEND"),
        "rank": Original(1920, "MEND"),
        "edit_rate": Original(1.0e-4, "MEND"),
        "edit_rate_step": Original(1.0e-4, "MEND"),
        "accumulation": Original(2, "MEND"),
        "clip": Original(100.0, "MEND"),
        "edit_weight": Original(0.0, "MMEdit"),
        "text_weight": Original(0.1, "MMEdit"),
        "image_weight": Original(0.1, "MMEdit"),
        "locality_weight": Original(1.0, "MMEdit"),
    },
    "ke": _EDITORS
    | {
        "scale": Original(1.0, "De Cao et al.", equation=True),
        "steps": Original(30000, "VLKEB"),
        "learning_rate": Original(3.0e-4, "De Cao et al."),
        "hidden": Original(128, "De Cao et al."),
        "condition": Original(1024, "De Cao et al."),
        "margin": Original(1.0e-3, "De Cao et al."),
        "margin_factor": Original(0.8, "De Cao et al."),
        "margin_accuracy": Original(0.9, "De Cao et al."),
        "margin_floor": Original(1.0e-7, "VLKEB"),
        "multiplier_rate": Original(0.1, "De Cao et al."),
    },
    "ike": {
        "demonstrations": Original(32, "MMEdit"),
        "retriever": Original("minilm", "MMEdit"),
        "prompt": Original("mmedit", "MMEdit", equation=True),
    },
    "serac": {
        "mixture": Original("soft", "MMEdit", equation=True),
        "positions": Original("all", "MMEdit", equation=True),
        "leak_answer": Original(False, "SERAC", equation=True),
        "scope_radius": Original(1.0, "no such factor", equation=True),
        "scope_layers": Original(6, "SERAC"),
        "counterfactual_layers": Original(12, "MMEdit"),
        "learning_rate": Original(1.0e-5, "SERAC"),
    },
}
# Parts of UniKE that the paper has a row for (Table 4): what such a row is without, or has besides.
VARIANT_ORIGINALS: Mapping[str, Mapping[str, Any]] = {
    "only-intrin": {"latent": False, "zeta": "off"},
    "only-latent-ike": {"intrinsic": False},
    "intrin-ike": {"latent": False, "in_context": True, "zeta": "off"},
    "intrin-latent-ike": {"zeta": "off"},
}
_LAYERS = {"layers": Original("last_four", "UniKE 4.1", equation=True)}
# Method -> setting of the backbone, or of `knowledge`, that its rows rest on.
BACKBONE_ORIGINALS: Mapping[str, Mapping[str, Original]] = {
    "t-patcher": _LAYERS,
    "unike": _LAYERS | {"max_triplets": Original(15000, "UniKE D.3", last=math.inf)},
}
_STATES = {"memory_states": Original(40000, "T-Patcher")}
KNOWLEDGE_ORIGINALS: Mapping[str, Mapping[str, Original]] = {
    "t-patcher": _STATES,
    "unike": _STATES
    | {
        "encoders.held_out": Original(0.0, "UniKE Eq. 6, zeta over all triplets", equation=True),
        "encoders.learning_rate": Original(1.0e-4, "UniKE D.3"),
    },
}

_INTRINSIC, _LATENT, _ZETA = ("intrinsic",), ("latent",), ("latent", "zeta")
_MEMORY_LOSS = ("memory_top", "memory_margin", "difference_margin", "memory_states")
# Setting -> groups of settings, of each of which one must be on, or the setting does nothing in a row.
NEEDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("neurons", "key_init", "steps", "activation_weight", "memory_weight", "zeta"), (_INTRINSIC,)),
    **dict.fromkeys(("learning_rate", "scope_neurons"), (_INTRINSIC,)),
    **dict.fromkeys(_MEMORY_LOSS, (_INTRINSIC, ("memory_weight",))),
    "activation_top": (_INTRINSIC, ("activation_weight",)),
    "shift_in_training": (_INTRINSIC, _LATENT),
    **dict.fromkeys(("top_k", "memory_keys", "retrieval_temperature", "edit_slots", "alpha", "attention"), (_LATENT,)),
    **dict.fromkeys(("alpha_scale", "alpha_convention", "alpha_operands", "h_pos"), (_LATENT,)),
    **dict.fromkeys(("demonstrations", "retriever", "prompt"), (("in_context",),)),
    **dict.fromkeys(("max_triplets", "encoders.learning_rate"), (_ZETA,)),
    "encoders.held_out": (_INTRINSIC, ("zeta",)),
}


def departures(config: Config, method: str, backbone: str) -> list[Departure]:
    """Return the settings of a row that depart from its original: first those that change an equation.

    Settings that do nothing in the row, such as the memory loss's margins without a memory loss, are left out.

    Args:
        config: the run.
        method: variant of the row.
        backbone: of the row.
    """
    settings = resolve_method(config.methods, method, backbone)
    found = [
        Departure(name, _shown(value), original.text, original.source, original.equation)
        for name, value, original in _compared(config, settings, method, backbone)
        if not original.has(value) and _acts(settings, name)
    ]
    return sorted(found, key=lambda departure: not departure.equation)


def departure_lines(config: Config, rows: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return backbone, method and what departs, in words, of each of some rows (backbone, method) that departs."""
    lines = []
    for backbone, method in dict.fromkeys(rows):
        found = departures(config, method, backbone)
        if found:
            lines.append((backbone, method, ", ".join(departure.text for departure in found)))
    return lines


def rows_of_tables(tables: Iterable[RowsConfig]) -> list[tuple[str, str]]:
    """Return the rows (backbone, method) of some tables, backbone by backbone."""
    rows = [(backbone, method) for table in tables for backbone in table.backbones for method in table.methods]
    backbones = list(dict.fromkeys(backbone for backbone, _ in rows))
    return sorted(dict.fromkeys(rows), key=lambda row: backbones.index(row[0]))


def _compared(
    config: Config, settings: MethodSettings, method: str, backbone: str
) -> Iterator[tuple[str, Any, Original]]:
    """Yield the name, value and original of every setting behind a row that has a known original."""
    kind = settings.method
    for name, original in BACKBONE_ORIGINALS.get(kind, {}).items():
        yield name, getattr(config.backbones[backbone], name), original
    own = VARIANT_ORIGINALS.get(method, {})
    for name, original in METHOD_ORIGINALS.get(kind, {}).items():
        known = Original(own[name], "UniKE Table 4", original.equation) if name in own else original
        yield name, getattr(settings, name), known
    for name, original in KNOWLEDGE_ORIGINALS.get(kind, {}).items():
        section: Any = config.knowledge
        for part in name.split("."):
            section = getattr(section, part)
        yield name, section, original


def _acts(settings: MethodSettings, name: str) -> bool:
    """Whether a setting does anything in a row with these settings."""
    alpha = getattr(settings, "alpha", "dynamic")
    if (name == "alpha_operands" and alpha != "dynamic") or (name == "alpha_scale" and not isinstance(alpha, str)):
        return False
    groups = NEEDS.get(name, ())
    return all(any(getattr(settings, needed, True) not in (False, "off", 0) for needed in group) for group in groups)


def _shown(value: Any) -> str:
    """Return a value as text; layers one after another as "20 to 23"."""
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, tuple):
        return setting_text(value)
    if len(value) > 1 and value == tuple(range(value[0], value[-1] + 1)):
        return f"{value[0]} to {value[-1]}"
    return ", ".join(map(setting_text, value))
