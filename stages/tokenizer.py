"""tokenizer: training documents -> the tokenizer of every later stage: trained, adopted or extended."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.shards import shard_paths
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.params import TokenizerParams
from forgeline.tokenization.report import report
from forgeline.tokenization.train import make_tokenizer


def main(train: Path, tokenizer: Path, metrics: Path) -> None:
    params = load("tokenizer", TokenizerParams).root
    with StageRun("tokenizer", {"tokenizer": params}, metrics) as run:
        shards = shard_paths(train)
        made = make_tokenizer(shards, params)
        folder = run.output(tokenizer)
        made.save(folder)
        found = report(made.tokenizer, shards)
        num_documents = found.total.num_documents
        run.summarize(
            Counts(num_documents, num_documents),
            fingerprint=tokenizer_fingerprint(folder),
            kind=params.kind,
            roles=made.roles,
            num_added=len(made.added_tokens),
            added_special_tokens=made.added_special_tokens,
            **found.as_json(),
        )


if __name__ == "__main__":
    command_line(main)
