"""What a user can get wrong, through the real commands: one message, a failing exit status, nothing lost."""

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.params import read_yaml, write_yaml
from forgeline.core.records import documents_table, write_documents
from tests.clone import Clone
from tests.reliability.copies import command_of, contents, copy_of, leftovers, message, run_stage
from tests.unit.sources.source_params import source_params

LINE = r"params\.yaml:\d+: "


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run."""
    return Clone.make(tmp_path_factory.mktemp("bare") / "clone")


@pytest.fixture
def clone(bare: Clone) -> Iterator[Clone]:
    """The same, as it was before each test."""
    params = bare.root / "params.yaml"
    before = params.read_bytes()
    yield bare
    params.write_bytes(before)
    for made in ("data", "models", "metrics"):
        shutil.rmtree(bare.root / made, ignore_errors=True)


def edit(clone: Clone, change: Callable[[Any], object]) -> None:
    path = clone.root / "params.yaml"
    document = read_yaml(path)
    change(document)
    write_yaml(path, document)


class TestParams:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda p: p["pretrain"].pop("num_steps"), LINE + r"pretrain\.num_steps is missing: add it"),
            (lambda p: p.pop("sft"), r"params\.yaml: section 'sft' is missing: copy it from presets/default\.yaml"),
            (lambda p: p["sft"].update(lerning_rate=1e-3), LINE + r"sft\.lerning_rate is not a known parameter"),
            (lambda p: p.update(extra={}), r"params\.yaml: unknown section 'extra': remove it"),
            (
                lambda p: p["sft"].update(learning_rate="3e-5"),
                LINE + r"sft\.learning_rate: got '3e-5' \(text\), expected a valid number",
            ),
            (
                lambda p: p["pretrain"].update(num_steps=True),
                LINE + r"pretrain\.num_steps: got True \(true/false\), expected a valid integer",
            ),
            (
                lambda p: p["reinforce"]["grpo"].update(temperature=False),
                LINE + r"reinforce\.grpo\.temperature: got False \(true/false\), expected a valid number",
            ),
            (
                lambda p: p["model"].update(num_attention_heads=3),
                LINE + r"model: hidden_size 64 is not a multiple of num_attention_heads 3: change one of them",
            ),
            (
                lambda p: p["model"].update(num_attention_heads=4, num_key_value_heads=3),
                LINE + r"model: num_attention_heads 4 is not a multiple of num_key_value_heads 3: change one of them",
            ),
        ],
    )
    def test_a_mistake_is_named_before_anything_runs(
        self, clone: Clone, change: Callable[[Any], object], expected: str
    ) -> None:
        edit(clone, change)
        assert re.match(expected, message(clone.forgeline("check", check=False)))

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("weight", 0.0, r"weight: got 0\.0 \(number\), expected greater than 0"),
            ("weight", -2.5, r"weight: got -2\.5 \(number\), expected greater than 0"),
            ("text", "{question", r"hpo_terms: text is for kind files: set it to null for kind hpo_terms"),
            ("language", "English", r"language: got 'English' \(text\)"),
        ],
    )
    def test_a_mistake_in_a_source(self, clone: Clone, key: str, value: object, expected: str) -> None:
        edit(clone, lambda p: p["ingest"]["sources"]["hpo_terms"].update({key: value}))
        assert re.match(
            LINE + rf"ingest\.sources\.(hpo_terms\.)?{expected}", message(clone.forgeline("check", check=False))
        )

    def test_two_sources_of_one_name(self, clone: Clone) -> None:
        params = clone.root / "params.yaml"
        params.write_text(params.read_text().replace("    hpo_diseases:\n", "    hpo_terms:\n"))
        said = message(clone.forgeline("check", check=False))
        assert re.match(
            LINE + r'not valid YAML: found duplicate key "hpo_terms": rename or remove one of the two', said
        )

    def test_a_stage_refuses_to_run_on_a_mistake_in_another_section(self, clone: Clone) -> None:
        edit(clone, lambda p: p["sft"].update(learning_rate="3e-5"))
        said = message(run_stage(clone, "ingest@hpo_terms"))
        assert re.match(LINE + r"sft\.learning_rate: got '3e-5'", said)
        assert not (clone.root / "data").exists()

    def test_a_stage_refuses_to_run_on_two_sources_of_one_name(self, clone: Clone) -> None:
        command = command_of(clone, "ingest@hpo_terms")
        params = clone.root / "params.yaml"
        params.write_text(params.read_text().replace("    hpo_diseases:\n", "    hpo_terms:\n"))
        said = message(clone.run(*command, check=False, FORGELINE_TRACKING="off"))
        assert re.match(LINE + r'not valid YAML: found duplicate key "hpo_terms": rename or remove one', said)
        assert not (clone.root / "data").exists()

    def test_the_pipeline_does_not_start(self, clone: Clone) -> None:
        edit(clone, lambda p: p["pretrain"].pop("num_steps"))
        assert re.match(LINE + r"pretrain\.num_steps is missing", message(clone.forgeline("repro", check=False)))
        assert not (clone.root / "data").exists()


class TestSources:
    FILE = "mine/notes.jsonl"

    @pytest.fixture
    def mine(self, clone: Clone) -> Iterator[Clone]:
        """A clone with a source of the user's own, ingested once."""
        source = source_params(path=self.FILE).model_dump()
        edit(clone, lambda p: p["ingest"]["sources"].update(mine=source))
        (clone.root / "mine").mkdir()
        (clone.root / self.FILE).write_text('{"text": "One fine document."}\n')
        done = run_stage(clone, "ingest@mine")
        assert done.returncode == 0, done.stderr
        yield clone
        shutil.rmtree(clone.root / "mine")

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (None, r"mine/notes\.jsonl does not exist: correct its path in params\.yaml or put the file there"),
            (b"", r"mine/notes\.jsonl is empty: put text into it or remove it"),
            (b'{"text": "a"}\n{"text": "\xff"}\n', r"mine/notes\.jsonl:2: not UTF-8 .*: save the file as UTF-8"),
            (b'{"text": "a"}\n\n{"text": \n', r"mine/notes\.jsonl:3: not valid JSON .*: correct it"),
            (b'{"text": "a"}\n{"body": "b"}\n', r"mine/notes\.jsonl:2: no field 'text' \(its fields: body\): correct"),
            (b'{"text": "a"}\n{"text": 7}\n', r"mine/notes\.jsonl:2: field 'text' holds a whole number, expected text"),
            (
                b'{"text": "a"}\n{"text": "b\0"}\n',
                r"mine/notes\.jsonl:2: holds a NUL \(byte 25 of the file\): remove it, or set encoding",
            ),
        ],
    )
    def test_a_bad_file_is_named_with_its_line(self, mine: Clone, content: bytes | None, expected: str) -> None:
        before = contents(mine, "ingest@mine")
        file = mine.root / self.FILE
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        assert re.match(expected, message(run_stage(mine, "ingest@mine")))
        assert contents(mine, "ingest@mine") == before
        assert leftovers(mine) == []

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("files", "changed", "expected"),
        [
            (
                {"a.jsonl": b'{"text": "a"}\n', "b.csv": b"text\nb\n"},
                {},
                r"mine holds files of several kinds \(1 csv, 1 jsonl\): choose one kind with `pattern` in params",
            ),
            (
                {"a.jsonl": b'{"text": "a"}\n'},
                {"pattern": "*.csv"},
                r"mine holds no file that matches '\*\.csv': correct path or pattern in params\.yaml",
            ),
            (
                {"a.jsonl": b'{"text": "a"}\n', "loop": None},
                {},
                r"mine/loop is a link that leads nowhere or in a circle: remove it",
            ),
            (
                {"bomb.jsonl.gz": gzip.compress(b'{"text": "' + b"a" * 97_000 + b'"}\n') * 300},
                {},
                r"mine/bomb\.jsonl\.gz: .*unpacks to more than ingest\.max_source_gigabytes \(0\.02\)",
            ),
        ],
        ids=["mixed", "glob of nothing", "link in a circle", "archive without end"],
    )
    def test_a_bad_folder_is_named_with_what_to_change(
        self, clone: Clone, tmp_path: Path, files: dict[str, bytes | None], changed: dict[str, str], expected: str
    ) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        for name, content in files.items():
            if content is None:
                (folder / name).symlink_to(name)
            else:
                (folder / name).write_bytes(content)
        source = source_params(path=str(folder), **changed).model_dump()
        clone.set_params(ingest__sources__mine=source, ingest__max_source_gigabytes=0.02)
        said = message(run_stage(clone, "ingest@mine"))
        assert re.match(expected, said.replace(f"{tmp_path}/", ""))
        assert not [path for made in ("data", "metrics") for path in (clone.root / made).rglob("*") if path.is_file()]

    def test_a_missing_file_stops_the_pipeline_by_name(self, mine: Clone) -> None:
        (mine.root / self.FILE).unlink()
        done = mine.forgeline("repro", "--single-item", "ingest@mine", check=False)
        assert done.returncode != 0
        assert "notes.jsonl" in done.stderr
        assert "Traceback" not in done.stderr


