"""Chat templates: Jinja files that begin with a comment in which a template says what it needs.

    {#- forgeline {"end_of_turn": "<|eot_id|>", "special_tokens": ["<|start_header_id|>", "<|eot_id|>"], ...} -#}

The comment is saved in the tokenizer with the rest of the file, so whoever has the tokenizer has these facts too. A
template without it is taken to use the tokens of the pipeline.
"""

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forgeline.core.errors import ParamsError

END_OF_TURN = "<|im_end|>"
START_OF_TURN = "<|im_start|>"
TEMPLATE_FILE = "chat_template.jinja"  # its name in a tokenizer or model folder

_FACTS = re.compile(r"\A\{#-?\s*forgeline\s*(\{.*?\})\s*-?#\}", re.DOTALL)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TemplateFacts(BaseModel):
    """What a template says about itself.

    Attributes:
        source: Where the family publishes this format.
        end_of_turn: The token that ends the assistant's turn.
        special_tokens: All tokens it writes that must not be cut into pieces.
        stop_tokens: Further tokens at which the assistant stops, besides `end_of_turn`.
        roles: Roles it can render; null is any.
        calls: How it wants the arguments of a function call: as a mapping or as JSON text; null is no calls at all.
        tool_definitions: Whether it has a place for the definitions of tools.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = ""
    end_of_turn: str = END_OF_TURN
    special_tokens: tuple[str, ...] = (START_OF_TURN, END_OF_TURN)
    stop_tokens: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    calls: Literal["dict", "text"] | None = None
    tool_definitions: bool = Field(default=True)

    @property
    def takes_tools(self) -> bool:
        """Whether definitions of tools can be rendered."""
        return self.calls is not None and self.tool_definitions


def template_names() -> list[str]:
    """The templates there are, in alphabetical order."""
    folder = resources.files("forgeline.tokenization.templates")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".jinja"))


def find_template(name: str) -> str:
    """The source of the template called `name`, or in the file at this path.

    Raises:
        ParamsError: There is none; the message lists those there are.
    """
    known = template_names()
    if name in known:
        file = resources.files("forgeline.tokenization.templates") / f"{name}.jinja"
        return file.read_text(encoding="utf-8").rstrip("\n")
    path = Path(name)
    if path.suffix == ".jinja" and path.is_file():
        return path.read_text(encoding="utf-8").rstrip("\n")
    raise ParamsError(
        f"params.yaml: tokenizer.chat_template '{name}' is not one of {', '.join(known)}, nor a .jinja file"
    )


@cache
def facts_of(source: str) -> TemplateFacts:
    """What a template says about itself in its first comment.

    Raises:
        ParamsError: The comment is not JSON of these facts.
    """
    found = _FACTS.match(source)
    if found is None:
        return _facts_of_unknown(source)
    try:
        return TemplateFacts.model_validate_json(found[1])
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise ParamsError(
            f"the chat template's first comment is not understood ({where}: {problem['msg']}): see docs/templates.md"
        ) from None


def _facts_of_unknown(source: str) -> TemplateFacts:
    """A template from elsewhere: whether it renders tools is seen from the names it uses."""
    return TemplateFacts(calls="dict" if "tool_calls" in source else None, tool_definitions="tools" in source)


def marks_answers(source: str) -> bool:
    """Whether the template marks what the assistant says."""
    return _GENERATION.search(source) is not None
