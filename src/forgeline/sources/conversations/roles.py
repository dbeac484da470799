"""Who speaks in a conversation, and who may follow whom."""

from collections.abc import Sequence

from forgeline.core.records import Message
from forgeline.sources.conversations.problems import RecordProblem

ROLES = ("system", "user", "assistant", "function_call", "observation")
SPOKEN = ("assistant", "function_call")  # by the model, hence learned
# What published data sets call them.
ALIASES = {role: role for role in ROLES} | {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool_call": "function_call",
    "tool": "observation",
    "function": "observation",
    "tool_response": "observation",
    "function_response": "observation",
}
FOLLOWERS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": SPOKEN,
    "assistant": ("user",),
    "function_call": ("observation",),
    "observation": (*SPOKEN, "observation"),
}


def role_named(name: object, field: str) -> str:
    """The role that a record calls `name`.

    Raises:
        RecordProblem: There is none.
    """
    role = ALIASES.get(name) if isinstance(name, str) else None
    if role is None:
        raise RecordProblem(
            "unknown_role", field, f"unknown role {str(name)[:40]!r}: write one of {', '.join(sorted(ALIASES))}"
        )
    return role


def check_turns(messages: Sequence[Message], turns: str, content: str, first: int = 0) -> None:
    """Whether a conversation is one to learn from.

    Args:
        messages: Its turns, with our roles.
        turns: Name of the record's field that holds them, for messages.
        content: Name of the field that holds what a turn says.
        first: Place of the first message among the record's turns; -1 if it is a system prompt put before them.

    Raises:
        RecordProblem: Roles are out of order, a turn is blank (an observation may be), or an answer is its question.
    """
    before, said = "", ""
    for place, message in enumerate(messages, start=first):
        role, text = message["role"], message["content"]
        if role not in FOLLOWERS[before]:
            after = f"after {before}" if before else "at the beginning"
            raise RecordProblem(
                "role_order",
                f"{turns}[{place}]",
                f"roles out of order: {role} {after}, expected {' or '.join(FOLLOWERS[before])}: correct the order",
            )
        text = text.strip()
        if not text and role != "observation":
            raise RecordProblem(
                "empty", f"{turns}[{place}].{content}", f"the {role} says nothing: write text or remove the record"
            )
        if role == "assistant" and text == said:
            raise RecordProblem(
                "echo", f"{turns}[{place}].{content}", "the answer equals the question: correct or remove the record"
            )
        before, said = role, text
    if before not in SPOKEN:
        last = f"ends with {before}" if before else "has no turns"
        raise RecordProblem(
            "role_order", turns, f"the conversation {last}, expected the assistant's answer: complete it"
        )
