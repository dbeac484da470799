"""Draws docs/images/quality-against-bits.svg from a finished run: `python docs/draw_bits.py [folder of the run]`.

What quantizing costs, in bits per byte of held-out documents, against the bits that a quantized weight takes. Every document is
scored by both models, so the difference has a narrow interval (bootstrap over documents) although the scores themselves
have not. The run has to score perplexity for the quantized models and for the one they were made from.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from forgeline.core.storage import read_json, read_jsonl
from forgeline.reporting.plots import Dot, scatter_chart

TARGET = Path(__file__).parent / "images" / "quality-against-bits.svg"
COLOURS = {"rtn": "s1", "smoothquant": "s5", "gptq": "s2", "awq": "s3", "hqq": "s4"}
NUM_BOOTSTRAP, SEED = 2_000, 17

STYLE = """
  svg{--ink:#1b1e23;--quiet:#5d646e;--rule:#e3e4e6;--surface:#ffffff;--s1:#2b6cb0;--s2:#c05f12;--s3:#238055;--s4:#7a4fa3;--s5:#a98406;
    background:var(--surface);font-family:-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",Helvetica,Arial,sans-serif}
  @media (prefers-color-scheme:dark){svg{--ink:#e8e9eb;--quiet:#a0a6af;--rule:#33373d;--surface:#0d1117;--s1:#6ea8e5;
    --s2:#e79a55;--s3:#62bd90;--s4:#b592dc;--s5:#d9b84a}}
  .s1{--c:var(--s1)} .s2{--c:var(--s2)} .s3{--c:var(--s3)} .s4{--c:var(--s4)} .s5{--c:var(--s5)}
  text{fill:var(--ink);font-size:9px} .tick,.axis{fill:var(--quiet)} .grid{stroke:var(--rule)}
  .dot{fill:var(--c)} .hollow{fill:var(--surface);stroke:var(--c);stroke-width:2} .whisker{stroke:var(--c);stroke-width:1.6}
  .front{fill:none;stroke:var(--quiet);stroke-dasharray:3 3} .leader{stroke:var(--quiet);stroke-width:.6}
  .halo{paint-order:stroke;stroke:var(--surface);stroke-width:3px}
"""


def documents(root: Path, model: str) -> dict[str, tuple[float, int]]:
    """Bits and bytes of every held-out document under a model."""
    rows: list[dict[str, Any]] = read_jsonl(root / "data" / "evaluate" / model / "samples.jsonl")
    return {
        row["sample_id"]: (row["details"]["nll_nats"] / math.log(2), row["details"]["num_bytes"])
        for row in rows
        if row["task"] == "perplexity"
    }


def cost(root: Path, model: str, parent: str) -> tuple[float, float, float]:
    """Change of bits per byte with its 95 % interval, from a bootstrap over documents."""
    ours, theirs = documents(root, model), documents(root, parent)
    keys = sorted(ours.keys() & theirs.keys())
    bits = np.array([ours[key][0] - theirs[key][0] for key in keys])
    size = np.array([ours[key][1] for key in keys])
    drawn = np.random.default_rng(SEED).integers(0, len(keys), (NUM_BOOTSTRAP, len(keys)))
    low, high = np.quantile(bits[drawn].sum(axis=1) / size[drawn].sum(axis=1), (0.025, 0.975))
    return float(bits.sum() / size.sum()), float(low), float(high)


def main() -> None:
    """Reads the run and writes the picture; prints its figures as a table."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    dots = []
    for path in sorted((root / "metrics" / "quantize").glob("*.json")):
        quantized = read_json(path)
        value, low, high = cost(root, path.stem, quantized["model"])
        bits = quantized["bits_per_quantized_weight"]
        method = path.stem.partition("_")[0]
        dots.append(Dot(path.stem.replace("_w4", "").replace("_", " "), bits, value, low, high, COLOURS[method]))
        print(f"| `{path.stem}` | {bits:.2f} | {quantized['size_bytes']:,} | {value:+.4f} ({low:+.4f} to {high:+.4f}) |")
    title = "What quantizing costs, against bits per quantized weight"
    chart = scatter_chart(title, dots, "bits per quantized weight (log scale)", "bits per byte, change", True, True)
    chart = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="840" ', 1)
    start = chart.index(">") + 1
    TARGET.write_text(f"{chart[:start]}<style>{STYLE}</style>{chart[start:]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
