"""Locality probes that a user's files share between splits: counted, left out on request, found by the leak check.

Everything is compared with `shared`, which looks at the raw records of written files pair by pair.
"""

import hashlib
import json
import logging
import random
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from mmedit_records import FIELDS, cases_of, records_in

from unike_lib.benchmark import prepare
from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.leaks import check_leaks, find_leaks
from unike_lib.benchmark.missing import counts_notes
from unike_lib.benchmark.prepare import prepare_user_benchmark, split_of
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.config.benchmark import MMEDIT_FILES, BenchmarkConfig
from unike_lib.types import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "mmedit"
TASKS = ("vqa", "caption")
LEARNED = ("pool", "method", "dev")
KINDS = ("t_loc", "m_loc", "edited", "probed")
EVALUATED, TRAINED = 24, 240  # records per task


@cache
def plain(text):
    return " ".join(text.lower().split())


def asked(record):
    """Every question about a picture that a raw record asks."""
    pairs = [(image, record["src"]) for image in (record["image"], record["image_rephrase"])]
    pairs += [(record["image"], record["rephrase"]), (record["m_loc"], record["m_loc_q"])]
    pairs += [(record["image"], port["Q&A"]["Question"]) for port in record.get("port_new", [])[:1]]
    return [(image, plain(text)) for image, text in pairs]


def shared(one, other):
    """How an evaluated record's locality comes back in another record."""
    pictures, others = ([record["image"], record["image_rephrase"]] for record in (one, other))
    found = {
        "t_loc": plain(one["loc"]) == plain(other["loc"]),
        "m_loc": (one["m_loc"], plain(one["m_loc_q"])) in asked(other),
        "edited": one["m_loc"] in others,
        "probed": other["m_loc"] in pictures,
    }
    return {kind for kind, true in found.items() if true}


def made_up(task, name, count):
    return [
        {
            "src": f"{task} {name} what {number} ?",
            "pred": "",
            "rephrase": f"{task} {name} rephrased {number} ?",
            "alt": "new",
            "image": f"{task}-{name}-{number // 2 if name == 'train' else number}.png",  # train: two edits per picture
            "image_rephrase": f"{task}-{name}-r{number}.png",
            "loc": f"{task} {name} who wrote {number} ?",
            "loc_ans": "old",
            "m_loc": f"near-{number % 7}.png",
            "m_loc_q": f"{task} {name} which {number} ?",
            "m_loc_a": "old",
        }
        for number in range(count)
    ]


def change_pictures(trained, evaluated, rng):
    """Let training records share pictures with each other (over both tasks) and with evaluated edits."""
    for number, record in enumerate(trained):
        draw = rng.random()
        if number % 2 == 0 and draw < 0.2:
            record["image"] = f"own-{number // 20}-{rng.randrange(3)}.png"
        elif draw < 0.25:
            record[rng.choice(["image", "image_rephrase"])] = rng.choice(evaluated)["image"]  # left out in any case


def probe_edited_pictures(trained, evaluated):
    """Let M-Loc. questions of the evaluation be about edited pictures; some are asked there, too."""
    for one, record in zip(evaluated, trained[1::2], strict=False):
        one["m_loc"] = record["image_rephrase"] if one["src"].endswith("0 ?") else record["image"]
        if one["src"].endswith("2 ?"):
            one["m_loc_q"] = record["src"]
        if one["src"].endswith("4 ?"):
            record["port_new"] = [{"port_type": "1-hop", "Q&A": {"Question": one["m_loc_q"], "Answer": "far"}}]


def share_probes(trained, evaluated, rng):
    """Let training records have locality questions of the evaluation, written in another way."""
    for record in trained:
        one = rng.choice(evaluated)
        if rng.random() < 0.15:
            record["loc"] = f"  {one['loc'].upper()} ".replace(" WHO ", "  WHO\t")
        draw = rng.random()
        if draw < 0.15:
            record |= {"m_loc": one["m_loc"], "m_loc_q": f"{one['m_loc_q'].capitalize()}  "}
        elif draw < 0.25:
            record["m_loc"] = one["m_loc"]  # the same picture with another question is no shared probe
        elif draw < 0.4:
            record["m_loc"] = rng.choice([one["image"], one["image_rephrase"]])


