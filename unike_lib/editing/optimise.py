"""Gradient descent on many sessions at once: sessions share the arithmetic, never a parameter."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unike_lib.backbones.oom import oom_as_input_error


def descend(
    parameters: Sequence[Tensor],
    session_losses: Callable[[], Tensor],
    optimiser: torch.optim.Optimizer,
    steps: int,
) -> Tensor:
    """Minimise every session's own loss and return which sessions stayed finite, bool [session].

    Each parameter has the session as its first axis and each loss depends on its own session's slice only, so one
    backward pass through the sum gives every session its own gradient; Adam works element by element. A session whose
    loss or parameters stop being finite poisons no other and is reported as False.
    """
    finite = torch.tensor(True)
    for _ in range(steps):
        losses = session_losses()
        finite = finite & torch.isfinite(losses.detach())
        optimiser.zero_grad()
        with oom_as_input_error(losses):
            losses.sum().backward()
        optimiser.step()
    for parameter in parameters:
        finite = finite & torch.isfinite(parameter.detach()).flatten(1).all(1)
    return finite


def failures(finite: Tensor) -> tuple[str | None, ...]:
    """Return one reason per session: None, or that its loss stopped being finite."""
    return tuple(None if ok else "loss is not finite" for ok in finite.tolist())
