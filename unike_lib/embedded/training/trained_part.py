"""The trained part of a backbone on SmolLM2: the library's, or one that is trained now.

The library ships the part for the default benchmark, so by default nothing is trained, and nothing imported for it.
"""

from pathlib import Path

from unike_lib.config.run import SmolConfig
from unike_lib.embedded.training.recipe import SHIPPED, Recipe
from unike_lib.io import write_tensors


def make_trained_part(
    recipe: Recipe[SmolConfig], out: Path, shipped: Path = SHIPPED / "minigpt4_smol.safetensors"
) -> None:
    """Write tower maps, Q-Former, projection and factors: the library's if this very recipe made them, else new ones.

    Raises:
        InputError: the features belong to another benchmark, or a file is broken.
    """
    tensors = recipe.shipped_part(shipped)
    if tensors is None:
        from unike_lib.embedded.training.smol import train_smol

        train_smol(recipe, out)
    else:
        write_tensors(out, tensors, recipe.fingerprint)
