"""In which mixture each stretch of a pretraining run reads its sources, and what it then read."""

from typing import Any

from forgeline.core.errors import ParamsError
from forgeline.packing.dataset import TokenDataset
from forgeline.packing.mixture import MixtureOrder, Phase, observed_mix
from forgeline.training.params.pretrain import PretrainParams


def reading_order(train: TokenDataset, params: PretrainParams) -> MixtureOrder:
    """The order of all windows of the run: by the weights of the sources, or of the phases if there are any.

    Raises:
        ParamsError: A phase names a source that there is not.
    """
    windows = train.source_windows()
    phases = [
        Phase(first * params.windows_per_step, phase.weights)
        for phase, (first, _) in zip(params.phases, params.phase_steps(), strict=True)
    ]
    known = sorted({*windows, *train.weights})  # of a source with a weight, all documents may have been dropped
    unknown = sorted({name for phase in phases for name in phase.weights} - set(known))
    if unknown:
        raise ParamsError(
            f"params.yaml: pretrain.phases: unknown source {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return MixtureOrder(windows, phases or [Phase(0, train.weights)], params.seed)


def mixture_figures(train: TokenDataset, params: PretrainParams) -> dict[str, Any]:
    """The share of each source in what was read, over the run and in each phase."""
    order, windows, step = reading_order(train, params), train.source_windows(), params.windows_per_step
    return {
        "source_mix": observed_mix(order, windows, 0, params.num_steps * step),
        "phases": [
            {"num_steps": stop - start, "source_mix": observed_mix(order, windows, start * step, stop * step)}
            for start, stop in params.phase_steps()
        ],
    }
