"""Tiers of locality against a search by hand over records, and what is no fair question, case by case."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest
import torch
from mmedit_records import cases_of, record

from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.evaluation.tiers import Likeness, TierSearch, still_fair, write_tiers
from unike_lib.reporting.tier_notes import tiers_notes
from unike_lib.types import Probe, Query

SHARED = Path(__file__).parents[3] / "shared"
REAL = {
    "E-VQA": ("mmedit/vqa_eval.json", "vqa"),
    "E-IC": ("mmedit/caption_eval_edit.json", "caption"),
    "E-VQA, further fields": ("formats/mmedit-extended/vqa_eval.first40.json", "vqa"),
    "VLKEB": ("formats/vlkeb/eval.first40.json", "vqa"),
    "VLKEB, one rephrased picture of two records": ("formats/vlkeb/eval.shared_rephrase.json", "vqa"),
}


def seen(names):
    """Made-up visual tokens [picture, token, d], by name."""
    of = [
        torch.Generator().manual_seed(sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 2**31)
        for name in names
    ]
    return torch.stack([torch.randn(3, 4, generator=each) for each in of])


def tiers_of(cases, looks=seen):
    search = TierSearch(cases, looks)
    return [{probe.kind: probe for probe in search.with_tiers(case).probes} for case in cases], search.counts


def at(**places):
    """Pictures with one visual token in the plane each."""
    return lambda names: torch.stack(
        [torch.tensor([places[name.split(".")[0]]], dtype=torch.float32) for name in names]
    )


class ByHand:
    """The same search over MMEdit's records, with plain numbers and loops."""

    def __init__(self, records):
        self.records = records
        names = {each[key] for each in records for key in ("image", "image_rephrase", "m_loc")}
        tokens = {name: seen([name])[0].double().tolist() for name in sorted(names)}
        means = {name: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for name, rows in tokens.items()}
        centre = [sum(column) / len(means) for column in zip(*means.values(), strict=True)]
        self.places = {name: [x - c for x, c in zip(mean, centre, strict=True)] for name, mean in means.items()}

    def likeness(self, one, other):
        dot = sum(x * y for x, y in zip(self.places[one], self.places[other], strict=True))
        return dot / sqrt(sum(x * x for x in self.places[one]) * sum(y * y for y in self.places[other]))

    def same_question(self, prompts):
        """All prompts that records, one after the other, call wordings of these."""
        found, before = set(prompts), set()
        while found != before:
            before = set(found)
            for each in self.records:
                if {each["src"], each["rephrase"]} & found:
                    found |= {each["src"], each["rephrase"]}
        return found

    def others(self, own):
        edited, related = {own["image"], own["image_rephrase"]}, set()
        for each in self.records:
            if edited & {each["image"], each["image_rephrase"]}:
                related |= {each["image"], each["image_rephrase"], each["m_loc"]}
        rest = [name for name in sorted(self.places) if name not in related]
        return sorted(rest, key=lambda name: (-round(self.likeness(own["image"], name), 9), name))

    def questions(self, own, picture):
        found = set()
        for each in self.records:
            found |= {each["src"], each["rephrase"]} if each["image"] == picture else set()
            found |= {each["src"]} if each["image_rephrase"] == picture else set()
            found |= {each["m_loc_q"]} if each["m_loc"] == picture else set()
        asked = self.same_question({own["src"]}) | ({own["m_loc_q"]} if picture == own["m_loc"] else set())
        asked |= {own[q] for q, a in (("m_loc_q", "m_loc_a"), ("loc", "loc_ans")) if own[a] == own["alt"]}
        return sorted(found - asked)

    def reached(self, own, picture, prompt):
        """Whether a record answers the question about the picture with the target."""
        same = self.same_question({prompt})
        for each in self.records:
            about_edit = picture in (each["image"], each["image_rephrase"]) and {each["src"], each["rephrase"]} & same
            asked = [(about_edit, "alt"), (picture == each["m_loc"] and each["m_loc_q"] in same, "m_loc_a")]
            asked.append((picture is None and each["loc"] in same, "loc_ans"))
            if any(here and plain(each[answer]) == plain(own["alt"]) for here, answer in asked):
                return True
        return False

    def tiers(self, own):
        """Kind -> (picture, prompt); "left out" in place of what is left out."""
        others = self.others(own)
        found = {"no_picture": (None, own["src"])}
        if others:
            found["near_picture"] = (others[0], own["src"])
        for picture in (own["image"], *others):
            if asked := self.questions(own, picture):
                found["near_question"] = (picture, asked[0])
                break
        return {kind: "left out" if self.reached(own, *asked) else asked for kind, asked in found.items()}


