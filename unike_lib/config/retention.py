"""A part of the configuration: what many edits in one session cost the rest of a backbone's knowledge."""

from typing import Annotated

from unike_lib.config.base import Count, Once, Section, setting


class RetentionConfig(Section):
    """What a session of many edits costs the rest; of the embedded benchmark, whose backbones know what was taught."""

    backbones: Annotated[tuple[str, ...] | None, Once] = setting(
        None, "Backbones, a row of panels each; null: those of the first table.", "ours"
    )
    methods: Annotated[tuple[str, ...] | None, Once] = setting(
        None, "Methods, a line each; null: those of the first table of longer sessions.", "ours"
    )
    ks: Annotated[tuple[Count, ...], Once] = setting(
        (1, 10, 50),
        "Numbers of edits after which everything is asked; one session, half VQA and half captions, has them all.",
        "ours",
        "presets/full.yaml: up to 200",
        min_length=1,
    )
    questions: Count = setting(40, "Taught facts, and as many general questions, that are asked each time.", "ours")
    cost_edits: Count = setting(
        1000, "Look-alike edits in the session whose time and memory results/retention_cost.csv has.", "ours"
    )
