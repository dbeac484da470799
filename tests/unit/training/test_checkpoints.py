from pathlib import Path

import pytest
import torch

from forgeline.training.loop import checkpoints as module
from forgeline.training.loop.checkpoints import Checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", keep=2).load_latest() is None


def test_the_newest_comes_back_whole(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "made", keep=2)
    history = [{"step": 0, "loss": None}, {"step": 1, "loss": 0.5}]
    for step in (9, 10, 100):
        store.save(step, {"model": {"w": torch.tensor([float(step)])}, "history": history})
    loaded = Checkpoints(tmp_path / "made", keep=2).load_latest()
    assert loaded == {"step": 100, "model": {"w": torch.tensor([100.0])}, "history": history}


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 15):
        store.save(step, {})
    assert names(tmp_path) == ["step-00000010.pt", "step-00000015.pt"]


def test_a_kill_while_writing_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path, keep=1)
    store.save(5, {"x": 1})
    real_save = torch.save

    def killed(state: object, file: object) -> None:
        real_save(state, file)
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(6, {"x": 2})
    assert store.load_latest() == {"step": 5, "x": 1}
    monkeypatch.undo()
    store.save(6, {"x": 2})
    assert names(tmp_path) == ["step-00000006.pt"]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"step": 1, "x": Malicious()}, tmp_path / "step-00000001.pt")
    with pytest.raises(Exception, match="weights_only"):
        Checkpoints(tmp_path, keep=2).load_latest()


def test_the_best_is_kept_beside_the_last_ones(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=1)
    assert store.load_best() is None
    store.save_best(3, {"x": 1})
    for step in (5, 10):
        store.save(step, {"x": step})
    store.save_best(7, {"x": 2})
    assert names(tmp_path) == ["best.pt", "step-00000010.pt"]
    assert store.load_best() == {"step": 7, "x": 2}
    assert store.load_latest() == {"step": 10, "x": 10}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in (5, 10):
        store.save(step, {"x": torch.arange(1000)})
    file = tmp_path / "step-00000010.pt"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert store.load_latest()["step"] == 5
    assert f"warning: checkpoint {file} is damaged: going on from an older one" in capsys.readouterr().err


def test_a_checkpoint_of_another_identity_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints(tmp_path, keep=2, identity="one").save(5, {"x": 1})
    Checkpoints(tmp_path, keep=2, identity="one").save_best(5, {"x": 1})
    other = Checkpoints(tmp_path, keep=2, identity="two")
    assert other.load_latest() is None
    assert other.load_best() is None
    assert capsys.readouterr().err.count("is of another model, data or configuration: it is not used") == 2
    assert Checkpoints(tmp_path, keep=2, identity="one").load_latest() == {"step": 5, "x": 1}
