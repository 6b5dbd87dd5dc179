"""Edit and score a shard of a split's cases with one method, for every task and K, in sessions of one task or both."""

from functools import partial
from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    import pandas as pd

    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.config.tables import tasks_of
    from unike_lib.criterion import find_criteria
    from unike_lib.editing.building import EditorSources, build_editor
    from unike_lib.evaluation.resume import kept_chunks
    from unike_lib.evaluation.session_layout import session_cases, shard_cases
    from unike_lib.evaluation.sessions import records_table, run_edits
    from unike_lib.evaluation.unedited_answers import UneditedAnswers
    from unike_lib.io import write_table
    from unike_lib.records import record_schema

    inputs, names, params, settings = job.inputs, job.wildcards, job.params, job.evaluation
    questions, seed = job.backbone.text_locality, params.seed
    backbone = open_backbone(params.folder, job.backbone, inputs.visual, inputs.frozen)
    sources = EditorSources(Path(params.knowledge), inputs.get("demonstrations", ()), questions, inputs.get("trained"))
    editor = build_editor(job.method(), backbone, sources, seed)
    singles = dict(zip(tasks_of(names.task), (read_files([path], questions) for path in inputs.cases), strict=True))
    edit = partial(run_edits, backbone, editor, before=UneditedAnswers.load_all(inputs.base), settings=settings)
    labels, parts = {"backbone": names.backbone, "task": names.task, "method": names.method, "seed": seed}, []
    with kept_chunks(job.outputs.records, job.fingerprint) as chunks:
        for task in names.task.split("-"):
            mixed = [singles[single] for single in tasks_of(task)]
            cases = {k: session_cases(mixed, k, params.edits, seed) for k in map(int, names.ks.split("-"))}
            cases, first = shard_cases(cases, *params.shard)
            scores = chunks.of(task).run(edit, cases, settings)
            of_task = labels | {"task": task, "fingerprint": job.fingerprint}
            parts.append(records_table(scores, of_task, settings, first))
        table = pd.concat(parts)
        write_table(job.outputs.records, table, job.fingerprint, record_schema(find_criteria(settings.criteria)))
