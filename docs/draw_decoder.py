"""Draws docs/images/decoder.svg: the parts of `model.kind: decoder` and what can be chosen at each.

Run `python docs/draw_decoder.py`.
"""

from html import escape
from pathlib import Path

TARGET = Path(__file__).parent / "images" / "decoder.svg"
WIDTH, HEIGHT, ROW, TOP, BOX = 960, 690, 68, 66, 44
MODEL, LAYER, CHOICE = (24, 220), (300, 250), (600, 336)  # x and width of the three columns
LABEL = "The decoder: embedding, layers of attention and feed-forward, norm and head, with the choices at each part"

STYLE = """
  .page{fill:#ffffff;stroke:#d0d7de} .name{fill:#1f2328;font-weight:600;font-size:14px} .what{fill:#59636e;font-size:12px}
  .head{fill:#59636e;font-size:12px;font-weight:600;letter-spacing:.06em} .line{stroke:#59636e;stroke-width:1.4;fill:none}
  .tip{fill:#59636e} .part{fill:#ddf4ff;stroke:#218bff} .norm{fill:#f6f8fa;stroke:#8c959f} .mix{fill:#fbefff;stroke:#a475f9}
  .frame{fill:none;stroke:#a475f9;stroke-dasharray:5 4} .plus{fill:#ffffff;stroke:#59636e} .choice{fill:#dafbe1;stroke:#2da44e}
  .link{stroke:#2da44e;stroke-width:1.2;stroke-dasharray:2 3;fill:none}
  text{font-family:-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",Helvetica,Arial,sans-serif}
  @media (prefers-color-scheme:dark){
    .page{fill:#0d1117;stroke:#3d444d} .name{fill:#f0f6fc} .what,.head{fill:#b7bdc8} .line{stroke:#9198a1} .tip{fill:#9198a1}
    .part{fill:#0c2d4d;stroke:#388bfd} .norm{fill:#151b23;stroke:#656c76} .mix{fill:#2b1d4a;stroke:#a371f7}
    .plus{fill:#0d1117;stroke:#9198a1} .choice{fill:#0f2f1c;stroke:#3fb950} .link{stroke:#3fb950}
  }
"""

MODEL_BOXES = [
    (0, "part", "embed_tokens", "ids → vectors of hidden_size"),
    (2, "norm", "+ positions", "sinusoidal, learned: added here"),
    (4, "mix", "decoder layer", "num_hidden_layers times"),
    (6, "norm", "norm", "rmsnorm or layernorm"),
    (8, "part", "lm_head", "→ logits of the next token"),
]
LAYER_BOXES = [
    (0, "norm", "input_layernorm", "rmsnorm or layernorm"),
    (1, "part", "q_proj, k_proj, v_proj", "heads of queries, keys, values"),
    (2, "norm", "qk_norm, rotation", "rope, yarn: turned by position"),
    (3, "mix", "attention", "softmax(q · k + mask) v"),
    (4, "part", "o_proj", "heads → hidden_size, dropout"),
    (6, "norm", "post_attention_layernorm", "rmsnorm or layernorm"),
    (7, "mix", "feed-forward", "down_proj(act(up_proj x)), dropout"),
]
CHOICES = [
    (1, "num_key_value_heads, attention_bias", "as many as query heads (mha), fewer (gqa), 1 (mqa)"),
    (2, "qk_norm, positions", "rope: θ · yarn: θ, factor, original length, βs"),
    (3, "sliding_window, alibi, attention_dropout", "the mask: causal, a window, a penalty by distance"),
    (6, "norm, norm_eps", "rmsnorm: a gain · layernorm: a gain and an offset"),
    (7, "activation, mlp_bias", "relu, gelu, silu, leaky_relu · gated: swiglu, geglu, reglu"),
]


def middle(row: float) -> float:
    """Height of the middle of a row."""
    return TOP + row * ROW + BOX / 2