def replace_documents(folder: Path, text: str) -> None:
    """One document in place of all."""
    shutil.rmtree(folder)
    write_documents(folder, documents_table([text], "mine"))


@pytest.mark.slow
class TestText:
    def test_a_corpus_smaller_than_one_window(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "pack")
        replace_documents(clone.root / "data/curate/validation.parquet", "Too short.")
        said = message(run_stage(clone, "pack"))
        assert re.match(r"the validation documents hold \d+ tokens, less than one window: lower pack\.seq", said)
        assert contents(clone, "pack") == before

    def test_a_vocabulary_larger_than_the_text_supports(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "tokenizer")
        replace_documents(clone.root / "data/curate/train.parquet", "A few words of text.")
        said = message(run_stage(clone, "tokenizer"))
        assert re.match(r"params\.yaml: tokenizer\.vocab_size 1024 is more than the text supports: only \d+", said)
        assert "set vocab_size to" in said
        assert contents(clone, "tokenizer") == before

    def test_a_damaged_table(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "curate")
        truncate(clone.root / "data/clean/hpo_terms/documents.parquet/00000.parquet")
        said = message(run_stage(clone, "curate"))
        assert re.match(r"data/clean/hpo_terms/documents\.parquet/00000\.parquet is not a readable Parquet file", said)
        assert contents(clone, "curate") == before


