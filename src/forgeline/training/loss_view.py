"""What the loss of fine-tuning sees: lengths in tokens, and some conversations token by token, for the report.

Tokens and labels are the trainer's own: they come from the function that makes its rows, and through it from the one
renderer of chats.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation
from forgeline.training.conversation_rows import labelled
from forgeline.training.order import record_order
from forgeline.training.params.sft import SftParams
from forgeline.training.trl.held_out import IGNORED, Labelled

NUM_MEASURED = 1000  # conversations whose lengths are taken; all of them would have to be rendered a second time
NUM_SAMPLES = 5
_UNFINISHED = "\ufffd"  # what decoding gives for bytes that end inside a character


def loss_view(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], params: SftParams
) -> dict[str, Any]:
    """Lengths of conversations drawn by the seed, and samples of them: of each set and task first.

    Args:
        tokenizer: The model's.
        conversations: To train on.
        params: Section `sft`.

    Returns:
        `num_measured`, `num_left_out` (no row was made of them), `tokens` (how many rows have at most so many and more
        than the next smaller power of two), `num_tokens` and `num_trained_tokens` of all rows, and `samples`: source,
        task, and `tokens` as pairs of text and whether it is learned.
    """
    size = len(conversations)
    drawn = [conversations[place] for place in record_order(size, min(size, NUM_MEASURED), params.seed)]
    rows = [_row(tokenizer, conversation, params) for conversation in drawn]
    made = [row for row in rows if row is not None]
    lengths = Counter(1 << (len(row.input_ids) - 1).bit_length() for row in made)
    return {
        "max_length": params.max_length,
        "num_measured": len(rows),
        "num_left_out": len(rows) - len(made),
        "tokens": {str(edge): lengths[edge] for edge in sorted(lengths)},
        "num_tokens": sum(len(row.input_ids) for row in made),
        "num_trained_tokens": sum(row.num_supervised for row in made),
        "samples": [
            {
                "source": drawn[place].source,
                "task": drawn[place].task,
                "tokens": token_texts(tokenizer, row),
            }
            for place in _varied(drawn)
            if (row := rows[place]) is not None
        ][:NUM_SAMPLES],
    }


def token_texts(tokenizer: PreTrainedTokenizerBase, row: Labelled) -> list[tuple[str, bool]]:
    """The text of each token and whether it is learned; tokens that share a character are put together.

    The first token is never learned, since nothing comes before it.
    """
    texts: list[tuple[str, bool]] = []
    pending: list[int] = []
    for place, token in enumerate(row.input_ids):
        pending.append(token)
        text = str(tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        is_last = place + 1 == len(row.input_ids)
        if not text.endswith(_UNFINISHED) or len(pending) > 3 or is_last:
            texts.append((text, place > 0 and row.labels[place] != IGNORED))
            pending = []
    return texts


def _row(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, params: SftParams) -> Labelled | None:
    try:
        [row] = labelled(tokenizer, [conversation], params).rows
    except DataError:  # it does not fit
        return None
    return row


def _varied(conversations: Sequence[Conversation]) -> list[int]:
    """All positions, the first conversation of each set, task and kind in front."""
    seen: set[tuple[str, str, bool, bool]] = set()
    first: list[int] = []
    others: list[int] = []
    for place, found in enumerate(conversations):
        kind = (found.source, found.task, bool(found.tools), len(found.messages) > 2)
        (others if kind in seen else first).append(place)
        seen.add(kind)
    return first + others