def plain(answer):
    return " ".join(answer.lower().split()).rstrip(".,;:!? ")


def agree(records, task):
    """Compare the search with that by hand; return how many probes are left out, and how many are asked."""
    cases, hand = cases_of(records, task=task), ByHand(records)
    found, counts = tiers_of(cases)
    left_out = asked = 0
    for own, case, probes in zip(records, cases, found, strict=True):
        wanted = hand.tiers(own)
        left_out += list(wanted.values()).count("left out")
        got = {kind: (p.query.image, p.query.prompt) for kind, p in probes.items() if kind in wanted}
        assert got == {kind: question for kind, question in wanted.items() if question != "left out"}
        asked += len(got)
        assert [probes[probe.kind] for probe in case.probes] == list(case.probes)
        for kind in got:
            assert (probes[kind].query.answer, probes[kind].aim) == (None, "stay")
        assert all(probes[kind].query.style == case.request.query.style for kind in got if kind != "near_question")
    assert sum(number for (*_, what), number in counts.items() if what == "left_out") == left_out
    return left_out, asked


def test_the_search_is_that_by_hand():
    """Few pictures, prompts and answers, so that they meet often."""
    draw = torch.Generator().manual_seed(0)

    def pick(letter, most):
        return f"{letter}{int(torch.randint(most, (), generator=draw))}"

    left_out = 0
    for _ in range(6):
        records = [
            record(
                i,
                **{key: pick("p", 14) for key in ("image", "image_rephrase", "m_loc")},
                **{key: pick("q", 14) for key in ("src", "rephrase", "m_loc_q", "loc")},
                **{key: pick("a", 3) for key in ("alt", "m_loc_a", "loc_ans")},
            )
            for i in range(12)
        ]
        left_out += agree(records, "vqa")[0]
    assert left_out > 10


@pytest.mark.parametrize("name", REAL)
def test_real_annotations_run_through_all_tiers(name):
    path, task = REAL[name]
    if not (SHARED / path).exists():
        pytest.skip("the annotations are not here")
    records = json.loads((SHARED / path).read_text())[:40]
    left_out, asked = agree(records, task)
    assert asked + left_out >= len(records)  # every edit has a picture, and so the question without it


def test_likeness_is_centred_and_ties_go_by_name():
    looks = at(
        a=(5.0, 5.0),
        b=(6.0, 5.0),
        c=(5.0, 6.0),
        d=(4.0, 5.0),
        e=(5.0, 4.0),
        f=(8.0, 5.0),
        g=(2.0, 5.0),
        twin=(6.0, 5.0),
    )
    names = ["g", "f", "e", "d", "c", "b", "twin"]
    # The centre lies at (5.14, 5): from there b and f are in one direction, d and g in the other.
    assert Likeness(names, looks).nearest("f")[:2] == ["b", "twin"]
    assert Likeness(names, looks).nearest("d")[0] == "g"
    assert "twin" not in Likeness(names, looks).nearest("b")  # looks exactly the same: no other picture
    assert Likeness(["b", "d", "e", "c"], looks).nearest("b") == ["c", "e", "d"]


LOOKS = at(a0=(1, 0), a1=(1, 0.1), a2=(-1, 0.5), b0=(0, 1), b1=(0, -1), b2=(-1, -1), near=(0.5, -3))


def test_pictures_of_the_same_fact_and_entity_are_not_near():
    plain_cases = cases_of([record(i) for i in range(3)])
    assert tiers_of(plain_cases, LOOKS)[0][0]["near_picture"].query == Query("a1.png", "src 0")
    same_fact = [replace(case, facts=("f", case.request.id)) if i < 2 else case for i, case in enumerate(plain_cases)]
    assert tiers_of(same_fact, LOOKS)[0][0]["near_picture"].query.image in ("a2.png", "b2.png")
    owl = [replace(case, shown=((case.request.image, ("owl", "owl", "fox")[i]),)) for i, case in enumerate(plain_cases)]
    assert tiers_of(owl, LOOKS)[0][0]["near_picture"].query.image != "a1.png"
    assert (
        tiers_of(owl, LOOKS)[0][2]["near_picture"].query.image
        == tiers_of(plain_cases, LOOKS)[0][2]["near_picture"].query.image
    )


