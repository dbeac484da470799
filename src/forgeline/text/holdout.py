"""The documents that every model is scored on: held out of pretraining, quoted by nothing that later stages train on.

A conversation or a pair may contain a passage of a test document, a definition for instance. The document would then
measure memory of fine-tuning. It is left out for all models, so that they are scored on the same documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pydantic import Field

from forgeline.core.errors import DataError
from forgeline.core.params import Section
from forgeline.core.records import Conversation, Counts, PreferencePair
from forgeline.text.decontaminate import find_sharing


class HoldoutParams(Section):
    """Section `holdout`: a document that shares a run of `shared_words` words with a training answer is left out."""

    shared_words: int = Field(ge=1)


@dataclass(frozen=True)
class HoldoutResult:
    """The documents to score, in their order, and the counts."""

    documents: pa.Table
    counts: Counts


def hold_out(
    documents: pa.Table, conversations: Sequence[Conversation], pairs: Sequence[PreferencePair], params: HoldoutParams
) -> HoldoutResult:
    """Test documents without those that a training conversation or preference pair quotes.

    Raises:
        DataError: None is left.
    """
    taught = [(message["content"], chat.conversation_id) for chat in conversations for message in chat.messages]
    taught += [(answer, pair.pair_id) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    quoted = find_sharing(documents["text"], taught, params.shared_words)
    kept = [index for index in range(documents.num_rows) if index not in quoted]
    if not kept:
        raise DataError(
            "no test document is left to score: training conversations quote all of them; raise curate.test_fraction "
            "or holdout.shared_words"
        )
    counts = Counts(documents.num_rows, len(kept), {"quoted_in_training": len(quoted)})
    return HoldoutResult(documents.take(pa.array(kept, pa.int64())), counts)
