"""In which order records are learned from: a function of the seed alone."""

import numpy as np


def record_order(num_records: int, num_draws: int, seed: int) -> list[int]:
    """Indices of the records to draw, epoch after epoch, each epoch a new permutation.

    Args:
        num_records: How many records there are, at least one.
        num_draws: How many indices are wanted; the last epoch is cut there.
        seed: Of the permutations.
    """
    generator = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < num_draws:
        order += generator.permutation(num_records).tolist()
    return order[:num_draws]
