"""Scores the beginning of every text for every language of py3langid's model."""

import numpy as np
import numpy.typing as npt

from forgeline.text.kernels.jit import kernel

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@kernel
def score_languages(
    content: Bytes,
    starts: Offsets,
    num_bytes: int,
    transitions: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    features: npt.NDArray[np.int64],
    weights: Floats,
    priors: Floats,
) -> tuple[Floats, Offsets]:
    """Log-likelihoods by a naive Bayes classifier over byte sequences, which an automaton finds.

    Args:
        content: UTF-8 of N texts.
        starts: (N + 1,) where each begins in it, and where the last ends.
        num_bytes: At most so many bytes of each text are read, whole characters.
        transitions: The automaton's next state, by `256 * rows[state] + byte`.
        rows: (states,) which row of transitions a state has.
        features: (states,) which feature is found on entering a state, or -1.
        weights: (F, L) of every feature for every language.
        priors: (L,) of every language.

    Returns:
        (N, L) scores, and (N,) how many bytes of each text were read.
    """
    num_texts, num_languages = starts.size - 1, priors.size
    scores = np.empty((num_texts, num_languages), np.float32)
    lengths = np.empty(num_texts, np.int64)
    counts = np.zeros(weights.shape[0], np.int32)
    found = np.empty(num_bytes, np.int64)  # the different features, in the order in which they came
    for text in range(num_texts):
        end = min(starts[text + 1], starts[text] + num_bytes)
        while end < starts[text + 1] and content[end] & 0xC0 == 0x80:  # would cut a character
            end -= 1
        lengths[text] = end - starts[text]
        state, num_found = 0, 0
        for place in range(starts[text], end):
            state = int(np.int64(transitions[256 * rows[state] + content[place]]))
            feature = features[state]
            if feature >= 0:
                if counts[feature] == 0:
                    found[num_found] = feature
                    num_found += 1
                counts[feature] += 1
        total = scores[text]
        total[:] = priors if num_found else np.zeros_like(priors)
        for feature in found[:num_found]:
            weight = np.float32(np.log1p(np.float32(counts[feature])))
            counts[feature] = 0
            of_feature = weights[feature]
            for language in range(num_languages):
                total[language] += weight * of_feature[language]
    return scores, lengths
