"""Test whether a backbone can show UniKE at all, on development edits of all tasks."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.config.evaluation import PositiveControlConfig
    from unike_lib.editing.building import EditorSources
    from unike_lib.evaluation.positive_control import CONTROL_SCHEMA, PositiveControl
    from unike_lib.io import write_csv, write_table
    from unike_lib.knowledge.triplets import read_triplets
    from unike_lib.methods.unike.editor import build_shift
    from unike_lib.methods.unike.settings import UnikeMethod

    inputs, outputs, settings = job.inputs, job.outputs, job.section("positive_control", PositiveControlConfig)
    method = job.section("method", UnikeMethod)
    backbone = open_backbone(job.params.folder, job.backbone, inputs.visual)
    shift = build_shift(backbone, method, EditorSources(Path(job.params.knowledge)))
    cases = read_files(inputs.cases, most=settings.candidates)
    answers = [triplet.positive for triplet in read_triplets(inputs.triplets)]
    scores, readout = PositiveControl(backbone, shift, method.h_pos, settings).run(cases, answers)
    for table in (scores, readout):
        table.insert(0, "backbone", job.wildcards.backbone)
    write_table(outputs.scores, scores, job.fingerprint, CONTROL_SCHEMA)
    write_csv(outputs.readout, readout, "%.6g")
