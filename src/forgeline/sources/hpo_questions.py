"""Questions about ontology terms: their organ system, what they are kinds of, and their definitions.

All questions about a term belong to the split of the term. In training the wording varies; validation and test use one
canonical wording. Held-out terms occur in training questions neither as the term asked about nor as the kind asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forgeline.sources.hpo import PHENOTYPIC_ABNORMALITY, Ontology
from forgeline.sources.pairing import swap_pairs
from forgeline.sources.questions import Question, user
from forgeline.text.split import Split, unit_hash

ORGAN_SYSTEM = (  # the first wording of each task is the canonical one
    "What organ system does {x} affect? Answer in \\boxed{{}}.",
    "Which organ system does {x} belong to? Answer in \\boxed{{}}.",
    "Name the organ system of {x}. Answer in \\boxed{{}}.",
    "{x}: which organ system is this? Answer in \\boxed{{}}.",
)
IS_A = ("Is {x} a kind of {y}?", "Is {x} a subtype of {y}?", "Does {x} fall under {y}?")
DEFINITION = "What is {x}?"
YES, NO = "Yes.", "No."
NUM_CHOICES = 4


def hpo_questions(ontology: Ontology, splits: Mapping[str, Split], source: str, seed: int) -> list[Question]:
    """Every question of every task.

    Args:
        ontology: The terms.
        splits: Split of each term, by id.
        source: Name of the instruction set, written into every question.
        seed: Chooses wordings, kinds asked for, and wrong choices.
    """
    builder = _Builder(ontology, splits, source, seed)
    return [
        *builder.organ_system_questions(),
        *(question for split in ("train", "validation", "test") for question in builder.is_a_questions(split)),
        *builder.definition_questions(),
        *builder.definition_choices(),
    ]


def single_system_terms(ontology: Ontology) -> dict[str, str]:
    """Terms that lie in exactly one organ system (and are none), by id, with the short name of the system."""
    found = {key: ontology.systems_of(key) for key in ontology.terms if key not in ontology.organ_systems}
    return {key: systems[0] for key, systems in found.items() if len(systems) == 1}


def unrelated(ontology: Ontology, first: str, second: str) -> bool:
    """Whether two terms have no organ system in common."""
    return not set(ontology.systems_of(first)) & set(ontology.systems_of(second))


def boxed(answer: str) -> str:
    r"""The answer as it is to be written, for example `\boxed{Eye}`."""
    return f"\\boxed{{{answer}}}"


@dataclass(frozen=True)
class _Kind:
    """A term and one of the kinds it belongs to."""

    term: str
    kind: str


class _Builder:
    def __init__(self, ontology: Ontology, splits: Mapping[str, Split], source: str, seed: int) -> None:
        self.ontology = ontology
        self.splits = splits
        self.source = source
        self.seed = seed

    def organ_system_questions(self) -> list[Question]:
        return [
            self._question("organ_system", key, self._say(ORGAN_SYSTEM, key), boxed(system))
            for key, system in single_system_terms(self.ontology).items()
        ]

    def is_a_questions(self, split: Split) -> list[Question]:
        """Four questions for each two terms: both kinds asked of both, so every term and kind has as many yes as no."""
        return [
            question
            for first, second in swap_pairs(self._kinds(split), self._wrong_for_each_other)
            for question in self._is_a_block(first, second)
        ]

    def definition_questions(self) -> list[Question]:
        return [
            self._question("definition", term.term_id, DEFINITION.format(x=term.name), term.definition)
            for term in self.ontology.terms.values()
            if term.definition and self.splits[term.term_id] != "test"
        ]

    def definition_choices(self) -> list[Question]:
        tested = [key for key, split in self.splits.items() if split == "test" and self.ontology.terms[key].definition]
        questions = []
        for key in tested:
            distractors = self._distractors(key)
            if len(distractors) == NUM_CHOICES - 1:
                questions.append(self._definition_choice(key, distractors))
        return questions

    def _question(
        self,
        task: str,
        key: str,
        prompt: str,
        answer: str,
        choices: tuple[str, ...] = (),
        block: str = "",
        distractor_keys: tuple[str, ...] = (),
    ) -> Question:
        split = self.splits[key]
        return Question(task, split, key, self.source, user(prompt), answer, choices, block, distractor_keys)

    def _say(self, wordings: Sequence[str], key: str, other: str = "") -> str:
        """One of the wordings in training, chosen by hash; the canonical one elsewhere."""
        choice = int(self._hash(f"wording:{key}:{other}") * len(wordings)) if self.splits[key] == "train" else 0
        names = {"x": self.ontology.terms[key].name, "y": self.ontology.terms[other].name if other else ""}
        return wordings[choice].format(**names)

    def _hash(self, key: str) -> float:
        return unit_hash(key, self.seed)

    def _kinds(self, split: Split) -> list[_Kind]:
        """One kind for every term of the split that has a suitable one, in an order by hash."""
        chosen = []
        for key in self.ontology.terms:
            kinds = self._suitable_kinds(key) if self.splits[key] == split else []
            if kinds:
                chosen.append(_Kind(key, kinds[int(self._hash(f"kind:{key}") * len(kinds))]))
        return sorted(chosen, key=lambda pair: self._hash(f"order:{pair.term}"))

    def _suitable_kinds(self, key: str) -> list[str]:
        """Terms above it that are in training, below the organ systems (those are a task of their own)."""
        above = self.ontology.ancestors(key)
        if PHENOTYPIC_ABNORMALITY not in above:
            return []
        general = {
            *self.ontology.organ_systems,
            PHENOTYPIC_ABNORMALITY,
            *self.ontology.ancestors(PHENOTYPIC_ABNORMALITY),
        }
        return sorted(kind for kind in above - general if self.splits[kind] == "train")

    def _wrong_for_each_other(self, first: _Kind, second: _Kind) -> bool:
        """Terms share no organ system with each other's kind: relatives' kinds were not learnable at this size."""
        return unrelated(self.ontology, first.term, second.kind) and unrelated(self.ontology, second.term, first.kind)

    def _is_a_block(self, first: _Kind, second: _Kind) -> list[Question]:
        asked = [(first, first, YES), (first, second, NO), (second, second, YES), (second, first, NO)]
        block = f"{first.term} {second.term}"
        return [
            self._question("is_a", x.term, self._say(IS_A, x.term, y.kind), answer, choices=(YES, NO), block=block)
            for x, y, answer in asked
        ]

    def _distractors(self, key: str) -> list[str]:
        """Ids of three relatives with other definitions, siblings first, then cousins; fewer if they lack."""
        siblings = self.ontology.siblings(key)
        parents = self.ontology.terms[key].parents
        aunts = {aunt for parent in parents for aunt in self.ontology.siblings(parent)} - set(parents)
        cousins = {child for aunt in aunts for child in self.ontology.children.get(aunt, [])} - {key, *siblings}
        seen = {self.ontology.terms[key].definition, ""}
        chosen: list[str] = []
        for group in (siblings, sorted(cousins)):
            for relative in sorted(group, key=lambda other: self._hash(f"distractor:{key}:{other}")):
                definition = self.ontology.terms[relative].definition
                if definition not in seen and len(chosen) < NUM_CHOICES - 1:
                    seen.add(definition)
                    chosen.append(relative)
        return chosen

    def _definition_choice(self, key: str, distractors: list[str]) -> Question:
        order = sorted([key, *distractors], key=lambda other: self._hash(f"choice:{key}:{other}"))
        terms = self.ontology.terms
        return self._question(
            "definition_choice",
            key,
            DEFINITION.format(x=terms[key].name),
            terms[key].definition,
            choices=tuple(terms[other].definition for other in order),
            distractor_keys=tuple(distractors),
        )
