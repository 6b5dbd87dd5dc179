"""A benchmark of dialect `vlkeb_onehop` through the plan of the whole workflow, up to its first table."""

import re

from forked_snakemake import snakemake

SETTINGS = """
benchmark:
  annotations: files
  images: pictures
  format: vlkeb_onehop
  files: {vqa: {train: train.json, eval: eval_edit_onehop.json}, caption: null}
backbones: {mine: {family: blip2, folder: model}}
tables:
  table1: {backbones: [mine], methods: [base, fine-tune], tasks: [vqa]}
  table2: {backbones: [mine], tasks: [vqa]}
  table4: {backbones: [mine], tasks: [vqa]}
figures: {backbones: [mine], tasks: [vqa], sweeps: {frontier: {backbones: null}}}
"""


def test_tiers_records_and_tables_are_planned(tmp_path):
    for name in ("files", "pictures", "model"):
        (tmp_path / name).mkdir()
    for name in ("train.json", "eval_edit_onehop.json"):
        (tmp_path / "files" / name).touch()
    (tmp_path / "mine.yaml").write_text(SETTINGS)
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / "mine.yaml", "--", "results/table1.csv")
    assert status == 0, text
    jobs = re.findall(r"^rule (\w+):", text, re.MULTILINE)
    assert {"benchmark", "near_probes", "base_answers", "table_edits", "table"} <= set(jobs) and jobs.count(
        "records"
    ) == 2
    (benchmark,) = re.findall(r"^rule benchmark:\n +input: (.*)", text, re.MULTILINE)
    assert "files/eval_edit_onehop.json" in benchmark and "pictures" in benchmark
    (tiers,) = re.findall(r"^rule near_probes:\n +input: (.*)\n +output: (.*)", text, re.MULTILINE)
    assert (
        "results/stages/texts/mine/eval_vqa.json" in tiers[0] and "results/stages/tiers/mine/eval_vqa.json" in tiers[1]
    )
    for asked in re.findall(r"^rule records:\n +input: (.*)", text, re.MULTILINE):
        assert "results/stages/tiers/mine/eval_vqa.json" in asked