@pytest.fixture(scope="module")
def raw():
    """Task -> its raw training and evaluation records."""
    rng = random.Random(8)
    files = {task: (made_up(task, "train", TRAINED), made_up(task, "eval", EVALUATED)) for task in TASKS}
    evaluated = [record for _, part in files.values() for record in part]
    for trained, _ in files.values():
        change_pictures(trained, evaluated, rng)
    for start, (trained, _) in zip((0, 2), files.values(), strict=True):
        probe_edited_pictures(trained, evaluated[start::4])
    for trained, _ in files.values():
        share_probes(trained, evaluated, rng)
    return files


@pytest.fixture(autouse=True, scope="module")
def every_picture_is_there():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "check_images", lambda files, *_: [[] for _ in files])
        yield


def prepared(folder, raw, seed=0, **settings):
    """Run the split; return the folder."""
    folder.mkdir(exist_ok=True)
    for task, pair in raw.items():
        for name, records in zip((MMEDIT_FILES[task].train, MMEDIT_FILES[task].eval), pair, strict=True):
            (folder / name).write_text(json.dumps(records))
    config = BenchmarkConfig(annotations=str(folder), images=str(folder), **settings)
    prepare_user_benchmark(folder / "out", config, seed)
    return folder / "out"


@pytest.fixture(scope="module")
def loose(tmp_path_factory, raw):
    return prepared(tmp_path_factory.mktemp("loose"), raw)


@pytest.fixture(scope="module")
def strict(tmp_path_factory, raw):
    return prepared(tmp_path_factory.mktemp("strict"), raw, strict_locality=True)


def plain_record(record):
    """A record's texts and portability questions, in a fixed order, as files of cases hold them."""
    texts = {key: record[key].strip() for key in FIELDS}
    return texts | {"port_new": record.get("port_new", [])}


def written_of(folder, split, task):
    return [plain_record(record) for record in records_in(folder / f"{split}_{task}.json")]


def written(folder, split):
    return [record for task in TASKS for record in written_of(folder, split, task)]


