"""Of how many method-training edits pictures are seen: those trained on, or all where edits may ask about any."""

import pytest
import yaml
from declared_jobs import planned_jobs

TRAINED = 5
CASES = {
    "nobody asks": ({"grace": {}}, TRAINED),
    "a row asks": ({"grace-balanced": {}}, None),
    "a row asks by its settings": ({"mine": {"like": "wise", "unrelated": "both"}}, None),
    "a row asks by text alone": ({"wise": {}}, TRAINED),
}


@pytest.mark.parametrize(("entries", "seen"), CASES.values(), ids=CASES)
def test_edits_can_ask_about_every_picture_that_they_may_draw(tmp_path, entries, seen):
    settings = {
        "backbones": {"minigpt4-nano": {"training_edits": TRAINED}},
        "methods": {name: entry for name, entry in entries.items() if entry},
        "tables": {"table1": {"methods": ["mend", *entries]}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    overlay = ("--config", "preset=smoke", "--configfile", tmp_path / "mine.yaml")
    jobs = planned_jobs(tmp_path, *overlay, "--", "results/table1.csv")
    (visual,) = [job for job in jobs if job.rule == "visual" and job.wildcards.split == "method"]
    assert visual.params.edits == seen
    (records,) = [job for job in jobs if job.rule == "records" and job.wildcards.method in entries]
    assert (visual.output.tokens in records.input.visual) == (seen is None)
