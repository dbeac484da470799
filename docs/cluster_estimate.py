"""Prints the estimate of docs/cluster.md from measured rates: `python docs/cluster_estimate.py`.

Replace the constants by what you measure: `python -m benchmarks scaling`, and `metrics/clean` and `metrics/curate.json` of
a run on a sample of your own text.
"""

from dataclasses import dataclass

TB = 1e12
HOUR = 3600.0

# Bytes of text per CPU second and core, of what enters the step.
INGEST, CLEAN, EXAMINE, WRITE = 113e6, 31e6, 119e6, 155e6
HASH = 1_330e6  # SHA-256 of the source
KEPT = 0.82  # share of the bytes that `clean` keeps
DOCUMENT_BYTES = 2_650  # mean
PARQUET = 0.36  # bytes on disk per byte of text
# On the driver alone.
LINK_SECONDS_PER_DOCUMENT = 3.0e-6
RAY_SECONDS_PER_TASK = 8e-3
MD5 = 750e6 * 4  # bytes per second of four threads, as many as DVC uses
DRIVER_BYTES_PER_DOCUMENT = 30
SIGNATURE_BYTES = 448
SCRATCH_BYTES_PER_DOCUMENT = 730
EXAMINED_BYTES_PER_DOCUMENT = 650


@dataclass(frozen=True)
class Plan:
    """What is run on what; `num_parts` parts are curated one by one."""

    name: str
    text_bytes: float
    num_cores: int
    shard_bytes: float
    num_parts: int = 1


def rows(plan: Plan) -> list[tuple[str, str]]:
    """Lines of the table: what, and its value."""
    text, kept = plan.text_bytes, plan.text_bytes * KEPT
    documents = kept / DOCUMENT_BYTES
    of_part = documents / plan.num_parts
    core_seconds = text / HASH + text / INGEST + text / CLEAN + kept / EXAMINE + kept / WRITE
    num_tasks = 5 * text / plan.shard_bytes
    stored = PARQUET * (text + 2 * kept)
    moved = 2 * text + PARQUET * (2 * text + 4 * kept) + 2 * EXAMINED_BYTES_PER_DOCUMENT * documents
    return [
        ("cores", f"{plan.num_cores}"),
        ("shards of", f"{plan.shard_bytes / 1e6:.0f} MB"),
        ("core-hours", f"{core_seconds / HOUR:,.0f}"),
        ("hours, with all cores busy", f"{core_seconds / HOUR / plan.num_cores:.1f}"),
        ("tasks", f"{num_tasks:,.0f}"),
        ("driver: hours of handing out tasks", f"{num_tasks * RAY_SECONDS_PER_TASK / HOUR:.1f}"),
        ("driver: hours of linking", f"{documents * LINK_SECONDS_PER_DOCUMENT / HOUR:.1f}"),
        ("driver: hours of DVC's hashing", f"{(text + stored) / MD5 / HOUR:.1f}"),
        ("documents after cleaning, millions", f"{documents / 1e6:,.0f}"),
        ("between workers (shuffle)", "0"),
        ("from workers to the driver (signatures, keys)", f"{EXAMINED_BYTES_PER_DOCUMENT * documents / TB:.1f} TB"),
        ("read and written on the shared file system", f"{moved / TB:.1f} TB"),
        ("results stored", f"{stored / TB:.1f} TB"),
        ("scratch, of one part", f"{SCRATCH_BYTES_PER_DOCUMENT * of_part / TB:.1f} TB"),
        ("memory of a worker's core", f"{0.45 + 6.1 * plan.shard_bytes / 1e9:.1f} GB"),
        ("memory of the driver, of one part", f"{DRIVER_BYTES_PER_DOCUMENT * of_part / 1e9:.0f} GB"),
        ("driver: page cache that holds a part's signatures", f"{SIGNATURE_BYTES * of_part / 1e9:.0f} GB"),
    ]


def main() -> None:
    """Prints the table."""
    plans = [Plan("1 TB", TB, 64, 64e6), Plan("100 TB, 50 parts", 100 * TB, 512, 256e6, num_parts=50)]
    columns = [rows(plan) for plan in plans]
    print(f"| | {' | '.join(plan.name for plan in plans)} |\n|---|{'---|' * len(plans)}")
    for lines in zip(*columns, strict=True):
        print(f"| {lines[0][0]} | {' | '.join(value for _, value in lines)} |")


if __name__ == "__main__":
    main()
