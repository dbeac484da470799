"""quantize: plain weights -> a quantized model that transformers loads by itself, its cost gated."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.model.compute import set_up
from forgeline.model.params import ComputeParams
from forgeline.packing.dataset import TokenDataset
from forgeline.quantization.libraries import used_library
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.pipeline import quantize_and_save
from forgeline.tokenization.fingerprint import require_fingerprint, tokenizer_fingerprint


def main(tag: str, model: Path, packed: Path, questions: Path, quantized: Path, metrics: Path) -> None:
    params, compute = load(f"quantize.{tag}", QuantizeParams).root, load("compute", ComputeParams)
    with StageRun(f"quantize@{tag}", {f"quantize.{tag}": params, "compute": compute}, metrics) as run:
        device = set_up(compute, params.seed)
        train, validation = TokenDataset(packed, "train"), TokenDataset(packed, "validation")
        fingerprint = tokenizer_fingerprint(model)
        require_fingerprint(train.tokenizer, str(packed), fingerprint, str(model))
        folder = run.output(quantized)
        conversations = read_records(questions, Conversation)
        result = quantize_and_save(model, device, train, validation, conversations, params, tag, folder)
        run.write_lineage(
            folder,
            tokenizer=fingerprint,
            parent=model.as_posix(),
            tag=result.figures["tag"],
            calibration_sha256=result.figures["calibration_sha256"],
            **used_library(params.method),
        )
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
