"""The judge beside a twin that asks one plain prompt at a time, and its agreement with `normalised`."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from forked_snakemake import snakemake
from tiny_models import make_case
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unike_lib.config.judge import JudgeConfig
from unike_lib.criterion import find_criteria
from unike_lib.evaluation.judge import Text, judge_records, open_judge
from unike_lib.io import write_table
from unike_lib.records import Score, record_schema
from unike_lib.reporting.judge import agreement_of, write_judge
from unike_lib.types import InputError, Probe, Query

WORDS = "<pad> <s> </s> <unk> yes Yes YES no No NO NOT Q: A: G: or red owl hot dog cat blue what is this ? user: bot:"
PROMPT = "Q: {question} A: {answers} G: {given} ?"
TEXTS = [
    Text(question, answers, given)
    for question in ("what is this ?", "is this red ?", "what")
    for answers in (("red owl",), ("cat", "hot dog"), ("blue",))
    for given in ("red owl", "a\ncat", "", "hot dog {given}")
]
TEMPLATE = (
    "{% for message in messages %}user: {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} bot:{% endif %}"
)


def save_judge(folder, words=WORDS, template=None):
    """Save a random causal language model and a tokenizer of whole words."""
    vocabulary = {word: place for place, word in enumerate(words.split())}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), initializer_range=0.4, **shape))
    model.save_pretrained(folder)
    return vocabulary


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    save_judge(folder)
    return folder


def settings_of(folder, **more):
    return JudgeConfig(folder=str(folder), prompt=PROMPT, **more)


def twin(folder, before="", after=""):
    """Return how much rather yes than no, of one prompt at a time, from words and probabilities alone."""
    model, ids = AutoModelForCausalLM.from_pretrained(folder).eval(), {w: i for i, w in enumerate(WORDS.split())}
    margins = []
    for text in TEXTS:
        words = f"{before} Q: {text.question} A: {' or '.join(text.answers)} G: {text.given} ? {after}".split()
        row = torch.tensor([[ids.get(word, ids["<unk>"]) for word in words]])
        with torch.no_grad():
            share = model(row).logits[0, -1].softmax(-1)
        yes, no = (
            sum(float(share[ids[form]]) for form in forms) for forms in (("yes", "Yes", "YES"), ("no", "No", "NO"))
        )
        margins.append(math.log(yes / no))
    return margins


def test_verdicts_are_those_of_one_plain_prompt_at_a_time(folder):
    expected = twin(folder)
    assert min(expected) < -0.1 and max(expected) > 0.1
    for size in (1, 5, 64):
        assert open_judge(settings_of(folder, batch_size=size)).margins(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_chat_model_is_asked_in_a_users_turn(tmp_path):
    save_judge(tmp_path, template=TEMPLATE)
    margins = open_judge(settings_of(tmp_path)).margins(TEXTS)
    assert margins == pytest.approx(twin(tmp_path, "user:", "bot:"), abs=1e-5)
    assert margins != pytest.approx(twin(tmp_path), abs=1e-2)


def case_of(index):
    case = make_case(index, "red owl")
    more = (
        Probe("portability", Query(None, "what is hot ?", "hot dog"), aliases=("dog", "hot dog")),
        Probe("near_picture", Query("other", "what is this ?")),
        Probe("no_longer", Query(None, "name it", "cat"), must="differ"),
        Probe("not_now", Query(None, "name it", "cat"), must="differ"),
    )
    return replace(case, probes=(*case.probes, *more))


CASES = [case_of(0), case_of(1)]
PROBES = {("tiny", case.request.id, probe.kind): probe for case in CASES for probe in case.probes}


@pytest.fixture
def records(tmp_path):
    """Records of two edits that are asked the same: by `normalised` all right, and all wrong, two of them failed."""
    rows, criteria = [], find_criteria(["token", "mmedit", "normalised"])
    for number, case in enumerate(CASES):
        for probe in case.probes:
            failed = (number, probe.kind) in [(1, "m_gen"), (1, "not_now")]
            given, status = ["said after", "cat"][number], "ok"
            if failed:
                given, status = "nothing", "failed: no"
            scores = {"token": 1.0, "mmedit": 1.0, "normalised": 1.0 - number}
            target, aliases = probe.query.answer or "", list(probe.aliases)
            score = Score(
                case.request.id,
                [],
                probe.kind,
                scores,
                1,
                target,
                "said before",
                given,
                0.0,
                aliases=aliases,
                status=status,
            )
            rows.append(score.row(criteria) | {"backbone": "tiny", "task": "vqa", "method": "mine", "seed": 0})
    path = tmp_path / "records.parquet"
    write_table(path, pd.DataFrame(rows).assign(fingerprint=""), "f", record_schema(criteria))
    return path


def test_each_distinct_text_is_judged_once_against_what_normalised_compares_it_with(records):
    asked = []

    def margins(texts):
        asked.extend(texts)
        return [1.0 if text.given == "cat" else -1.0 for text in texts]

    verdicts = judge_records([records, records], PROBES, margins)
    assert len(verdicts) == 2 * 2 * 9 and len({*asked}) == len(asked)
    assert {text.given for text in asked} == {"said after", "cat"}
    # Of the reliability of both edits the question is the same, the answer is not.
    name = CASES[0].request.prompt
    assert {text for text in asked if text.given == "cat"} == {
        Text(name, ("red owl",), "cat"),
        Text("name it", ("red owl",), "cat"),
        Text("what is hot ?", ("hot dog", "dog"), "cat"),
        Text("what is a cat ?", ("said before",), "cat"),
        Text("what is on the left ?", ("said before",), "cat"),
        Text(name, ("said before",), "cat"),
        Text("name it", ("said before",), "cat"),
    }
    second = verdicts[verdicts["case"] == "vqa-1"].drop_duplicates("kind").set_index("kind")
    expected = dict.fromkeys(second.index, 1.0) | dict.fromkeys(["m_gen", "not_now", "no_longer"], 0.0)
    # Two failed, and what must differ is as before.
    assert second["judged"].to_dict() == expected
    assert second.index[second["margin"].isna()].tolist() == ["m_gen", "not_now"]
    first = verdicts[verdicts["case"] == "vqa-0"].set_index("kind")
    assert first["judged"].to_dict() == dict.fromkeys(second.index, 0.0) | {"no_longer": 1.0, "not_now": 1.0}


def test_a_record_that_no_case_asks_is_one_clear_error(records):
    with pytest.raises(InputError, match=r"records\.parquet: case vqa-0, kind rel: no case of tiny asks this"):
        judge_records([records], {}, list)


def test_a_judge_that_always_says_yes_agrees_as_often_as_normalised_is_right(records, tmp_path):
    verdicts = judge_records([records], PROBES, lambda texts: [1.0] * len(texts))
    write_table(tmp_path / "verdicts.parquet", verdicts, "f")
    outputs = {"csv": tmp_path / "judge.csv", "markdown": tmp_path / "judge.md"}
    write_judge(dict.fromkeys(["table1", "mine"], tmp_path / "verdicts.parquet"), outputs, settings_of("here"))
    table = pd.read_csv(outputs["csv"])
    names = ["table", "backbone", "task", "k", "method", "kind", "answers", "judge", "normalised", "agreement", "kappa"]
    assert list(table)[: len(names)] == names
    kinds = [probe.kind for probe in CASES[0].probes]
    assert table[["table", "kind"]].to_numpy().tolist() == [[t, kind] for t in ("table1", "mine") for kind in kinds]
    plain = table[~table["kind"].isin(["m_gen", "no_longer", "not_now"])]
    assert (plain[["answers", "judge", "normalised", "agreement", "kappa"]] == [2, 100, 50, 50, 0]).all(axis=None)
    page = outputs["markdown"].read_text()
    assert "| all | 36 | 72.2 | 50.0 | 55.6 | 66.7 | 22.2 | 0.11 |" in page and "`here`" in page and PROMPT in page
    assert "| what is this ? | red owl | cat | right | +1.0 |" in page


def test_kappa_is_that_of_the_textbook():
    """Of 50 proposals two readers accept 20 and refuse 15 together, 5 and 10 alone: 0.7 agreed, 0.5 by chance."""
    pairs = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    found = agreement_of(pd.DataFrame(pairs, columns=["judged", "normalised"], dtype=float))
    expected = {"answers": 50, "judge": 50, "normalised": 60, "agreement": 70, "kappa": 0.4}
    assert found == pytest.approx(expected | {"let_through": 25, "refused": 100 / 3})
    same = agreement_of(pd.DataFrame({"judged": np.ones(4), "normalised": np.ones(4)}))
    assert same["agreement"] == 100 and math.isnan(same["kappa"]) and math.isnan(same["let_through"])


def test_a_folder_that_cannot_judge_is_one_clear_error(folder, tmp_path):
    save_judge(tmp_path / "mute", WORDS.replace("no No NO", ""))
    save_judge(tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    errors = {"mute": "mute: expected a tokenizer that has 'no' as one token", "half": "half: no readable causal model"}
    errors["nowhere"] = "nowhere: no such folder, and no hub id"
    for name, message in errors.items():
        with pytest.raises(InputError, match=f"^judge.folder: .*{message}") as error:
            open_judge(settings_of(tmp_path / name))
        assert "\n" not in str(error.value)


PROMPTS = {
    "{question} {answers}": "{question}, {answers}",
    PROMPT + "{}": "{question}, {answers}, {given}, {}",
    PROMPT + "{given}": "{question}, {answers}, {given}, {given}",
    PROMPT.replace("{given}", "{given!r}"): "{question}, {answers}, {given}",
    PROMPT + "}": "Single '}'",
    "none": "none",
}


@pytest.mark.parametrize(("prompt", "found"), PROMPTS.items())
def test_a_prompt_with_other_braces_is_one_clear_error(prompt, found):
    with pytest.raises(ValueError, match=r"expected \{question\}, \{answers\} and \{given\} once each") as error:
        JudgeConfig(prompt=prompt)
    assert f"found {found}" in str(error.value)


def test_a_judge_is_asked_in_a_stage_of_its_own(folder, tmp_path):
    targets = ("-n", "--config", "preset=smoke", f"judge={{folder: {folder}}}", "--", "results/judge.md")
    status, text = snakemake(tmp_path, *targets)
    assert status == 0, text
    blocks = [block.split("Reason:")[0] for block in text.split("rule judge_answers:")[1:]]
    assert len(blocks) == 4 and str(folder) in blocks[0]
    assert "results/judge.md" in text.split("rule judge:")[1]
    status, text = snakemake(tmp_path, "-n", "--config", "judge={folder: nowhere}")
    assert status != 0 and "judge.folder: nowhere: no such folder" in text
