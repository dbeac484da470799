"""Kernels that only read and write arrays which they are handed, and may consist of many small functions.

`jit.kernel` suits a kernel of one or two functions. Where a text goes through dozens of them, three things cost more
than the work itself, and are left out here: counting references to arrays (an atomic operation on both sides of most
calls), passing arrays (seven numbers each) to a function that is called for every word, and compiling for every inner
function what Python would need to call it. It made splitting English text into words three times as fast.

Such a kernel cannot allocate, and can return no array but one that it was handed. `_nrt` is Numba's own name for the
switch, which its documentation leaves out.
"""

from typing import TypeVar, cast

import numba
import numpy as np

import forgeline.text.kernels.jit  # noqa: F401 - tells Numba where compiled kernels of this folder go

FunctionT = TypeVar("FunctionT")
# A zero that is any number to Numba. Starting from a literal 0, it would compile the functions called with a variable
# twice: for this one value, and for others.
ZERO = cast(int, np.int64(0))


def entry(function: FunctionT) -> FunctionT:
    """Compiles a function that Python calls, and other kernels may."""
    compiled: FunctionT = numba.njit(nogil=True, cache=True, _nrt=False, no_cfunc_wrapper=True)(function)
    return compiled


def inner(function: FunctionT) -> FunctionT:
    """Compiles a function that only kernels call."""
    compiled: FunctionT = numba.njit(
        nogil=True, cache=True, _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True
    )(function)
    return compiled


def inlined(function: FunctionT) -> FunctionT:
    """Makes a function part of the kernels that call it; for those called in one place, or too often for a call."""
    compiled: FunctionT = numba.njit(inline="always", _nrt=False)(function)
    return compiled
