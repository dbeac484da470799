"""Questions with their answers, before they become training conversations or evaluation samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from forgeline.core.records import Conversation, EvalSample, Message
from forgeline.text.funnel import DroppedRow
from forgeline.text.split import SPLITS, Split, unit_hash

Fates = dict[int, tuple[str, str]]  # position of a dropped question -> (reason, detail)


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        task: What is asked.
        split: Where it belongs.
        split_key: What decided that: the term asked about, else the prompt.
        source: Name of the instruction set.
        prompt: The turns before the answer.
        answer: The right one.
        choices: Answers to choose from by likelihood; empty when the answer is generated.
        block: Questions of one block are kept or dropped together by `cap`, which keeps yes and no in balance.
        distractor_keys: Split keys of whatever the wrong choices were taken from.
        tools: JSON text of the tool definitions, empty when there are none.
        answer_role: Who speaks last: `assistant`, or `function_call` where the right answer is a call.
    """

    task: str
    split: Split
    split_key: str
    source: str
    prompt: list[Message]
    answer: str
    choices: tuple[str, ...] = ()
    block: str = ""
    distractor_keys: tuple[str, ...] = field(default=())
    tools: str = ""
    answer_role: str = "assistant"

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, the right answer last."""
        return [*self.prompt, {"role": self.answer_role, "content": self.answer}]

    @property
    def identity(self) -> str:
        """Content hash of the conversation."""
        return self.conversation().conversation_id

    def conversation(self) -> Conversation:
        """As something to train on."""
        return Conversation.make(self.source, self.task, self.split_key, self.messages, self.tools)

    def sample(self) -> EvalSample:
        """As something to be scored on."""
        return EvalSample.make(self.task, self.split_key, self.prompt, self.answer, self.choices, self.tools)

    def dropped(self, reason: str, detail: str) -> DroppedRow:
        """As a row of the dropped table, its text the prompt with a line for each turn; without one, the answer."""
        text = "\n".join(f"{message['role']}: {message['content']}" for message in self.prompt or self.messages)
        return DroppedRow(self.identity, text, self.source, reason, detail)


def user(content: str) -> list[Message]:
    """A prompt of one turn."""
    return [{"role": "user", "content": content}]


def drop_long(questions: Sequence[Question], max_characters: int) -> Fates:
    """Questions whose conversation has more characters, as `too_long`."""
    lengths = [sum(len(message["content"]) for message in question.messages) for question in questions]
    return {
        place: ("too_long", f"{length} characters") for place, length in enumerate(lengths) if length > max_characters
    }


def drop_repeated(questions: Sequence[Question], fates: Fates) -> Fates:
    """Questions whose prompt was asked before but for case and white space, as `duplicate_prompt`.

    Test comes first, then validation, then train: what is asked in a test is never trained on. Questions in `fates` are
    passed over.
    """
    held_out_first = sorted(range(len(questions)), key=lambda place: -SPLITS.index(questions[place].split))
    first: dict[tuple[str, ...], int] = {}
    repeated: Fates = {}
    for place in held_out_first:
        if place in fates:
            continue
        turns = [
            f"{message['role']} {' '.join(message['content'].lower().split())}"
            for message in questions[place].prompt or questions[place].messages
        ]
        earlier = first.setdefault(tuple(turns), place)
        if earlier != place:
            repeated[place] = ("duplicate_prompt", questions[earlier].identity)
    return repeated


def drop_revealing(questions: Sequence[Question], fates: Fates, tasks: frozenset[str]) -> Fates:
    """Training and validation questions of `tasks` whose answer is a wrong choice in a kept test, as `contaminated`.

    A model trained on them would recognise the wrong choices instead of the right one.
    """
    askers = {
        key: question.sample().sample_id
        for place, question in enumerate(questions)
        if question.split == "test" and place not in fates
        for key in question.distractor_keys
    }
    return {
        place: ("contaminated", askers[question.split_key])
        for place, question in enumerate(questions)
        if question.split != "test" and place not in fates and question.task in tasks and question.split_key in askers
    }


def cap(
    questions: Sequence[Question], fates: Fates, limits: Mapping[tuple[str, Split], int | None], seed: int
) -> Fates:
    """Questions beyond the limit of their task and split, as `over_limit`.

    Whole blocks are kept, in the order of a hash of task and block, while they fit.

    Args:
        questions: All of them.
        fates: Those that are dropped already and do not count.
        limits: Most questions of a (task, split); None or no entry takes all.
        seed: Salt of the hash.
    """
    blocks: dict[tuple[str, Split], dict[str, list[int]]] = {}
    for place, question in enumerate(questions):
        if place not in fates:
            group = blocks.setdefault((question.task, question.split), {})
            group.setdefault(question.block or question.split_key, []).append(place)
    over: Fates = {}
    for (task, split), group in blocks.items():
        limit = limits.get((task, split))
        if limit is not None:
            order = sorted(group, key=lambda block: unit_hash(f"{task}:{block}", seed))
            over |= {
                place: ("over_limit", f"max {limit}") for place in _beyond([group[block] for block in order], limit)
            }
    return over


def _beyond(blocks: Iterable[list[int]], limit: int) -> list[int]:
    room = limit
    beyond: list[int] = []
    for block in blocks:
        if len(block) <= room:
            room -= len(block)
        else:
            beyond += block
    return beyond
