"""What quality rules take for granted of a language: they were chosen on English web pages."""

from dataclasses import dataclass

_SPACES = "words between spaces"
_ENGLISH_WORDS = "words between spaces, as long as English ones"


@dataclass(frozen=True)
class Assumption:
    """What a rule assumes, and the parameter that sets it, relative to a profile of `clean.rules`."""

    assumes: str
    knob: str


# By the name under which a rule drops documents (`rules.REASONS`). Rules that are not here ask nothing of a language.
ASSUMPTIONS = {
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
