"""The card says what lineage and metrics say, and the hub gets the folder without the token showing anywhere."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.params import load
from forgeline.core.storage import write_json
from forgeline.export.publish import publish, push
from forgeline.sources.params import SourcesParams
from forgeline.text.card import CardParams

ROOT = Path.cwd()
TOKEN = "hf_secret0123456789"


def lineage(stage, inputs, **extra):
    return {
        "stage": stage, "params": {stage: {"learning_rate": 0.25}}, "inputs": inputs, "code_sha256": "c0de",
        "environment": {"libraries": {"torch": "2.13.0"}}, **extra,
    }  # fmt: skip


@pytest.fixture(scope="module")
def params():
    """What params.yaml says about the corpus; reading it takes half a second."""
    file = ROOT / "params.yaml"
    return load("card", CardParams, file), load("ingest", SourcesParams, file)


@pytest.fixture
def run(tmp_path, monkeypatch, tokenizer, params):
    """A repository after base -> sft -> quantized."""
    monkeypatch.chdir(tmp_path)
    config = {"model_type": "llama", "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2}
    chain = {
        "base": lineage("pretrain", {"data/pack": "aaaa", "models/tokenizer": "bbbb"}),
        "sft": lineage("sft", {"data/instructions/train.parquet": "dddd", "models/base": "eeee"}),
        "q4": lineage("quantize@q4", {"data/pack": "aaaa", "models/sft": "ffff"}, parent="models/sft"),
    }
    for name, facts in chain.items():
        folder = Path("models") / name
        tokenizer.save_pretrained(folder)
        write_json(folder / "config.json", {**config, "max_position_embeddings": 64})
        write_json(folder / "lineage.json", facts)
        (folder / "model.safetensors").write_bytes(b"weights")
    score = {
        "value": 0.6271, "low": 0.579, "high": 0.673, "n": 400, "baseline": 0.172, "baseline_name": "majority class",
        "interval": "wilson",
    }  # fmt: skip
    evaluation = {"tasks": {"organ_system": {"accuracy": score}}, "methods": {"organ_system": "exact match"}}
    write_json(Path("metrics/evaluate/q4.json"), evaluation)
    write_json(Path("metrics/quantize/q4.json"), {
        "tag": "RTN_w4_g16_headbf16", "num_quantized_weights": 1000, "num_parameters": 2000,
        "bits_per_quantized_weight": 4.5, "bits_per_weight": 9.25, "calibration_sha256": None,
        "validation_bits_per_byte": {"before": 1.0, "after": 1.0123},
    })  # fmt: skip
    return Path("metrics"), *params


def test_the_card_says_what_is_known(run) -> None:
    publish(Path("models/q4"), Path("out/q4"), *run)
    card = Path("out/q4/README.md").read_text()
    assert "It was made by `quantize@q4` <- `sft` <- `pretrain`." in card
    assert "| organ_system | accuracy | 0.627 | 0.579 to 0.673, wilson | 400 | 0.172 (majority class) |" in card
    assert "- bits per byte on validation text: 1.0000 before, 1.0123 after" in card
    assert "4.50" in card
    assert card.count('"learning_rate": 0.25') == 3
    assert '"data/instructions/train.parquet": "dddd"' in card
    assert "license: other" in card.split("---")[1]
    assert "Gargano MA" in card
    assert "at most 64 tokens" in card
    assert Path("out/q4/model.safetensors").read_bytes() == b"weights"
    assert not Path("models/q4/README.md").exists(), "the original is DVC's"


def test_a_model_that_was_not_evaluated_says_so(run) -> None:
    publish(Path("models/sft"), Path("sft"), *run)
    card = Path("sft/README.md").read_text()
    assert "It was not evaluated." in card
    assert "## Quantization" not in card


def test_what_cannot_be_published_is_refused(run) -> None:
    Path("models/sft/adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="models/sft holds no whole model: publish a merged one"):
        publish(Path("models/sft"), Path("x"), *run)
    Path("models/base/lineage.json").unlink()
    with pytest.raises(DataError, match=r"models/base has no lineage.json"):
        publish(Path("models/base"), Path("x"), *run)
    Path("models/q4/tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"models/q4 holds no tokenizer.json"):
        publish(Path("models/q4"), Path("x"), *run)
    assert not Path("x").exists()


def test_a_folder_that_exists_is_left_alone(run) -> None:
    Path("taken").mkdir()
    with pytest.raises(DataError, match="taken exists: delete it or choose another folder"):
        publish(Path("models/q4"), Path("taken"), *run)


class Handler(BaseHTTPRequestHandler):
    """The answers of the hub's API that an upload of small files asks for."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.requests.append((self.path, self.headers.get("Authorization")))
        if self.server.refuses:
            self.answer({"error": f"no: {self.headers.get('Authorization')}"}, 403)
        elif self.path.endswith("/preupload/main"):
            files = [each["path"] for each in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]})
        elif self.path.endswith("/commit/main"):
            rows = [json.loads(line) for line in body.splitlines()]
            for row in (row["value"] for row in rows if row["key"] == "file"):
                self.server.files[row["path"]] = base64.b64decode(row["content"])
            self.answer({"commitUrl": "https://huggingface.co/me/q4/commit/1", "commitOid": "1" * 40, "success": True})
        else:
            self.answer({"url": "https://huggingface.co/me/q4", "name": "me/q4", "id": "1"})

    def do_GET(self) -> None:
        self.answer({"id": "me/q4", "sha": "0" * 40, "siblings": []})

    def answer(self, value, status=200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.files, server.refuses = [], {}, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setattr("forgeline.export.publish.get_token", lambda: TOKEN)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_hub_gets_every_file(run, hub, capfd) -> None:
    publish(Path("models/q4"), Path("q4"), *run)
    assert push(Path("q4"), "me/q4") == "https://huggingface.co/me/q4/commit/1"
    assert set(hub.files) == {file.name for file in Path("q4").iterdir()}
    assert hub.files["README.md"] == Path("q4/README.md").read_bytes()
    assert {authorization for _, authorization in hub.requests} == {f"Bearer {TOKEN}"}
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_refusal_does_not_repeat_the_token(run, hub, capfd, caplog) -> None:
    hub.refuses = True
    publish(Path("models/q4"), Path("q4"), *run)
    with pytest.raises(DataError, match="me/q4 could not be uploaded") as refusal:
        push(Path("q4"), "me/q4")
    said = "".join(capfd.readouterr()) + caplog.text + str(refusal.value)
    assert TOKEN not in said
    assert refusal.value.__cause__ is None


def test_without_a_token_nothing_is_sent(run, hub, monkeypatch) -> None:
    monkeypatch.setattr("forgeline.export.publish.get_token", lambda: None)
    with pytest.raises(DataError, match="no token for the Hugging Face hub: set HF_TOKEN"):
        push(Path("models/q4"), "me/q4")
    assert hub.requests == []
