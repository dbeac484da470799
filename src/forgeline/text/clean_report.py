"""Where documents went while they were cleaned, by language, and which rules may be unfit for a language."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from forgeline.core.records import Counts
from forgeline.text.language import UNDETERMINED
from forgeline.text.quality.assumptions import ASSUMPTIONS

# The rules were chosen on English text. From this share on, a rule that assumes something of the language and drops so
# much of another one is worth a warning: it is likely to be unfit.
_SUSPICIOUS_SHARE = 0.2
_FEWEST_JUDGED = 20  # documents of a language; fewer tell nothing
_ENGLISH = "en"


@dataclass
class CleanReport:
    """Figures of a shard, or of several added up.

    Attributes:
        num_in: Documents read.
        num_repaired: Documents in which mojibake was repaired.
        figures: `text_figures` of the kept documents.
        pii: Places masked, by kind.
        languages: Documents by the language found in them; empty if nobody asked.
        dropped: Dropped documents by reason.
        judged: Documents that came to the quality rules, by language.
        broken: Documents that a quality rule dropped, by language and reason.
        suspects: Some of those that a rule dropped which assumes something of a language, by the language found in
            them; only of sources that say what they hold.
    """

    num_in: int = 0
    num_repaired: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    suspects: Counter[str] = field(default_factory=Counter)

    def add(self, other: "CleanReport") -> None:
        """Adds the figures of another shard."""
        self.num_in += other.num_in
        self.num_repaired += other.num_repaired
        for name in ("figures", "pii", "languages", "dropped", "judged", "broken", "suspects"):
            getattr(self, name).update(getattr(other, name))

    @property
    def counts(self) -> Counts:
        """Documents in, out and dropped."""
        return Counts(self.num_in, self.figures["num_documents"], dict(sorted(self.dropped.items())))

    def metrics(self, source: str) -> dict[str, Any]:
        """What the metrics file says beside the counts."""
        return {
            "documents": dict(self.figures),
            "repaired": self.num_repaired,
            "pii": dict(self.pii),
            "languages": dict(self.languages.most_common()),
            "warnings": self.warnings(source),
        }

    def warnings(self, source: str) -> list[str]:
        """What a user should look at: rules that may be unfit for a language, and a source in another than it says."""
        unfit = [
            self._unfit(source, language, reason)
            for language, reason in sorted(self.broken)
            if language not in (_ENGLISH, UNDETERMINED) and reason in ASSUMPTIONS
            if self.judged[language] >= _FEWEST_JUDGED
            if self.broken[language, reason] > _SUSPICIOUS_SHARE * self.judged[language]
        ]
        return unfit + self._wrong_language(source)

    def _unfit(self, source: str, language: str, reason: str) -> str:
        rule, num_judged = ASSUMPTIONS[reason], self.judged[language]
        return (
            f"{source}: {reason} dropped {self.broken[language, reason] / num_judged:.0%} of {num_judged:,} documents "
            f"in '{language}', and that rule assumes {rule.assumes}: give the language rules of its own in "
            f"clean.rules.{language} and change {rule.knob} there (docs/cleaning.md)"
        )

    def _wrong_language(self, source: str) -> list[str]:
        declared = max(self.judged, key=lambda language: self.judged[language], default="")
        likeliest, num_found = self.suspects.most_common(1)[0] if self.suspects else ("", 0)
        num_broken = sum(number for (_, reason), number in self.broken.items() if reason in ASSUMPTIONS)
        if (
            likeliest in ("", UNDETERMINED, declared)
            or num_found <= self.suspects.total() / 2
            or num_broken <= _SUSPICIOUS_SHARE * self.judged.total()
        ):
            return []
        return [
            f"{source}: its language is given as '{declared}', but {num_found} of {self.suspects.total()} documents "
            f"that rules for that language dropped look like '{likeliest}': set ingest.sources.{source}.language"
        ]