def test_a_probe_whose_right_answer_is_the_target_is_left_out_and_counted():
    """Known by the same question or a wording of it, of that picture, or of none; answers as answers are compared."""
    first = record(0, alt="Two")
    for other in (
        record(1, src="src 0", alt="two ."),
        record(1, rephrase="rephrase 0", alt="two"),
        record(1, rephrase="src 0", alt="TWO"),
    ):
        found, counts = tiers_of(cases_of([first, other, record(2)]), LOOKS)
        assert "near_picture" not in found[0] and counts["vqa", "near_picture", "left_out"] == 2  # both, of each other
        assert counts["vqa", "near_picture", "asked"] == 1
    found, _ = tiers_of(cases_of([first, record(1, src="src 0", alt="three"), record(2)]), LOOKS)
    assert found[0]["near_picture"].query == Query("a1.png", "src 0")
    found, counts = tiers_of(cases_of([first, record(1, loc="src 0", loc_ans="two")]), LOOKS)
    assert "no_picture" not in found[0] and counts["vqa", "no_picture", "left_out"] == 1
    # The nearest question is one of the prompts of a1.png: "rephrase 1" comes first, and its answer is record 1's.
    assert tiers_of(cases_of([first, record(1), record(2)]), LOOKS)[0][0]["near_question"].query == Query(
        "a1.png", "rephrase 1"
    )
    found, counts = tiers_of(cases_of([first, record(1, alt="two"), record(2)]), LOOKS)
    assert "near_question" not in found[0] and counts["vqa", "near_question", "left_out"] == 2


def test_a_near_question_is_of_the_same_picture_where_there_is_one():
    other = record(1, m_loc="a0.png", m_loc_q="how many ?", m_loc_a="three")
    found, _ = tiers_of(cases_of([record(0), other, record(2)]), LOOKS)
    assert found[0]["near_question"].query == Query("a0.png", "how many ?")
    own = record(0, m_loc="a0.png", m_loc_q="how many ?", m_loc_a="three")  # asked already
    assert tiers_of(cases_of([own, record(1), record(2)]), LOOKS)[0][0]["near_question"].query.image == "a1.png"


def test_a_rephrasing_in_another_style_is_no_other_question():
    """Another edit asks the same in a far wording: about its picture, that is no near question of the first edit."""
    first, other = cases_of([record(0), record(1, src="src 0", rephrase="src 0")])
    other = replace(other, probes=(*other.probes, Probe("t_gen_far", Query("a1.png", "a far wording", "alt 1"))))
    found, _ = tiers_of([first, other, *cases_of([record(2)])], LOOKS)
    assert found[0]["near_question"].query == Query("a2.png", "rephrase 2")


def test_files_keep_their_cases_and_counts_are_said(tmp_path):
    """Of two files the first two cases each are searched; an identity whose answer is the target is left out."""
    cases = {task: cases_of([record(i) for i in range(3)], f"eval_{task}", task) for task in ("vqa", "caption")}
    identity = Probe("identity", Query(None, "what kind of thing is a cat ?", "alt 0"))
    cases["vqa"] = [replace(case, probes=(*case.probes, identity)) for case in cases["vqa"]]
    files, outs, counts = [], [], tmp_path / "tiny" / "eval.csv"
    for task, part in cases.items():
        files.append(tmp_path / f"{task}.json")
        outs.append(tmp_path / "tiny" / f"{task}.json")
        write_cases(files[-1], "eval", task, part)
    write_tiers(files, "eval", LOOKS, 2, outs, counts)
    for out, (task, part) in zip(outs, cases.items(), strict=True):
        written = read_cases(out, task)
        assert [case.request for case in written] == [case.request for case in part] and written[2] == part[2]
        assert all(case.asks(kind) for case in written[:2] for kind in ("near_picture", "near_question", "no_picture"))
    assert [case.asks("identity") for case in read_cases(outs[0])] == [False, True, True]
    rows = pd.read_csv(counts).set_index(["task", "kind"])
    assert rows.loc[("vqa", "identity")].to_dict() == {"edits": 2, "asked": 1, "left_out": 1}
    assert rows.loc[("caption", "identity")].to_dict() == {"edits": 2, "asked": 0, "left_out": 0}
    (note,) = tiers_notes([counts])
    assert "of tiny:" in note and "identity (vqa) 1 and 0" in note and "identity (caption) 0 and 2" in note


def test_a_second_edit_is_known_of_its_own_picture_alone():
    """It asks about the picture of another record; only its own target is the right answer there, not the first's."""
    records = [
        record(i, image=f"p{i}", image_rephrase=f"r{i}", src=f"q{i}", rephrase=f"w{i}", alt=f"a{i}") for i in range(3)
    ]
    first, *others = cases_of(records)
    second = replace(first.request, id="x+1", image="p1", prompt="q2", target="a2")
    search = TierSearch([replace(first, then=(second,)), *others], seen)
    known = {place: answers for place, answers in search._known.items() if place[0] == "p1"}
    assert known["p1", search._meaning("q2")] == {"a2"}
    assert ("p1", search._meaning("q0")) not in known


