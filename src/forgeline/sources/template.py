r"""What `text` of a source means: a field, or several put together by a template.

`text: body` names a field, `text: meta.body` one inside another, and `text: "{question}\n\n{answer}"` is a template:
names of fields in braces, `{{` and `}}` for braces themselves.
"""

from string import Formatter


def is_template(text: str) -> bool:
    """Whether it is a template and not the name of a field."""
    return "{" in text or "}" in text


def field_names(text: str) -> tuple[str, ...]:
    """The fields that a name or template reads, in order of their first use.

    Raises:
        ValueError: It is neither a name nor a template.
    """
    return tuple(dict.fromkeys(name for _, name in parse(text) if name is not None))


def parse(text: str) -> list[tuple[str, str | None]]:
    """Literal text and the field that follows it, in order; what follows the last piece may be None.

    Raises:
        ValueError: It is neither a name nor a template.
    """
    if not is_template(text):
        return [("", text)]
    advice = "write names of fields in braces, and {{ or }} for a brace itself"
    parts: list[tuple[str, str | None]] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(text):
            if name is not None and (not name or spec or conversion or "[" in name):
                raise ValueError(f"'{{{name}}}' is no field")
            parts.append((literal, name))
    except ValueError as error:
        raise ValueError(f"text is not a template ({error}): {advice}") from None
    if all(name is None for _, name in parts):
        raise ValueError(f"text is a template without a field: {advice}")
    return parts
