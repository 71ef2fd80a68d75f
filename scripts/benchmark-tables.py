#!/usr/bin/env python3
"""Prints what `make bench` measured as Markdown: the median of each case, and the 10th to the 90th percentile of its samples."""

import json
import pathlib
import statistics
import sys

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target") / "criterion"


def readable(nanoseconds):
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


rows = {}
for sample in root.glob("**/new/sample.json"):
    case = json.loads((sample.parent / "benchmark.json").read_text())["full_id"]
    taken = json.loads(sample.read_text())
    times = sorted(time / calls for time, calls in zip(taken["times"], taken["iters"]))
    tenth = len(times) // 10
    spread = f"{readable(times[tenth])} to {readable(times[-1 - tenth])}"
    where = "native" if "native" in case else "sandboxed"
    name = case.replace("/native", "").replace("/sandboxed", "")
    rows.setdefault(name, {})[where] = f"{readable(statistics.median(times))} ({spread})"

print("| case | native | sandboxed |")
print("|---|---|---|")
for name, cells in sorted(rows.items(), key=lambda row: [(len(part), part) if part.isdigit() else (0, part) for part in row[0].split("/")]):
    print(f"| {name} | {cells.get('native', '')} | {cells.get('sandboxed', '')} |")
