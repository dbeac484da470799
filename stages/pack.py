"""pack: documents -> token shards of the training and the validation split."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.shards import shard_paths
from forgeline.core.storage import sha256_path, write_json
from forgeline.packing.dataset import MANIFEST
from forgeline.packing.pack import pack
from forgeline.packing.params import PackParams
from forgeline.sources.params import SourcesParams
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer


def main(train: Path, validation: Path, tokenizer: Path, packed: Path, metrics: Path) -> None:
    params, sources = load("pack", PackParams), load("ingest", SourcesParams)
    with StageRun("pack", {"pack": params, "ingest": sources}, metrics) as run:
        encoder = CorpusEncoder(load_tokenizer(tokenizer))
        folder = run.output(packed)
        train_facts = pack(shard_paths(train), encoder, params, folder, "train")
        validation_facts = pack(shard_paths(validation), encoder, params, folder, "validation")
        manifest = {
            **params.model_dump(),
            "weights": sources.weights,
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "corpus": {"train": sha256_path(train), "validation": sha256_path(validation)},
            "train": train_facts.as_json(),
            "validation": validation_facts.as_json(),
        }
        write_json(folder / MANIFEST, manifest)
        num_documents = train_facts.num_documents + validation_facts.num_documents
        run.summarize(
            Counts(num_documents, num_documents),
            engine=encoder.engine,
            train=manifest["train"],
            validation=manifest["validation"],
        )


if __name__ == "__main__":
    command_line(main)
