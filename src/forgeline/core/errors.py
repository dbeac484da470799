"""The errors a user can mend: each says what is wrong, where, and what to do."""

import errno
import re
from pathlib import Path

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_NUMPY_WRITES = re.compile(r"\d+ requested and \d+ written")  # its OSError has no number
_TORCH_WRITES = re.compile(r"PytorchStreamWriter failed|unexpected pos \d+ vs \d+")


class ForgelineError(Exception):
    """Bad input, parameters or environment. Its text is the whole message: no traceback is shown."""


class ParamsError(ForgelineError):
    """A parameter is missing, unknown, of the wrong type, out of range, or at odds with another."""


class DataError(ForgelineError):
    """A file of records or tokens is missing, empty, corrupt, or not what the stage expects."""


class FingerprintError(ForgelineError):
    """Two artefacts that must belong together do not, a model and a tokenizer for instance."""


class StopRequested(BaseException):
    """SIGTERM or Ctrl-C arrived. Not an `Exception`, so that nothing on the way swallows it."""


def describe_os_error(error: OSError) -> str:
    """One line a user can act on, from an operating-system error of reading or writing."""
    where = f"cannot use {Path(error.filename)}: " if isinstance(error.filename, str) else ""
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run again",
        errno.EDQUOT: "the disk quota is used up: free some space and run again",
        errno.EFBIG: "the file grew larger than the system allows: raise the limit (`ulimit -f`) and run again",
        errno.EROFS: "the file system is read-only: choose another folder or remount it",
        errno.EACCES: "permission denied: check the folder's owner and mode",
        errno.EPERM: "not permitted: check the folder's owner and mode",
        errno.ENOTDIR: "something on the way to it is a file, not a folder: move that away",
        errno.ENOENT: "no such file or folder",
    }.get(error.errno or 0)
    if _NUMPY_WRITES.fullmatch(str(error)):
        advice = f"a file could not be written to its end ({error}): the disk is full; free some space and run again"
    return f"{where}{advice or error}"


def write_failure(error: BaseException) -> OSError | None:
    """The system's refusal to write (a full disk, say) behind a library's exception, or None if it is anything else.

    Rust libraries (safetensors, tokenizers) only quote it in their text. `torch.save` raises a RuntimeError of its own
    while the OSError is on its way, and when it opened the file itself says no more than that writing failed.
    """
    chain: BaseException | None = error
    while chain is not None:
        quoted = re.search(r"\(os error (\d+)\)", str(chain))
        number = chain.errno if isinstance(chain, OSError) else int(quoted[1]) if quoted else None
        if number in _CANNOT_WRITE:
            return chain if isinstance(chain, OSError) else OSError(number, str(chain))
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, RuntimeError) and _TORCH_WRITES.search(str(error)):
        return OSError(f"PyTorch could not finish writing a file ({error}): free some disk space and run again")
    return None
