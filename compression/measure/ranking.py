"""How well each user's candidate rows are ordered: HR@10 and NDCG@10, with intervals over users.

Legend: N rows, U users. A user's candidates are their rows of the split, whatever those are: only where they hold
what the user could have been shown (as the 99 negatives beside each positive of NCF's files) do the numbers compare
with published ones. A user whose rows are of one class has nothing to order and is left out, as for GAUC; n is the
number of users counted.

Rows of equal score stand in random order: both metrics are the mean over all such orders, not the luck of the file's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compression.data.dataset import Rows
from compression.measure.estimates import Estimate, paired_interval, share_interval

CUTOFF = 10


PerUser = Callable[[np.ndarray, np.ndarray, np.ndarray], "tuple[np.ndarray | None, np.ndarray]"]


def hit_rate(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate | None:
    """Share of users with a positive among their ten best rows.

    None where the rows have no user, or nobody has more than ten rows: any order would give 1 then.
    Source: He et al. 2017, arXiv:1708.05031 (one positive a user); here any of several positives counts.
    """
    return over_users(scores, baseline, rows, lambda *given: (None, user_hits(*given)))


def ndcg(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate | None:
    """Discounted gain of the ten best rows over that of the best order, mean over users; None without users.

    Gain 2^rel − 1, which for labels of 0 and 1 is the label; discount 1 / log2(rank + 1).
    Source: Järvelin & Kekäläinen 2002; ties as in McSherry & Najork 2008 and scikit-learn's ndcg_score.
    """
    return over_users(scores, baseline, rows, lambda *given: (None, user_ndcg(*given)))


def user_hits(scores: np.ndarray, label: np.ndarray, user: np.ndarray) -> np.ndarray:
    """(U,) chance that a positive is among the ten best; empty where no user has more than ten rows."""
    tied = _ties(scores, label, user)
    if not (tied.user_rows > CUTOFF).any():
        return np.empty(0)
    free = np.clip(CUTOFF - tied.before, 0, tied.rows)  # places among the ten that the rows of a score take
    missed = np.ones(len(tied.rows))
    for place in range(CUTOFF):  # places are filled without putting back
        left = np.maximum(tied.rows - place, 1)
        missed *= np.where(place < free, np.clip(tied.rows - tied.positives - place, 0, None) / left, 1.0)
    return 1 - np.multiply.reduceat(missed, tied.starts)[tied.counted]


def user_ndcg(scores: np.ndarray, label: np.ndarray, user: np.ndarray) -> np.ndarray:
    """(U,) NDCG@10 of every user with both classes."""
    tied = _ties(scores, label, user)
    sums = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, CUTOFF + 2)))])  # of the first k discounts
    mean = (sums[np.minimum(tied.before + tied.rows, CUTOFF)] - sums[np.minimum(tied.before, CUTOFF)]) / tied.rows
    gain = np.add.reduceat(mean * tied.positives, tied.starts)[tied.counted]
    best = sums[np.minimum(tied.user_positives[tied.counted], CUTOFF)]
    return np.minimum(gain / best, 1.0)


@dataclass(frozen=True)
class _Ties:
    """Runs of rows of one user and one score (T,), users together, the best score first; and what each user has (U,).

    `before` is how many of the user's rows score higher; `starts` where each user's runs begin.
    """

    before: np.ndarray
    rows: np.ndarray
    positives: np.ndarray
    starts: np.ndarray
    user_rows: np.ndarray
    user_positives: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        return (self.user_positives > 0) & (self.user_positives < self.user_rows)


def _ties(scores: np.ndarray, label: np.ndarray, user: np.ndarray) -> _Ties:
    order = np.lexsort((-scores, user))
    user, scores, positive = user[order], scores[order], label[order] > 0.5
    new_user = np.concatenate([[True], user[1:] != user[:-1]])
    new = new_user | np.concatenate([[True], scores[1:] != scores[:-1]])
    first = np.flatnonzero(new)
    users = np.flatnonzero(new_user)
    start = users[np.cumsum(new_user)[first] - 1]  # where the run's user begins
    return _Ties(first - start, np.diff(np.append(first, len(user))), np.add.reduceat(positive.astype(np.int64), first),
                 np.searchsorted(first, users), np.diff(np.append(users, len(user))),
                 np.add.reduceat(positive.astype(np.int64), users))


def over_users(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows, per_user: PerUser) -> Estimate | None:
    """Mean over users, with the paired difference over the same users; None without users.

    `per_user` gives the weights (U,), None for equal ones, and the values in [0, 1] (U,) of scores, labels and users.
    """
    if rows.user is None:
        return None
    weight, values = per_user(scores, rows.label, rows.user)
    if not len(values):
        return None
    value, interval = float(np.average(values, weights=weight)), share_interval(values, weight)
    if baseline is None:
        return Estimate(value, len(values), interval)
    # who is counted depends on the labels alone: the same users for both
    paired = values - per_user(baseline, rows.label, rows.user)[1]
    return Estimate(value, len(values), interval, float(np.average(paired, weights=weight)),
                    paired_interval(paired, weight))
