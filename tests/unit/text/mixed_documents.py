"""Documents of many kinds for holding the quality rules against the reference: most lie near some threshold."""

import random
import string
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from forgeline.sources.hpo import load_ontology

REPOSITORY = Path(__file__).parents[3]

CHINESE = """
今天天气很好，我们去公园散步。
他说：“你知道答案吗？”
北京是中华人民共和国的首都。
这本书一共有300页，价格是45.5元。
请在2024年12月31日之前提交申请！
人工智能（AI）正在改变世界。
医生建议他每天喝8杯水，多吃蔬菜。
本网站使用cookie。
《红楼梦》是中国古典小说的代表作。
为什么天空是蓝色的？
我们的电话是010-12345678；邮箱是a@b.cn。
版权所有 保留一切权利
上海的人口超过2400万，是中国最大的城市之一。
学习语言需要时间、耐心和练习……
Python 是一种编程语言。
""".strip().splitlines()  # noqa: RUF001

FRENCH = """
Aujourd'hui, il fait beau et nous allons au parc.
L'hôpital n'a pas répondu à la lettre d'Émilie.
Qu'est-ce que c'est ?
Paris est la capitale de la France depuis le XIIe siècle.
« Je ne sais pas », dit-il en s'asseyant près d'elle.
Le prix est de 12,50 € (TVA incluse).
Y a-t-il quelqu'un ? Peut-être, c'est-à-dire peut-être pas.
Accepter les cookies
La maladie touche surtout les enfants de moins de cinq ans.
Mme Lefèvre habite au 3, rue de l'Église, à Saint-Étienne.
Les chercheurs ont publié leurs résultats dans une revue.
Politique de confidentialité
Elle l'avait déjà vu, avant-hier.
""".strip().splitlines()

_FURNITURE = """
Accept cookies to continue.
Terms of Use
Privacy policy
This site uses cookies.
Home
About us
Log in
Please enable JavaScript to view this page.
Copyright © 2024 Example Inc. All rights reserved.
Lorem ipsum dolor sit amet.
Read more...
Next page »
• First item
- Second item
• Third item, which is longer than the others
1 comment
function() { return 1; }
We use cookies and other tools to understand how you use this site.
Loading…
#tag #other #third
Subscribe to our newsletter!
Was this helpful? Yes / No
Posted by admin on Jan. 5, 2024 at 10:30am
★★★★☆ 4.5/5
See our Cookie Policy, and the terms of use of this site.
Page 1 of 10
Tags: a, b, c
^ Back to top
???
...
-----
=====
""".strip().splitlines()

_ODD_CELLS = "- n/a N/A * ±0.1 <0.05 1e-5 $5.00 US$7 12kg °C + 1-2"
_ODD_WORDS = ":) :-( a:) foo(x): U.S.A. x'' C++ 10p.m. w/o — '' 1°C. #1 … don't Im. <b>"
_EXOTIC = """
0 1 7 9 b c 1c 1d 1f 85 a0 ad 1680 2000 2003 2009 200b 200c 200d 200e 200f 2028 2029 202a 202e 202f 205f 2060 3000
feff 301 308 327 334 483 5b0 64b 93c e31 e47 20d0 fe0f 1f3fb 5d0 5d1 627 628 661 662 967 985 a95 e01 e02 e81 1000 1780
ac00 3042 30a2 4e2d 6587 20000 1f600 1f44d 1f468 1f469 1f466 2764 2603 1f1e9 1f1ea d7 f7 2211 221e 1d400 1d7d8 130 131
17f df 1e9e 3a3 3c2 3c3 2126 212a 212b fb01 2160 bd b2 b5 2018 2019 201c 201d 2013 2014 2015 2026 2022 b7 60c 61b 61f
6d4 964 3001 3002 ff01 ff0c ff0e ff1a ff1f 203c 2047 10a56 11047 e0100 fffd ffff 10fffd
"""


@dataclass(frozen=True)
class Sample:
    kind: str
    text: str


def mixed_documents(count: int, seed: int) -> list[Sample]:
    """So many documents; the same seed gives the same ones as long as the packaged text and the code are the same."""
    rng = random.Random(seed)
    kinds = rng.choices(list(_MAKERS), [share for share, _ in _MAKERS.values()], k=count)
    return [Sample(kind, _MAKERS[kind][1](rng)) for kind in kinds]


