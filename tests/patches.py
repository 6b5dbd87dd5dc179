"""Patches by what they hold, for tests: made of some content, and the content of some."""

from dataclasses import fields, replace

from unike_lib.editing.patch import Patch
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.lora.factors import LoraFactors
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.methods.shared.low_rank import LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.methods.unike.settings import UnikeMethod


def latent_shift(memory, encoders, top_k=40, **settings):
    """A shift with UniKE's readings where a test names no other."""
    plain = UnikeMethod(method="unike")
    names = [field.name for field in fields(LatentShift) if field.name in UnikeMethod.model_fields]
    readings = {name: getattr(plain, name) for name in names} | {"attention_kind": plain.attention, "alpha_scale": 1.0}
    return LatentShift(memory, encoders, **(readings | {"top_k": top_k} | settings))


def patch_of(sessions, neurons=None, changes=None, shift=None, slots=None, **others):
    """`others`: factors, contexts, stored edits."""
    parts = [
        neurons and ExtraNeurons(neurons),
        changes and WeightChanges(changes),
        LowRankChanges(others["factors"]) if "factors" in others else None,
        shift and replace(shift, own=slots or {}),
        Contexts(others["contexts"]) if "contexts" in others else None,
        others.get("stored"),
    ]
    return Patch(sessions, tuple(part for part in parts if part))


def _layers(kind):
    return lambda patch: getattr(patch.part(kind), "layers", {})


neurons_of, changes_of, factors_of = map(_layers, (ExtraNeurons, WeightChanges, LowRankChanges))
trained_factors_of = _layers(LoraFactors)


def slots_of(patch):
    return patch.part(LatentShift).own


def contexts_of(patch):
    return getattr(patch.part(Contexts), "texts", ())


def stored_in(patch):
    return patch.part(CounterfactualMix)


def with_slots(patch, slots):
    return patch.append(replace(patch.part(LatentShift), own=slots))
