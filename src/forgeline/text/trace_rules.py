"""What the present params.yaml says about a document: the threshold that a rule has, and the verdict it would get."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa

from forgeline.core.records import DOCUMENTS, documents_table
from forgeline.text.clean import clean
from forgeline.text.clean_params import AUTO, CleanParams

_SHORT, _LONG = range(2, 5), range(5, 11)  # n-grams of Gopher's two kinds of rules
# The parameter of section `clean` that decides a reason; those of quality rules lie in the profile of the language.
_GENERAL = {"too_short": "min_characters", "too_long": "max_characters", "language": "languages"}
_QUALITY = {
    "gopher_duplicate_paragraphs": "gopher_repetition.max_duplicate_paragraph_fraction",
    "gopher_duplicate_paragraph_characters": "gopher_repetition.max_duplicate_paragraph_character_fraction",
    "gopher_duplicate_lines": "gopher_repetition.max_duplicate_line_fraction",
    "gopher_duplicate_line_characters": "gopher_repetition.max_duplicate_line_character_fraction",
    **{f"gopher_top_{n}gram": f"gopher_repetition.max_top_{n}gram_character_fraction" for n in _SHORT},
    **{
        f"gopher_duplicate_{n}grams": f"gopher_repetition.max_duplicate_{n}gram_character_fraction"
        for n in range(5, 11)
    },
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


@dataclass(frozen=True)
class Verdict:
    """What cleaning does with a document.

    Attributes:
        doc_id: Of its cleaned text, if it is kept.
        reason: Why it is dropped; empty if it is kept.
        detail: What was measured.
        threshold: The parameter that decided, with its value; empty if there is none.
    """

    doc_id: str
    reason: str
    detail: str
    threshold: str


@dataclass(frozen=True)
class Cleaning:
    """The rules of params.yaml as they are now: section `clean`, and the language of each source."""

    params: CleanParams
    languages: Mapping[str, str]

    def verdict(self, text: str, source: str) -> Verdict | None:
        """What would become of an ingested document; None if params.yaml no longer has its source."""
        language = self.languages.get(source)
        if language is None:
            return None
        result = clean(_one(text, source), language, self.params)
        if result.documents.num_rows:
            return Verdict(result.documents["doc_id"][0].as_py(), "", "", "")
        [row] = result.dropped.to_pylist()
        found = next(iter(result.report.languages), AUTO) if language == AUTO else language
        return Verdict(row["doc_id"], row["reason"], row["detail"], self._threshold(row["reason"], found))

    def _threshold(self, reason: str, language: str) -> str:
        if reason in _GENERAL:
            name = _GENERAL[reason]
        elif reason in _QUALITY:
            name = f"rules.{self.params.profile(language)}.{_QUALITY[reason]}"
        else:
            return ""
        value = reduce(lambda node, part: node[part], name.split("."), self.params.model_dump(mode="json"))
        return f"clean.{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _one(text: str, source: str) -> pa.Table:
    return documents_table([text], source).cast(DOCUMENTS)
