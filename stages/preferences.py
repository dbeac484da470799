"""preferences: preference sets -> pairs of a better and a worse answer, split by term or prompt."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import PreferencePair, write_records
from forgeline.core.run import StageRun, command_line
from forgeline.core.storage import write_table
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.preferences import PreferenceParams, build_preferences


def main(train: Path, validation: Path, test: Path, dropped: Path, metrics: Path) -> None:
    params = load("preferences", PreferenceParams)
    hpo = load("hpo", HpoParams)
    with StageRun("preferences", {"preferences": params, "hpo": hpo}, metrics) as run:
        result = build_preferences(params, hpo)
        write_records(run.output(train), PreferencePair, result.splits["train"])
        write_records(run.output(validation), PreferencePair, result.splits["validation"])
        write_records(run.output(test), PreferencePair, result.splits["test"])
        write_table(run.output(dropped), result.dropped)
        run.summarize(result.counts, pairs=result.per_task, sets=result.sets)


if __name__ == "__main__":
    command_line(main)
