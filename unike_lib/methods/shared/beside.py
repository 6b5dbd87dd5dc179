"""Changes of matrices as they run in a folder without this project."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from unike_lib.editing.standalone import Standalone

FILE = Path(__file__).with_name("beside_matrices.py")


def beside(tensors: Mapping[str, Tensor]) -> Standalone:
    """Return changes by "layer.matrix.part"; the first axis is the edit (`beside_matrices.Matrices`)."""
    return Standalone((FILE,), "Matrices", tensors)
