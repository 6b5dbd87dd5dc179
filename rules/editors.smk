# Editors that are trained before any edit: once per backbone and method variant, on the method-training edits of both tasks.


rule train_editor:
    input:
        **ASKED,
        cases=cases_of("method"),
        dev=cases_of("dev"),
        visual=seen("method", "dev"),
        frozen=frozen_of_training,
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
        **runs_backbone(EDITS),
        method=editing_fields,
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("train_editor", data=TEXT_QUESTIONS),
        room=room,
        method=training_fields,
        edits=training_edits,
        seed=seed_of,
    message:
        "Train the editor of {wildcards.method} for {wildcards.backbone}."
    script:
        "../workflow_scripts/train_editor.py"