def test_a_tier_that_the_data_brings_is_asked_in_place_of_the_search_s():
    records = [record(i, image=f"p{i}", image_rephrase=f"r{i}", src=f"q{i}", alt=f"a{i}") for i in range(3)]
    cases = cases_of(records)
    own = Probe("near_picture", Query("p9", "what ?", "this"))
    cases[0] = replace(cases[0], probes=(*cases[0].probes, own))
    found, counts = tiers_of(cases)
    assert found[0]["near_picture"] == own
    assert counts["vqa", "near_picture", "asked"] == 3


def test_in_a_session_no_tier_is_about_a_picture_that_another_edit_is_about():
    """Its own, or its rephrased one; what the data bring themselves stays, and so do a case's own pictures."""
    cases = cases_of([record(i, image=f"p{i}", image_rephrase=f"r{i}", m_loc="p0") for i in range(3)])
    asked = {"near_picture": ["p1", "p9", "r0"], "near_question": ["p0", "r2", "p2"]}
    cases = [
        replace(case, probes=(*case.probes, *(Probe(kind, Query(names[i], "what ?")) for kind, names in asked.items())))
        for i, case in enumerate(cases)
    ]
    fair = still_fair(cases)
    assert [case.asks("near_picture") for case in fair] == [False, True, False]
    assert [case.asks("near_question") for case in fair] == [True, False, True]
    assert all(case.asks("m_loc") for case in fair)
    assert all(one == other for case in cases for one, other in zip(still_fair([case]), [case], strict=True))
    shared = [cases[0], replace(cases[0], request=replace(cases[0].request, id="again"))]
    assert not any(case.asks("near_question") for case in still_fair(shared))  # another edit of the same picture


def test_in_a_session_no_tier_asks_what_another_edit_changed_of_another_picture_of_the_thing():
    """ "what is it ?" of a lynx's second picture, where another edit renames lynxes; in other words, too."""
    records = [
        record(0, image="ox", image_rephrase="ox2", src="what is it ?", rephrase="name it", alt="cow"),
        record(1, image="lynx", image_rephrase="lynx2", src="what is it ?", rephrase="say what it is", alt="cat"),
        record(2, image="bee", image_rephrase="bee2", src="where does it live ?", rephrase="its home ?", alt="sea"),
    ]
    shows = {"ox": "ox", "ox2": "ox", "lynx": "lynx", "lynx2": "lynx", "lynx3": "lynx", "bee": "bee", "bee3": "bee"}
    asked = [("lynx3", "what is it ?"), ("lynx3", "say what it is"), ("lynx3", "its colour ?"), ("bee3", "name it")]
    asked += [("bee3", "its home ?"), ("moth", "what is it ?"), (None, "what is it ?")]
    tiers = tuple(Probe("near_picture", Query(picture, prompt)) for picture, prompt in asked)
    session = [replace(case, probes=(*case.probes, *tiers), shown=(*shows.items(),)) for case in cases_of(records)]
    fair = [
        [(probe.query.image, probe.query.prompt) for probe in case.probes if probe.kind == "near_picture"]
        for case in still_fair(session)
    ]
    of_lynx, of_bee = asked[:2], asked[4:5]
    assert fair[0] == [each for each in asked if each not in of_lynx + of_bee]
    assert fair[1] == [each for each in asked if each not in of_bee]  # what its own edit does to them is its own
    assert fair[2] == [each for each in asked if each not in of_lynx]


def test_a_case_keeps_what_the_picture_of_its_tier_shows():
    records = [
        record(i, image=f"p{i}", image_rephrase=f"r{i}", src=f"q{i}", alt=f"a{i}", m_loc=f"m{i}") for i in range(2)
    ]
    first, second = cases_of(records)
    second = replace(second, shown=(("p1", "ox"), ("r1", "ox"), ("m1", "elk"), ("m1", "bee")))
    search = TierSearch([first, second], at(p0=[1, 0], r0=[1, 0], m0=[0, -1], p1=[-1, 1], r1=[-1, 1], m1=[1, 0.1]))
    found = search.with_tiers(first)
    assert found.probe("near_picture").query.image == "m1"
    assert found.shown == (("m1", "bee"), ("m1", "elk"))
    assert search.with_tiers(second).shown[:4] == second.shown
