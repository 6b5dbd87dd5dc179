"""Edit and score the evaluation cases with one method at every point of a sweep."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    import pandas as pd
    import pyarrow as pa
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.criterion import find_criteria
    from unike_lib.editing.building import EditorSources, editor_builder
    from unike_lib.evaluation.sessions import records_table
    from unike_lib.evaluation.tuning import sweep
    from unike_lib.evaluation.unedited_answers import UneditedAnswers
    from unike_lib.io import write_table
    from unike_lib.records import SWEPT, record_schema

    inputs, names, params = job.inputs, job.wildcards, job.params
    questions = job.backbone.text_locality
    backbone = open_backbone(params.folder, job.backbone, inputs.visual, inputs.frozen)
    shown, trained = inputs.get("demonstrations", ()), inputs.get("trained")
    sources = EditorSources(Path(params.knowledge), shown, questions, trained)
    editor_of = editor_builder(job.method, backbone, sources, params.seed)
    cases, before = read_files([inputs.cases], questions, params.edits), UneditedAnswers.load(inputs.base)
    settings = job.evaluation.without_generation()
    swept = sweep(backbone, editor_of, cases, before, params.points, settings)
    labels = {"backbone": names.backbone, "task": names.task, "method": names.method}
    labels |= {"seed": params.seed, "fingerprint": job.fingerprint}
    table = pd.concat([records_table(scores, labels, settings).assign(**point) for point, scores in swept])
    write_table(
        job.outputs.records,
        table,
        job.fingerprint,
        pa.unify_schemas([record_schema(find_criteria(settings.criteria)), SWEPT]),
    )
