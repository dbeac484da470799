"""tokenizer: training documents -> a byte-level BPE tokenizer with its chat template, frozen for every later stage."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.shards import shard_paths
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.params import TokenizerParams
from forgeline.tokenization.report import report
from forgeline.tokenization.train import save_tokenizer, train_tokenizer


def main(train: Path, tokenizer: Path, metrics: Path) -> None:
    params = load("tokenizer", TokenizerParams)
    with StageRun("tokenizer", {"tokenizer": params}, metrics) as run:
        shards = shard_paths(train)
        trained = train_tokenizer(shards, params)
        folder = run.output(tokenizer)
        save_tokenizer(trained, folder)
        found = report(trained, shards)
        num_documents = found.total.num_documents
        run.summarize(
            Counts(num_documents, num_documents), fingerprint=tokenizer_fingerprint(folder), **found.as_json()
        )


if __name__ == "__main__":
    command_line(main)
