"""Names and shapes of a folder's weights, from their headers, against the model that its config.json builds.

The model is built on torch's meta device, where nothing is allocated, so a folder that does not fit is refused before
its 7B model takes 27 GB.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.initialization import no_init_weights

from unike_lib.backbones.entries import refuse_entries
from unike_lib.backbones.folder import opening
from unike_lib.backbones.shapes import Shapes


def check_weights(folder: str | Path, kind: Any, config: Any, shapes: Shapes) -> None:
    """Compare names and shapes with the model that a config builds; what transformers renames or ties is right.

    Args:
        folder: for the message.
        kind: a model class of Hugging Face's, or one of its automatic ones.
        config: the model's.
        shapes: the weights' by name.

    Raises:
        InputError: names missing, unexpected and mis-shaped entries, all in one message.
    """
    with opening(folder, "model"), torch.random.fork_rng(devices=[]):
        with torch.device("meta"), no_init_weights():
            model: Any = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
        _compare(folder, model, shapes)


def _compare(folder: str | Path, model: Any, shapes: Shapes) -> None:
    """Go through transformers' own steps, with shapes in the place of weights."""
    wanted = model.state_dict()
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    prefix, found, unexpected = model.base_model_prefix, {}, set()
    for name, shape in shapes.items():
        renamed, converted = rename_source_key(name, renamings, converters, prefix, wanted)
        if renamed not in wanted and name in wanted:
            renamed, converted = rename_source_key(name, [], [], prefix, wanted)
        if renamed not in wanted:
            unexpected.add(renamed)
        else:  # what is put together from several entries has no shape yet
            found[renamed] = tuple(wanted[renamed].shape) if converted is not None else shape
    left = SimpleNamespace(missing_keys=wanted.keys() - found.keys(), unexpected_keys=unexpected)
    model.tie_weights(missing_keys=left.missing_keys, recompute_mapping=False)
    model._adjust_missing_and_unexpected_keys(left)
    differing = [(name, shape, tuple(wanted[name].shape)) for name, shape in found.items()]
    refuse_entries(str(folder), left.missing_keys, left.unexpected_keys, differing)
