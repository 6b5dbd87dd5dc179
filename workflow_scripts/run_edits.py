"""Edit and score a shard of a split's cases with one method, in sessions of one task or of several, for every K."""

from functools import partial
from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.criterion import find_criteria
    from unike_lib.editing.building import EditorSources, build_editor
    from unike_lib.evaluation.resume import kept_chunks
    from unike_lib.evaluation.session_layout import session_cases, shard_cases
    from unike_lib.evaluation.sessions import records_table, run_edits
    from unike_lib.evaluation.unedited_answers import UneditedAnswers
    from unike_lib.io import write_table
    from unike_lib.records import record_schema

    inputs, names, params = job.inputs, job.wildcards, job.params
    questions, seed = job.backbone.text_locality, params.seed
    backbone = open_backbone(params.folder, job.backbone, inputs.visual, inputs.frozen)
    shown, trained = inputs.get("demonstrations", ()), inputs.get("trained")
    sources = EditorSources(Path(params.knowledge), shown, questions, trained)
    editor = build_editor(job.method(), backbone, sources, seed)
    tasks = [read_files([path], questions) for path in inputs.cases]
    ks = map(int, names.ks.split("-"))
    cases = {k: session_cases(tasks, k, params.edits, seed) for k in ks}
    cases, first = shard_cases(cases, *params.shard)
    before, settings = UneditedAnswers.load_all(inputs.base), job.evaluation
    edit = partial(run_edits, backbone, editor, before=before, settings=settings)
    labels = {"backbone": names.backbone, "task": names.task, "method": names.method}
    with kept_chunks(job.outputs.records, job.fingerprint) as chunks:
        scores = chunks.run(edit, cases, settings)
        table = records_table(scores, labels | {"seed": seed, "fingerprint": job.fingerprint}, settings, first)
        write_table(job.outputs.records, table, job.fingerprint, record_schema(find_criteria(settings.criteria)))
