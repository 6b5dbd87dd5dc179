"""What Hugging Face's own model writes and says to questions, edited or not, and the scores of that by the rules.

The rules stand here again, as docs/evaluation.md has them, and SQuAD's as its evaluation script has it.
"""

import re
import string

import torch
from tiny_families import picture
from torch.nn import functional

from unike_lib.types import EditCase, EditRequest, Probe, Query

FIVE = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
STAY = ("t_loc", "m_loc", "near_picture", "near_question", "no_picture", "identity")


def an_edit(number, prompt, target, text, near):
    """An edit with the five probes; `text`: question and answer without a picture; `near`: about a picture."""
    own, other = f"picture {number}", f"other {number}"
    request = EditRequest(f"vqa-{number}", "vqa", own, prompt, target)
    probes = (
        Probe("rel", request.query),
        Probe("t_gen", Query(own, f"question: {prompt}", target)),
        Probe("m_gen", Query(other, prompt, target)),
        Probe("t_loc", Query(None, *text)),
        Probe("m_loc", Query(*near)),
    )
    return EditCase(request, probes, (f"fact {number}",))


def inputs_of(tiny, query, answer=""):
    """What the model's own processor makes of a question, with an answer written behind it."""
    pictures = [] if query.image is None else [picture(query.image)]
    asked = [{"type": "image"}] * len(pictures)
    prompt = query.prompt if query.style == "plain" else f"Question: {query.prompt} Short answer:"
    asked.append({"type": "text", "text": query.context + prompt})
    text = tiny.processor.apply_chat_template([{"role": "user", "content": asked}], add_generation_prompt=True)
    text += f" {answer}" if answer else ""
    return tiny.processor(text=text, return_tensors="pt", **({"images": pictures} if pictures else {}))


class Twin:
    """What one model, edited or not, says to questions."""

    def __init__(self, tiny, model, queries, most=4):
        self.tiny, self.model, self.most, self.said = tiny, model, most, {}
        for pictured in (True, False):
            asked = list(dict.fromkeys(key_of(each) for each in queries if (each.image is not None) is pictured))
            self.said |= dict(zip(asked, self.written([Query(*key) for key in asked]), strict=True))

    @torch.no_grad()
    def written(self, queries):
        """The texts of one batch, padded on the left, and which were cut."""
        rows, most = [inputs_of(self.tiny, query) for query in queries], self.most
        longest, pad = max(row["input_ids"].shape[1] for row in rows), self.tiny.tokenizer.pad_token_id
        batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name.startswith("pixel")}
        for name, empty in (("input_ids", pad), ("attention_mask", 0)):
            batch[name] = torch.cat(
                [functional.pad(row[name], (longest - row[name].shape[1], 0), value=empty) for row in rows]
            )
        new = self.model.generate(**batch, max_new_tokens=most, do_sample=False)[:, longest:].tolist()
        for ids in new:
            text = self.tiny.tokenizer.decode(ids, skip_special_tokens=True).strip()
            yield text, self.tiny.tokenizer.eos_token_id not in ids and len(ids) == most

    @torch.no_grad()
    def best(self, query):
        """The best tokens where the answer is given, and the answer's own."""
        start = inputs_of(self.tiny, query)["input_ids"].shape[1]
        whole = inputs_of(self.tiny, query, query.answer)
        best = self.model(**whole).logits[0, start - 1 : -1].argmax(-1)
        return best.tolist(), whole["input_ids"][0, start:].tolist()


def key_of(query):
    return query.image, query.prompt


def plain(text):
    """But for case, spaces and closing punctuation."""
    return re.sub(r"[\s.,;:!?]+$", "", " ".join(text.lower().split()))


def squad(text):
    """normalize_answer of SQuAD's evaluate-v1.1.py, line by line."""
    lower = "".join(each for each in text.lower() if each not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lower).split())


def same(form, one, other):
    """Equal in a form; what a form erases stays as it is, but for case and spaces."""
    one, other = (form(text) or " ".join(text.lower().split()) for text in (one, other))
    return float(one == other)


def row_of(probe, before, after):
    """A record by the rules."""
    (old, _), (new, cut) = before.said[key_of(probe.query)], after.said[key_of(probe.query)]
    stays = probe.kind in STAY
    accepted = [old] if stays else [probe.query.answer, *probe.aliases]
    row = {"text_before": old, "text_after": new, "cut": cut}
    for name, form in (("generated", plain), ("normalised", squad)):
        row[name] = max(same(form, new, each) for each in accepted)
    if probe.kind in FIVE:
        best, target = after.best(probe.query)
        wanted = before.best(probe.query)[0] if stays else target
        row["token"] = sum(one == other for one, other in zip(best, wanted, strict=True)) / len(wanted)
    return row
