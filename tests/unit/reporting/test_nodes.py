from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.nodes import card_page, node_details


def test_a_stage_shows_its_code_apart_from_its_data_and_the_card_where_it_describes_it() -> None:
    stages = [
        PipelineStage("ingest@a", "python -m stages.ingest", ("src/forgeline/sources", "raw/a.txt"), ("data/a",), ()),
        PipelineStage("card", "python -m stages.card", ("data/a",), ("data/card.md",), ()),
        PipelineStage("pretrain", "python -m stages.pretrain", ("data/a",), ("models/base",), ()),
    ]
    lock = {
        "ingest@a": {
            "deps": [{"path": "src/forgeline/sources", "md5": "1.dir"}, {"path": "raw/a.txt", "md5": "2"}],
            "outs": [{"path": "data/a", "md5": "3"}],
            "params": {"params.yaml": {"ingest": {"seed": 1}}},
        }
    }
    edges = [("ingest@a", "card"), ("ingest@a", "pretrain")]
    found = node_details(stages, edges, lock, {"ingest@a": {"records": 7}})
    assert found["ingest@a"] == {
        "command": "python -m stages.ingest", "params": {"ingest": {"seed": 1}}, "deps": [["raw/a.txt", "2"]],
        "code": [["src/forgeline/sources", "1.dir"]], "outs": [["data/a", "3"]], "figures": {"records": 7},
        "locked": True, "card": True,
    }  # fmt: skip
    assert [found[name]["card"] for name in ("card", "pretrain")] == [True, False]
    assert not found["pretrain"]["locked"]


def test_the_card_is_drawn_without_front_matter_links_or_html() -> None:
    text = "---\nlicense: other\n---\n\n# Terms\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n[x](https://x.org) <b>y</b>\n"
    page = card_page(text)
    assert page.startswith("<h4>Terms</h4>")
    assert "<td>1</td>" in page
    assert "license" not in page
    assert "<a" not in page
    assert "&lt;b&gt;" in page
