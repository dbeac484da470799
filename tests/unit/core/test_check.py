import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgeline.check import check
from forgeline.core.errors import ParamsError
from forgeline.core.params import read_yaml, write_yaml

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[Callable[[Any], object]], list[str]]:
    """What is wrong with the repository's params.yaml after a change, without the file's name."""

    def run(change: Callable[[Any], object]) -> list[str]:
        document = read_yaml(REPOSITORY / "params.yaml")
        change(document)
        file = tmp_path / "params.yaml"
        write_yaml(file, document)
        with pytest.raises(ParamsError) as caught:
            check(file)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(str(file)) for line in lines)
        return [line.removeprefix(str(file)).lstrip(":0123456789 ") for line in lines]

    return run


@pytest.mark.parametrize("file", sorted([REPOSITORY / "params.yaml", *(REPOSITORY / "presets").glob("*.yaml")]))
def test_every_shipped_file_is_valid(file: Path) -> None:
    assert check(file) == len(read_yaml(file))


def put(**changed: Any) -> Callable[[Any], None]:
    """Sets values by their path, with `__` between the parts."""

    def change(document: Any) -> None:
        for path, value in changed.items():
            *parents, key = path.split("__")
            node = document
            for parent in parents:
                node = node[parent]
            node[key] = value

    return change


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pack__sequence_length", "pack.sequence_length"),
        ("sft__max_length", "sft.max_length"),
        ("reward__max_length", "reward.max_length"),
        ("align__dpo__max_length", "align.dpo.max_length"),
        ("evaluate__scoring__window_tokens", "evaluate.scoring.window_tokens"),
        ("reinforce__grpo__max_new_tokens", "reinforce.grpo.max_new_tokens"),
    ],
)
def test_no_length_may_exceed_what_the_model_can_read(problems, path: str, name: str) -> None:
    assert problems(put(model__max_position_embeddings=400, **{path: 401})) == [
        f"{name} 401 is more than model.max_position_embeddings 400: lower it or raise that"
    ]


def test_a_phase_of_an_unknown_source_is_refused_with_those_there_are(problems) -> None:
    phases = [{"share": 1.0, "num_steps": None, "weights": {"hpo_terms": 1.0, "wiki": 1.0}}]
    assert problems(put(pretrain__phases=phases)) == [
        "pretrain.phases[0].weights: unknown source 'wiki'; there are hpo_terms, hpo_diseases"
    ]


def family(name: str, **overrides: Any) -> dict[str, Any]:
    return {"kind": "transformers", "model_type": name, "overrides": overrides}


def test_a_familys_own_limit_counts(problems) -> None:
    (found,) = problems(put(model=family("qwen3", max_position_embeddings=300), pack__sequence_length=301))
    assert found == (
        "pack.sequence_length 301 is more than what model.model_type reads by default or model.overrides say, 300: "
        "lower it or raise that"
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            family("mixtrl"),
            "model.model_type: transformers has no causal language model 'mixtrl': did you mean mix",
        ),
        (family("qwen3", hiden_size=8), "model.overrides.hiden_size: qwen3 has no such key: did you mean hidden_size"),
        ({"kind": "gpt"}, "model.kind: got 'gpt' (text), expected one of 'llama', 'decoder', 'transformers'"),
        ({"kind": "transformers", "model_type": "qwen3"}, "model.overrides is missing: add it (transformers needs it)"),
    ],
)
def test_architectures_that_do_not_exist_are_refused(problems, model: dict[str, Any], expected: str) -> None:
    (found,) = problems(put(model=model))
    assert found.startswith(expected)


def test_heads_that_do_not_divide_are_told_with_their_line(problems) -> None:
    assert problems(put(model__hidden_size=200)) == [
        "model: hidden_size 200 is not a multiple of num_attention_heads 3: change one of them"
    ]
    assert problems(put(model__num_key_value_heads=2)) == [
        "model: num_attention_heads 3 is not a multiple of num_key_value_heads 2: change one of them"
    ]


