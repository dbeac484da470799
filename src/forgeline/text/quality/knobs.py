"""Which parameter decides each reason for which cleaning drops documents."""

_SHORT, _LONG = range(2, 5), range(5, 11)  # n-grams of Gopher's two kinds of rules

# The parameter of section `clean` that decides a reason; those of quality rules lie in the profile of the language.
GENERAL_KNOBS = {"too_short": "min_characters", "too_long": "max_characters", "language": "languages"}
QUALITY_KNOBS = {
    "gopher_duplicate_paragraphs": "gopher_repetition.max_duplicate_paragraph_fraction",
    "gopher_duplicate_paragraph_characters": "gopher_repetition.max_duplicate_paragraph_character_fraction",
    "gopher_duplicate_lines": "gopher_repetition.max_duplicate_line_fraction",
    "gopher_duplicate_line_characters": "gopher_repetition.max_duplicate_line_character_fraction",
    **{f"gopher_top_{n}gram": f"gopher_repetition.max_top_{n}gram_character_fraction" for n in _SHORT},
    **{f"gopher_duplicate_{n}grams": f"gopher_repetition.max_duplicate_{n}gram_character_fraction" for n in _LONG},
    "gopher_too_few_words": "gopher_quality.min_words",
    "gopher_too_many_words": "gopher_quality.max_words",
    "gopher_short_words": "gopher_quality.min_mean_word_length",
    "gopher_long_words": "gopher_quality.max_mean_word_length",
    "gopher_too_many_hash_signs": "gopher_quality.max_hash_word_ratio",
    "gopher_too_many_ellipses": "gopher_quality.max_ellipsis_word_ratio",
    "gopher_too_many_bullet_lines": "gopher_quality.max_bullet_line_fraction",
    "gopher_too_many_ellipsis_lines": "gopher_quality.max_ellipsis_line_fraction",
    "gopher_too_few_alphabetic_words": "gopher_quality.min_alphabetic_word_fraction",
    "gopher_too_few_stop_words": "gopher_quality.min_stop_words",
    "c4_document_phrase": "c4.document_phrases",
    "c4_curly_bracket": "c4.drop_curly_brackets",
    "c4_too_few_sentences": "c4.min_sentences",
    "fineweb_too_few_punctuated_lines": "fineweb.min_punctuated_line_fraction",
    "fineweb_too_many_short_lines": "fineweb.max_short_line_fraction",
    "fineweb_duplicate_lines": "fineweb.max_duplicate_line_character_fraction",
    "fineweb_too_many_newlines": "fineweb.max_newline_word_ratio",
}
