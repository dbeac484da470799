from pathlib import Path

import pytest
from scripts import declare_deps

from forgeline.core.pipeline import PipelineStage, read_pipeline

FILES = {
    "src/forgeline/__init__.py": "",
    "src/forgeline/a/__init__.py": "",
    "src/forgeline/a/direct.py": "from forgeline.a.indirect import x\n",
    "src/forgeline/a/indirect.py": "import json\nimport torch.nn\n",
    "src/forgeline/a/cycle.py": "import forgeline.a.direct\nfrom stages import one\n",
    "src/forgeline/a/unused.py": "1 / 0\n",
    "src/forgeline/b/__init__.py": "import forgeline.b.from_init\n",
    "src/forgeline/b/from_init.py": "x = 1\n",
    "src/forgeline/b/module.py": "x = 2\n",
    "src/forgeline/lazy.py": "def f():\n    from forgeline.b import module\n",
    "src/forgeline/data/text.txt": "hello\n",
    "src/forgeline/data/sub/deep.txt": "hello\n",
    "src/forgeline/data/empty.txt": "\n",
    "src/forgeline/data/__pycache__/x.pyc": "compiled",
    "src/forgeline/reader.py": "from importlib import resources\nresources.files('forgeline.data')\n",
    "src/forgeline/other_reader.py": "from importlib.resources import files\nfiles('forgeline.data')\n",
    "src/forgeline/relative.py": "from .lazy import f\n",
    "stages/__init__.py": "import sys\n",
    "stages/one.py": "from forgeline.a.direct import x\n",
    "stages/group/__init__.py": "",
    "stages/group/two.py": "import forgeline.lazy\n",
    "stages/group/three.py": "import forgeline.lazy, forgeline.reader\n",
    "params.yaml": "x: 1\n",
}
DIRECT = {"src/forgeline/a/direct.py", "src/forgeline/a/indirect.py"}
LAZY = {
    "src/forgeline/lazy.py",
    "src/forgeline/b/__init__.py",
    "src/forgeline/b/from_init.py",
    "src/forgeline/b/module.py",
}
DATA = {"src/forgeline/data/text.txt", "src/forgeline/data/sub/deep.txt"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(declare_deps, "ROOT", tmp_path)
    monkeypatch.setattr(declare_deps, "PACKAGES", {"forgeline": tmp_path / "src", "stages": tmp_path})
    return tmp_path


def closure(tree: Path, module: str, imports: str | None = None) -> set[str]:
    """The closure of a stage without the two files that every stage has: itself and stages/__init__.py."""
    file = tree / (module.replace(".", "/") + ".py")
    if imports is not None:
        file.write_text(imports)
    found = declare_deps.code_closure(PipelineStage("x", f"python -m {module} --seed 1", (), (), ()))
    own = {"stages/__init__.py", file.relative_to(tree).as_posix()}
    assert own <= found
    return found - own


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ("import json", set()),
        ("from forgeline.a.direct import x", DIRECT),
        ("from forgeline.a import direct", DIRECT),
        ("import forgeline.a.direct as d", DIRECT),
        ("import forgeline.a", set()),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import forgeline.a.indirect",
            {*DIRECT} - {"src/forgeline/a/direct.py"},
        ),
        ("import forgeline.b.module", LAZY - {"src/forgeline/lazy.py"}),
        ("def main():\n    import forgeline.lazy", LAZY),
        ("import forgeline.reader", {"src/forgeline/reader.py", *DATA}),
        ("import forgeline.other_reader", {"src/forgeline/other_reader.py", *DATA}),
        ("import forgeline.a.cycle", {*DIRECT, "src/forgeline/a/cycle.py", "stages/one.py"}),
    ],
)
def test_the_closure_is_what_running_the_stage_would_read(tree: Path, imports: str, expected: set[str]) -> None:
    assert closure(tree, "stages.fresh", imports) == expected


def test_relative_imports_are_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"relative\.py:1: relative import"):
        closure(tree, "stages.fresh", "import forgeline.relative")


def test_a_whole_folder_is_declared_as_one(tree: Path) -> None:
    assert declare_deps._folded({"stages/one.py", *DATA, *DIRECT, *LAZY}) == [
        "stages/one.py",
        "src/forgeline/a/direct.py",
        "src/forgeline/a/indirect.py",
        "src/forgeline/b",
        "src/forgeline/data",
        "src/forgeline/lazy.py",
    ]


def test_folders_are_expanded_to_what_could_matter(tree: Path) -> None:
    stage = PipelineStage("x", "", ("src/forgeline/data", "stages/one.py", "data/in.txt", "src/forgeline/a"), (), ())
    names = ("cycle", "direct", "indirect", "unused")
    assert declare_deps.declared_code(stage) == {
        *DATA,
        "stages/one.py",
        *(f"src/forgeline/a/{name}.py" for name in names),
    }


DVC = """\
# a comment
stages:
  one:
    desc: kept
    cmd: python -m stages.one
    deps: [src/forgeline/a/unused.py, data/in.txt, src/forgeline/packaged.json]
  group:
    foreach: [two, three]
    do:
      cmd: python -m stages.group.${item}
      deps: ["stages/group/${item}.py", models/x]
"""


def test_writing_keeps_data_and_templated_deps_and_what_members_share(tree: Path) -> None:
    (tree / "dvc.yaml").write_text(DVC)
    declare_deps.main()
    deps = {stage.address: list(stage.deps) for stage in read_pipeline(tree)}
    assert deps["one"] == [
        "stages/__init__.py",
        "stages/one.py",
        "src/forgeline/a/direct.py",
        "src/forgeline/a/indirect.py",
        "data/in.txt",
        "src/forgeline/packaged.json",
    ]
    shared = ["stages/__init__.py", "src/forgeline/b", "src/forgeline/lazy.py"]
    assert deps["group@two"] == [*shared, "stages/group/two.py", "models/x"]
    assert deps["group@three"] == [*shared, "stages/group/three.py", "models/x"]
    written = (tree / "dvc.yaml").read_text()
    assert "# a comment" in written
    assert "${item}.py" in written
    declare_deps.main()
    assert (tree / "dvc.yaml").read_text() == written