@cache
def _sentences() -> list[str]:
    terms = load_ontology(REPOSITORY / "src/forgeline/sources/hpo.json").terms.values()
    return [text for term in terms for text in (term.definition, term.comment) if text]


def _prose(rng: random.Random) -> str:
    """Paragraphs of a few sentences, with the marks that real pages have."""
    paragraphs = []
    for _ in range(rng.randint(1, 5)):
        sentences = [_decorated(rng.choice(_sentences()), rng) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.15:
            sentences.append(rng.choice(sentences))
        paragraphs.append(" ".join(sentences))
    if rng.random() < 0.1:
        paragraphs.append(rng.choice(paragraphs))
    return rng.choice(["\n", "\n\n", "\n\n", "\r\n"]).join(paragraphs)


def _decorated(sentence: str, rng: random.Random) -> str:
    citation = rng.choice(["", "edit", "citation needed", "12", "3a"])
    forms = {
        sentence: 0.83,
        f"{sentence[:-1]} [{rng.randint(1, 99)}].": 0.05,
        f"{sentence}[{citation}]": 0.03,
        f"“{sentence}” she said; he couldn't believe it's Dr. O'Neil's (e.g. 5mg/10km at 3p.m.).": 0.04,
        f"{sentence}.. And so on... See https://example.org/a-b?c=d or mail info@example.co.uk!": 0.03,
        f"- {sentence}": 0.02,
    }
    return rng.choices(list(forms), list(forms.values()))[0]


@cache
def _code_files() -> list[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    files = [file for pattern in ("*.py", "json/*.py", "email/*.py") for file in sorted(library.glob(pattern))]
    files += [*sorted((REPOSITORY / "src").rglob("*.py")), *sorted((REPOSITORY / "docs").glob("*.md"))]
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def _code(rng: random.Random) -> str:
    """Some lines of a file, from anywhere in it."""
    lines = rng.choice(_code_files()).splitlines(keepends=True)
    start = rng.randrange(max(len(lines) - 5, 1))
    return "".join(lines[start : start + rng.randint(3, 60)])


def _table(rng: random.Random) -> str:
    """A table of numbers and words: with bars, commas or tabs, or aligned by blanks."""
    separator, edge = rng.choice([(" | ", "|"), (",", ""), ("\t", ""), ("   ", ""), (";", "")])
    columns = rng.randint(2, 8)
    rows = [[_cell(rng) for _ in range(columns)] for _ in range(rng.randint(3, 25))]
    if edge:
        rows.insert(1, ["---"] * columns)
    lines = [f"{edge} {separator.join(row)} {edge}".strip() for row in rows]
    return "\n".join([rng.choice(_sentences()), *lines] if rng.random() < 0.5 else lines)


def _cell(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.uniform(-1000, 1000):,.2f}",
            f"{rng.randint(0, 100)}%",
            rng.choice(_ODD_CELLS.split()),
            rng.choice(rng.choice(_sentences()).split()),
            str(rng.randint(0, 10 ** rng.randint(1, 5))),
            "",
        ]
    )


def _chinese(rng: random.Random) -> str:
    return _recombined(CHINESE, "", rng)


def _french(rng: random.Random) -> str:
    return _recombined(FRENCH, " ", rng)


def _recombined(sentences: Sequence[str], separator: str, rng: random.Random) -> str:
    lines = [separator.join(rng.choices(sentences, k=rng.randint(1, 6))) for _ in range(rng.randint(1, 12))]
    return rng.choice(["\n", "\n\n"]).join(lines)


def _boilerplate(rng: random.Random) -> str:
    """Page furniture, alone or around prose."""
    lines = rng.choices(_FURNITURE, k=rng.randint(1, 20))
    if rng.random() < 0.6:
        place = rng.randint(0, len(lines))
        lines[place:place] = rng.choices(_sentences(), k=rng.randint(2, 8))
    return "\n".join(lines)


def _measured(rng: random.Random) -> str:
    """A document at the threshold of one rule: sometimes below it, sometimes above, often on it."""
    return rng.choice(_MEASURED)(rng)


def _words(rng: random.Random) -> list[str]:
    return " ".join(rng.choices(_sentences(), k=8)).split()


def _few_words(rng: random.Random) -> str:
    return " ".join(_words(rng)[: rng.randint(46, 54)])


def _long_or_short_words(rng: random.Random) -> str:
    longest = rng.choice([4, 5, 6, 18, 19, 20])
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, longest))) for _ in range(60)]
    return " ".join(["the", "and", *words])


