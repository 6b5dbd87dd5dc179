"""Edit and score the cases of a split with one method, in sessions of k edits."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.mmedit import read_cases
    from unike_lib.editing.registry import EditorSources, editor_of_variant
    from unike_lib.evaluation.records import RECORD_SCHEMA, Before
    from unike_lib.evaluation.sessions import records_table, run_edits
    from unike_lib.io import write_table

    names, mark, k = snakemake.wildcards, job_mark(snakemake), int(snakemake.wildcards.k)
    settings = config.backbones[names.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    demonstrations = tuple(map(Path, snakemake.input.get("demonstrations", ())))
    sources = EditorSources(Path(snakemake.params.knowledge), demonstrations, settings.text_locality)
    editor = editor_of_variant(config, (names.method, names.backbone), backbone, sources)
    cases = read_cases(snakemake.input.cases, text_locality=settings.text_locality)[: snakemake.params.edits]
    before = Before.load(Path(snakemake.input.base))
    scores = run_edits(backbone, editor, cases, before, k, config.evaluation)
    labels = {"backbone": names.backbone, "task": names.task, "method": names.method}
    table = records_table(scores, labels | {"k": k, "seed": config.seed, "mark": mark})
    write_table(snakemake.output[0], table, mark, RECORD_SCHEMA)
