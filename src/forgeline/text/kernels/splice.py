"""Puts new texts in the place of some of a column's texts."""

import numpy as np
import numpy.typing as npt

from forgeline.text.kernels.jit import kernel


@kernel
def splice(
    content: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    new_content: npt.NDArray[np.uint8],
    new_starts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes and starts of the column in which text `positions[k]` (ascending) is the k-th new text."""
    num_texts = starts.size - 1
    result_starts = np.zeros(num_texts + 1, np.int64)
    k = 0
    for text in range(num_texts):
        length = starts[text + 1] - starts[text]
        if k < positions.size and positions[k] == text:
            length = new_starts[k + 1] - new_starts[k]
            k += 1
        result_starts[text + 1] = result_starts[text] + length
    result = np.empty(result_starts[num_texts], np.uint8)
    k = 0
    for text in range(num_texts):
        place, length = result_starts[text], result_starts[text + 1] - result_starts[text]
        if k < positions.size and positions[k] == text:
            for i in range(length):
                result[place + i] = new_content[new_starts[k] + i]
            k += 1
        else:
            for i in range(length):
                result[place + i] = content[starts[text] + i]
    return result, result_starts
