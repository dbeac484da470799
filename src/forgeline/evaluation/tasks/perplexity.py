"""perplexity: how well the model predicts held-out documents."""

import math

import numpy as np

from forgeline.evaluation.likelihood import document_spans, span_logps
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score, ratio, require_samples
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, sample_row


class Perplexity:
    """Bits per byte (comparable across tokenizers) and perplexity per token, over documents and their end tokens."""

    name = "perplexity"
    method = "log-likelihood of every token of a held-out document and of its end token"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Scores at most `scoring.max_documents` documents, a seeded choice in their own order."""
        documents = _choose(held_out.documents, scoring)
        require_samples(len(documents))
        boundary = int(subject.tokenizer.bos_token_id)
        texts = [text for _, text in documents]
        # As packed for training: text that spells a special token is text.
        encoded = subject.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        spans = [document_spans([*ids, boundary], boundary, scoring.window_tokens) for ids in encoded]
        windows = [span for group in spans for span in group]
        owners = [number for number, group in enumerate(spans) for _ in group]

        def score(rows: list[int]) -> list[float]:
            chosen = [windows[row] for row in rows]
            scored = span_logps(subject.model, chosen, batch_tokens=scoring.batch_tokens)
            return [float(logps.sum(dtype=np.float64)) for logps in scored]

        lengths = [len(span.input_ids) for span in windows]
        logps = subject.work.by_length(lengths, scoring.batch_tokens, score, samples=owners)
        nll = np.zeros(len(texts))
        np.subtract.at(nll, owners, logps)
        num_bytes = np.array([len(text.encode("utf-8")) for text in texts], dtype=np.float64)
        num_tokens = np.array([len(ids) + 1 for ids in encoded], dtype=np.float64)
        rows = [
            sample_row(
                self.name, doc_id, text, "", None, "", None,
                {"nll_nats": float(nll[i]), "num_bytes": int(num_bytes[i]), "num_tokens": int(num_tokens[i])},
            )
            for i, (doc_id, text) in enumerate(documents)
        ]  # fmt: skip
        bits = ratio(nll, num_bytes, lambda nats: nats / math.log(2), scoring.num_bootstrap, scoring.seed)
        perplexity = ratio(nll, num_tokens, math.exp, scoring.num_bootstrap, scoring.seed)
        ngram = held_out.ngram
        scores = {
            "bits_per_byte": Score(*bits, len(documents), ngram.bits_per_byte, ngram.name, "bootstrap"),
            "perplexity": Score(*perplexity, len(documents), None, None, "bootstrap"),
        }
        return TaskResult(scores, rows)


def _choose(documents: list[tuple[str, str]], scoring: ScoringParams) -> list[tuple[str, str]]:
    if len(documents) <= scoring.max_documents:
        return documents
    chosen = np.random.default_rng(scoring.seed).permutation(len(documents))[: scoring.max_documents]
    return [documents[index] for index in sorted(chosen.tolist())]