def _hash_signs_and_ellipses(rng: random.Random) -> str:
    mark = rng.choice(["#", "...", "…", " # ", " ... "])
    return "".join(f"{word}{mark if rng.random() < 0.12 else ''} " for word in _words(rng))


def _bullets(rng: random.Random) -> str:
    items = [f"{rng.choice('-•')} {sentence}" for sentence in rng.choices(_sentences(), k=rng.randint(9, 11))]
    return "\n".join([*items, rng.choice(_sentences())])


def _ellipses_at_line_ends(rng: random.Random) -> str:
    return "\n".join(rng.choice(_sentences()) + rng.choice(["...", "…", "… ", ".", "", "...  "]) for _ in range(10))


def _numbers_between_words(rng: random.Random) -> str:
    return " ".join(word if rng.random() < 0.85 else str(rng.randint(0, 99)) for word in _words(rng))


def _few_stop_words(rng: random.Random) -> str:
    return " ".join(word for word in _words(rng) if len(word) > 4) + rng.choice([" the", " the be", " The Be of", ""])


def _common_ngram(rng: random.Random) -> str:
    words = _words(rng)
    gram = " ".join(rng.choices(words, k=rng.randint(2, 4)))
    return " ".join([gram] * rng.randint(2, 8) + words[: rng.randint(20, 120)])


def _duplicate_ngram(rng: random.Random) -> str:
    words = _words(rng)
    gram = " ".join(rng.choices(words, k=rng.randint(5, 12)))
    parts = [*(" ".join(rng.choices(words, k=rng.randint(5, 30))) for _ in range(4)), gram, gram]
    return " ".join(rng.sample(parts, len(parts)))


def _repeated_lines(rng: random.Random) -> str:
    lines = [rng.choice(_sentences())[: rng.randint(10, 80)] for _ in range(rng.randint(6, 20))]
    lines += rng.choices(lines, k=rng.randint(1, 8))
    return rng.choice(["\n", "\n\n", "\n\n\n"]).join(rng.sample(lines, len(lines)))


def _short_lines(rng: random.Random) -> str:
    words = _words(rng)
    lines = [f"{words[2 * line]} {words[2 * line + 1]}{rng.choice(['.', '', ''])}" for line in range(10)]
    return "\n".join([*lines, *rng.choices(_sentences(), k=rng.randint(3, 8))])


def _few_sentences(rng: random.Random) -> str:
    lines = [sentence.split(". ")[0] + rng.choice(".?!") for sentence in rng.choices(_sentences(), k=rng.randint(3, 7))]
    return "\n".join(lines)


_MEASURED: list[Callable[[random.Random], str]] = [
    _few_words,
    _long_or_short_words,
    _hash_signs_and_ellipses,
    _bullets,
    _ellipses_at_line_ends,
    _numbers_between_words,
    _few_stop_words,
    _common_ngram,
    _duplicate_ngram,
    _repeated_lines,
    _short_lines,
    _few_sentences,
]


def _exotic(rng: random.Random) -> str:
    """Rare characters, alone, in words, and between them; emoticons and other odd words."""
    characters = [chr(int(point, 16)) for point in _EXOTIC.split()]
    if rng.random() < 0.2:
        return "".join(rng.choices([*characters, " ", "\n", "a", ".", "\r\n"], k=rng.randint(0, 12)))
    pool = rng.choices(characters, k=rng.randint(1, 12))
    text = _prose(rng) if rng.random() < 0.8 else _chinese(rng)
    return " ".join(_with_exotic(word, pool, rng) for word in text.split(" "))


def _with_exotic(word: str, pool: Sequence[str], rng: random.Random) -> str:
    place = rng.randint(0, len(word))
    forms = {
        word: 0.85,
        word[:place] + rng.choice(pool) + word[place:]: 0.05,
        word + rng.choice(pool): 0.05,
        rng.choice(["\t", "  ", "\r\n", "\n", rng.choice(pool)]) + word: 0.03,
        rng.choice(_ODD_WORDS.split()): 0.02,
    }
    return rng.choices(list(forms), list(forms.values()))[0]


_MAKERS: dict[str, tuple[float, Callable[[random.Random], str]]] = {
    "prose": (0.25, _prose),
    "code": (0.15, _code),
    "table": (0.12, _table),
    "chinese": (0.08, _chinese),
    "french": (0.06, _french),
    "boilerplate": (0.10, _boilerplate),
    "measured": (0.12, _measured),
    "exotic": (0.12, _exotic),
}