def version(path):
    return {"version": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


def counted(folder, name):
    return json.loads((folder / "counts.json").read_text())[name]


def locality_notes(folder):
    return [note for note in counts_notes(folder / "counts.json") if "share a locality" in note or "share loc" in note]


def edited_by(raw, task):
    """How many evaluated records of a task have a picture that training records edit."""
    trained = {record[key] for part, _ in raw.values() for record in part for key in ("image", "image_rephrase")}
    return sum(not trained.isdisjoint({one["image"], one["image_rephrase"]}) for one in raw[task][1])


def naive_counts(evaluated, others):
    """Kind -> split -> how many evaluated records share so with any record of the split."""
    found = {
        split: [set().union(*(shared(one, other) for other in part)) for one in evaluated]
        for split, part in others.items()
    }
    return {kind: {split: sum(kind in kinds for kinds in found[split]) for split in found} for kind in KINDS}


CLAUSES = {
    "t_loc": "the T-Loc. question (of the file itself) is also asked in",
    "m_loc": "the M-Loc. question, about the same picture, is also asked in",
    "edited": "the picture of the M-Loc. question is edited in",
    "probed": "the edited picture is that of an M-Loc. question in",
}


def test_what_files_share_stays_and_is_counted_and_said(tmp_path, raw, caplog):
    with caplog.at_level(logging.WARNING):
        out = prepared(tmp_path / "files", raw)
    edited = {one[key] for _, part in raw.values() for one in part for key in ("image", "image_rephrase")}
    kept = [r for part, _ in raw.values() for r in part if edited.isdisjoint({r["image"], r["image_rephrase"]})]
    others = {split: written(out, split) for split in LEARNED}
    kept = map(plain_record, kept)
    assert sorted(map(json.dumps, kept)) == sorted(json.dumps(record) for part in others.values() for record in part)
    assert sum(map(len, others.values())) < 2 * TRAINED
    notes = locality_notes(out)
    assert len(notes) == len(TASKS)
    for task, note in zip(TASKS, notes, strict=True):
        name = MMEDIT_FILES[task].eval
        expected = naive_counts(raw[task][1], others)
        assert all(number for parts in expected.values() for number in parts.values()), expected
        counts = {"records": 24, "missing": 0, "evaluated": 0, "kept": 24, "shared": expected}
        counts |= version(tmp_path / "files" / name)
        assert counted(out, name) == counts | {"shared_edits": {"fact": 0, "edited": edited_by(raw, task)}}
        for kind, clause in CLAUSES.items():
            assert f"{clause} " + ", ".join(f"{split} ({expected[kind][split]})" for split in LEARNED) in note
        assert f"Of the 24 edits of {name}" in note and "benchmark.strict_locality: true" in note
        assert note.strip("*") in caplog.text
        assert "locality" not in counted(out, MMEDIT_FILES[task].train)


def test_strict_splits_lose_the_records_that_share_and_no_others(loose, strict, raw):
    evaluated = written(loose, "eval")
    assert written(strict, "eval") == evaluated == [plain_record(record) for _, part in raw.values() for record in part]
    left_out, alone = dict.fromkeys(TASKS, 0), {split: set() for split in LEARNED}
    for split, task in product(LEARNED, TASKS):
        before, after = (written_of(out, split, task) for out in (loose, strict))
        sharing = [set().union(*(shared(one, record) for one in evaluated)) for record in before]
        assert after == [record for record, kinds in zip(before, sharing, strict=True) if not kinds]
        assert after
        alone[split] |= {kind for kinds in sharing if len(kinds) == 1 for kind in kinds}
        left_out[task] += len(before) - len(after)
    assert alone == {split: set(KINDS) for split in LEARNED}  # so that each kind alone was seen to count
    for task, note in zip(TASKS, locality_notes(strict), strict=True):
        file = MMEDIT_FILES[task].train
        assert counted(strict, file)["locality"] == left_out[task] > 0
        assert f"Of the 240 records of {file}, {left_out[task]} are left out" in note and "strict_locality" in note
        shares = counted(strict, MMEDIT_FILES[task].eval)["shared"]
        assert all(number == 0 for parts in shares.values() for number in parts.values())


LABELS = {
    "t_loc": "T-Loc. question",
    "m_loc": "M-Loc. question",
    "edited": "image of an M-Loc. question and of an edit",
    "probed": "image of an M-Loc. question and of an edit",
}


def value_of(kind, one, other):
    if kind == "t_loc":
        return repr(plain(one["loc"]))
    if kind == "m_loc":
        return f"{plain(one['m_loc_q'])!r} about {one['m_loc']!r}"
    return repr(one["m_loc"] if kind == "edited" else other["m_loc"])


def naive_leaks(splits, evaluated):
    """Every pair of records of two splits, one of them evaluated."""
    found = {}
    for first, second in product(evaluated, splits):
        if first != second:
            for one, other in product(splits[first], splits[second]):
                for kind in shared(one, other):
                    found.setdefault((LABELS[kind], value_of(kind, one, other)), set()).update({first, second})
    return found


@pytest.mark.parametrize("evaluated", [("eval",), ("eval", "dev", "method")])
def test_the_leak_check_finds_what_records_share_pair_by_pair(loose, evaluated):
    names = (*LEARNED, "eval") if len(evaluated) == 1 else ("method", "dev", "eval")
    splits = {split: written(loose, split)[::2] for split in names}
    cases = {}
    for split in names:
        cases[split] = cases_of(splits[split], split)
    leaks = find_leaks(cases, evaluated)
    found = {(leak.kind, leak.value): {split for split, _ in leak.places} for leak in leaks}
    assert found == naive_leaks(splits, evaluated) and len(leaks) == len(found) > 10
    assert {leak.kind for leak in leaks} == set(LABELS.values()) and all(leak.locality for leak in leaks)
    assert find_leaks({"eval": cases["eval"]}) == []
    check_leaks(cases)
    with pytest.raises(InputError, match=rf"benchmark: {len(find_leaks(cases))} leaks between splits"):
        check_leaks(cases, locality=True)


def test_strict_splits_have_no_leak_and_loose_ones_have(loose, strict):
    for out in (loose, strict):
        splits = {split: written(out, split) for split in (*LEARNED, "eval")}
        cases = {split: [c for t in TASKS for c in read_cases(out / f"{split}_{t}.json", t)] for split in splits}
        assert bool(naive_leaks(splits, ["eval"])) == bool(find_leaks(cases)) == (out == loose)


def test_strict_triplet_sources_ask_nothing_about_pictures_of_locality_probes(tmp_path, raw, loose):
    evaluated, pool = [dict(record) for record in raw["vqa"][1]], written(loose, "pool")
    evaluated[1]["m_loc"] = "once.png"  # of no other record, so that it is the evaluation's probe that counts
    raw = raw | {"vqa": (raw["vqa"][0], evaluated)}
    clean = next(record for record in pool if not any(shared(one, record) for part in raw.values() for one in part[1]))
    questions = [
        ("more.png", "what is new ?"),
        (evaluated[1]["m_loc"], "what is here ?"),
        (evaluated[1]["m_loc"], evaluated[1]["m_loc_q"].upper()),
        ("more.png", " What  is NEW ?"),
        ("last.png", "what is new ?"),
        (clean["image"], clean["src"].upper()),
    ]
    lines = [json.dumps({"image": image, "question": text, "answer": "it"}) for image, text in questions]
    source = tmp_path / "extra.jsonl"
    source.write_text("\n".join(lines))
    for strict, expected in ((False, [1, 2, 3, 5]), (True, [1, 5])):
        settings = {"triplet_sources": (str(source),), "strict_locality": strict}
        out = prepared(tmp_path / str(strict), raw, **settings)
        kept = [case.request.id for case in read_triplet_source(out / "pool_sources.jsonl")]
        assert kept == [f"extra-{number}" for number in expected]
        counts = {"records": 6, "missing": 0, "evaluated": 0, "kept": len(kept), "repeated": 2} | version(source)
        assert counted(out, "extra.jsonl") == counts | ({"locality": 2} if strict else {})
    shares = [counted(folder, MMEDIT_FILES["vqa"].eval)["shared"] for folder in (loose, tmp_path / "False" / "out")]
    assert shares[1]["edited"]["pool"] == shares[0]["edited"]["pool"] + 1


def test_a_split_that_strictness_empties_is_named(tmp_path, raw):
    question = {"loc": "who wrote it ?"}
    same = {task: [[record | question for record in part] for part in pair] for task, pair in raw.items()}
    with pytest.raises(InputError, match=r"split 'pool' of task 'vqa' is empty; .*strict_locality: false"):
        prepared(tmp_path / "strict", same, strict_locality=True)
    assert not (tmp_path / "strict" / "out").exists()


def test_records_of_a_picture_stay_together_in_the_stated_shares(tmp_path, raw, loose):
    names = [f"picture-{number}.png" for number in range(6000)]
    shares = {"pool": 0.7, "method": 0.15, "dev": 0.15}
    for seed in (0, 5):
        drawn = [split_of(name, seed) for name in names]
        for split, share in shares.items():
            assert abs(drawn.count(split) / len(names) - share) < 0.02  # more than three standard deviations
    agreeing = sum(split_of(name, 0) == split_of(name, 5) for name in names) / len(names)
    assert abs(agreeing - sum(share**2 for share in shares.values())) < 0.025  # seeds are independent
    places = {}
    again = prepared(tmp_path / "again", raw, seed=5)
    for split in LEARNED:
        for record in written(loose, split):
            places.setdefault(record["image"], set()).add(split)
        assert written(loose, split) != written(again, split)
    assert all(len(splits) == 1 for splits in places.values())
    assert set().union(*places.values()) == set(LEARNED)


def test_mmedits_own_files_share_most_locality_probes(tmp_path):
    """Counted with a program of its own over the raw files, seed 0 (the same numbers as an independent review's)."""
    if not (REAL / "vqa_eval.json").is_file():
        pytest.skip("the real MMEdit annotations are not here")
    prepare_user_benchmark(tmp_path, BenchmarkConfig(annotations=str(REAL), images=str(REAL)), 0)
    vqa, caption = (counted(tmp_path, MMEDIT_FILES[task].eval) for task in TASKS)
    assert (vqa["kept"], caption["kept"]) == (2093, 1000)
    assert vqa["shared"]["m_loc"] == {"pool": 1972, "method": 725, "dev": 778}
    assert caption["shared"]["m_loc"] == {"pool": 966, "method": 396, "dev": 418}
    assert vqa["shared"]["edited"]["pool"] + caption["shared"]["edited"]["pool"] == 299
    assert not any(part["shared"]["t_loc"][split] for part in (vqa, caption) for split in LEARNED)