@pytest.mark.slow
class TestTokenizers:
    DIFFER = r"tokenizers differ: {} has [0-9a-f]{{16}}, {} has [0-9a-f]{{16}}: "

    def test_packed_with_another(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "pretrain")
        other_tokenizer(clone.root / "models/tokenizer")
        said = message(run_stage(clone, "pretrain"))
        assert re.match(self.DIFFER.format("data/pack", "models/tokenizer"), said)
        assert contents(clone, "pretrain") == before

    def test_a_model_of_another_to_continue_from(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        shutil.copytree(clone.root / "models/base", clone.root / "elsewhere")
        other_tokenizer(clone.root / "elsewhere")
        clone.set_params(pretrain__init_from="elsewhere")
        before = contents(clone, "pretrain")
        said = message(run_stage(clone, "pretrain"))
        assert re.match(self.DIFFER.format("elsewhere", "models/tokenizer"), said)
        assert contents(clone, "pretrain") == before

    def test_a_model_of_another_than_the_probe(self, smoke: Clone, tmp_path: Path) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "merge@dpo")
        other_tokenizer(clone.root / "models/dpo_adapter")
        said = message(run_stage(clone, "merge@dpo"))
        assert re.match(self.DIFFER.format("data/pack", "models/dpo_adapter"), said)
        assert contents(clone, "merge@dpo") == before


@pytest.mark.slow
class TestDamage:
    @pytest.mark.parametrize(
        ("address", "file", "named"),
        [
            ("sft", "models/base/model.safetensors", "models/base"),
            ("evaluate@base", "models/base/model.safetensors", "models/base"),
            ("merge@dpo", "models/dpo_adapter/adapter_model.safetensors", "models/dpo_adapter"),
        ],
    )
    def test_truncated_weights(self, smoke: Clone, tmp_path: Path, address: str, file: str, named: str) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, address)
        truncate(clone.root / file)
        said = message(run_stage(clone, address))
        assert said.startswith(f"{named} cannot be loaded")
        assert "dvc checkout" in said
        assert contents(clone, address) == before

    @pytest.mark.parametrize("damage", ["truncated", "one bit"])
    def test_token_shards(self, smoke: Clone, tmp_path: Path, damage: str) -> None:
        clone = copy_of(smoke, tmp_path / "copy")
        before = contents(clone, "pretrain")
        shard = clone.root / "data/pack/train.bin"
        if damage == "truncated":
            truncate(shard)
        else:
            content = bytearray(shard.read_bytes())
            content[len(content) // 2] ^= 1
            shard.write_bytes(content)
        said = message(run_stage(clone, "pretrain"))
        assert said.startswith("data/pack/train.bin is missing, truncated or changed since it was packed: delete it")
        assert contents(clone, "pretrain") == before


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def other_tokenizer(folder: Path) -> None:
    """Puts a tokenizer with two entries exchanged in the place of the folder's own."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = "a", "b"
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(content), encoding="utf-8")
