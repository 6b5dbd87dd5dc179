# Editors that are trained before any edit: once a backbone and method variant, on the method-training edits of both tasks.


rule train_editor:
    input:
        cases=expand("{folder}/method_{task}.json", folder=BENCHMARK, task=TASKS),
        dev=expand("{folder}/dev_{task}.json", folder=BENCHMARK, task=TASKS),
        visual=expand(
            "{folder}/visual/{{backbone}}/{split}.safetensors",
            folder=STAGES,
            split=["method", "dev"],
        ),
        frozen=frozen_of_training,
        backbone=backbone_files,
        questions=text_questions,
    output:
        weights=f"{STAGES}/editors/{{backbone}}/{{method}}{{repeat}}.safetensors",
        losses=f"{STAGES}/editors/{{backbone}}/{{method}}{{repeat}}_losses.csv",
    log:
        "logs/train_editor/{backbone}/{method}{repeat}.log",
    benchmark:
        f"{STAGES}/benchmarks/train_editor/{{backbone}}/{{method}}{{repeat}}.tsv"
    wildcard_constraints:
        method=named(TRAINED_VARIANTS),
    threads: CONFIG.threads
    resources:
        mem_mb=3000,
        gpu=gpus,
    params:
        code=lib("train_editor", data=TEXT_QUESTIONS),
        room=room,
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        method=training_fields,
        edits=training_edits,
        seed=seed_of,
    script:
        "../workflow_scripts/train_editor.py"
