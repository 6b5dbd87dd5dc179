"""An edit's question in another style than any that editors are trained on: a probe `t_gen_far` of its own."""

import random
from collections.abc import Mapping
from dataclasses import replace

from unike_lib.embedded.world.facts import FactSplit
from unike_lib.embedded.world.templates import Use, prompts
from unike_lib.types import EditCase, Probe, Task

FAR: Mapping[FactSplit, Use] = {"dev": "far_dev", "eval": "far"}


class FarRephrasings:
    """Adds to the cases of a split and task the probe that asks for the edited fact in another style."""

    def __init__(self, split: FactSplit, task: Task, seed: int) -> None:
        self._use, self._task = FAR[split], task
        self._rng = random.Random(f"far rephrasings {seed} {split} {task}")

    def of(self, case: EditCase) -> EditCase:
        """Return the case with a probe `t_gen_far`: the request in other words, its target the answer."""
        relation = "caption" if self._task == "caption" else case.facts[0].rpartition("/")[2]
        query = replace(case.request.query, prompt=self._rng.choice(prompts(relation, self._use)))
        return replace(case, probes=(*case.probes, Probe("t_gen_far", query)))
