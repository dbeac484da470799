"""contamination: evaluation sets and all training text -> the share of each set that training text contains."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, EvalSample, PreferencePair, read_documents, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.evaluation.contamination import ContaminationParams, Training, measure_contamination


def main(
    documents: Path,
    questions: Path,
    preferences: Path,
    tasks: Path,
    corpus: Path,
    conversations: Path,
    pairs: Path,
    metrics: Path,
) -> None:
    params = load("contamination", ContaminationParams)
    with StageRun("contamination", {"contamination": params}, metrics) as run:
        result = measure_contamination(
            read_documents(documents),
            read_records(questions, EvalSample),
            read_records(preferences, PreferencePair),
            tasks,
            Training(
                read_documents(corpus)["text"], read_records(conversations, Conversation),
                read_records(pairs, PreferencePair),
            ),
            params,
        )  # fmt: skip
        run.summarize(result.counts, tasks=result.tasks, unchecked=result.unchecked)


if __name__ == "__main__":
    command_line(main)
