"""Settings of T-Patcher."""

from typing import ClassVar

from unike_lib.methods.shared.neuron_settings import NeuronMethod


class TPatcherMethod(NeuronMethod):
    """T-Patcher: neurons in the FFN of the edited layers."""

    rests_on: ClassVar = {"backbone": {"layers": ()}, "knowledge": {"memory_states": ("memory_weight",)}}
