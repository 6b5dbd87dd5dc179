"""Dump a tiny random LAVIS Blip2OPT, in LAVIS's own files, with its logits: what our converter and adapter must equal.

It runs in the environment of `envs/lavis.txt` (rule `parity_lavis` does both) and needs no network; LAVIS's code is not
changed, only the places where it downloads pretrained parts lead to tiny random ones:

    python tools/lavis_reference.py tests/backbones/lavis

Writes eva_vit_g.pth (a ViT at another picture size, with a block and heads that BLIP-2 drops), checkpoint_0.pth (saved
by LAVIS's runner), language_model/ (OPT, with a tokenizer as OPT's own is saved), expected.safetensors and texts.json
(prompt and answer of each text). Expected are `pixels` and what LAVIS's OPT was given and said: the text's token `ids`,
special ones included, the `mask` over visual and text tokens, and `logits`.
"""

import argparse
import contextlib
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

for name in ("nms", "qnms"):  # torchvision of the registry is built for CUDA's torch, whose operators it extends
    with contextlib.suppress(RuntimeError):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")

from lavis.models import eva_vit  # noqa: E402
from lavis.models.blip2_models import blip2, blip2_opt  # noqa: E402
from lavis.models.blip2_models.modeling_opt import OPTForCausalLM  # noqa: E402
from lavis.models.blip2_models.Qformer import BertConfig, BertLMHeadModel  # noqa: E402
from lavis.runners.runner_base import RunnerBase  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from tokenizers.pre_tokenizers import ByteLevel  # noqa: E402
from tokenizers.trainers import BpeTrainer  # noqa: E402
from transformers import OPTConfig  # noqa: E402

WIDTH, HEADS, LAYERS, QUERIES = 32, 2, 3, 4
OLD_SIDE, SIDE, PATCH = 42, 28, 14
TEXTS = [("Question: what is this? Short answer:", "hot dog"), ("a photo of", "a cat on the left")]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # OPT's first tokens
VOCABULARY = 300  # the special tokens, all bytes, and pieces of the texts
# As facebook/opt-2.7b has them, and no other settings of a tokenizer.
TOKENIZER = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
TOKENIZER |= {"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}


def randomise(model: torch.nn.Module, deviation: float) -> torch.nn.Module:
    """Draw all parameters, so that no bias is zero and no norm the identity."""
    for name, parameter in model.named_parameters():
        is_scale = parameter.ndim == 1 and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=deviation)
    return model


def save_language_model(folder: Path) -> None:
    """Save a random OPT and, in the files that LAVIS reads, a tokenizer of its kind."""
    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=64,
        dropout=0.0,
        **ids,
    )
    randomise(OPTForCausalLM(config), 0.15).half().save_pretrained(folder, safe_serialization=True)
    pieces = Tokenizer(BPE())
    pieces.pre_tokenizer = ByteLevel(add_prefix_space=False)
    bytes_ = {"special_tokens": SPECIAL, "initial_alphabet": ByteLevel.alphabet(), "show_progress": False}
    pieces.train_from_iterator([" ".join(text) for text in TEXTS], BpeTrainer(vocab_size=VOCABULARY, **bytes_))
    pieces.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER) + "\n", encoding="utf-8")


def save_vision(path: Path, kind: type[torch.nn.Module]) -> None:
    """Save a random EVA-ViT as LAVIS's server has it: half precision, one block more than is used, other heads."""
    model = kind(img_size=OLD_SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=LAYERS + 1, num_heads=HEADS, qkv_bias=True)
    state = randomise(model, 0.05).half().state_dict()
    state |= {"norm.weight": torch.ones(WIDTH), "head.weight": torch.zeros(2, WIDTH), "head.bias": torch.zeros(2)}
    torch.save(state, path)


def build(folder: Path) -> torch.nn.Module:
    """Return LAVIS's Blip2OPT, made by its own constructor from the files in the folder."""
    vit = eva_vit.VisionTransformer

    def small_vit(**settings: object) -> torch.nn.Module:
        return vit(**{**settings, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS, "mlp_ratio": 4.0})

    def small_bert(_: str, config: BertConfig) -> BertLMHeadModel:
        return randomise(BertLMHeadModel(config), 0.1)

    bert = partial(
        BertConfig,
        vocab_size=8,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=8,
    )
    save_vision(folder / "eva_vit_g.pth", vit)
    with contextlib.ExitStack() as patches:
        enter = lambda *place, **new: patches.enter_context(mock.patch.object(*place, **new))  # noqa: E731
        enter(eva_vit, "VisionTransformer", new=small_vit)
        enter(eva_vit, "download_cached_file", new=lambda *_, **__: str(folder / "eva_vit_g.pth"))
        enter(blip2.BertConfig, "from_pretrained", new=lambda _: bert())
        enter(blip2.BertLMHeadModel, "from_pretrained", new=small_bert)
        enter(blip2.BertTokenizer, "from_pretrained", new=mock.Mock())  # the Q-Former reads no text here
        model = blip2_opt.Blip2OPT(
            img_size=SIDE, vit_precision="fp32", num_query_token=QUERIES, opt_model=str(folder / "language_model")
        )
    for part in (model.ln_vision, model.opt_proj):
        randomise(part, 0.1)
    torch.nn.init.normal_(model.query_tokens)
    model.opt_model.float()  # loaded in half precision, which CPUs do not run
    return model.eval()


def main() -> None:
    """Write the reference into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_language_model(folder / "language_model")
    model = build(folder)
    RunnerBase._save_checkpoint(
        SimpleNamespace(
            model=model,
            unwrap_dist_model=lambda whole: whole,
            optimizer=torch.optim.AdamW([model.query_tokens]),
            config=SimpleNamespace(to_dict=lambda: {"model": {"arch": "blip2_opt"}}),
            scaler=None,
            output_dir=str(folder),
        ),
        0,
    )
    save_file(ask(model), folder / "expected.safetensors")
    (folder / "texts.json").write_text(json.dumps(TEXTS) + "\n", encoding="utf-8")


def ask(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return random pictures, and what LAVIS gives its OPT for them and the texts, and what OPT says."""
    seen = {"pixels": torch.randn(len(TEXTS), 3, SIDE, SIDE)}

    def embedded(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], __: object) -> None:
        seen["ids"] = inputs[0]

    def said(_: torch.nn.Module, __: object, given: dict[str, torch.Tensor], output: SimpleNamespace) -> None:
        seen.update(mask=given["attention_mask"], logits=output.logits.float().contiguous())

    model.opt_model.get_input_embeddings().register_forward_hook(embedded)
    model.opt_model.register_forward_hook(said, with_kwargs=True)
    with torch.no_grad():
        model({"image": seen["pixels"], "text_input": [" ".join(text) for text in TEXTS]})
    return seen


if __name__ == "__main__":
    main()
