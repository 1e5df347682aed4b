"""The same records with pandas and pyarrow: from JSONL to CSV and to Parquet (zstd level 1), files synced.

Usage: export.py DIR TIMES, where DIR holds `records.jsonl`. Each export runs in a process of its own, TIMES times. An export
loads the JSONL and writes it from memory; both are measured. Prints one JSON object, runs by library and format.

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
        if format == "csv":
            paused, cpu_paused = time.perf_counter(), time.process_time()
            for index, field in enumerate(table.schema):
                if pyarrow.types.is_nested(field.type):
                    texts = [json.dumps(value) for value in table.column(index).to_pylist()]
                    table = table.set_column(index, field.name, pyarrow.array(texts))
            started += time.perf_counter() - paused
            cpu += time.process_time() - cpu_paused
            pyarrow.csv.write_csv(table, target)
        else:
            pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=1)
    synced(target)
    ended = time.perf_counter()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": ended - started, "cpu": time.process_time() - cpu, "rss": rss}))


def main():
    runs = {}
    for format in ["csv", "parquet"]:
        for library in ["pyarrow", "pandas"]:
            command = [sys.executable, __file__, str(DIR), "1", library, format]
            outputs = [subprocess.check_output(command) for _ in range(int(sys.argv[2]))]
            runs[f"{format} with {library}"] = [json.loads(output) for output in outputs]
    for file in DIR.glob("p*.*"):
        file.unlink()
    print(json.dumps(runs))


if len(sys.argv) > 3:
    run(sys.argv[3], sys.argv[4])
else:
    main()