def box(style: str, name: str, what: str, column: tuple[int, int], row: float) -> str:
    """A part with its name and what it does."""
    x, width = column
    top, center = TOP + row * ROW, x + width / 2
    return (
        f'<rect class="{style}" rx="7" x="{x}" y="{top:g}" width="{width}" height="{BOX}"/>'
        f'<text class="name" text-anchor="middle" x="{center:g}" y="{top + 19:g}">{escape(name)}</text>'
        f'<text class="what" text-anchor="middle" x="{center:g}" y="{top + 35:g}">{escape(what)}</text>'
    )


def path(style: str, *points: tuple[float, float], tip: bool = True) -> str:
    """A line through points, with or without an arrow at its end."""
    steps = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
    return f'<path class="{style}" {"marker-end=" + chr(34) + "url(#tip)" + chr(34) if tip else ""} d="{steps}"/>'


def plus(x: float, row: float) -> str:
    """Where what a sub-layer found is added back."""
    return (
        f'<circle class="plus" cx="{x:g}" cy="{middle(row):g}" r="11"/>'
        f'<text class="name" text-anchor="middle" x="{x:g}" y="{middle(row) + 5:g}">+</text>'
    )


def lines() -> list[str]:
    """All arrows: through the model, through a layer, and around its sub-layers."""
    across, center = MODEL[0] + MODEL[1] / 2, LAYER[0] + LAYER[1] / 2
    half, side = BOX / 2, LAYER[0] - 18
    found = [
        path("line", (across, middle(row) + half), (across, middle(row + 2) - half - 2)) for row in (0, 2, 4, 6)
    ]
    for first, last in ((0, 1), (1, 2), (2, 3), (3, 4), (6, 7)):
        found.append(path("line", (center, middle(first) + half), (center, middle(last) - half - 2)))
    found.append(path("line", (center, TOP - 14), (center, TOP - 2)))
    found.append(path("line", (center, middle(4) + half), (center, middle(5) - 13)))
    found.append(path("line", (center, middle(5) + 11), (center, middle(6) - half - 2)))
    found.append(path("line", (center, middle(7) + half), (center, middle(8) - 13)))
    found.append(path("line", (center, TOP - 8), (side, TOP - 8), (side, middle(5)), (center - 13, middle(5))))
    around = [(center, middle(5) + 18), (side, middle(5) + 18), (side, middle(8)), (center - 13, middle(8))]
    found.append(path("line", *around))
    found.append(path("line", (center, middle(8) + 11), (center, middle(8) + 30)))
    right = LAYER[0] + LAYER[1]
    found += [path("link", (right, middle(row)), (CHOICE[0], middle(row)), tip=False) for row, _, _ in CHOICES]
    frame = TOP - 20
    found.append(
        f'<rect class="frame" rx="10" x="{side - 12}" y="{frame}" width="{LAYER[1] + 42}" '
        f'height="{middle(8) + 22 - frame:g}"/>'
    )
    found.append(path("line", (MODEL[0] + MODEL[1], middle(4)), (side - 14, middle(4))))
    return found


def draw() -> str:
    """The whole picture."""
    heads = [(MODEL, "THE MODEL"), (LAYER, "A DECODER LAYER"), (CHOICE, "KNOBS OF SECTION MODEL")]
    parts = [
        f'<text class="head" text-anchor="middle" x="{x + width / 2:g}" y="32">{text}</text>' for (x, width), text in heads
    ]
    parts += lines()
    parts += [box(style, name, what, MODEL, row) for row, style, name, what in MODEL_BOXES]
    parts += [box(style, name, what, LAYER, row) for row, style, name, what in LAYER_BOXES]
    parts += [box("choice", name, what, CHOICE, row) for row, name, what in CHOICES]
    parts += [plus(LAYER[0] + LAYER[1] / 2, row) for row in (5, 8)]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{LABEL}">\n<style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        'markerUnits="userSpaceOnUse"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>\n'
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
