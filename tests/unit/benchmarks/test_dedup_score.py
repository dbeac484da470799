from benchmarks.corpus import Label
from benchmarks.dedup import score


def test_recall_and_precision_leave_junk_out() -> None:
    labels = {
        "a": Label("fresh"),
        "b": Label("near", "a"),
        "c": Label("exact", "a"),
        "d": Label("hard_negative", "a"),
        "e": Label("junk"),
        "f": Label("near", "d"),
    }
    assert score({"b", "c", "f"}, labels) == (1.0, 1.0)
    assert score({"b", "c", "f", "e"}, labels) == (1.0, 1.0)
    assert score({"b", "c"}, labels) == (2 / 3, 1.0)
    assert score({"b", "c", "f", "d"}, labels) == (1.0, 3 / 4)
    assert score(set(), labels) == (0.0, 0.0)