def test_adapters_for_layers_that_the_decoder_lacks_are_refused(problems) -> None:
    model = dict(read_yaml(REPOSITORY / "params.yaml")["model"])
    del model["rope_theta"], model["rms_norm_eps"]
    choices = {
        "kind": "decoder", "positions": {"name": "alibi"}, "sliding_window": None, "attention_bias": False,
        "qk_norm": False, "norm": "layernorm", "norm_eps": 1e-5, "activation": "gelu", "mlp_bias": False,
        "dropout": 0.0,
    }  # fmt: skip
    found = problems(put(model={**model, **choices}))
    assert [line.split(":")[0] for line in found] == [
        "align.dpo.lora.target_modules",
        "reinforce.grpo.lora.target_modules",
    ]
    assert found[0].endswith("a model of model.kind decoder with these choices has no layer gate_proj: take it out")


def test_an_unknown_method_is_refused_with_those_there_are(problems) -> None:
    (found,) = problems(put(reinforce__grpo__method="trpo"))
    assert found == "reinforce.grpo.method: got 'trpo' (text), expected one of 'grpo', 'rloo', 'ppo', 'distill'"


def test_rollouts_that_minibatches_do_not_divide_are_refused(problems) -> None:
    (found,) = problems(put(reinforce__grpo__minibatch_size=96))
    assert (
        "minibatch_size 96 must be a multiple of group_size 8 and divide prompts_per_step x group_size = 256" in found
    )


def test_the_policy_does_not_score_itself(problems) -> None:
    # as shipped nothing is scored, and models/sft stands for no other input
    assert problems(put(reinforce__grpo__reward_weights__model=0.5)) == [
        "reinforce.grpo.scoring_model is models/sft, where the policy itself starts: name another model "
        "(models/reward, or a teacher)"
    ]


@pytest.mark.parametrize("section", ["evaluate", "benchmark", "register"])
def test_models_that_nothing_makes_are_refused(problems, section: str) -> None:
    (found,) = problems(put(**{f"{section}__models": ["sft", "gptq_w2", "ppo"]}))
    assert found.startswith(f"{section}.models: unknown gptq_w2, ppo; there are base, dpo, ")


def test_what_is_merged_or_quantized_has_to_be_made(problems) -> None:
    def change(document: Any) -> None:
        document["merge"]["models"] = ["dpo", "grpo", "ppo"]
        document["quantize"]["rtn_w8"]["model"] = "orpo"

    assert problems(change) == [
        "merge.models: no adapter 'ppo' is trained; there are dpo, grpo",
        "quantize.rtn_w8.model: unknown 'orpo'; there are base, sft, dpo, grpo, ppo",
    ]


@pytest.mark.parametrize("name", ["base", "grpo", "tokenizer", "reward", "dpo_adapter"])
def test_a_quantized_model_may_not_overwrite_another(problems, name: str) -> None:
    def change(document: Any) -> None:
        document["quantize"][name] = document["quantize"]["rtn_w8"]

    assert problems(change) == [f"quantize.{name} would overwrite models/{name}: choose another name"]


def test_problems_of_all_sections_are_told_at_once(problems) -> None:
    def change(document: Any) -> None:
        document["tokenizer"]["vocab_size"] = 100
        del document["pack"]["dtype"]
        document["quantize"]["gptq_w4"]["bits"] = True
        document["align"]["dpo"]["beta"] = "high"

    found = problems(change)
    assert [line.split(":")[0].split(" ")[0] for line in found] == [
        "tokenizer.vocab_size",
        "pack.dtype",
        "align.dpo.beta",
        "quantize.gptq_w4.bits",
    ]


