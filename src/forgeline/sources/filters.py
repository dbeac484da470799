"""Which conversations leave before training, and why."""

import re
from collections.abc import Sequence

from forgeline.sources.instruction_params import FilterParams
from forgeline.sources.questions import Fates, Question, drop_long, drop_repeated

_URL = re.compile(r"\bhttps?://\S+|\bwww\.\S+", re.IGNORECASE)
_CODE = re.compile(r"```.*|~~~.*|<(?:code|pre)>", re.IGNORECASE)


def filter_questions(questions: Sequence[Question], params: FilterParams) -> Fates:
    """Questions that are too long, hold a web address or code, or were asked before; each has the first such reason."""
    fates = drop_long(questions, params.max_characters)
    if params.urls == "drop":
        fates |= _holding(_URL, "url", questions, fates)
    if params.code == "drop":
        fates |= _holding(_CODE, "code", questions, fates)
    if params.duplicate_prompts == "drop":
        fates |= drop_repeated(questions, fates)
    return fates


def _holding(pattern: re.Pattern[str], reason: str, questions: Sequence[Question], fates: Fates) -> Fates:
    found: Fates = {}
    for place, question in enumerate(questions):
        if place in fates:
            continue
        texts = (message["content"] for message in question.messages)
        if match := next(filter(None, map(pattern.search, texts)), None):
            found[place] = (reason, match[0][:80])
    return found
