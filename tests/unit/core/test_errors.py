import errno

import pytest

from forgeline.core.errors import describe_os_error, write_failure


def raised_while_handling(first: Exception, second: Exception) -> Exception:
    try:
        try:
            raise first
        except type(first):
            raise second  # noqa: B904
    except type(second) as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "cannot use a/b: the disk is full"),
        (Exception("Error while serializing: I/O error: No space left (os error 28)"), "the disk is full"),
        (raised_while_handling(OSError(errno.EFBIG, "File too large"), RuntimeError("pos")), "the file grew larger"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 598"), "PyTorch could not"),
    ],
)
def test_a_refusal_to_write_is_found_in_what_libraries_make_of_it(error: Exception, expected: str) -> None:
    refusal = write_failure(error)
    assert refusal is not None
    assert describe_os_error(refusal).startswith(expected)


def test_a_short_write_by_numpy_is_a_full_disk() -> None:
    assert "the disk is full" in describe_os_error(OSError("326592 requested and 21158 written"))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bug"),
        RuntimeError("[enforce fail at inline_container.cc:337] . PytorchStreamReader failed reading zip archive"),
        Exception("No such file or directory (os error 2)"),
        raised_while_handling(FileNotFoundError(errno.ENOENT, "No such file", "a"), KeyError("bug")),
    ],
)
def test_anything_else_is_left_alone(error: Exception) -> None:
    assert write_failure(error) is None
