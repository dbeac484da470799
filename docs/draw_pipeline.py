"""Draws docs/images/pipeline.svg: every stage of dvc.yaml with what it does. Run `python docs/draw_pipeline.py`.

Placed by hand, because a picture for readers groups what the dependency graph does not. tests/pipeline/test_docs.py
holds its stage names against dvc.yaml.
"""

from html import escape
from pathlib import Path

TARGET = Path(__file__).parent / "images" / "pipeline.svg"
WIDTH, ROW, TOP, HEIGHT = 960, 70, 66, 48
LEFT, SPINE, RIGHT = (24, 236), (322, 316), (700, 236)  # x and width of the three columns

STYLE = """
  .page{fill:#ffffff;stroke:#d0d7de} .name{fill:#1f2328;font-weight:600;font-size:14px} .what{fill:#59636e;font-size:12px}
  .head{fill:#59636e;font-size:12px;font-weight:600;letter-spacing:.06em} .line{stroke:#59636e;stroke-width:1.4;fill:none}
  .tip{fill:#59636e} .data{fill:#ddf4ff;stroke:#218bff} .model{fill:#fbefff;stroke:#a475f9} .proof{fill:#dafbe1;stroke:#2da44e}
  text{font-family:-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",Helvetica,Arial,sans-serif}
  @media (prefers-color-scheme:dark){
    .page{fill:#0d1117;stroke:#3d444d} .name{fill:#f0f6fc} .what,.head{fill:#b7bdc8} .line{stroke:#9198a1} .tip{fill:#9198a1}
    .data{fill:#0c2d4d;stroke:#388bfd} .model{fill:#2b1d4a;stroke:#a371f7} .proof{fill:#0f2f1c;stroke:#3fb950}
  }
"""

SPINE_BOXES = [
    ("data", "ingest@source", "files or packaged data → documents"),
    ("data", "clean@source", "normalise, drop what is not worth learning"),
    ("data", "curate", "copies out, test questions out, split by hash"),
    ("data", "tokenizer", "byte-level BPE with its chat template"),
    ("data", "pack", "documents → token shards"),
    ("model", "pretrain", "base model: next-token loss"),
    ("model", "sft", "instruction-tuned model, all weights or LoRA"),
    None,  # ADAPTER_BOXES stand there
    ("model", "merge@dpo, merge@grpo", "adapter → plain weights, same logits"),
    ("model", "quantize@rtn_w8, @gptq_w4", "from models/grpo, cost gated"),
]
HALF = 154  # width of a box that shares its row
ADAPTER_BOXES = [
    ("model", "reinforce@grpo", ["adapter: own answers"], SPINE[0]),
    ("model", "align@dpo", ["adapter: given pairs"], SPINE[0] + SPINE[1] - HALF),
]
LEFT_BOXES = [
    ("data", "fetch@name", ["remote data → files here, pinned"], 0, 0),
    ("data", "instructions", ["questions with answers,", "split by tested term", "(packaged, or your chats)"], 2, 7),
    ("data", "preferences", ["pairs of answers"], 8, 8),
    ("model", "reward", ["pairwise reward model"], 9, 9),
]
RIGHT_BOXES = [
    ("proof", "card", ["data card: sources, counts, hashes"], 2, 2),
    ("proof", "contamination", ["test texts in training text"], 3, 3),
    ("proof", "holdout", ["baseline: n-gram to beat"], 4, 4),
    (
        "proof",
        "evaluate@model",
        ["scores with n, 95 % interval", "and baseline; every sample", "kept as evidence", "(base, sft, dpo, grpo,", "rtn_w8, gptq_w4)"],
        5,
        8,
    ),
    ("proof", "benchmark@model", ["latency, tokens/s, memory"], 9, 9),
    ("proof", "report", ["leaderboard, one HTML page"], 10, 10),
]


def middle(row: float) -> float:
    """Height of the middle of a row."""
    return TOP + row * ROW + HEIGHT / 2


