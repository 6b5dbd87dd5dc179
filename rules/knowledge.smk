# From wrong answers to memories: triplets, their hidden states, the contrastive encoders, the key-value memory.

KNOWLEDGE = f"{STAGES}/knowledge/{{backbone}}"


rule triplets:
    input:
        cases=expand("{folder}/pool_{task}.json", folder=BENCHMARK, task=TASKS),
        sources=POOL_SOURCES,
        visual=f"{STAGES}/visual/{{backbone}}/pool.safetensors",
        backbone=backbone_files,
    output:
        f"{KNOWLEDGE}/triplets.parquet",
    log:
        "logs/triplets/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/triplets/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
        gpu=gpus,
    params:
        code=lib("collect_triplets"),
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "max_triplets"),
        max_new_tokens=CONFIG.evaluation.max_new_tokens,
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/collect_triplets.py"


rule states:
    input:
        triplets=f"{KNOWLEDGE}/triplets.parquet",
        visual=f"{STAGES}/visual/{{backbone}}/pool.safetensors",
        backbone=backbone_files,
    output:
        f"{KNOWLEDGE}/states.parquet",
    log:
        "logs/states/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/states/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
        gpu=gpus,
    params:
        code=lib("extract_states"),
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers"),
    script:
        "../workflow_scripts/extract_states.py"


rule ffn_inputs:
    input:
        cases=expand("{folder}/pool_{task}.json", folder=BENCHMARK, task=TASKS),
        visual=f"{STAGES}/visual/{{backbone}}/pool.safetensors",
        backbone=backbone_files,
        questions=text_questions,
    output:
        f"{KNOWLEDGE}/ffn_inputs.parquet",
    log:
        "logs/ffn_inputs/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/ffn_inputs/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
        gpu=gpus,
    params:
        code=lib("extract_ffn_inputs", data=TEXT_QUESTIONS),
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        memory_states=CONFIG.knowledge.memory_states,
    script:
        "../workflow_scripts/extract_ffn_inputs.py"


rule encoders:
    input:
        states=f"{KNOWLEDGE}/states.parquet",
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
        mem_mb=2000,
    params:
        code=lib("train_encoders"),
        encoders=CONFIG.knowledge.encoders.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/train_encoders.py"


rule memory:
    input:
        states=f"{KNOWLEDGE}/states.parquet",
    output:
        f"{KNOWLEDGE}/memory.safetensors",
    log:
        "logs/memory/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/memory/{{backbone}}.tsv"
    priority: 1  # UniKE's records wait for it
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
    params:
        code=lib("build_memory"),
    script:
        "../workflow_scripts/build_memory.py"


rule encodings:
    input:
        states=f"{KNOWLEDGE}/states.parquet",
        encoders=f"{KNOWLEDGE}/encoders.safetensors",
    output:
        f"{KNOWLEDGE}/encodings.parquet",
    log:
        "logs/encodings/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/encodings/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
    params:
        code=lib("encode_states"),
        held_out=CONFIG.knowledge.encoders.held_out,
        triplets=CONFIG.figures.fig5a.triplets,
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/encode_states.py"
