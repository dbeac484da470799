"""Tool definitions and calls as JSON text, however a data set writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from forgeline.sources.conversations.problems import RecordProblem


def tools_text(value: Any, field: str) -> str:
    """Tool definitions, given as a list or as JSON text of one, as JSON text; empty when there are none.

    Raises:
        RecordProblem: They are something else.
    """
    if value is None or value == "" or value == []:
        return ""
    definitions = _parsed(value, field) if isinstance(value, str) else value
    if not isinstance(definitions, list) or not all(isinstance(tool, dict) for tool in definitions):
        raise RecordProblem("tools", field, "expected a list of tool definitions (objects), or JSON text of one")
    if not definitions:
        return ""
    return value if isinstance(value, str) else orjson.dumps(definitions).decode()


def call_text(value: Any, field: str) -> str:
    """A function call, or a list of parallel ones, as JSON text. Text is kept as it is.

    Raises:
        RecordProblem: It is neither an object nor a list of objects that have a name.
    """
    calls = _parsed(value, field) if isinstance(value, str) else value
    for call in calls if isinstance(calls, list) and calls else [calls]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise RecordProblem(
                "tools", field, 'no function call: write {"name": ..., "arguments": {...}} or a list of such objects'
            )
    return value if isinstance(value, str) else orjson.dumps(calls).decode()


def openai_calls_text(calls: Sequence[Any], field: str) -> str:
    """The `tool_calls` of an assistant turn as one function call, or a list of parallel ones.

    Raises:
        RecordProblem: A call has no function, or its arguments are no JSON.
    """
    found = []
    for place, call in enumerate(calls):
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise RecordProblem(
                "tools", f"{field}[{place}]", "no function call: write an object with name and arguments"
            )
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            arguments = _parsed(arguments, f"{field}[{place}].arguments")
        found.append({"name": function.get("name"), "arguments": arguments})
    return call_text(found[0] if len(found) == 1 else found, field)


def _parsed(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RecordProblem("tools", field, f"not valid JSON ({error}): correct it") from None