def test_the_line_of_a_wrong_value_is_named(tmp_path: Path) -> None:
    lines = (REPOSITORY / "params.yaml").read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.strip().startswith("vocab_size:"))
    lines[number] = "  vocab_size: 1.5e3"
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(ParamsError) as caught:
        check(tmp_path / "params.yaml")
    assert str(caught.value) == (
        f"{tmp_path / 'params.yaml'}:{number + 1}: tokenizer.vocab_size: got 1500.0 (number), expected a valid integer"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda document: document.update(extra={}), "unknown section 'extra': remove it"),
        (
            lambda document: document["align"].update(better={}),
            "align.better.method is missing: add it (presets/default.yaml shows every key with a value)",
        ),
        (
            lambda document: document["align"]["dpo"].update(method="dpq"),
            "align.dpo.method: got 'dpq' (text), expected one of 'dpo', 'orpo', 'kto'",
        ),
        (
            lambda document: document["align"]["dpo"].update(loss="sigmoyd"),
            "align.dpo.loss: got 'sigmoyd' (text), expected 'sigmoid', 'ipo' or 'hinge'",
        ),
        (
            lambda document: document["align"]["dpo"].update(loss="ipo", label_smoothing=0.1),
            "align.dpo: label_smoothing is for loss sigmoid: set it to 0 for loss ipo, or loss to sigmoid",
        ),
        (
            lambda document: document["align"].update(sft=document["align"]["dpo"]),
            "align.sft would be merged into models/sft, which is another model's: choose another name",
        ),
        (
            lambda document: document.pop("hpo"),
            "section 'hpo' is missing: copy it from presets/default.yaml",
        ),
        (
            lambda document: document.update(align={}),
            "section 'align' is missing or empty: copy it from presets/default.yaml",
        ),
        (
            lambda document: document.update(reinforce={}),
            "section 'reinforce' is missing or empty: copy it from presets/default.yaml",
        ),
        (
            lambda document: document["align"].update(grpo=document["align"]["dpo"]),
            "align.grpo and reinforce.grpo would both write models/grpo_adapter: rename one",
        ),
        (
            lambda document: document.update(quantize=5),
            "section 'quantize' is missing or empty: copy it from presets/default.yaml",
        ),
        (
            lambda document: document.update(quantize={}),
            "section 'quantize' is missing or empty: copy it from presets/default.yaml",
        ),
    ],
)
def test_sections_too_many_or_too_few(problems, change: Callable[[Any], object], expected: str) -> None:
    assert problems(change) == [expected]


def test_a_number_in_place_of_a_group_of_sections(problems) -> None:
    assert problems(put(align=5)) == [
        "section 'align' is missing or empty: copy it from presets/default.yaml",
    ]


@pytest.mark.parametrize("content", ["", "- a\n", "5\n"])
def test_a_file_without_sections_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match="holds no sections"):
        check(tmp_path / "params.yaml")


def test_checking_needs_none_of_the_heavy_libraries() -> None:
    code = "import sys, forgeline.check; print(sorted({'torch', 'transformers', 'mlflow', 'dvc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "[]\n"


HTTP = {"kind": "http", "url": "https://host.org/a.jsonl", "sha256": "0" * 64, "max_megabytes": 1.0}


@pytest.mark.parametrize("path", ["data/fetch/notes", "data/fetch/notes/a.jsonl"])
def test_a_source_of_fetched_data_needs_its_fetch(problems, path: str, tmp_path: Path) -> None:
    change = put(ingest__sources__hpo_terms__path=path)
    assert problems(change) == [f"ingest.sources.hpo_terms reads {path}, but fetch has no entry 'notes': add it"]
    document = read_yaml(tmp_path / "params.yaml")
    document["fetch"]["notes"] = HTTP
    write_yaml(tmp_path / "params.yaml", document)
    check(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["a b", "a.b", "a/b", "-a", ""])
def test_names_of_fetched_data_can_stand_in_paths(problems, name: str) -> None:
    def change(document: Any) -> None:
        document["fetch"][name] = HTTP

    assert f"fetch.{name}: use letters, digits, _ and -, beginning with a letter or digit" in problems(change)


@pytest.mark.parametrize("value", [None, 3, []])
def test_fetch_may_be_empty_but_not_missing(problems, value: Any) -> None:
    assert problems(put(fetch=value)) == [
        "section 'fetch' is missing or empty: copy it from presets/default.yaml",
    ]


@pytest.mark.parametrize("section", ["ingest__sources", "fetch"])
def test_a_source_in_short_form_is_told_the_command(problems, section: str) -> None:
    for value, name in [({"squad": "squad | | train | 1"}, "squad"), (["squad | | train | 1"], "NAME")]:
        (found,) = problems(put(**{section: value}))
        assert found == (
            f"{section.replace('__', '.')}.{name} is a text, but sources are written out there: remove it and run "
            f'`forgeline source add {name} "dataset | subset | split | weight"`, which adds all that it stands for'
        )


def test_a_wrong_task_file_is_named_though_no_model_is_scored_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "tasks", tmp_path / "tasks")
    (tmp_path / "tasks" / "unasked.yaml").write_text("kind: quiz\n")
    monkeypatch.setattr("forgeline.check.TASK_FILES", tmp_path / "tasks")
    with pytest.raises(ParamsError, match=r"tasks/unasked\.yaml.*'quiz'"):
        check(REPOSITORY / "params.yaml")
