"""How large the model in a GGUF file is, by its table of tensors."""

from pathlib import Path

from gguf import GGUFReader

from forgeline.core.errors import DataError


def num_parameters_of_gguf(file: Path) -> int:
    """Weights of all tensors; quantized ones are counted as what they stand for.

    Raises:
        DataError: It is not a GGUF file, or a damaged one.
    """
    try:
        return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{file} is not a GGUF file, or a damaged one ({error}): download it again") from None
