from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from forgeline.core.errors import DataError
from forgeline.planning.gguf_size import num_parameters_of_gguf


def test_every_weight_of_a_file_is_counted(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((7, 32), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert num_parameters_of_gguf(tmp_path / "model.gguf") == 8 * 32


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"weights" * 20)
    with pytest.raises(DataError, match=r"model\.gguf is not a GGUF file, or a damaged one"):
        num_parameters_of_gguf(tmp_path / "model.gguf")
