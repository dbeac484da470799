"""Our models as lm-eval's harness asks them (lm-evaluation-harness, Gao et al.). Imported only when it is used."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from forgeline.core.errors import DataError
from forgeline.evaluation.tasks.base import Subject
from forgeline.model.batches import evaluation_mode

Ask = Callable[[list[Instance]], list[Any]]


class JournaledModel(HFLM):  # type: ignore[misc]  # lm_eval has no type information
    """The harness's own model class, in batches of similar length that a killed evaluation does not repeat."""

    def __init__(self, subject: Subject, batch_tokens: int) -> None:
        """Wraps the model and its tokenizer, with its chat template.

        Args:
            subject: Model, tokenizer, and what computes the batches.
            batch_tokens: Padded tokens of one forward pass.
        """
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        super().__init__(pretrained=subject.model, tokenizer=subject.tokenizer)
        self._work = subject.work
        self._batch_tokens = batch_tokens

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations, and whether each is what greedy decoding writes."""
        found = self._asked(requests, lambda some: super(JournaledModel, self).loglikelihood(some, disable_tqdm=True))
        return [(float(logp), bool(greedy)) for logp, greedy in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihoods of whole texts."""
        return self._asked(
            requests, lambda some: super(JournaledModel, self).loglikelihood_rolling(some, disable_tqdm=True)
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """What the model writes."""
        return self._asked(requests, lambda some: super(JournaledModel, self).generate_until(some, disable_tqdm=True))

    def _asked(self, requests: Sequence[Instance], ask: Ask) -> list[Any]:
        def compute(rows: list[int]) -> list[Any]:
            self.batch_size_per_gpu = len(rows)
            return list(ask([requests[row] for row in rows]))

        lengths = [self._num_tokens(request) for request in requests]
        with evaluation_mode(self.model), _numbers_only(self.model):
            return self._work.by_length(
                lengths, self._batch_tokens, compute, samples=[request.doc_id for request in requests]
            )

    def _num_tokens(self, request: Instance) -> int:
        room = 0
        if request.request_type == "generate_until":
            room = int(request.args[1].get("max_gen_toks", self.max_gen_toks))
        texts = "".join(text for text in request.args if isinstance(text, str))
        return len(self.tok_encode(texts)) + room


@contextmanager
def _numbers_only(model: torch.nn.Module) -> Iterator[None]:
    """Stops at logits that are not numbers, of which the harness would take the maximum."""

    def check(_model: torch.nn.Module, _arguments: object, output: Any) -> None:
        if bool(output.logits.isnan().any()):
            raise DataError("the model's logits are not numbers: its weights are corrupt or its training diverged")

    handle = model.register_forward_hook(check)
    try:
        yield
    finally:
        handle.remove()
