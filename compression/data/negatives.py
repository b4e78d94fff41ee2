"""Items that a user never chose, drawn beside those they did: for logs that hold positives only."""

from __future__ import annotations

import numpy as np

TRIES = 8  # draws again for items that the user chose after all; then one is drawn from what is left


def unchosen(users: np.ndarray, items: np.ndarray, *, by: str = "uniform", seed: int = 0) -> np.ndarray:
    """(N,) for each choice an item that its user did not choose; the choice itself where its user chose everything.

    by "uniform": every item alike. "popularity": as often as it was chosen.
    """
    draw = np.random.default_rng(seed)
    known, coded = np.unique(items, return_inverse=True)
    owners = np.unique(users, return_inverse=True)[1]
    chosen = np.unique(owners * len(known) + coded)

    def drawn(count: int) -> np.ndarray:
        if by == "uniform":
            return draw.integers(len(known), size=count)
        return coded[draw.integers(len(coded), size=count)]

    found = drawn(len(items))
    for _ in range(TRIES):
        clash = np.flatnonzero(np.isin(owners * len(known) + found, chosen))
        if not len(clash):
            return known[found]
        found[clash] = drawn(len(clash))
    shares = np.bincount(coded, minlength=len(known)).astype(np.float64)
    clash = np.flatnonzero(np.isin(owners * len(known) + found, chosen))
    clash = clash[np.argsort(owners[clash], kind="stable")]
    for places in np.split(clash, np.flatnonzero(np.diff(owners[clash])) + 1):  # users who chose nearly everything
        if not len(places):
            continue
        start = owners[places[0]] * len(known)
        first, last = np.searchsorted(chosen, (start, start + len(known)))
        left = np.setdiff1d(np.arange(len(known)), chosen[first:last] - start, assume_unique=True)
        if len(left):
            chance = None if by == "uniform" else shares[left] / shares[left].sum()
            found[places] = draw.choice(left, size=len(places), p=chance)
        else:
            found[places] = coded[places]
    return known[found]
