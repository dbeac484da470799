r"""Reading the answer out of generated text."""

BOX = "\\boxed{"


def boxed_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` of `text`, stripped; None when there is none that is closed.

    Braces may nest: `\boxed{a{b}c}` holds `a{b}c`. An unclosed box is no answer, even when an earlier one is closed:
    the model went on and did not finish.
    """
    start = text.rfind(BOX)
    if start < 0:
        return None
    depth = 1
    for position in range(start + len(BOX), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len(BOX) : position].strip()
    return None
