"""Records with a field for the question and one for the answer."""

from dataclasses import dataclass, field
from typing import Any

from forgeline.core.records import Message
from forgeline.sources.conversations.multi_turn import Chat, missing_or_wrong
from forgeline.sources.conversations.problems import RecordProblem


@dataclass(frozen=True)
class SingleTurn:
    """Makes one chat of each record.

    Attributes:
        question: Field of what the user asks.
        answer: Field of what the assistant says.
        details: Optional field that goes on with the question after a blank line: Alpaca's `input`, Dolly's `context`.
        system: Optional field of a system prompt.
        history: Optional field of earlier turns, a list of pairs of question and answer.
        optional: These three together.
    """

    question: str
    answer: str
    details: str
    system: str
    history: str
    optional: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "optional", frozenset((self.details, self.system, self.history)))

    def chat(self, row: dict[str, Any]) -> Chat:
        """The conversation of a record.

        Raises:
            RecordProblem: It is not one to learn from.
        """
        question, answer = row.get(self.question), row.get(self.answer)
        if type(question) is not str or type(answer) is not str:
            wrong = self.question if type(question) is not str else self.answer
            raise missing_or_wrong(row, wrong, "text")
        before: list[Message] = []
        if not self.optional.isdisjoint(row):
            before, question = self._before(row), self._with_details(row, question)
        asked, said = question.strip(), answer.strip()
        if not asked or not said:
            raise RecordProblem(
                "empty", self.answer if asked else self.question, "blank: write text or remove the record"
            )
        if asked == said:
            raise RecordProblem("echo", self.answer, "the answer equals the question: correct or remove the record")
        return [*before, {"role": "user", "content": question}, {"role": "assistant", "content": answer}], ""

    def _with_details(self, row: dict[str, Any], question: str) -> str:
        details = self._text(row, self.details)
        return f"{question}\n\n{details}" if details.strip() else question

    def _before(self, row: dict[str, Any]) -> list[Message]:
        """System prompt and earlier turns."""
        system = self._text(row, self.system)
        messages: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
        pairs = row.get(self.history) or []
        for place, pair in enumerate(pairs if isinstance(pairs, list) else [pairs]):
            messages += _turns_of(pair, f"{self.history}[{place}]")
        return messages

    def _text(self, row: dict[str, Any], name: str) -> str:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise missing_or_wrong(row, name, "text")
        return value or ""


def _turns_of(pair: Any, field: str) -> list[Message]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise RecordProblem("wrong_type", field, "expected a pair of texts, question and answer: correct it")
    question, answer = pair
    if not question.strip() or not answer.strip():
        raise RecordProblem("empty", field, "question or answer is blank: write text or remove the pair")
    if question.strip() == answer.strip():
        raise RecordProblem("echo", field, "the answer equals the question: correct or remove the pair")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
