"""Parameters of direct preference optimization."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.training.trl.params import AlignmentParams


class DpoParams(AlignmentParams):
    """Section `align.<name>` with `method: dpo`.

    Attributes:
        method: Chooses this section.
        loss: `sigmoid` (Rafailov et al. 2023, eq. 7), `ipo` (Azar et al. 2023, eq. 17) or `hinge` (Zhao et al. 2023,
            SLiC, on log-ratios as in Liu et al. 2024).
        label_smoothing: Share of pairs that are thought to be the wrong way round; the sigmoid loss is then the
            unbiased one of Chowdhury et al. 2024 (robust DPO). 0 trusts every pair.
        beta: How dear it is to move away from the reference; of `ipo` it is the paper's τ.
        sft_weight: Weight of the chosen answers' own loss, nats per token, beside the preference loss; without it both
            answers may become less likely (RPO, Pang et al. 2024, eq. 1).
    """

    method: Literal["dpo"]
    loss: Literal["sigmoid", "ipo", "hinge"]
    label_smoothing: float = Field(ge=0, lt=0.5)
    beta: float = Field(gt=0)
    sft_weight: float = Field(ge=0)

    @model_validator(mode="after")
    def _smoothing_belongs_to_the_sigmoid(self) -> "DpoParams":
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(
                f"label_smoothing is for loss sigmoid: set it to 0 for loss {self.loss}, or loss to sigmoid"
            )
        return self
