"""Which language a text is in, found offline and the same every time.

The model is that of py3langid (A. Barbaresi, after M. Lui and T. Baldwin, "langid.py: An Off-the-shelf Language
Identification Tool", ACL 2012; 140 languages, BSD licence), which comes with the package. Its classifier runs here in a
kernel, several times as fast as the package's own and without the GIL. Why this one: docs/lab-notebook.md.
"""

import io
import lzma
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgeline.core.errors import ParamsError
from forgeline.text.buffers import as_buffers
from forgeline.text.kernels.language import score_languages

# So many bytes from the beginning decide. More cost time and hardly change the answer.
NUM_BYTES = 512
# What a text is in that no language is likely enough for; ISO 639-2 for "undetermined".
UNDETERMINED = "und"

_BATCH = 4096  # texts at once: each takes two kilobytes of chances
_loading = Lock()


@dataclass(frozen=True)
class Languages:
    """The likeliest language of every text (ISO 639-1 where there is a code), and how likely it is, from 0 to 1."""

    codes: npt.NDArray[np.str_]
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Model:
    """py3langid's tables as `score_languages` takes them.

    Languages are in the order of their codes; one that is written in two scripts stands there twice.
    """

    codes: npt.NDArray[np.str_]
    transitions: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    priors: npt.NDArray[np.float32]


def identify(texts: pa.Array) -> Languages:
    """The language of every text by its first `NUM_BYTES` bytes; a text all in capitals is read in small letters."""
    parts = [_identify(texts.slice(start, _BATCH)) for start in range(0, max(len(texts), 1), _BATCH)]
    return Languages(np.concatenate([part.codes for part in parts]), np.concatenate([part.scores for part in parts]))


def _identify(texts: pa.Array) -> Languages:
    model = _model()
    beginnings = pc.utf8_slice_codeunits(texts, 0, NUM_BYTES)
    beginnings = pc.if_else(pc.utf8_is_upper(beginnings), pc.utf8_lower(beginnings), beginnings)
    content, starts = as_buffers(beginnings)
    logs, lengths = score_languages(
        content, starts, NUM_BYTES, model.transitions, model.rows, model.features, model.weights, model.priors
    )
    codes, first_columns = np.unique(model.codes, return_index=True)
    chances = np.add.reduceat(_chances(logs, lengths), first_columns, axis=1)
    best = chances.argmax(axis=1)
    return Languages(codes[best], chances[np.arange(len(texts)), best])


def check_known(codes: list[str]) -> None:
    """Holds codes that a user wants against those that the model tells apart.

    Raises:
        ParamsError: One is not among them.
    """
    known = np.unique(_model().codes).tolist()
    unknown = sorted(set(codes) - set(known))
    if unknown:
        raise ParamsError(f"clean.languages: {', '.join(unknown)} cannot be told; choose among {', '.join(known)}")


def _chances(logs: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Probabilities from log-likelihoods, tempered by the square root of the length as py3langid does."""
    tempered = logs.astype(np.float64) / np.sqrt(np.maximum(lengths, 1))[:, None]
    chances = np.exp(tempered - tempered.max(axis=1, keepdims=True, initial=-np.inf))
    result: npt.NDArray[np.float64] = chances / chances.sum(axis=1, keepdims=True)
    return result


def _model() -> _Model:
    with _loading:  # else every thread of the first shards would load it
        return _load_model()


@cache
def unpack_model() -> bytes:
    """The file of py3langid's model, kept until the model is made of it. Half of loading, and without the GIL."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE  # here, because most runs need no language

    return lzma.decompress((MODEL_DIR / MODEL_FILE).read_bytes())


@cache
def _load_model() -> _Model:
    with np.load(io.BytesIO(unpack_model()), allow_pickle=False) as model:  # py3langid would make lists of it
        unpack_model.cache_clear()
        order = np.argsort(model["classes"], kind="stable")
        return _Model(
            codes=model["classes"][order],
            transitions=np.asarray(model["nextmove"], np.uint32),
            rows=np.asarray(model["nextmove_row"], np.int64),
            features=np.asarray(model["out_feat"], np.int64),
            weights=model["ptc"].take(order, axis=1).astype(np.float32),
            priors=np.ascontiguousarray(model["pc"][order], np.float32),
        )
