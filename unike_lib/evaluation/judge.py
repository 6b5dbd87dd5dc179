"""Records' answers judged by a language model that reads texts alone: no picture, no backbone, no edit."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from unike_lib.backbones.checkpoint import load_whole
from unike_lib.backbones.folder import NO_CODE, check_folder, opening
from unike_lib.checksum import check_listed
from unike_lib.config.judge import JudgeConfig
from unike_lib.io import check_fields, read_table
from unike_lib.records import CELL, EDIT
from unike_lib.types import InputError, Probe

SPELLINGS = {word: [f"{space}{form}" for form in forms for space in ("", " ")] for word, forms in {
    "yes": ("yes", "Yes", "YES"), "no": ("no", "No", "NO"),
}.items()}  # fmt: skip
ROWS = [*CELL, "k", "seed", *EDIT, "kind", "status", "normalised", "target", "aliases", "text_before", "text_after"]
KEPT = [*CELL, "k", "seed", *EDIT, "kind", "question", "answers", "given", "normalised", "margin", "judged"]
Probes = Mapping[tuple[str, str, str], Probe]


@dataclass(frozen=True)
class Text:
    """What a judge is given: a question, the accepted answers, and an answer."""

    question: str
    answers: tuple[str, ...]
    given: str

    def prompt(self, template: str) -> str:
        """Return the text in a template of the settings, each part on one line."""
        parts = {"question": self.question, "answers": " or ".join(self.answers), "given": self.given}
        return template.format(**{name: " ".join(part.split()) for name, part in parts.items()})


class Judge:
    """A causal language model that says yes or no to a prompt by its next token.

    margin: log of the summed probability of the spellings of "yes" that are one token, minus that of "no"'s.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: JudgeConfig) -> None:
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        self._yes, self._no = (_words(tokenizer, word, str(settings.folder)) for word in SPELLINGS)
        last = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._asked = {"use_cache": False} | ({"logits_to_keep": 1} if last else {})

    def ids(self, text: Text) -> list[int]:
        """Return the tokens of a prompt, as a user's turn where the tokenizer has a chat template."""
        prompt = text.prompt(self._settings.prompt)
        if not self._tokenizer.chat_template:
            return self._tokenizer.encode(prompt)
        turn = [{"role": "user", "content": prompt}]
        chat = self._tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return self._tokenizer.encode(chat, add_special_tokens=False)

    @torch.inference_mode()
    def margins(self, texts: Sequence[Text]) -> list[float]:
        """Return how much rather each text's answer is yes than no, in nats.

        A batch has prompts of one length: nothing is padded, so that any architecture can judge.
        """
        prompts = [self.ids(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda row: len(prompts[row]))
        found: dict[int, float] = {}
        with tqdm(total=len(texts), desc="answers judged", unit="answer") as bar:
            for _, rows in groupby(order, key=lambda row: len(prompts[row])):
                while part := list(islice(rows, self._settings.batch_size)):
                    found |= zip(part, self._batch([prompts[row] for row in part]).tolist(), strict=True)
                    bar.update(len(part))
        return [found[row] for row in range(len(texts))]

    def _batch(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        ids = torch.tensor(prompts, device=self._model.device)
        logits = self._model(input_ids=ids, **self._asked).logits[:, -1].double()
        return logits[:, self._yes].logsumexp(-1) - logits[:, self._no].logsumexp(-1)


def _words(tokenizer: Any, word: str, folder: str) -> list[int]:
    """Return the tokens that are a spelling of a word as a whole."""
    ids = [tokenizer.encode(spelling, add_special_tokens=False) for spelling in SPELLINGS[word]]
    whole = {each[0] for each in ids if len(each) == 1} - {*tokenizer.all_special_ids}
    if not whole:
        raise InputError(f"judge.folder: {folder}: expected a tokenizer that has {word!r} as one token")
    return sorted(whole)


def open_judge(settings: JudgeConfig) -> Judge:
    """Return the judge of the settings' folder, without its own code and without a network.

    Raises:
        InputError: there is no GPU; the folder is missing, incomplete or damaged, or no causal language model with a
            tokenizer that has "yes" and "no".
    """
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"judge.device: {settings.device}: PyTorch {torch.__version__} sees no GPU here; set judge.device to cpu"
        )
    folder, local = Path(str(settings.folder)), {"local_files_only": True, **NO_CODE}
    try:
        check_folder(folder)
        check_listed(folder)
        with opening(folder, "causal model"):
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model = load_whole(AutoModelForCausalLM, folder, dtype=getattr(torch, settings.dtype), **local)
    except InputError as error:
        raise InputError(f"judge.folder: {error}") from None
    return Judge(model.to(settings.device).eval().requires_grad_(False), tokenizer, settings)


def judge_records(
    paths: Sequence[Path], probes: Probes, margins: Callable[[Sequence[Text]], Sequence[float]]
) -> pd.DataFrame:
    """Judge the answers of some records, each distinct text once.

    An answer that must become the target is compared with the target and its aliases; one that must stay (or differ)
    with the unedited model's own, as `normalised` does. A failed edit's answer is wrong, and is not judged.

    Args:
        paths: files of records.
        probes: by backbone, case and kind.
        margins: of `Judge`.

    Returns:
        One row per record: `KEPT`; `margin` is NaN where nothing was judged; `judged` 1: right, 0: wrong.

    Raises:
        InputError: a file is no file of records, or has a probe that no case asks.
    """
    records = pd.concat([_read(path, probes) for path in paths], ignore_index=True)
    texts = [Text(*parts) for parts in zip(records["question"], records["answers"], records["given"], strict=True)]
    ok = records["status"].eq("ok")
    distinct = list(dict.fromkeys(text for text, good in zip(texts, ok, strict=True) if good))
    known = dict(zip(distinct, margins(distinct), strict=True))
    records["margin"] = [known[text] if good else float("nan") for text, good in zip(texts, ok, strict=True)]
    right = records["margin"].gt(0) != records["must"].eq("differ")
    return records.assign(judged=(right & ok).astype(float))[KEPT]


def _read(path: Path, probes: Probes) -> pd.DataFrame:
    """Return a file's records with `question`, `must`, `answers` (accepted ones) and `given`."""
    records = read_table(path)
    check_fields(path, records.columns, ROWS)
    keys = list(records[["backbone", "case", "kind"]].itertuples(index=False, name=None))
    for backbone, case, kind in keys:
        if (backbone, case, kind) not in probes:
            raise InputError(f"{path}: case {case}, kind {kind}: no case of {backbone} asks this")
    asked = [probes[key] for key in keys]
    become = [probe.aim == "become" for probe in asked]
    texts = records[["target", "aliases", "text_before"]].itertuples(index=False, name=None)
    accepted = [
        tuple(dict.fromkeys([target, *aliases])) if own else (before,)
        for own, (target, aliases, before) in zip(become, texts, strict=True)
    ]
    questions = [probe.query.prompt for probe in asked]
    return records[ROWS].assign(
        question=questions,
        must=[probe.aim for probe in asked],
        answers=pd.Series(accepted, records.index, dtype=object),
        given=records["text_after"],
    )
