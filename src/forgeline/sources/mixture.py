"""How many training conversations each set gives, by its weight.

Weights are relative: with 2 and 1, two thirds of the training conversations are the first set's. Training shuffles all
of them, so every epoch and on average every batch has these shares. The total is the largest for which no conversation
is taken more than `max_repeats` times, and at which at least one set is not repeated at all:

    total = min(max over sets of n / p, max_repeats * min over sets of n / p)    n conversations, share p of the weights

A set that gives more conversations than it has takes each in turn; one that gives fewer, those first in the order of a
hash. Both are functions of the conversations and the seed.
"""

from collections.abc import Mapping, Sequence

from forgeline.core.errors import DataError
from forgeline.sources.questions import Question
from forgeline.text.split import unit_hash


def set_sizes(available: Mapping[str, int], weights: Mapping[str, float], max_repeats: int) -> dict[str, int]:
    """How many conversations each set gives.

    Args:
        available: How many it has.
        weights: Positive, one for each set.
        max_repeats: How often one may be taken.

    Raises:
        DataError: A set has none.
    """
    for name, number in available.items():
        if not number:
            raise DataError(
                f"instruction set '{name}' has a weight but no training conversation is left of it: loosen"
                " instructions.filters, or remove the set"
            )
    total_weight = sum(weights[name] for name in available)
    room = {name: number * total_weight / weights[name] for name, number in available.items()}
    total = min(max(room.values()), max_repeats * min(room.values()))
    return {
        name: max(1, min(round(total * weights[name] / total_weight), max_repeats * number))
        for name, number in available.items()
    }


def take(questions: Sequence[Question], size: int, seed: int) -> tuple[list[Question], list[int]]:
    """So many of a set's questions.

    Args:
        questions: The set's.
        size: How many to take, more than there are or fewer.
        seed: Salt of the order in which some are taken more often.

    Returns:
        The questions, repeated ones behind the rest, and the positions of those not taken.
    """
    rounds, more = divmod(size, len(questions))
    order = sorted(range(len(questions)), key=lambda place: unit_hash(questions[place].identity, seed))
    chosen = set(order[:more])
    taken = [question for _ in range(rounds) for question in questions]
    taken += [question for place, question in enumerate(questions) if place in chosen]
    return taken, [] if rounds else [place for place in range(len(questions)) if place not in chosen]
