# From wrong answers to memories: triplets, their hidden states, the contrastive encoders, the key-value memory.

KNOWLEDGE = f"{STAGES}/knowledge/{{backbone}}"


rule triplets:
    input:
        cases=cases_of("pool"),
        sources=POOL_SOURCES,
        visual=seen("pool"),
        backbone=backbone_files,
    output:
        triplets=f"{KNOWLEDGE}/triplets.parquet",
    log:
        "logs/triplets/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/triplets/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES, "layers"),
    params:
        **opens_backbone("max_triplets"),
        code=lib("collect_triplets"),
        evaluation=fields(CONFIG.evaluation, "max_new_tokens"),
        seed=CONFIG.seed,
    message:
        "Ask {wildcards.backbone} the questions of the pool and keep its wrong answers."
    script:
        "../workflow_scripts/collect_triplets.py"


rule states:
    input:
        triplets=rules.triplets.output.triplets,
        visual=seen("pool"),
        backbone=backbone_files,
    output:
        states=f"{KNOWLEDGE}/states.parquet",
    log:
        "logs/states/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/states/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES),
    params:
        **opens_backbone("layers"),
        code=lib("extract_states"),
    message:
        "Record the hidden states of {wildcards.backbone} on every triplet."
    script:
        "../workflow_scripts/extract_states.py"


rule ffn_inputs:
    input:
        **ASKED,
        cases=cases_of("pool"),
        visual=seen("pool"),
    output:
        states=f"{KNOWLEDGE}/ffn_inputs.parquet",
    log:
        "logs/ffn_inputs/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/ffn_inputs/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES),
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("extract_ffn_inputs", data=TEXT_QUESTIONS),
        memory_states=CONFIG.knowledge.memory_states,
    message:
        "Record inputs of the edited FFNs of {wildcards.backbone} for the memory losses."
    script:
        "../workflow_scripts/extract_ffn_inputs.py"


rule encoders:
    input:
        states=rules.states.output.states,
    output:
        encoders=f"{KNOWLEDGE}/encoders.safetensors",
        losses=f"{KNOWLEDGE}/encoder_losses.csv",
        checks=f"{KNOWLEDGE}/encoder_checks.csv",
    log:
        "logs/encoders/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/encoders/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("train_encoders"),
        encoders=fields(CONFIG.knowledge.encoders),
        seed=CONFIG.seed,
    message:
        "Train the contrastive encoders of {wildcards.backbone}."
    script:
        "../workflow_scripts/train_encoders.py"


rule memory:
    input:
        states=rules.states.output.states,
    output:
        memory=f"{KNOWLEDGE}/memory.safetensors",
    log:
        "logs/memory/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/memory/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("build_memory"),
    message:
        "Lay out the key-value memory of {wildcards.backbone}."
    script:
        "../workflow_scripts/build_memory.py"


rule encodings:
    input:
        states=rules.states.output.states,
        encoders=rules.encoders.output.encoders,
    output:
        encodings=f"{KNOWLEDGE}/encodings.parquet",
    log:
        "logs/encodings/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/encodings/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("encode_states"),
        held_out=CONFIG.knowledge.encoders.held_out,
        triplets=CONFIG.figures.fig5a.triplets,
        seed=CONFIG.seed,
    message:
        "Encode held-out states of {wildcards.backbone} in both encoder spaces."
    script:
        "../workflow_scripts/encode_states.py"