def box(style: str, name: str, lines: list[str], x: float, width: float, first: int, last: int) -> str:
    """A stage, from row `first` to row `last`."""
    top, height = TOP + first * ROW, (last - first) * ROW + HEIGHT
    start = top + height / 2 - (len(lines) * 17) / 2 + 5
    center = x + width / 2
    words = [f'<text class="name" text-anchor="middle" x="{center:g}" y="{start:g}">{escape(name)}</text>']
    words += [
        f'<text class="what" text-anchor="middle" x="{center:g}" y="{start + 17 * (number + 1):g}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return f'<rect class="{style}" rx="7" x="{x:g}" y="{top:g}" width="{width:g}" height="{height:g}"/>' + "".join(words)


def arrow(*points: tuple[float, float]) -> str:
    """A line through points that ends in an arrow."""
    path = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
    return f'<path class="line" marker-end="url(#tip)" d="{path}"/>'


def arrows() -> list[str]:
    """Every arrow: down the spine, from the questions and pairs, to the evidence."""
    left, right = LEFT[0] + LEFT[1], RIGHT[0]
    spine, spine_end, center = SPINE[0], SPINE[0] + SPINE[1], SPINE[0] + SPINE[1] / 2
    found = [arrow((center, middle(n) + HEIGHT / 2), (center, middle(n + 1) - HEIGHT / 2 - 2)) for n in range(9)]
    found += [arrow((left, middle(row)), (spine - 2, middle(row))) for row in (0, 2, 6, 7)]
    pairs = spine_end - HALF / 2  # they come to align from below
    found += [arrow((left, middle(8)), (left + 40, middle(8)), (left + 40, middle(7) + 33), (pairs, middle(7) + 33), (pairs, middle(7) + HEIGHT / 2 + 2))]
    found += [arrow((LEFT[0] + LEFT[1] / 2, middle(8) + HEIGHT / 2), (LEFT[0] + LEFT[1] / 2, middle(9) - HEIGHT / 2 - 2))]
    found += [arrow((spine, middle(6) + 13), (left + 20, middle(6) + 13), (left + 20, middle(9)), (left + 2, middle(9)))]
    found += [arrow((spine_end, middle(row)), (right - 2, middle(row))) for row in (2, 4, 5, 6, 8, 9)]
    found += [arrow((spine_end, middle(9) - 13), (right - 20, middle(9) - 13), (right - 20, middle(8) + 13), (right - 2, middle(8) + 13))]
    found += [arrow((spine_end, middle(8) + 13), (right - 40, middle(8) + 13), (right - 40, middle(9) + 13), (right - 2, middle(9) + 13))]
    found += [arrow((spine_end, middle(2) + 13), (right - 20, middle(2) + 13), (right - 20, middle(3)), (right - 2, middle(3)))]
    across = RIGHT[0] + RIGHT[1] / 2
    found += [arrow((across, middle(4) + HEIGHT / 2), (across, middle(5) - HEIGHT / 2 - 2))]
    found += [arrow((across, middle(9) + HEIGHT / 2), (across, middle(10) - HEIGHT / 2 - 2))]
    found += [arrow((right + RIGHT[1], middle(7)), (right + RIGHT[1] + 12, middle(7)), (right + RIGHT[1] + 12, middle(10)), (right + RIGHT[1] + 2, middle(10)))]
    found += [arrow((right, middle(10)), (spine_end + 2, middle(10)))]
    return found


def draw() -> str:
    """The whole picture."""
    height = TOP + 11 * ROW + 4
    heads = [(LEFT, "REMOTE DATA, QUESTIONS, PAIRS"), (SPINE, "FROM TEXT TO MODELS"), (RIGHT, "EVIDENCE")]
    parts = [
        f'<text class="head" text-anchor="middle" x="{x + width / 2:g}" y="42">{text}</text>' for (x, width), text in heads
    ]
    parts += arrows()
    spine = [(row, *entry) for row, entry in enumerate(SPINE_BOXES) if entry is not None]
    parts += [box(style, name, [what], *SPINE, row, row) for row, style, name, what in spine]
    adapters = SPINE_BOXES.index(None)
    parts += [box(style, name, lines, x, HALF, adapters, adapters) for style, name, lines, x in ADAPTER_BOXES]
    parts += [box("proof", "register", ["models and lineage tags in MLflow"], *SPINE, 10, 10)]
    parts += [box(style, name, lines, *LEFT, first, last) for style, name, lines, first, last in LEFT_BOXES]
    parts += [box(style, name, lines, *RIGHT, first, last) for style, name, lines, first, last in RIGHT_BOXES]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="The stages of the pipeline, from text to registered models">\n'
        f"<style>{STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        'markerUnits="userSpaceOnUse"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>\n'
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
