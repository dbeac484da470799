from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.unit.sources.source_params import source_params, sources_params

from forgeline.core.errors import ParamsError
from forgeline.core.params import load, plain, read_yaml
from forgeline.sources.params import SourcesParams


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "hpo_terms"}, "text is for kind files: set it to null for kind hpo_terms"),
        ({"kind": "hpo_diseases", "text": None, "pattern": "*"}, "pattern is for kind files"),
        ({"kind": "hpo_diseases", "text": None, "documents": "file"}, "documents is for kind files"),
        ({"text": None}, "kind files needs one of text .* and documents"),
        ({"text": "body", "documents": "file"}, "kind files needs one of text .* and documents"),
        ({"documents": "headings"}, "headings and separators need marker"),
        ({"documents": "separators"}, "headings and separators need marker"),
        ({"documents": "lines", "marker": "^#"}, "headings and separators need marker, the others null"),
        ({"marker": "^#"}, "headings and separators need marker, the others null"),
        ({"documents": "headings", "marker": "("}, r"marker is no regular expression \(missing \)"),
        ({"text": "{question"}, r"text is not a template .*: write names of fields in braces"),
        ({"text": "{}"}, "text is not a template"),
        ({"text": "{a!r}"}, "text is not a template"),
        ({"text": "{a:>10}"}, "text is not a template"),
        ({"text": "{a[0]}"}, "text is not a template"),
        ({"text": "}"}, "text is not a template"),
        ({"text": "{{a}}"}, "text is a template without a field"),
        ({"text": ""}, "at least 1 character"),
        ({"path": "my corpus/a.jsonl"}, "path 'my corpus/a.jsonl' holds a space or another character"),
        ({"path": "a;b.jsonl"}, "holds a space or another character that shells interpret: rename it"),
        ({"pattern": "/etc/*"}, "pattern '/etc/\\*' leaves the folder"),
        ({"pattern": "../*.jsonl"}, "leaves the folder"),
        ({"pattern": "**.jsonl"}, r"\*\* must stand alone between slashes"),
        ({"encoding": "ignore"}, "'strict' or 'repair'"),
        ({"language": "English"}, "language"),
        ({"language": "EN"}, "language"),
        ({"weight": 0.0}, "greater than 0"),
        ({"weight": -1.0}, "greater than 0"),
        ({"weight": float("inf")}, "finite number"),
        ({"max_documents": 0}, "greater than or equal to 1"),
        ({"max_tokens": -5}, "greater than or equal to 1"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(changed, message) -> None:
    with pytest.raises(ValidationError, match=message):
        source_params(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "hpo_terms", "text": None},
        {"documents": "file"},
        {"documents": "separators", "marker": "^<\\|endoftext\\|>$"},
        {"text": "{a.b}: {c}"},
        {"text": "a field with spaces"},
        {"pattern": "**/*.jsonl.gz"},
        {"language": "auto"},
        {"language": "ceb"},
        {"license": "CC BY 4.0", "citation": "Nobody, 2024."},
    ],
)
def test_a_source_that_makes_sense_is_taken(changed) -> None:
    source_params(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sources": {}}, "name at least one source"),
        ({"sources": {"a/b": source_params()}}, "should match pattern"),
        ({"sources": {"": source_params()}}, "should match pattern"),
        ({"sources": {"-a": source_params()}}, "should match pattern"),
        ({"shard_megabytes": 0}, "greater than 0"),
        ({"max_document_megabytes": -1}, "greater than 0"),
        ({"max_source_gigabytes": 0}, "greater than 0"),
        ({"bytes_per_token": 0.0}, "greater than 0"),
    ],
)
def test_limits_of_all_sources_have_ranges(changed, message) -> None:
    with pytest.raises(ValidationError, match=message):
        sources_params(source_params(), **changed)


def test_two_sources_of_one_name_are_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("ingest:\n  sources:\n    notes:\n      kind: files\n    other: 1\n    notes:\n      kind: files\n")
    with pytest.raises(ParamsError) as caught:
        load("ingest", SourcesParams, file)
    assert str(caught.value) == (
        f'{file}:6: not valid YAML: found duplicate key "notes": rename or remove one of the two'
    )


@pytest.mark.parametrize("preset", ["default", "smoke"])
def test_presets_state_licence_and_citation_of_the_packaged_data(preset: str) -> None:
    section = plain(read_yaml(Path("presets") / f"{preset}.yaml"))["ingest"]
    for source in SourcesParams.model_validate(section).sources.values():
        assert "https://hpo.jax.org/app/license" in (source.license or "")
        assert "52(D1):D1333-D1346, 2024" in (source.citation or "")
