"""Asking a model once for what several targets need."""

import torch
from torch import Tensor, nn


class Remembering(nn.Module):
    """A model that gives its answers to a series of batches again, when the same series comes for the next target.

    Libraries that perturb the input look at one target at a time, and send the same batches for each.

    Args:
        model: gives logits (N, K).
        dtype: of its inputs; libraries make float32 of half precisions on the way.
        to_host: fetch each batch's answers at once, for libraries that read logit by logit, and on a device would wait
            for each.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, *, to_host: bool = False) -> None:
        super().__init__()
        self.model, self.dtype, self.to_host = model, dtype, to_host
        self.answers: list[Tensor] = []
        self.turn = 0

    def begin_again(self) -> None:
        """The series comes once more, from its first batch on."""
        self.turn = 0

    @torch.no_grad()
    def forward(self, batch: Tensor) -> Tensor:
        """(N, K), computed the first time and remembered after."""
        if self.turn == len(self.answers):
            answer = self.model(batch.to(self.dtype))
            self.answers.append(answer.cpu() if self.to_host else answer)
        self.turn += 1
        return self.answers[self.turn - 1]
