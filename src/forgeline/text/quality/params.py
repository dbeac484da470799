"""Section of the quality rules: one part per published family, each rule with its threshold.

Where a rule is published, its default is named: Gopher quality and repetition (Rae et al. 2021, arXiv 2112.11446,
section A.1.1 and table A1), C4 (Raffel et al. 2020, JMLR 21:140, section 2.2, and the authors' code in TensorFlow
Datasets), FineWeb (Penedo et al. 2024, arXiv 2406.17557, section 3.6, and the authors' code, datatrove). All of them
were chosen on English web pages. A threshold of null switches its rule off, `enabled: false` a whole family.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from forgeline.core.params import Section

MAX_PHRASES = 60  # the kernel keeps one bit of 64 for each phrase it looks for; c4.line_phrases needs a few of its own

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Ratio = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Word = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S+$")]
Phrase = Annotated[str, StringConstraints(min_length=3)]
Character = Annotated[str, StringConstraints(min_length=1, max_length=1)]


class GopherRepetitionParams(Section):
    """How much of a document may repeat itself (Rae et al. 2021, table A1). Fractions of characters are of all of them.

    A paragraph ends at a blank line, a line at a newline. An n-gram is n words in a row, punctuation marks counting as
    words. The commonest n-gram counts with all its occurrences (n of 2 to 4); of the longer ones, every occurrence but
    the first, none overlapping another.

    Attributes:
        enabled: Whether the family is applied.
        max_duplicate_paragraph_fraction: Of paragraphs that repeat an earlier one; published 0.30.
        max_duplicate_paragraph_character_fraction: Of characters in them; published 0.20.
        max_duplicate_line_fraction: Of lines that repeat an earlier one; published 0.30.
        max_duplicate_line_character_fraction: Of characters in them; published 0.20.
        max_top_2gram_character_fraction: Of characters in the commonest 2-gram; published 0.20.
        max_top_3gram_character_fraction: Published 0.18.
        max_top_4gram_character_fraction: Published 0.16.
        max_duplicate_5gram_character_fraction: Of characters in 5-grams that occurred before; published 0.15.
        max_duplicate_6gram_character_fraction: Published 0.14.
        max_duplicate_7gram_character_fraction: Published 0.13.
        max_duplicate_8gram_character_fraction: Published 0.12.
        max_duplicate_9gram_character_fraction: Published 0.11.
        max_duplicate_10gram_character_fraction: Published 0.10.
    """

    enabled: bool
    max_duplicate_paragraph_fraction: Share | None
    max_duplicate_paragraph_character_fraction: Share | None
    max_duplicate_line_fraction: Share | None
    max_duplicate_line_character_fraction: Share | None
    max_top_2gram_character_fraction: Share | None
    max_top_3gram_character_fraction: Share | None
    max_top_4gram_character_fraction: Share | None
    max_duplicate_5gram_character_fraction: Share | None
    max_duplicate_6gram_character_fraction: Share | None
    max_duplicate_7gram_character_fraction: Share | None
    max_duplicate_8gram_character_fraction: Share | None
    max_duplicate_9gram_character_fraction: Share | None
    max_duplicate_10gram_character_fraction: Share | None


class GopherQualityParams(Section):
    """What natural text looks like (Rae et al. 2021, section A.1.1).

    Attributes:
        enabled: Whether the family is applied.
        min_words: Fewest words, punctuation marks not counted; published 50. Assumes words between spaces.
        max_words: Most words, counted alike; published 100,000. Assumes words between spaces.
        min_mean_word_length: Characters, punctuation marks not counted; published 3. Assumes words between spaces, as
            long as English ones.
        max_mean_word_length: Characters; published 10. Assumes words between spaces, as long as English ones.
        max_hash_word_ratio: Hash signs per word; published 0.1. Assumes words between spaces.
        max_ellipsis_word_ratio: Ellipses per word; published 0.1. Assumes words between spaces.
        max_bullet_line_fraction: Of lines that begin with a bullet or hyphen; published 0.9.
        max_ellipsis_line_fraction: Of lines that end with an ellipsis; published 0.3.
        min_alphabetic_word_fraction: Of words, here including punctuation marks, with at least one letter; published
            0.8. Assumes words between spaces.
        min_stop_words: Different ones of `stop_words` that must occur; published 2. Assumes the language of the list.
        stop_words: Compared as they are written; published: the, be, to, of, and, that, have, with.
    """

    enabled: bool
    min_words: Count | None
    max_words: Count | None
    min_mean_word_length: Ratio | None
    max_mean_word_length: Ratio | None
    max_hash_word_ratio: Ratio | None
    max_ellipsis_word_ratio: Ratio | None
    max_bullet_line_fraction: Share | None
    max_ellipsis_line_fraction: Share | None
    min_alphabetic_word_fraction: Share | None
    min_stop_words: Count | None
    stop_words: list[Word]

    @model_validator(mode="after")
    def _consistent(self) -> "GopherQualityParams":
        if self.min_stop_words is not None and self.min_stop_words > len(set(self.stop_words)):
            raise ValueError("min_stop_words is more than there are stop_words: no document could stay, lower it")
        _in_order(self.min_words, self.max_words, "words")
        _in_order(self.min_mean_word_length, self.max_mean_word_length, "mean_word_length")
        return self


class C4Params(Section):
    """Lines worth keeping (Raffel et al. 2020). The only family that rewrites a text: lines that break a rule go.

    Every line is stripped of white space at both ends. The rules are tried in the order in which they stand here, after
    which the kept lines are joined by newlines. A document of which no line is left is dropped.

    Attributes:
        enabled: Whether the family is applied.
        max_word_characters: Longest run without white space in a line that stays; the authors' code has 1,000. Assumes
            words between spaces.
        remove_citations: Whether `[1]`, `[]`, `[edit]` and `[citation needed]` are cut out of lines.
        terminal_punctuation: What a line must end with to stay, though not with three full stops; null keeps any line.
            Published: . ! ? and ", to which datatrove adds '. Assumes a Western script.
        min_words_per_line: Runs without white space in a line that stays; datatrove has 3, the authors' code 5. Assumes
            words between spaces.
        document_phrases: A line with one of them in it, in whatever case, drops its document; published: lorem ipsum.
        line_phrases: A line with one of them in it is cut out; published: javascript.
        drop_curly_brackets: Whether a line with `{` in it drops its document, as published.
        policy_phrases: As `line_phrases`, tried after curly brackets; published: terms of use, privacy policy, cookie
            policy, uses cookies, use of cookies, use cookies. Assumes English.
        min_sentences: Fewest sentences in the kept lines; datatrove has 5, the authors' code 3.
    """

    enabled: bool
    max_word_characters: Count | None
    remove_citations: bool
    terminal_punctuation: Annotated[list[Character], Field(min_length=1)] | None
    min_words_per_line: Count | None
    document_phrases: list[Phrase]
    line_phrases: list[Phrase]
    drop_curly_brackets: bool
    policy_phrases: list[Phrase]
    min_sentences: Count | None

    @model_validator(mode="after")
    def _few_phrases(self) -> "C4Params":
        if len(self.document_phrases) + len(self.line_phrases) + len(self.policy_phrases) > MAX_PHRASES:
            raise ValueError(f"the three lists of phrases hold more than {MAX_PHRASES} together: shorten them")
        return self


class FineWebParams(Section):
    """What lists and page furniture look like (Penedo et al. 2024, section 3.6). Blank lines do not count as lines.

    Attributes:
        enabled: Whether the family is applied.
        min_punctuated_line_fraction: Of lines that end with a terminal punctuation mark, of any script; published 0.12.
        max_short_line_fraction: Of lines with at most `short_line_characters`; published 0.67.
        short_line_characters: Published 30. Assumes an alphabet: a line of Chinese says as much in a third of them.
        max_duplicate_line_character_fraction: Of characters in lines that repeat an earlier one; the paper says 0.1,
            the code has 0.01.
        max_newline_word_ratio: Newlines per word; only in the code, 0.3. Assumes words between spaces.
    """

    enabled: bool
    min_punctuated_line_fraction: Share | None
    max_short_line_fraction: Share | None
    short_line_characters: Count
    max_duplicate_line_character_fraction: Share | None
    max_newline_word_ratio: Ratio | None


class QualityParams(Section):
    """The quality rules for the documents of one language, in the order in which they are applied.

    Attributes:
        words: `spaces`: words are split by white space and the rules for English affixes and contractions. `characters`
            is for Chinese, Japanese, Thai and other scripts without spaces: there every letter of such a script is a
            word, and so is every punctuation mark beside one; other scripts are split as before. Such words have one
            letter, so `min_mean_word_length` has to be null; and one in six or so is a punctuation mark, so
            `min_alphabetic_word_fraction` should be lower than for English.
        gopher_repetition: See there.
        gopher_quality: See there.
        c4: See there.
        fineweb: See there; sees the text as C4 left it.
    """

    words: Literal["spaces", "characters"]
    gopher_repetition: GopherRepetitionParams
    gopher_quality: GopherQualityParams
    c4: C4Params
    fineweb: FineWebParams

    @model_validator(mode="after")
    def _lengths_of_characters(self) -> "QualityParams":
        least = self.gopher_quality.min_mean_word_length
        if self.words == "characters" and least is not None and least > 1 and self.gopher_quality.enabled:
            raise ValueError(
                "words are characters, of length 1: gopher_quality.min_mean_word_length is above that, set it to null"
            )
        return self

    def only(self, family: str) -> "QualityParams":
        """These params with one family (`gopher_repetition`, `c4`, ...) switched on and the others off."""
        parts = {name: getattr(self, name) for name in FAMILIES}
        return self.model_copy(
            update={name: part.model_copy(update={"enabled": name == family}) for name, part in parts.items()}
        )


FAMILIES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


def _in_order(lowest: float | None, highest: float | None, name: str) -> None:
    if lowest is not None and highest is not None and lowest > highest:
        raise ValueError(f"min_{name} is above max_{name}: no document could stay, lower it")
