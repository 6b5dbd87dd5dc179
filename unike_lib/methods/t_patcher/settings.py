"""Settings of T-Patcher."""

from typing import ClassVar

from unike_lib.methods.shared.neuron_settings import NeuronMethod
from unike_lib.methods.shared.scope_settings import ScopeSettings


class TPatcherMethod(ScopeSettings, NeuronMethod):
    """T-Patcher: neurons in the FFN of the edited layers."""

    rests_on: ClassVar = {"backbone": {"layers": ()}, "knowledge": {"memory_states": ("memory_weight",)}}
