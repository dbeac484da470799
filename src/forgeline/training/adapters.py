"""Adapters of every kind: which layers they go on, how they are put there, and how many numbers they must train."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, VeraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from forgeline.core.errors import DataError, ForgelineError, ParamsError
from forgeline.core.progress import announce_fact, announce_warning
from forgeline.core.storage import read_json, sha256_path
from forgeline.model.loading import is_adapter, parent_of
from forgeline.training.params.peft import AdapterParams, DoraPeftParams, VeraPeftParams

_ATTENTION, _FFN = ("att",), ("mlp", "ffn", "feed_forward")  # parts of the names of blocks
_QUERIES_AND_VALUES = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "wq", "wv")
_FUSED = ("W_pack", "query_key_value", "c_attn", "qkv_proj", "Wqkv", "qkv")


def find_targets(model: nn.Module, choice: str | Sequence[str]) -> list[str]:
    """Names of the linear layers that a preset or a list stands for in this model, in alphabetical order.

    Attention and feed-forward are told by the name of the block that a layer is in, so no list of architectures is
    needed: `self_attn.q_proj` of Llama, `self_attn.W_pack` of Baichuan, `attn.c_attn` of GPT-2.

    Args:
        model: Plain.
        choice: `minimal`, `attention_only`, `ffn_only`, `all`, or names.

    Raises:
        ParamsError: No layer, or none of a name, is there; the message lists those of the model.
    """
    layers = _linear_layers(model)
    groups = {"all": set(layers), "attention_only": _within(layers, _ATTENTION), "ffn_only": _within(layers, _FFN)}
    if not isinstance(choice, str):
        unmatched = [name for name in choice if not any(_matches(layer, name) for layer in layers)]
        if unmatched:
            raise _no_layer(", ".join(unmatched), layers)
        return sorted(choice)
    if choice == "minimal":
        chosen = {layer for layer in layers if _last(layer) in _QUERIES_AND_VALUES}
        chosen = chosen or {layer for layer in layers if _last(layer) in _FUSED}
    else:
        chosen = groups[choice]
    if not chosen:
        raise _no_layer(choice, layers)
    return _shortest_names(chosen, set(layers) - chosen)


def _linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def _within(layers: dict[str, nn.Module], blocks: Sequence[str]) -> set[str]:
    return {layer for layer in layers if any(block in layer.split(".")[-2].lower() for block in blocks if "." in layer)}


def _last(layer: str) -> str:
    return layer.rpartition(".")[2]


def _matches(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")


def _shortest_names(chosen: set[str], others: set[str]) -> list[str]:
    """Last parts of the names; after the block's name where another layer ends in the same (GPT-2's c_proj)."""
    names = set()
    for layer in chosen:
        short = _last(layer)
        ambiguous = any(_last(other) == short for other in others)
        names.add(".".join(layer.split(".")[-2:]) if ambiguous else short)
    return sorted(names)


def _no_layer(wanted: str, layers: dict[str, nn.Module]) -> ParamsError:
    known = sorted({".".join(layer.split(".")[-2:]) for layer in layers})
    return ParamsError(
        f"params.yaml: sft.peft.target_modules: the model has no layer for {wanted}; it has {', '.join(known)}: name "
        "some of these, or write all"
    )


def new_adapter(
    model: PreTrainedModel, params: AdapterParams, targets: Sequence[str], new_ids: range, seed: int
) -> PeftModel:
    """The model frozen under a new adapter, which changes nothing at first.

    Args:
        model: Plain or quantized.
        params: Which adapter.
        targets: As `find_targets` gave them.
        new_ids: Ids that extending the vocabulary has added.
        seed: Of its random weights.

    Raises:
        ParamsError: New rows are to be trained and there are none.
    """
    torch.manual_seed(seed)
    chosen = [layer for name, layer in _linear_layers(model).items() if any(_matches(name, t) for t in targets)]
    transposed = any(isinstance(layer, Conv1D) for layer in chosen)
    if isinstance(params, VeraPeftParams):
        config: PeftConfig = VeraConfig(
            r=params.r,
            vera_dropout=params.dropout,
            d_initial=params.d_initial,
            projection_prng_key=seed,
            target_modules=list(targets),
            fan_in_fan_out=transposed,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)
    config = LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        use_rslora=params.rslora,
        use_dora=isinstance(params, DoraPeftParams),
        target_modules=list(targets),
        fan_in_fan_out=transposed,
        task_type="CAUSAL_LM",
    )
    if params.train_embeddings == "new":
        if not new_ids:
            raise ParamsError(
                "params.yaml: sft.peft.train_embeddings is new, but the tokenizer adds no ids to the model's: set it "
                "to none or all"
            )
        config.trainable_token_indices = {name: list(new_ids) for name in _embedding_names(model)}
    elif params.train_embeddings == "all":
        config.modules_to_save = _embedding_names(model)
        config.ensure_weight_tying = _is_tied(model)
    return get_peft_model(model, config)


def _embedding_names(model: PreTrainedModel) -> list[str]:
    """Names of the embeddings and, where its weights are others, of the output head."""
    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = [inputs] if _is_tied(model) else [inputs, head]
    return [_last(name) for name, module in model.named_modules() if any(module is one for one in wanted)]


def _is_tied(model: PreTrainedModel) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def continued_adapter(model: PreTrainedModel, params: AdapterParams, path: Path) -> PeftModel:
    """The model under the adapter in a folder, to be trained further.

    Raises:
        DataError: The folder holds no adapter, or one of another kind, rank or scale than `params` says.
    """
    adapter = PeftModel.from_pretrained(model, str(path), is_trainable=True)
    config = adapter.peft_config["default"]
    found = {"r": config.r}
    wanted = {"r": params.r}
    if not isinstance(params, VeraPeftParams) and isinstance(config, LoraConfig):
        found |= {"alpha": config.lora_alpha, "rslora": config.use_rslora, "dora": config.use_dora}
        wanted |= {"alpha": params.alpha, "rslora": params.rslora, "dora": isinstance(params, DoraPeftParams)}
    is_vera = isinstance(config, VeraConfig)
    if is_vera != isinstance(params, VeraPeftParams) or found != wanted:
        raise DataError(
            f"sft.peft.earlier: {path} is an adapter of {'vera' if is_vera else 'lora'} with {found}, but sft.peft "
            f"asks for {params.kind} with {wanted}: make them equal, or use: merge"
        )
    return adapter


def require_own_base(adapter: Path, base: Path) -> None:
    """Refuses an adapter that was trained on another model than `base`.

    Raises:
        DataError: It is no adapter, or its lineage names another model; the message has both hashes.
    """
    if not is_adapter(adapter):
        raise DataError(f"sft.peft.earlier.path: {adapter} holds no adapter (adapter_config.json): correct the path")
    lineage = adapter / "lineage.json"
    inputs = read_json(lineage).get("inputs", {}) if lineage.is_file() else {}
    trained_on = inputs.get(parent_of(adapter).as_posix())
    if trained_on is None:
        announce_warning(f"{adapter} does not say on which weights it was trained: whether they are {base} is unknown")
        return
    found = sha256_path(base)
    if found != trained_on:
        raise DataError(
            f"{adapter} was trained on weights {trained_on[:16]} ({parent_of(adapter)}), but {base} is {found[:16]}: "
            "take the adapter that belongs to it, or train a new one (sft.peft.earlier: null)"
        )


def expected_parameters(model: PreTrainedModel, params: AdapterParams, targets: Sequence[str], num_new_ids: int) -> int:
    """How many numbers the adapter trains, by its formula.

    Of a layer with I inputs and O outputs: LoRA r (I + O); DoRA r (I + O) + O; VeRA r + O. Embeddings: hidden size for
    each trained row, twice where the output head has weights of its own.

    Args:
        model: Before the adapter is put on.
        params: Which adapter.
        targets: Names of layers.
        num_new_ids: Rows trained with `train_embeddings: new`.
    """
    total = 0
    for name, layer in _linear_layers(model).items():
        if any(_matches(name, target) for target in targets):
            num_in, num_out = layer_size(layer)
            if isinstance(params, VeraPeftParams):
                total += params.r + num_out
            else:
                total += params.r * (num_in + num_out) + (num_out if isinstance(params, DoraPeftParams) else 0)
    if isinstance(params, VeraPeftParams):
        return total
    embeddings: nn.Embedding = model.get_input_embeddings()
    rows = {"none": 0, "new": num_new_ids, "all": embeddings.num_embeddings}[params.train_embeddings]
    return total + rows * embeddings.embedding_dim * (1 if _is_tied(model) else 2)


def layer_size(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer, quantized or not."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    num_in, num_out = layer.get_parameter("weight").shape  # GPT-2's Conv1D
    return int(num_in), int(num_out)


def announce_share(trainable: int, size: int, expected: int | None) -> None:
    """Says how much is trained.

    Args:
        trainable: Numbers that have gradients.
        size: All of the model.
        expected: What the formula gives; None without an adapter.

    Raises:
        ForgelineError: The two differ, so the adapter is not where it should be.
    """
    if expected is None:
        announce_fact(f"trains all {size:,} parameters")
        return
    if trainable != expected:
        raise ForgelineError(
            f"the adapter trains {trainable:,} parameters, by its formula they are {expected:,}: a layer was left out "
            "or taken twice; name the layers in sft.peft.target_modules and report this model"
        )
    announce_fact(f"trains {trainable:,} of {size:,} parameters ({trainable / size:.3%}), as the formula says")
