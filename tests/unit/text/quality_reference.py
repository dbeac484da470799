"""The reference for the quality rules: datatrove's filters, with its reasons in our names."""

import warnings

from forgeline.text.quality.params import QualityParams

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that it imports
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.filters.base_filter import BaseFilter

KEPT = "kept"

_FILTERS: dict[str, type[BaseFilter]] = {
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}
_NAMES = {
    "gopher_repetition": {
        "empty": "gopher_empty",
        "dup_para_frac": "gopher_duplicate_paragraphs",
        "dup_para_char_frac": "gopher_duplicate_paragraph_characters",
        "dup_line_frac": "gopher_duplicate_lines",
        "dup_line_char_frac": "gopher_duplicate_line_characters",
        **{f"top_{size}_gram": f"gopher_top_{size}gram" for size in range(2, 5)},
        **{f"duplicated_{size}_n_grams": f"gopher_duplicate_{size}grams" for size in range(5, 11)},
    },
    "gopher_quality": {
        "gopher_short_doc": "gopher_too_few_words",
        "gopher_long_doc": "gopher_too_many_words",
        "gopher_below_avg_threshold": "gopher_short_words",
        "gopher_above_avg_threshold": "gopher_long_words",
        "gopher_too_many_hashes": "gopher_too_many_hash_signs",
        "gopher_too_many_ellipsis": "gopher_too_many_ellipses",
        "gopher_too_many_bullets": "gopher_too_many_bullet_lines",
        "gopher_too_many_end_ellipsis": "gopher_too_many_ellipsis_lines",
        "gopher_below_alpha_threshold": "gopher_too_few_alphabetic_words",
        "gopher_enough_stop_words": "gopher_too_few_stop_words",
    },
    "c4": {
        "lorem_ipsum": "c4_document_phrase",
        "curly_bracket": "c4_curly_bracket",
        "too_few_sentences": "c4_too_few_sentences",
    },
    "fineweb": {
        "empty": "fineweb_empty",
        "line_punct_ratio": "fineweb_too_few_punctuated_lines",
        "short_line_ratio": "fineweb_too_many_short_lines",
        "char_dup_ratio": "fineweb_duplicate_lines",
        "list_ratio": "fineweb_too_many_newlines",
    },
}

PUBLISHED = QualityParams.model_validate(
    {
        "words": "spaces",
        "gopher_repetition": {
            "enabled": True,
            "max_duplicate_paragraph_fraction": 0.30,
            "max_duplicate_paragraph_character_fraction": 0.20,
            "max_duplicate_line_fraction": 0.30,
            "max_duplicate_line_character_fraction": 0.20,
            "max_top_2gram_character_fraction": 0.20,
            "max_top_3gram_character_fraction": 0.18,
            "max_top_4gram_character_fraction": 0.16,
            "max_duplicate_5gram_character_fraction": 0.15,
            "max_duplicate_6gram_character_fraction": 0.14,
            "max_duplicate_7gram_character_fraction": 0.13,
            "max_duplicate_8gram_character_fraction": 0.12,
            "max_duplicate_9gram_character_fraction": 0.11,
            "max_duplicate_10gram_character_fraction": 0.10,
        },
        "gopher_quality": {
            "enabled": True,
            "min_words": 50,
            "max_words": 100_000,
            "min_mean_word_length": 3.0,
            "max_mean_word_length": 10.0,
            "max_hash_word_ratio": 0.1,
            "max_ellipsis_word_ratio": 0.1,
            "max_bullet_line_fraction": 0.9,
            "max_ellipsis_line_fraction": 0.3,
            "min_alphabetic_word_fraction": 0.8,
            "min_stop_words": 2,
            "stop_words": ["the", "be", "to", "of", "and", "that", "have", "with"],
        },
        "c4": {
            "enabled": True,
            "max_word_characters": 1000,
            "remove_citations": True,
            "terminal_punctuation": [".", "?", "!", '"', "'"],
            "min_words_per_line": 3,
            "document_phrases": ["lorem ipsum"],
            "line_phrases": ["javascript"],
            "drop_curly_brackets": True,
            "policy_phrases": [
                "terms of use",
                "privacy policy",
                "cookie policy",
                "uses cookies",
                "use of cookies",
                "use cookies",
            ],
            "min_sentences": 5,
        },
        "fineweb": {
            "enabled": True,
            "min_punctuated_line_fraction": 0.12,
            "max_short_line_fraction": 0.67,
            "short_line_characters": 30,
            "max_duplicate_line_character_fraction": 0.01,
            "max_newline_word_ratio": 0.3,
        },
    }
)


class Reference:
    """datatrove's filters with their defaults, which are `PUBLISHED`, for one language."""

    def __init__(self, language: str = "en") -> None:
        self._filters = {name: kind(language=language) for name, kind in _FILTERS.items()}

    def judge(self, family: str, text: str) -> tuple[str, str]:
        """The reason for which a family drops a text, or `KEPT`, and the text as the family leaves it."""
        if family == "gopher_repetition" and not text:
            return "gopher_empty", text  # where datatrove 0.8 divides by zero, and later versions say "empty"
        document = Document(text=text, id="")
        verdict = self._filters[family].filter(document)
        if verdict is True:
            return KEPT, document.text
        return _NAMES[family][verdict[1]], text
