"""A loss over lists: the student learns the order in which the teacher puts the rows of a list.

Sources: Tang & Wang 2018, arXiv:1809.07428 (Ranking Distillation: learn the teacher's top K); Kang et al. 2020,
arXiv:2012.04357 (DE-RRD: the probability of the teacher's order of its first K, after Plackett and Luce); Cao et al.
2007, ICML (ListNet, top one: cross-entropy of two softmaxes). Here: a list is one user's rows in the batch, or all.
Weights of rows don't count here: what is learned is an order among rows, and none of the sources gives a row in it more
say than another. They count in the labels' loss, to which this one is added.
Legend: B rows, G lists, K rows at the top.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from compression.spec.hook import Hook


def list_logsumexp(values: Tensor, lists: Tensor, n_lists: int) -> Tensor:
    """log Σ exp(values) of each list: (B,), (B,) int64 → (G,); −inf for a list without a finite value."""
    top = torch.full((n_lists,), -torch.inf, dtype=values.dtype, device=values.device)
    top = top.scatter_reduce(0, lists, values.detach(), "amax")
    shift = torch.where(top.isfinite(), top, torch.zeros_like(top))
    return torch.zeros_like(top).index_add(0, lists, (values - shift[lists]).exp()).log() + shift


def top_k_loss(scores: Tensor, teacher: Tensor, lists: Tensor, *, k: int) -> Tensor:
    """−log P(the teacher's first K in its order) by the student's scores, a row; mean over lists of two rows or more.

    P is Plackett and Luce's: at each place the next row is drawn by the softmax over those not drawn yet.
    """
    order = torch.argsort(teacher, descending=True, stable=True)
    order = order[torch.argsort(lists[order], stable=True)]  # list by list, best first
    scores, lists = scores[order], lists[order]
    counts = torch.bincount(lists)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(lists), device=lists.device) - starts[lists]
    drawn = (counts - 1).clamp(max=k)  # the last row of a list has no rival
    total = torch.zeros(len(counts), dtype=scores.dtype, device=scores.device)
    for at in range(int(drawn.max())):
        left = list_logsumexp(scores.masked_fill(place < at, -torch.inf), lists, len(counts))
        now = (place == at) & (drawn[lists] > at)
        total = total.index_add(0, lists[now], left[lists[now]] - scores[now])
    return _mean_of_lists(total / drawn.clamp(min=1), counts)


def softmax_loss(scores: Tensor, teacher: Tensor, lists: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of softmax(student / T) against softmax(teacher / T) within each list of two rows or more; mean."""
    counts = torch.bincount(lists)
    scores, teacher = scores / temperature, teacher / temperature
    wanted = (teacher - list_logsumexp(teacher, lists, len(counts))[lists]).exp()
    log_share = scores - list_logsumexp(scores, lists, len(counts))[lists]
    return _mean_of_lists(torch.zeros(len(counts), device=scores.device, dtype=scores.dtype)
                          .index_add(0, lists, -wanted * log_share), counts)


def _mean_of_lists(losses: Tensor, counts: Tensor) -> Tensor:
    """Lists of one row say nothing about order; without any other the loss is zero."""
    several = (counts > 1).to(losses.dtype)
    return (losses * several).sum() / several.sum().clamp(min=1)


class RankingHook(Hook):
    """loss → loss + weight · the list-wise loss. `user` names the input whose ids make the lists; None: one list."""

    spans_rows = True

    def __init__(self, teacher: nn.Module, *, form: str, user: str | None, k: int, temperature: float,
                 weight: float) -> None:
        self.teacher = teacher
        self.form, self.user, self.k = form, user, k
        self.temperature, self.weight = temperature, weight

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        device = next(model.parameters()).device
        self.teacher = copy.deepcopy(self.teacher).to(device).eval().requires_grad_(False)

    def loss(self, batch: dict[str, Tensor], logits: Tensor, label: Tensor, loss: Tensor,
             weight: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            teacher = self.teacher(batch).float()
        scores = logits.float()
        lists = torch.zeros(len(scores), dtype=torch.int64, device=scores.device) if self.user is None else (
            torch.unique(batch[self.user], return_inverse=True)[1])
        ranked = (top_k_loss(scores, teacher, lists, k=self.k) if self.form == "top_k"
                  else softmax_loss(scores, teacher, lists, temperature=self.temperature))
        return loss + self.weight * ranked
