"""instructions: instruction sets -> training conversations and held-out questions, and why the rest left."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, EvalSample, write_documents, write_records
from forgeline.core.run import StageRun, command_line
from forgeline.sources.declared_files import warn_of_undeclared
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.instruction_params import InstructionParams
from forgeline.sources.instructions import build_instructions


def main(train: Path, validation: Path, test: Path, dropped: Path, metrics: Path) -> None:
    params = load("instructions", InstructionParams)
    hpo = load("hpo", HpoParams)
    with StageRun("instructions", {"instructions": params, "hpo": hpo}, metrics) as run:
        warn_of_undeclared("instructions", params)
        result = build_instructions(params, hpo)
        write_records(run.output(train), Conversation, result.train)
        write_records(run.output(validation), Conversation, result.validation)
        write_records(run.output(test), EvalSample, result.test)
        write_documents(run.output(dropped), result.dropped)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
