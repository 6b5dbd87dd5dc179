"""M-ORE (ICML 2026): low-rank pairs beside the last FFNs, of which one half moves where earlier edits left room.

Idea. Beside every FFN matrix W stands a pair B A: A is random with orthogonal rows and frozen, B starts at 0. An edit
takes gradient steps on B alone, in the layers whose gradients are largest, and through a projector P that shrinks what
lies along the codes of earlier edits. With `split: scope` (ScopeEdit, 2026) some ranks are shared: they are written as
far as text and picture of the edit agree there.

Equation. y = W x + b + s B c with c = A x. With the mean code z of the edit's target tokens, and P = I at first:
B <- B - eta g P, then P <- P - (P z)(P z)^T / (lambda + z^T P z).

Source: github.com/lab-klc/ScopeEdit at e90aa13, `easyeditor/trainer/algs/MORE.py` and `util/lora_layers.py`.

Readings:
- The pair beside the visual projector is left out: a backbone here begins at its visual tokens. Groups are layers.
- A never moves, as shipped: `more_freeze_A` is true and no file says otherwise. So it is the same in all sessions.
- P is folded with the edit's own target alone. The original can fold in unrelated texts too; that is off as shipped.
- Rows are padded behind the answer, so target tokens are counted from the prompt's end; the original counts them from
  the row's end and takes padding for tokens where there is some.
- With lambda 2000, as M-ORE's own file has it, P stays close to I: earlier edits are hardly spared. The default is 1,
  as ScopeEdit's files have it.
- No dropout: it would make an edit random. No layer norm of codes, which one file of the original has.
"""

from unike_lib.config.base import Entry, Original, as_original, given, variant
from unike_lib.method import Method
from unike_lib.methods.m_ore.settings import MoreMethod

END = Original("MMEdit", False)
STEPS = {"steps": Original("M-ORE", 5), "learning_rate": Original("M-ORE", 0.1)}
SHIPPED = as_original(
    rank=Original("M-ORE", 512),
    basis=Original("M-ORE", "xavier"),
    damping=Original("M-ORE", 2000.0),
    teach_end=END,
    **STEPS,
)

METHOD = Method(
    name="m-ore",
    title="M-ORE",
    kind="other",  # not in the paper
    settings=MoreMethod,
    build="unike_lib.methods.m_ore.editor:build",
    first_layer=lambda settings: -settings.layers,
    search={"learning_rate": [0.1, 0.3, 1.0], "steps": [5, 10, 20, 40]},
    entries={
        "m-ore": Entry(
            "Low-rank pairs beside the last FFNs; one factor moves, where earlier edits left room.",
            given(
                "tuned",
                by_backbone={"blip2-nano": {"steps": 40, "learning_rate": 0.3}, "minigpt4-smol": {"steps": 40}},
            ),
        ),
        "m-ore-shipped": variant("m-ore", "M-ORE with the values of its authors' file for LLaVA.", SHIPPED),
        "scope-edit": variant(
            "m-ore",
            "ScopeEdit: a part of the ranks is shared, and written as far as text and picture agree.",
            given("ScopeEdit", split="scope"),
        ),
        "scope-edit-shipped": variant(
            "m-ore",
            "ScopeEdit with the values of its authors' file for LLaVA.",
            as_original(split=Original("ScopeEdit", "scope"), rank=Original("ScopeEdit", 512), teach_end=END, **STEPS),
        ),
    },
)
