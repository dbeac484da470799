"""Lists of words with their frequency, as segmenters and terminologies come with."""

from pathlib import Path

from forgeline.core.errors import DataError, ParamsError


def read_word_list(path: Path, min_frequency: int) -> list[str]:
    """The words that occur at least so often, most frequent first, then by code points.

    A line is a word, white space, a whole number, and perhaps more, which is ignored. Empty lines are skipped. What is
    listed twice counts with its largest frequency.

    Raises:
        ParamsError: The file does not exist.
        DataError: A line has another form (it is named), the file is not UTF-8, or no word is frequent enough.
    """
    if not path.is_file():
        raise ParamsError(f"params.yaml: tokenizer.words {path} does not exist: correct it, or set it to null")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    counts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) < 2 or not (parts[1].isascii() and parts[1].isdigit()):
            raise DataError(
                f"{path}:{number}: expected a word and its frequency, such as `stenosis 42`, got {line[:60]!r}"
            )
        counts[parts[0]] = max(counts.get(parts[0], 0), int(parts[1]))
    frequent = [word for word, count in counts.items() if count >= min_frequency]
    if not frequent:
        raise DataError(
            f"{path} lists no word with a frequency of at least tokenizer.min_frequency {min_frequency}: add words, "
            "lower that, or set tokenizer.words to null"
        )
    return sorted(frequent, key=lambda word: (-counts[word], word))
