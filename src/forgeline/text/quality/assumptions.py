"""What quality rules take for granted of a language: they were chosen on English web pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgeline.text.quality.knobs import QUALITY_KNOBS
from forgeline.text.quality.params import QualityParams
from forgeline.text.quality.scripts import without_blanks

_SPACES = "words between spaces"
_ENGLISH_WORDS = "words between spaces, as long as English ones"


@dataclass(frozen=True)
class Assumption:
    """What a rule assumes, and the parameter that sets it, relative to a profile of `clean.rules`."""

    assumes: str
    knob: str


# Where no blanks part words a whole clause counts as one, and two of them are a large part of any text. In a language
# with blanks a text that breaks these rules does repeat itself.
RUNS_OF_WORDS = (
    *(f"gopher_top_{size}gram" for size in range(2, 5)),
    *(f"gopher_duplicate_{size}grams" for size in range(5, 11)),
)
# By the name under which a rule drops documents (`rules.REASONS`). Rules that are not here ask nothing of a language.
ASSUMPTIONS = {
    **{rule: Assumption(_SPACES, QUALITY_KNOBS[rule]) for rule in RUNS_OF_WORDS},
    "gopher_too_few_words": Assumption(_SPACES, "gopher_quality.min_words"),
    "gopher_too_many_words": Assumption(_SPACES, "gopher_quality.max_words"),
    "gopher_short_words": Assumption(_ENGLISH_WORDS, "gopher_quality.min_mean_word_length"),
    "gopher_long_words": Assumption(_ENGLISH_WORDS, "gopher_quality.max_mean_word_length"),
    "gopher_too_many_hash_signs": Assumption(_SPACES, "gopher_quality.max_hash_word_ratio"),
    "gopher_too_many_ellipses": Assumption(_SPACES, "gopher_quality.max_ellipsis_word_ratio"),
    "gopher_too_few_alphabetic_words": Assumption(_SPACES, "gopher_quality.min_alphabetic_word_fraction"),
    "gopher_too_few_stop_words": Assumption("the language of its list of words", "gopher_quality.stop_words"),
    "c4_too_few_sentences": Assumption("that lines end with a Western full stop", "c4.terminal_punctuation"),
    "c4_no_lines_left": Assumption("that lines end with a Western full stop", "c4.terminal_punctuation"),
    "fineweb_too_few_punctuated_lines": Assumption(
        "that sentences end with a punctuation mark", "fineweb.min_punctuated_line_fraction"
    ),
    "fineweb_too_many_short_lines": Assumption(
        "an alphabet, in which a line has more characters", "fineweb.short_line_characters"
    ),
    "fineweb_too_many_newlines": Assumption(_SPACES, "fineweb.max_newline_word_ratio"),
}


def in_doubt(texts: pa.Array, reasons: Sequence[str], rules: Sequence[QualityParams]) -> npt.NDArray[np.bool_]:
    """Which dropped documents broke a rule that may not fit them, because it assumes something.

    Args:
        texts: (N,) of the documents.
        reasons: (N,) rules that dropped them.
        rules: (N,) the profile that each was judged by.
    """
    doubtful = np.array([reason in ASSUMPTIONS for reason in reasons], np.bool_)
    runs = np.array([reason in RUNS_OF_WORDS for reason in reasons], np.bool_)
    between_spaces = np.array([profile.words == "spaces" for profile in rules], np.bool_)
    doubtful[runs] = between_spaces[runs] & without_blanks(texts.filter(pa.array(runs)))
    return doubtful
