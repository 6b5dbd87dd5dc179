"""Make many edits in one session with one method, and ask what no edit concerns on the way; or measure their cost."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    import pandas as pd
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.config.retention import RetentionConfig
    from unike_lib.editing.building import EditorSources, build_editor
    from unike_lib.evaluation.retention import COST_SCHEMA, RETENTION_SCHEMA, measure_cost, run_retention
    from unike_lib.evaluation.retention_questions import look_alikes, plan_retention
    from unike_lib.io import write_table

    inputs, names, params = job.inputs, job.wildcards, job.params
    questions, retention = job.backbone.text_locality, job.section("retention", RetentionConfig)
    backbone = open_backbone(params.folder, job.backbone, inputs.visual)
    shown, trained = inputs.get("demonstrations", ()), inputs.get("trained")
    sources = EditorSources(Path(params.knowledge), shown, questions, trained)
    editor = build_editor(job.method(), backbone, sources, params.seed)
    edited = [read_cases(path, None, questions) for path in inputs.cases]
    taught = [read_cases(path) for path in inputs.taught]
    plan = plan_retention(edited, taught, retention.ks, retention.questions, params.seed)
    settings = job.evaluation
    if params.cost_edits is None:
        table, schema = pd.DataFrame(run_retention(backbone, editor, plan, settings)), RETENTION_SCHEMA
    else:
        edits = look_alikes(plan.edits, params.cost_edits)
        table, schema = measure_cost(backbone, editor, edits, plan.ks), COST_SCHEMA
    table = table.assign(backbone=names.backbone, method=names.method)
    write_table(job.outputs.records, table[schema.names], job.fingerprint, schema)
