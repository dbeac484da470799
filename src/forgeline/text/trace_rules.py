"""What the present params.yaml says about a document: the threshold that a rule has, and the verdict it would get."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa

from forgeline.core.records import DOCUMENTS, documents_table
from forgeline.text.clean import clean
from forgeline.text.clean_params import AUTO, CleanParams
from forgeline.text.quality.knobs import GENERAL_KNOBS, QUALITY_KNOBS


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
        if reason in GENERAL_KNOBS:
            name = GENERAL_KNOBS[reason]
        elif reason in QUALITY_KNOBS:
            name = f"rules.{self.params.profile(language)}.{QUALITY_KNOBS[reason]}"
        else:
            return ""
        value = reduce(lambda node, part: node[part], name.split("."), self.params.model_dump(mode="json"))
        return f"clean.{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _one(text: str, source: str) -> pa.Table:
    return documents_table([text], source).cast(DOCUMENTS)
