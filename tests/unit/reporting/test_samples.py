import base64
import gzip
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forgeline.reporting.samples import Limits, pack_samples

ROOMY = 2_000_000


def row(key: str, output: str, parsed: str | None, correct: bool | None, **details: Any) -> dict[str, Any]:
    task = "perplexity" if "nll_nats" in details else "maths"
    return {
        "task": task, "sample_id": f"{key:0>8}", "prompt": f"question {key}", "reference": "42", "output": output,
        "parsed": parsed, "correct": correct, "details": details,
    }  # fmt: skip


def unpack(data: str) -> list[list[Any]]:
    return [json.loads(line) for line in gzip.decompress(base64.b64decode(data)).decode().split("\n") if line]


def test_a_line_is_written_as_the_page_reads_it() -> None:
    samples = {
        "base": [row("a", "\\boxed{42}", "42", True), row("b", "who knows", None, False)],
        "sft": [row("b", "41", "41", False), row("a", "\\boxed{42}", "42", True)],
        "dpo": [row("a", "42", "42", True)],
    }
    packed = pack_samples(samples, Limits(10, 100, 17), ROOMY)
    assert sorted(unpack(packed.data)) == [
        ["maths", "0000000a", "question a", "42", [["right", "\\boxed{42}", "42"], ["right", "42"]], [0, 0, 1]],
        ["maths", "0000000b", "question b", "42", [["unparsed", "who knows"], ["wrong", "41"]], [0, 1, -1]],
    ]
    assert (packed.num_answers, packed.num_cut) == (5, 0)
    assert packed.head() == {
        "models": ["base", "sft", "dpo"],
        "tasks": {"maths": {"shown": 2, "total": 2}},
        "num_cut": 0,
    }


def test_a_document_says_how_many_bits_per_byte_it_needs() -> None:
    packed = pack_samples({"base": [row("a", "", None, None, nll_nats=0.693147180559945 * 30, num_bytes=20)]},
                          Limits(10, 100, 17), ROOMY)  # fmt: skip
    [[task, _, _, _, answers, given_]] = unpack(packed.data)
    assert (task, answers, given_) == ("perplexity", [[1.5, ""]], [0])


def test_long_texts_keep_their_beginning_and_their_end() -> None:
    output = "x" * 100 + "thus " + "y" * 100 + "\\boxed{7}"
    packed = pack_samples({"base": [row("a", output, "7", True)]}, Limits(10, 60, 17), ROOMY)
    [[*_, [[_, shown, _]], _]] = unpack(packed.data)
    assert shown.startswith("x" * 40 + " […")
    assert shown.endswith("\\boxed{7}")
    assert f"…{len(output) - 60} characters left out…" in shown
    assert packed.num_cut == 1


texts = st.text(max_size=30)
answers = st.lists(st.tuples(texts, st.none() | texts, st.booleans()), min_size=1, max_size=8)


@given(st.lists(answers, min_size=1, max_size=4))
def test_nothing_is_lost_of_what_is_held(models: list[list[tuple[str, str | None, bool]]]) -> None:
    samples = {f"model{i}": [row(str(j), *answer) for j, answer in enumerate(rows)] for i, rows in enumerate(models)}
    packed = pack_samples(samples, Limits(100, 100, 17), ROOMY)
    lines = {line[1]: line for line in unpack(packed.data)}
    for index, rows in enumerate(samples.values()):
        for sample in rows:
            *_, kinds, given_ = lines[sample["sample_id"]]
            verdict, output, *parsed = kinds[given_[index]]
            assert output == sample["output"]
            assert (verdict == "right") == sample["correct"]
            assert verdict != "unparsed" or sample["parsed"] is None
            assert parsed in ([], [sample["parsed"]])
            assert parsed or sample["parsed"] in (None, output)
    assert packed.num_answers == sum(map(len, samples.values()))


def test_what_does_not_fit_is_left_out_of_every_task_alike() -> None:
    noise = [f"{number * 2654435761 % 2**32:x}" * 20 for number in range(4000)]
    rows = [row(str(n), text, None, False) | {"task": "even" if n % 2 else "third"} for n, text in enumerate(noise)]
    packed = pack_samples({"base": rows}, Limits(5000, 1000, 17), 120_000)
    assert 0 < len(packed.data) <= 120_000
    even, third = packed.tasks["even"]["shown"], packed.tasks["third"]["shown"]
    assert abs(even - third) <= 1
    assert 100 < even + third < 4000
    assert pack_samples({"base": rows}, Limits(5000, 1000, 17), 120_000) == packed
    assert pack_samples({"base": rows}, Limits(5000, 1000, 18), 120_000).data != packed.data


def test_no_room_and_no_samples_give_nothing() -> None:
    assert pack_samples({}, Limits(10, 100, 17), ROOMY).data == ""
    assert pack_samples({"base": [row("a", "b", None, False)]}, Limits(10, 100, 17), 0).data == ""
