"""holdout: test documents -> those that no training conversation or pair quotes, to score every model on."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, PreferencePair, read_documents, read_records, write_documents
from forgeline.core.run import StageRun, command_line
from forgeline.text.holdout import HoldoutParams, hold_out


def main(documents: Path, conversations: Path, pairs: Path, holdout: Path, metrics: Path) -> None:
    params = load("holdout", HoldoutParams)
    with StageRun("holdout", {"holdout": params}, metrics) as run:
        result = hold_out(
            read_documents(documents),
            read_records(conversations, Conversation),
            read_records(pairs, PreferencePair),
            params,
        )
        write_documents(run.output(holdout), result.documents)
        run.summarize(result.counts)


if __name__ == "__main__":
    command_line(main)
