"""Made-up edits with known outcomes, from their sessions to the tables: what each must come out as."""

from dataclasses import dataclass, replace

import pytest
import torch
from tables_of_records import write_tables
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import EditResult
from unike_lib.editing.patch import Part, Patch
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.types import Probe

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=7, criteria=("token", "mmedit", "generated", "normalised"))
TIERS = ("near_picture", "no_picture")
LOCALITIES = ("t_loc", "m_loc", *TIERS)
OUTCOMES = ("joint", "under_generalised", "over_generalised", "both", "not_reliable")
STOP = 2


def is_own(query, request):
    """The edit's question, in other words or about another picture of the same: `make_case` names them so."""
    return query.image in (request.image, request.image.replace("image", "other"))


# What ends the target (nothing: its last token goes on for ever), and to which questions it is said.
EDITS = {
    "whole": ([STOP], is_own),
    "always": ([STOP], lambda query, request: True),
    "never": ([STOP], lambda query, request: False),
    "parrot": ([STOP], lambda query, request: (query.image, query.prompt) == (request.image, request.prompt)),
    "words": ([STOP], lambda query, request: query.prompt == request.prompt),
    "endless": ([], is_own),
}
# Where the target is said, each edit is right, and a locality is lost; and what that makes of the edit as a whole.
REACHED = {
    "whole": ("rel t_gen m_gen", "joint"),
    "always": ("rel t_gen m_gen t_loc m_loc near_picture no_picture", "over_generalised"),
    "never": ("", "not_reliable"),
    "parrot": ("rel", "under_generalised"),
    "words": ("rel m_gen near_picture no_picture", "both"),
}


@dataclass(frozen=True)
class Said(Part):
    """Says the target of a session's last request to some questions, then `end`, or its last token for ever."""

    ids: torch.Tensor  # [session, token], padded with -1
    requests: tuple
    end: tuple
    reaches: object

    def tensors(self):
        return {"ids": self.ids}

    def select(self, sessions):
        return replace(self, ids=self.ids[list(sessions)], requests=tuple(self.requests[s] for s in sessions))

    def append(self, more):
        return more

    def after(self, queries, answers, read, logits):
        rows = len(queries) // len(self.requests)
        for number, part in enumerate(logits.split(list(read))):
            if not self.reaches(queries[number], self.requests[number // rows]):
                continue
            ids = [*(token for token in self.ids[number // rows].tolist() if token >= 0), *self.end]
            for place, row in enumerate(part, len(answers[number]) + 1 - len(part)):
                if place >= 0:
                    row.fill_(-50.0)
                    row[ids[min(place, len(ids) - 1)]] = 50.0
        return logits


@dataclass(frozen=True)
class Says:
    """The editor of such a part."""

    backbone: object
    name: str

    def start(self, sessions):
        return Patch(sessions)

    def edit(self, requests, previous):
        ids = [torch.tensor(self.backbone.answer_ids(request.target)) for request in requests]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)
        end, reaches = EDITS[self.name]
        return EditResult(previous.append(Said(padded, tuple(requests), tuple(end), reaches)), (None,) * len(requests))


def asked(index, target):
    """An edit with two near tiers."""
    case = make_case(index, target)
    own = case.request.query
    tiers = (
        Probe("near_picture", replace(own, image=f"third-{index}", answer=None)),
        Probe("no_picture", replace(own, image=None, answer=None)),
    )
    return replace(case, probes=(*case.probes, *tiers))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The tables of all edits; of the last case the target is what the unedited model says to its text question."""
    question = "question : {} short answer :"
    backbone = Backbone(tiny_model("blip2", seed=4), tiny_tokenizer(), FAMILIES["blip2"], tiny_images, None, question)
    cases = [asked(index, target) for index, target in enumerate(["hot dog", "cat", "red owl left"])]
    said = answer_before(backbone, cases, SETTINGS).text("vqa-0", "t_loc")
    cases.append(asked(3, said))
    before = answer_before(backbone, cases, SETTINGS)
    scores = {name: run_edits(backbone, Says(backbone, name), {1: cases}, before, SETTINGS) for name in EDITS}
    return write_tables(tmp_path_factory.mktemp("tables"), scores, SETTINGS)


def kept(found, kind):
    """Percent of edits whose target the unedited model says to a kind of questions anyway."""
    rows = found.records[found.records["method"] == "always"].set_index("case")
    targets = rows.loc[rows["kind"] == "rel", "target"]
    said = rows.loc[rows["kind"] == kind, "text_before"]
    return 100 * (said == targets).mean()


@pytest.mark.parametrize("name", REACHED)
def test_the_tables_of_an_edit_of_known_outcome(found, name):
    """An edit is right where it says the target; a locality stays where it does not, or where that was said before."""
    reached, outcome = REACHED[name][0].split(), REACHED[name][1]
    for criterion in ("generated", "normalised"):
        row = found.tables[criterion].loc[(name, 1)]
        for kind in ("rel", "t_gen", "m_gen"):
            assert row[kind] == (100 if kind in reached else 0), (criterion, kind)
        for kind in LOCALITIES:
            assert row[kind] == (kept(found, kind) if kind in reached else 100), (criterion, kind)
    taught = found.tables["token"].loc[(name, 1)]
    assert all(taught[kind] == 100 for kind in ("rel", "t_gen", "m_gen") if kind in reached)
    edits = found.edits.loc[(name, 1)]
    assert edits[list(OUTCOMES)].to_dict() == dict.fromkeys(OUTCOMES, 0.0) | {outcome: 100.0}
    assert (edits["localities"], edits["right_before"]) == ("t_loc m_loc near_picture no_picture", 0)


def test_a_locality_whose_old_answer_is_the_target_is_kept(found):
    assert kept(found, "t_loc") == found.tables["generated"].loc[("always", 1), "t_loc"] == 25


def test_an_edit_that_forgets_the_end_is_taught_and_never_written(found):
    """All tokens of the target, and the last one until the answer is cut."""
    taught, *written = (found.tables[name].loc[("endless", 1)] for name in ("token", "generated", "normalised"))
    for kind in ("rel", "t_gen", "m_gen"):
        assert [taught[kind], *(each[kind] for each in written)] == [100, 0, 0]
    rows = found.records[found.records["method"] == "endless"]
    edited = rows[rows["kind"].isin(["rel", "t_gen", "m_gen"])]
    assert edited["cut"].all() and set(edited["text_after"].str.split().map(len)) == {SETTINGS.max_new_tokens}
    assert all(
        text.startswith(f"{target} ") for text, target in zip(edited["text_after"], edited["target"], strict=True)
    )
    assert found.edits.loc[("endless", 1), "not_reliable"] == 100
    line = next(each for each in found.lines if each.startswith("| tiny, VQA, endless |")).split(" | ")
    assert line[1:10] == ["100.0", "0.0", "+100.0"] * 3
    assert line[-1].startswith(f"{rows['cut'].sum()} (")
