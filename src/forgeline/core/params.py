"""params.yaml and dvc.yaml: the only place that reads or writes YAML.

YAML 1.2 throughout: under 1.1 rules `3e-05`, which `dvc exp run -S` writes, is a string, and `no` is a boolean.
Types are strict because DVC compares values with Python's `==`: to it `0`, `0.0` and `false` are the same parameter.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from forgeline.core.errors import ParamsError

PARAMS_FILE = Path("params.yaml")


class Section(BaseModel):
    """Base of every params section: immutable, nothing unknown, no type coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


SectionT = TypeVar("SectionT", bound=BaseModel)  # a Section, or a choice between several (pydantic's RootModel)


def read_yaml(path: Path) -> Any:
    """The YAML 1.2 content of `path`; mappings keep the order and the line numbers of the file.

    Raises:
        ParamsError: The file is missing or is not valid YAML (names the line).
    """
    return _parse(path, _read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist: run from the root of the repository") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None


def _parse(path: Path, text: str) -> Any:
    try:
        return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = error.problem or error.context or ""
        if isinstance(error, DuplicateKeyError):  # it goes on to quote both values, a whole mapping each
            problem = f"{problem.partition(' with value ')[0]}: rename or remove one of the two"
        raise ParamsError(f"{path}{line}: not valid YAML: {problem}") from None
    except YAMLError as error:  # a control character, which the scanner reports without a line
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


@lru_cache(maxsize=1)
def _parse_once(path: Path, text: str) -> Any:
    """As `_parse`, for readers that leave the document as it is: a stage loads several sections of one file."""
    return _parse(path, text)


def plain(node: Any) -> Any:
    """`node` of a YAML document as builtin dicts, lists and scalars, with exact builtin types for strict validation."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    for builtin in (bool, int, float, str):
        if isinstance(node, builtin):
            return builtin(node)
    return node


def write_yaml(path: Path, document: Any) -> None:
    """Writes a document that `read_yaml` returned, with its comments."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _write_null)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def _write_null(representer: Any, _value: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")  # ruamel would leave the place empty


def load_all(path: Path = PARAMS_FILE) -> Any:
    """The whole of params.yaml as builtin types, not validated; raises `ParamsError` as `read_yaml` does."""
    return plain(_parse_once(path, _read(path)))


def load(section: str, model: type[SectionT], path: Path = PARAMS_FILE) -> SectionT:
    """One section of params.yaml, validated.

    Args:
        section: Dotted path of the section, for example `sft` or `align.dpo`.
        model: The pydantic model that describes it.
        path: The parameter file.

    Raises:
        ParamsError: The section or a key is missing, unknown, of the wrong type or out of range. The message names
            file, line, key, value and what was expected, one line per problem.
    """
    document = _parse_once(path, _read(path))
    node = document
    for part in section.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ParamsError(f"{path}: section '{section}' is missing: restore it from presets/default.yaml")
        node = node[part]
    return validate(plain(node), model, section, path, document)


def validate(values: Any, model: type[SectionT], section: str, path: Path, document: Any) -> SectionT:
    """`values` as a `model`; see `load` for what is raised. An empty section is the whole document."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem, section, path, document) for problem in error.errors()]
        raise ParamsError("\n".join(lines)) from None


def _explain(problem: ErrorDetails, section: str, path: Path, document: Any) -> str:
    kind = problem["type"]
    keys, chosen = _keys_and_choice([*filter(None, section.split(".")), *problem["loc"]], kind, document)
    if kind.startswith("union_tag_"):  # the key that chooses is missing or names no alternative
        keys.append(problem["ctx"]["discriminator"].strip("'"))
    name = ".".join(str(key) for key in keys)
    where = f"{path}:{_line_of(document, keys)}"
    if kind in ("missing", "union_tag_not_found"):
        reason = f"{chosen} needs it" if chosen else "presets/default.yaml shows every key with a value"
        return f"{where}: {name} is missing: add it ({reason})"
    if kind == "extra_forbidden":
        of = f" of {chosen}" if chosen else ""
        return f"{where}: {name} is not a known parameter{of}: check its spelling or remove it"
    if kind == "value_error":  # a rule across fields: its text names the keys and the remedy
        return f"{where}: {name}: {problem['msg'].removeprefix('Value error, ')}"
    value = problem["input"]
    expected = problem["msg"].removeprefix("Input should be ")
    if kind == "union_tag_invalid":
        value, expected = value[keys[-1]], f"one of {problem['ctx']['expected_tags']}"
    elif kind == "model_attributes_type":
        expected = "a mapping of keys to values"
    return f"{where}: {name}: got {value!r} ({_type_name(value)}), expected {expected}"


def _keys_and_choice(location: list[Any], kind: str, document: Any) -> tuple[list[Any], str | None]:
    """The keys of a problem as they stand in the document, and which of several kinds of section it is in.

    Where a key such as `name` or `kind` chooses among models, pydantic puts the choice between the keys. It is known by
    being a value there and no key.
    """
    keys: list[Any] = []
    chosen = None
    node = document
    for position, key in enumerate(location):
        names_a_key = kind in ("missing", "extra_forbidden") and position == len(location) - 1
        if isinstance(node, dict) and key not in node and key in node.values() and not names_a_key:
            chosen = key
            continue
        keys.append(key)
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            node = None
    return keys, chosen


def _type_name(value: object) -> str:
    names = {str: "text", bool: "true/false", int: "whole number", float: "number", type(None): "nothing"}
    return names.get(type(value), "list" if isinstance(value, list) else "mapping")


def _line_of(document: Any, keys: list[Any]) -> int:
    """1-based line of the deepest of `keys` that exists in the document."""
    line = 1
    node = document
    for key in keys:
        try:
            position = node.lc.key(key) if isinstance(node, CommentedMap) else node.lc.item(key)
            line = int(position[0]) + 1
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line
