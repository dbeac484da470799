"""Parameters of what fine-tuning trains: all weights, or one of several adapters. docs/fine-tuning.md compares them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from forgeline.core.params import Section

Preset = Literal["minimal", "attention_only", "ffn_only", "all"]


class EarlierAdapter(Section):
    """An adapter to begin with.

    Attributes:
        path: Its folder.
        use: `continue` trains it further; `merge` adds it to the weights, and a new adapter is trained on those.
    """

    path: str
    use: Literal["continue", "merge"]


class NoPeftParams(Section):
    """All weights are trained."""

    kind: Literal["none"]


class _Adapter(Section):
    r: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: Preset | list[str]
    earlier: EarlierAdapter | None

    @field_validator("target_modules")
    @classmethod
    def _each_once(cls, names: Preset | list[str]) -> Preset | list[str]:
        if isinstance(names, list):
            if not names:
                raise ValueError("no layer is named: name some, or write minimal, attention_only, ffn_only or all")
            if "lm_head" in names or "embed_tokens" in names:
                raise ValueError("lm_head and embed_tokens take no adapter here: set train_embeddings instead")
            if len(set(names)) < len(names):
                raise ValueError("a layer is named twice: leave one out")
        return names


class _LowRank(_Adapter):
    alpha: int = Field(ge=1)
    rslora: bool
    train_embeddings: Literal["none", "new", "all"]


class LoraPeftParams(_LowRank):
    """W' = W + s B A beside frozen weights, s = alpha / r (Hu et al. 2021, eq. 3).

    Attributes:
        r: Rank of the update.
        alpha: Its scale; should grow with r, or set `rslora`.
        rslora: s = alpha / sqrt(r), which keeps the update's size when r grows (Kalajdzievski 2023).
        dropout: On the adapter's input.
        target_modules: Which linear layers get one: minimal (queries and values), attention_only, ffn_only, all, or a
            list of names.
        train_embeddings: Whether embeddings and output head are trained too: none, new (rows of an extended
            vocabulary) or all of them.
        earlier: An adapter to begin with; null begins anew.
    """

    kind: Literal["lora"]


class DoraPeftParams(_LowRank):
    """LoRA of the direction of each output's weights, and their magnitude by itself (Liu et al. 2024).

    Attributes:
        r: Rank of the update.
        alpha: Its scale; should grow with r, or set `rslora`.
        rslora: Scale alpha / sqrt(r) in place of alpha / r.
        dropout: On the adapter's input.
        target_modules: As of `lora`.
        train_embeddings: As of `lora`.
        earlier: An adapter to begin with; null begins anew.
    """

    kind: Literal["dora"]


class VeraPeftParams(_Adapter):
    """W' = W + diag(b) B diag(d) A, random A and B shared by all layers; b and d learn (Kopiczko et al. 2023).

    Attributes:
        r: Rank; may be much higher than of LoRA, for it costs one number of each layer.
        d_initial: What d starts with.
        dropout: On the adapter's input.
        target_modules: As of `lora`.
        earlier: An adapter to begin with; null begins anew.
    """

    kind: Literal["vera"]
    d_initial: float = Field(gt=0)


class QloraPeftParams(_LowRank):
    """LoRA on weights frozen in 4-bit NormalFloat (Dettmers et al. 2023); needs the extra `quantization`.

    Attributes:
        r: Rank of the update.
        alpha: Its scale; should grow with r, or set `rslora`.
        rslora: Scale alpha / sqrt(r) in place of alpha / r.
        dropout: On the adapter's input.
        double_quantization: Whether the scales are quantized too.
        paged_optimizer: Whether AdamW's state moves to the CPU when a GPU's memory is full; no effect without one.
        target_modules: As of `lora`.
        train_embeddings: As of `lora`.
        earlier: An adapter to begin with; null begins anew.
    """

    kind: Literal["qlora"]
    double_quantization: bool
    paged_optimizer: bool


class Int8PeftParams(_LowRank):
    """LoRA on weights frozen in 8 bits (LLM.int8(), Dettmers et al. 2022); needs the extra `quantization`.

    Attributes:
        r: Rank of the update.
        alpha: Its scale; should grow with r, or set `rslora`.
        rslora: Scale alpha / sqrt(r) in place of alpha / r.
        dropout: On the adapter's input.
        target_modules: As of `lora`.
        train_embeddings: As of `lora`.
        earlier: An adapter to begin with; null begins anew.
    """

    kind: Literal["int8"]


AdapterParams = LoraPeftParams | DoraPeftParams | VeraPeftParams | QloraPeftParams | Int8PeftParams
PeftParams = Annotated[NoPeftParams | AdapterParams, Field(discriminator="kind")]
