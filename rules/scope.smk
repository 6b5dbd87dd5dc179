# The semantic scope: which layer of the unedited model knows a question again. Pool edits give keys and thresholds,
# development edits choose the layer, evaluation edits are measured beside them for the table and the figure alone.

SHOWN_SCOPE = 40  # evaluation edits per task, at most


rule scope:
    input:
        **ASKED,
        pool=expand(f"{STAGES}/tiers/{{{{backbone}}}}/pool_{{task}}.json", task=TASKS),
        dev=expand(f"{STAGES}/tiers/{{{{backbone}}}}/dev_{{task}}.json", task=TASKS),
        visual=seen("pool", "dev"),
    output:
        pool=scope_states_of("pool"),
        dev=scope_states_of("dev"),
        scope=f"{KNOWLEDGE}/scope.safetensors",
        csv=f"{KNOWLEDGE}/scope.csv",
    log:
        "logs/scope/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/scope/{{backbone}}.tsv"
    priority: 2  # records behind the scope wait for it
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES),
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("choose_scope", data=TEXT_QUESTIONS),
        pool_edits=CONFIG.knowledge.scope.keys,
        whole=CONFIG.knowledge.scope.edits,
        dev_edits=CONFIG.tuning.edits,
        seed=CONFIG.seed,
    message:
        "Record how {wildcards.backbone} sees the questions of edits at every layer, and choose the one that knows them again."
    script:
        "../workflow_scripts/choose_scope.py"


rule scope_states:
    input:
        **ASKED,
        cases=expand(f"{STAGES}/tiers/{{{{backbone}}}}/{{{{split}}}}_{{task}}.json", task=TASKS),
        visual=seen("{split}"),
    output:
        states=scope_states_of("{split}"),
    log:
        "logs/scope_states/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/scope_states/{{backbone}}/{{split}}.tsv"
    wildcard_constraints:
        split="eval",
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES),
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("extract_scope_states", data=TEXT_QUESTIONS),
        edits=lambda wildcards: evaluation_edits(wildcards, SHOWN_SCOPE),
    message:
        "Record how {wildcards.backbone} sees the questions of edits at every layer ({wildcards.split})."
    script:
        "../workflow_scripts/extract_scope_states.py"


rule scope_eval:
    input:
        states=scope_states_of("eval"),
        scope=rules.scope.output.scope,
    output:
        csv=f"{STAGES}/scope/{{backbone}}/eval.csv",
    log:
        "logs/scope_eval/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/scope_eval/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("measure_scope"),
    message:
        "Measure what {wildcards.backbone} knows again of evaluation edits, layer by layer."
    script:
        "../workflow_scripts/measure_scope.py"


rule scope_table:
    input:
        dev=of_each_backbone("knowledge/{backbone}/scope.csv"),
        eval=of_each_backbone("scope/{backbone}/eval.csv"),
    output:
        csv=shown("results/scope.csv", "Tables", criterion="", file="CSV"),
    log:
        "logs/scope_table.log",
    benchmark:
        f"{STAGES}/benchmarks/scope_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_scope_table"),
        backbones=FIRST.backbones,
    message:
        "Write which layers know a question again."
    script:
        "../workflow_scripts/write_scope_table.py"


rule scope_figure:
    input:
        table=rules.scope_table.output.csv,
    output:
        **figure_files("scope"),
    log:
        "logs/scope_figure.log",
    benchmark:
        f"{STAGES}/benchmarks/scope_figure.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_scope", data=["reporting/*.mplstyle"]),
    message:
        "Draw which layers know a question again."
    script:
        "../workflow_scripts/draw_scope.py"
