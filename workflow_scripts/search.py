"""Try a method's grid of settings on development edits."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.editing.building import EditorSources, editor_builder
    from unike_lib.evaluation.tuning import grid_trials, search
    from unike_lib.evaluation.unedited_answers import UneditedAnswers
    from unike_lib.io import write_csv

    inputs, params = job.inputs, job.params
    questions, most, seed = job.backbone.text_locality, params.training_edits, params.seed
    backbone = open_backbone(params.folder, job.backbone, inputs.visual, inputs.frozen)
    training = read_files(inputs.get("training", ()), questions, most["method"])
    stopping = read_files(inputs.get("stopping", ()), questions, most["dev"])
    sources = EditorSources(Path(params.knowledge), inputs.get("demonstrations", ()), questions)
    editor_of = editor_builder(job.method, backbone, sources, seed, training, stopping)
    cases = {
        task: read_files([path], questions, params.edits) for task, path in zip(params.tasks, inputs.cases, strict=True)
    }
    trials = grid_trials(params.grid, params.trials, seed)
    settings = job.evaluation.without_generation()
    table = search(backbone, editor_of, cases, UneditedAnswers.load_all(inputs.base), trials, settings)
    table.insert(0, "backbone", job.wildcards.backbone)
    table.insert(2, "method", job.wildcards.method)
    write_csv(job.outputs.trials, table, "%.6g")
