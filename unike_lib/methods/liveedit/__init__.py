"""LiveEdit (CVPR 2025): low-rank experts behind one layer, chosen by picture and weighed by text.

Idea. A network that is trained once makes, from the states of an edit behind layer l, a small expert and features of
its picture and its text. A question keeps the experts whose pictures are nearer to its own than a learned prototype is;
its text says how much each counts.

Equation. h <- h + sum_e w_e V_e^T relu(U_e LN(h)) at all tokens, with w = softmax(t) sigmoid(t) among the kept experts;
kept are those with <phi, phi_e> > <phi, phi_0>; t_e = <psi, psi_e>. U_e = Att(Phi, LN z) / (5 sqrt r), V_e likewise,
with z the edit's states of picture, prompt and answer.

Source: github.com/qizhou000/LiveEdit at b46217b, `editor/vllm_editors/liveedit/`.

Readings:
- Training goes on behind the edited layer. The original passes its output through it once more (a fault; left out).
- A question's features are those of its picture and prompt. In the original the answer is in them, too, wherever the
  caller does not say where the prompt ends.
- The divergence on locality is KL(edited || unedited), as in the original; MEND and KE take the other direction.
- A question without a picture keeps no expert (as in the original), an edit without one has an expert that none keeps.
- Training pairs are drawn as in the original: a third of them an unrelated question with itself; else two of the edit
  (1/2) and its rephrasings (1/4 each). For the prototype one of these with an unrelated question, either way round.
- The prototype has as many tokens as a picture of the first training edit.
"""

from unike_lib.config.base import Entry, Original, as_original, given, on_backbone, variant
from unike_lib.method import Method
from unike_lib.methods.liveedit.settings import LiveEditMethod

METHOD = Method(
    name="liveedit",
    title="LiveEdit",
    settings=LiveEditMethod,
    build="unike_lib.methods.liveedit.editor:build",
    first_layer=lambda settings: settings.layer,
    train="unike_lib.methods.liveedit.training:train",
    editing_alone=frozenset({"strength"}),
    search={"learning_rate": [1.0e-4, 3.0e-4, 1.0e-3], "strength": [0.5, 1.0, 2.0, 4.0]},
    entries={
        "liveedit": Entry(
            "A trained network makes low-rank experts, chosen by picture and weighed by text.",
            given("tuned", learning_rate=1.0e-3, strength=0.5)
            | on_backbone("minigpt4-smol", given("ours", "for its time", steps=200, eval_every=50)),
        ),
        "liveedit-shipped": variant(
            "liveedit",
            "LiveEdit with the values of its authors' file for LLaVA.",
            as_original(
                layer=Original("LiveEdit", -11),
                width=Original("LiveEdit", 1024),
                counterfactual_targets=Original("LiveEdit", 0.0),
                strength=Original("LiveEdit", 1.0),
                learning_rate=Original("LiveEdit", 1.0e-4),
            ),
        ),
    },
)
