"""merge: a model with an adapter -> plain weights that give the same logits."""

from pathlib import Path

import numpy as np
import torch

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.model.compute import set_up
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.merge import generation_config_of, merge
from forgeline.model.merge_params import MergeGateParams
from forgeline.model.params import ComputeParams
from forgeline.packing.dataset import TokenDataset
from forgeline.tokenization.fingerprint import require_fingerprint, tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer


def main(model: Path, packed: Path, merged: Path, metrics: Path) -> None:
    gate, compute = load("merge.gate", MergeGateParams), load("compute", ComputeParams)
    with StageRun(f"merge@{merged.name}", {"merge.gate": gate, "compute": compute}, metrics) as run:
        device = set_up(compute, seed=0)  # nothing here is random
        validation = TokenDataset(packed, "validation")
        fingerprint = tokenizer_fingerprint(model)
        require_fingerprint(validation.tokenizer, str(packed), fingerprint, str(model))
        indices = np.arange(min(gate.num_windows, len(validation)))
        probe = torch.from_numpy(validation.windows(indices))[:, :-1].to(device)
        result = merge(load_model(model, device), probe, gate)
        folder = run.output(merged)
        tokenizer = load_tokenizer(model)
        result.model.generation_config = generation_config_of(tokenizer)
        save_model_files(result.model, tokenizer, folder)
        run.write_lineage(folder, tokenizer=fingerprint, parent=model.as_posix())
        absorbed = result.num_tensors_in - result.num_tensors_out
        counts = Counts(result.num_tensors_in, result.num_tensors_out, {"merged_into_weights": absorbed})
        run.summarize(counts, max_logit_difference=result.max_logit_difference, max_logit=result.max_logit)


if __name__ == "__main__":
    command_line(main)
