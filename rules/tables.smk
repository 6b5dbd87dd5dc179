# The tables of the configuration, from records.

# Criterion -> what the names of its files end in.
ENDINGS = {
    each.name: "" if each.name == "token" else f"_{each.name}" for each in find_criteria(CONFIG.evaluation.criteria)
}


OF_EDITS = {"caption": "captions/table_edits.rst", "category": "Tables", "subcategory": "{table}"}


rule table_edits:
    input:
        records=lambda wildcards: records_of(wildcards.table),
        losses=lambda wildcards: [file for _, _, file in trainings_of(wildcards)],
    output:
        edits=report("results/{table}_edits.csv", labels={"criterion": "", "file": "edits as a whole"}, **OF_EDITS),
        cost=report("results/{table}_cost.csv", labels={"criterion": "", "file": "cost, CSV"}, **OF_EDITS),
        cost_page=report("results/{table}_cost.md", labels={"criterion": "", "file": "cost, Markdown"}, **OF_EDITS),
    log:
        "logs/table_edits/{table}.log",
    benchmark:
        f"{STAGES}/benchmarks/table_edits/{{table}}.tsv"
    wildcard_constraints:
        table=named(CELL_TABLES),
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_edit_tables"),
        table=lambda wildcards: fields(table_parts(CONFIG, wildcards.table)),
        trained=lambda wildcards: [(backbone, method) for backbone, method, _ in trainings_of(wildcards)],
    message:
        "Write each edit of {wildcards.table} as a whole, and what edits cost."
    script:
        "../workflow_scripts/write_edit_tables.py"


rule table:
    input:
        unpack(records_of_table),
        control=control_of_table,
        edits=edit_files("edits"),
        cost=edit_files("cost"),
        counts=COUNTS,
        texts=counts_of_texts,
        tiers=counts_of_tiers,
    output:
        **table_files("{table}", "captions/table.rst"),
        protocol="results/{table}_protocol.json",
    log:
        "logs/table/{table}.log",
    benchmark:
        f"{STAGES}/benchmarks/table/{{table}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_table", data=["reporting/paper/*.csv"]),
        criteria=CRITERIA_CODE,
        table=lambda wildcards: fields(table_parts(CONFIG, wildcards.table)),
    message:
        "Write {wildcards.table}."
    script:
        "../workflow_scripts/write_table.py"
