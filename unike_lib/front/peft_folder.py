"""Low-rank factors as peft's LoRA files, which `PeftModel.from_pretrained` reads; written without peft."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.in_weights import InWeights
from unike_lib.io import write_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_peft(folder: Path, edit: InWeights, decoder: Decoder, below: str, base: str) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` (peft 0.21).

    peft's change of a matrix is (lora_alpha / r) B A. Here lora_alpha is r, so that it is B A; every matrix has its own
    rank (`rank_pattern`), and its alpha is that rank.

    Args:
        folder: to write into.
        edit: whose factors are A (inputs) and B (outputs).
        decoder: of the model: where matrices lie.
        below: the path of the language model in the model that is loaded, with a point behind it.
        base: what the adapter stands beside.
    """
    names = {id(module): name for name, module in decoder.model.named_modules()}
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for (layer, matrix), factors in sorted(edit.factors.items()):
        path = below + names[id(decoder.layers[layer].part(matrix))]
        ranks[path] = len(factors.inputs)
        tensors[f"base_model.model.{path}.lora_A.weight"] = factors.inputs.detach().float().cpu().contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = factors.outputs.detach().float().T.cpu().contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    most = max(ranks.values())
    others = {path: rank for path, rank in ranks.items() if rank != most}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "task_type": None,
        "inference_mode": True,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
    }
    write_json(folder / CONFIG, config)
