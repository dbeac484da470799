"""Where documents went while they were cleaned, by language, and which rules may be unfit for a language."""

from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from forgeline.core.records import Counts
from forgeline.text.language import UNDETERMINED
from forgeline.text.quality.assumptions import ASSUMPTIONS, RUNS_OF_WORDS
from forgeline.text.quality.knobs import GENERAL_KNOBS, QUALITY_KNOBS

# The rules were chosen on English text. From this share on, a rule that assumes something of the language and drops so
# much of another one is worth a warning: it is likely to be unfit.
_SUSPICIOUS_SHARE = 0.2
_FEWEST_JUDGED = 20  # documents of a language; fewer tell nothing
_NEARLY_ALL = 0.9  # of a source's documents: when one rule drops more, somebody should look, whatever the language
_ENGLISH = "en"

TOO_SHORT = "too_short"


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
        broken: Documents dropped by a rule that assumes something of a language, and may be unfit for them, by
            language and reason; `too_short` only where a character says more than a letter does.
        suspects: Some of those, by the language found in them; only of sources that say what they hold.
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
        """What a user should look at: unfit rules, a source in another language than it says, or one nearly gone."""
        unfit = [
            self._unfit(source, language, rules)
            for language in sorted({language for language, _ in self.broken} - {_ENGLISH, UNDETERMINED})
            for rules in self._alike(language)
            if self._num_met(language, rules) >= _FEWEST_JUDGED
            if self._num_broken(language, rules) > _SUSPICIOUS_SHARE * self._num_met(language, rules)
        ]
        told = unfit + self._wrong_language(source)
        return told + self._nearly_all(source, told)

    def _alike(self, language: str) -> list[list[str]]:
        """Rules that dropped documents in a language, those for runs of words together: they fail for one cause."""
        broken = [reason for code, reason in sorted(self.broken) if code == language]
        runs = [reason for reason in RUNS_OF_WORDS if reason in broken]
        return [[reason] for reason in broken if reason not in runs] + ([runs] if runs else [])

    def _num_broken(self, language: str, rules: list[str]) -> int:
        return sum(self.broken[language, rule] for rule in rules)

    def _num_met(self, language: str, rules: list[str]) -> int:
        """Documents that came to some rules; of all that were too short, only those counted have a known language."""
        return self.judged[language] + (self.broken[language, TOO_SHORT] if TOO_SHORT in rules else 0)

    def _unfit(self, source: str, language: str, rules: list[str]) -> str:
        num_met = self._num_met(language, rules)
        share = self._num_broken(language, rules) / num_met
        assume = "that rule assumes" if len(rules) == 1 else "those rules assume"
        return (
            f"{source}: {', '.join(rules)} dropped {share:.0%} of {num_met:,} documents in '{language}', and {assume} "
            f"{_remedy(language, rules)} (docs/cleaning.md)"
        )

    def _wrong_language(self, source: str) -> list[str]:
        num_met = self.judged + Counter(
            {language: number for (language, reason), number in self.broken.items() if reason == TOO_SHORT}
        )
        declared = max(num_met, key=lambda language: num_met[language], default="")
        likeliest, num_found = self.suspects.most_common(1)[0] if self.suspects else ("", 0)
        if (
            likeliest in ("", UNDETERMINED, declared)
            or num_found <= self.suspects.total() / 2
            or self.broken.total() <= _SUSPICIOUS_SHARE * num_met.total()
        ):
            return []
        (_, reason), num_dropped = max(sorted(self.broken.items()), key=itemgetter(1))
        return [
            f"{source}: its language is given as '{declared}', but {num_found} of {self.suspects.total()} documents "
            f"that rules for that language dropped look like '{likeliest}' ({reason} dropped most, {num_dropped:,}): "
            f"set ingest.sources.{source}.language"
        ]

    def _nearly_all(self, source: str, told: list[str]) -> list[str]:
        """What a rule takes that leaves next to nothing of a source, if no other warning names that rule."""
        reason, num_dropped = max(sorted(self.dropped.items()), key=itemgetter(1), default=("", 0))
        if num_dropped <= _NEARLY_ALL * self.num_in or any(reason in warning for warning in told):
            return []
        knob = f"{QUALITY_KNOBS[reason]} in clean.rules" if reason in QUALITY_KNOBS else "clean.rules"
        if reason in GENERAL_KNOBS:
            knob = f"clean.{GENERAL_KNOBS[reason]}"
        return [
            f"{source}: {reason} dropped {num_dropped / self.num_in:.0%} of {self.num_in:,} documents, nearly all "
            f"of them: if they were meant to stay, change {knob} (docs/cleaning.md)"
        ]


def _remedy(language: str, rules: list[str]) -> str:
    """What rules that fail for one cause assume, and what to do about it."""
    if TOO_SHORT in rules:
        return f"an alphabet, in which a text has more characters: lower clean.{GENERAL_KNOBS[TOO_SHORT]}"
    knobs = ", ".join(ASSUMPTIONS[rule].knob for rule in rules)
    own_rules = f"{ASSUMPTIONS[rules[0]].assumes}: give the language rules of its own in clean.rules.{language} and"
    if rules[0] in RUNS_OF_WORDS:
        return f"{own_rules} set words there to characters, or change {knobs}"
    return f"{own_rules} change {knobs} there"
