"""Texts from records with fields.

A dot in a field's name leads into an object, unless the record has a field of exactly that name. Fields hold text; in a
template they may also hold whole numbers, since these have one way to be written. Anything else (nothing, true, 1.5, a
list) is an error rather than a guess.
"""

from collections.abc import Iterator
from typing import Any

from forgeline.core.errors import DataError
from forgeline.sources.formats.records import Records, Where, each
from forgeline.sources.template import field_names, is_template, parse

_SPELLED = {dict: "an object", list: "a list", bool: "true or false", int: "a whole number", float: "a number"}
_SPELLED |= {type(None): "nothing (null)"}


class TextOf:
    """Makes one text out of each record."""

    def __init__(self, text: str) -> None:
        """Reads the name or template; `SourceParams` has checked that it is one."""
        self.fields = field_names(text)
        self._is_template = is_template(text)
        self._allowed = {str, int} if self._is_template else {str}
        places = {name: place for place, name in enumerate(self.fields)}
        braces = str.maketrans({"{": "{{", "}": "}}"})
        self._format = "".join(
            literal.translate(braces) + (f"{{{places[name]}}}" if name is not None else "")
            for literal, name in parse(text)
        ).format

    def texts(self, rows: Records[Any]) -> Iterator[Records[str]]:
        """The texts of consecutive records; where all fields are blank, nothing but what they hold.

        Raises:
            DataError: A record is no object, lacks a field, or holds something else than text in it. What comes before
                that record is yielded first.
        """
        try:
            columns = [self._column(rows.values, name) for name in self.fields]
        except (KeyError, TypeError):  # find out which record it is
            yield from each(rows, self._text)
        else:
            yield Records([self._join(values) for values in zip(*columns, strict=True)], rows.where)

    def _column(self, rows: list[Any], name: str) -> list[Any]:
        column = [_value(row, name) for row in rows] if "." in name else [row[name] for row in rows]
        if not set(map(type, column)) <= self._allowed:
            raise TypeError(name)
        return column

    def _join(self, values: tuple[Any, ...]) -> str:
        if not self._is_template:
            text: str = values[0]
            return text
        if not any(isinstance(value, int) or value.strip() for value in values):
            return "".join(values)
        return self._format(*values)

    def _text(self, row: Any, where: Where) -> str:
        if not isinstance(row, dict):
            raise DataError(f"{where()}: holds {_spelled(row)}, expected an object: write {{...}}")
        values = []
        for name in self.fields:
            try:
                value = _value(row, name)
            except (KeyError, TypeError):
                known = ", ".join(sorted(row)) or "none"
                raise DataError(
                    f"{where()}: no field '{name}' (its fields: {known}): correct `text` of the source in params.yaml"
                    " or the record"
                ) from None
            if type(value) not in self._allowed:
                raise DataError(
                    f"{where()}: field '{name}' holds {_spelled(value)}, expected text: correct the record, or `text`"
                    " of the source in params.yaml"
                )
            values.append(value)
        return self._join(tuple(values))


def _value(row: Any, name: str) -> Any:
    if name in row:
        return row[name]
    for part in name.split("."):
        row = row[part]
    return row


def _spelled(value: Any) -> str:
    return _SPELLED.get(type(value), type(value).__name__)
