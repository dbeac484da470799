"""baseline: packed training tokens and held-out documents -> bits per byte of an n-gram model, the score to beat."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import read_documents
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.evaluation.ngram import BaselineParams, NgramModel, bits_per_byte
from forgeline.packing.dataset import TokenDataset
from forgeline.tokenization.fingerprint import require_fingerprint, tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer


def main(packed: Path, tokenizer: Path, documents: Path, metrics: Path) -> None:
    params = load("baseline", BaselineParams)
    with StageRun("baseline", {"baseline": params}, metrics) as run:
        train = TokenDataset(packed, "train")
        require_fingerprint(train.tokenizer, str(packed), tokenizer_fingerprint(tokenizer), str(tokenizer))
        encoder = load_tokenizer(tokenizer)
        texts = read_documents(documents)["text"].to_pylist()
        ids = encoder(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        model = NgramModel(train.tokens(), params.ngram_order, len(encoder))
        num_bytes = sum(len(text.encode()) for text in texts)
        run.summarize(
            Counts(len(texts), len(texts)),
            ngram_order=params.ngram_order,
            ngram_bits_per_byte=bits_per_byte(model, ids, encoder.bos_token_id, num_bytes),
        )


if __name__ == "__main__":
    command_line(main)
