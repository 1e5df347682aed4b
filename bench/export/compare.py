"""The same records with pandas and pyarrow: from JSONL to CSV and to Parquet (zstd level 1), files synced.

Usage: compare.py DIR TIMES, where DIR holds `records.jsonl`. Each export runs in a process of its own; the best of
TIMES counts. "read" is the time to load the JSONL, "write" the time to write from memory; an export needs both.

pyarrow's CSV writer has no nested columns, so they are made texts beforehand, outside of the times measured.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

DIR = pathlib.Path(sys.argv[1])


def synced(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def run(library, format):
    source, target = DIR / "records.jsonl", DIR / f"{library}.{format}"
    if library == "pandas":
        import pandas

        started, cpu = time.perf_counter(), time.process_time()
        frame = pandas.read_json(source, lines=True)
        read, cpu_read = time.perf_counter(), time.process_time()
        if format == "csv":
            frame.to_csv(target, index=False)
        else:
            frame.to_parquet(target, index=False, compression="zstd", compression_level=1)
    else:
        import pyarrow
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet

        started, cpu = time.perf_counter(), time.process_time()
        table = pyarrow.json.read_json(source, read_options=pyarrow.json.ReadOptions(block_size=16 << 20))
        read, cpu_read = time.perf_counter(), time.process_time()
        if format == "csv":
            for index, field in enumerate(table.schema):
                if pyarrow.types.is_nested(field.type):
                    texts = [json.dumps(value) for value in table.column(index).to_pylist()]
                    table = table.set_column(index, field.name, pyarrow.array(texts))
            paused, cpu = time.perf_counter(), cpu + time.process_time() - cpu_read
            started += paused - read
            read = paused
            pyarrow.csv.write_csv(table, target)
        else:
            pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=1)
    synced(target)
    ended = time.perf_counter()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"read": read - started, "write": ended - read, "total": ended - started}
    print(json.dumps({**result, "cpu": time.process_time() - cpu, "rss": rss}))


def main():
    times = int(sys.argv[2])
    print(f"{'export':<22} {'seconds':>8} {'CPU s':>8} {'read':>8} {'write':>8} {'peak RSS MB':>12}")
    for format in ["csv", "parquet"]:
        for library in ["pyarrow", "pandas"]:
            command = [sys.executable, __file__, str(DIR), "1", library, format]
            runs = [json.loads(subprocess.check_output(command)) for _ in range(times)]
            best = min(runs, key=lambda run: run["total"])
            name = f"{library} {format}"
            print(
                f"{name:<22} {best['total']:>8.2f} {best['cpu']:>8.2f} {best['read']:>8.2f} {best['write']:>8.2f} "
                f"{best['rss'] // 1024:>12}",
                flush=True,
            )


if len(sys.argv) > 3:
    run(sys.argv[3], sys.argv[4])
else:
    main()
