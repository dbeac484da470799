"""tokenizer: training documents -> a byte-level BPE tokenizer with its chat template, frozen for every later stage."""

from dataclasses import asdict
from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import read_documents
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.params import TokenizerParams
from forgeline.tokenization.train import report, save_tokenizer, train_tokenizer


def main(train: Path, tokenizer: Path, metrics: Path) -> None:
    params = load("tokenizer", TokenizerParams)
    with StageRun("tokenizer", {"tokenizer": params}, metrics) as run:
        documents = read_documents(train)
        trained = train_tokenizer(documents, params)
        folder = run.output(tokenizer)
        save_tokenizer(trained, folder)
        run.summarize(
            Counts(documents.num_rows, documents.num_rows),
            fingerprint=tokenizer_fingerprint(folder),
            **asdict(report(trained, documents)),
        )


if __name__ == "__main__":
    command_line(main)
