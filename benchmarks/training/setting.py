"""What is trained in the training benchmarks, and what comes of it. Imports next to nothing: engines count memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A model (Llama, in the names of its configuration) and the shape of a step."""

    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    tie_word_embeddings: bool
    sequence_length: int
    batch_size: int


M23 = Setting("23m", 32_768, 256, 1024, 6, 4, False, 512, 8)
M3 = Setting("3m", 4_096, 192, 512, 4, 3, True, 256, 16)


@dataclass(frozen=True)
class Job:
    """What an engine has to do.

    Attributes:
        setting: The model and the shape of a step.
        data: Folder of packed tokens, with `train` and `validation`.
        num_steps: Optimizer steps, AdamW with a constant rate.
        seed: Of the initial weights and of the order of the data.
        compile: Whether our engine compiles (litgpt always does, the Trainer never, as they come).
    """

    setting: Setting
    data: str
    num_steps: int
    seed: int
    compile: bool


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        tokens_per_second: Of the median step but for the first ones, in CPU time of the one thread that computes.
        validation_loss: Afterwards, in float32, nats per token.
        peak_megabytes: The most memory the process had.
    """

    tokens_per_second: float
    validation_loss: float
    peak_megabytes: float
