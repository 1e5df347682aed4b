"""Opens exports with pandas, pyarrow, DuckDB and Hugging Face datasets, without options, and compares them with what was written.

Usage: open_exports.py FOLDER RECORDS, where FOLDER holds the exports `none`, `date`, `language`, `topic` and `empty`.
"""

import datetime
import decimal
import hashlib
import json
import pathlib
import sys

try:
    import datasets
    import duckdb
    import pandas
    import pyarrow
    import pyarrow.dataset
    import pyarrow.parquet
except ImportError as error:
    packages = "datasets duckdb pandas pyarrow"
    sys.exit(f"{error}: set WINDROW_TEST_PYTHON to a Python that has them: pip install {packages}")

FOLDER = pathlib.Path(sys.argv[1])
RECORDS = int(sys.argv[2])
LANGUAGES = ["en", "de", "a/b=c d"]
COLUMNS = [
    "id", "job_id", "index", "created_at", "seed_data_id",
    "question", "score", "count", "even", "maybe", "tags", "author", "language", "topic", "meta",
]


def question(index):
    return f'Question {index}, with "quotes", commas,\r\nbreaks, =formula and 日本\U0001F600'


def created_at(index):
    start = datetime.datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=datetime.timezone.utc)
    return start + datetime.timedelta(seconds=864 * index)


def check_rows(rows, typed):
    """`typed` rows have lists, objects and times; the others hold them as CSV does."""
    assert len(rows) == RECORDS, len(rows)
    for index, row in enumerate(rows):
        assert row["index"] == index, (row["index"], index)
        assert row["question"] == question(index), row["question"]
        assert row["score"] == (index if index % 3 == 0 else 0.5), row["score"]
        assert row["count"] == index
        assert row["even"] == (index % 2 == 0)
        assert row["language"] == LANGUAGES[index % 3], row["language"]
        tags, author, meta = row["tags"], row["author"], row["meta"]
        if not typed:
            tags, author, meta = json.loads(tags), json.loads(author), json.loads(meta)
        assert list(tags) == [f"t{n}" for n in range(index % 4)], tags
        assert author == {"name": f"N{index}", "born": 1900 + index % 100}, author
        assert meta["ask"]["input_tokens"] == index, meta
        assert decimal.Decimal(meta["ask"]["cost_usd"]) == decimal.Decimal("0.000125000001"), meta
        made = row["created_at"]
        if isinstance(made, str):
            made = datetime.datetime.fromisoformat(made)
        if made.tzinfo is None:
            made = made.replace(tzinfo=datetime.timezone.utc)
        assert made == created_at(index), made


def records(frame):
    return frame.sort_values("index").to_dict("records")


def duck(query):
    # DuckDB gives times with a zone only with pytz, which is none of its dependencies; the instants are the same
    relation = duckdb.sql(query)
    return relation.arrow().read_all().to_pylist() if hasattr(relation.arrow(), "read_all") else relation.arrow().to_pylist()


def whole():
    folder = FOLDER / "none"
    table = pyarrow.parquet.read_table(folder / "data.parquet")
    assert table.column_names == COLUMNS, table.column_names
    types = {name: str(table.schema.field(name).type) for name in COLUMNS}
    assert types["created_at"] == "timestamp[us, tz=UTC]", types
    assert types["score"] == "double" and types["count"] == "int64" and types["even"] == "bool", types
    assert types["tags"] == "list<element: string>", types
    assert types["author"] == "struct<name: string, born: int64>", types
    assert "cost_usd: decimal128(19, 12)" in types["meta"], types
    check_rows(table.to_pylist(), typed=True)
    maybe = table.column("maybe").to_pylist()
    assert maybe == [None if index % 5 == 0 else "" for index in range(RECORDS)]

    check_rows(records(pandas.read_parquet(folder / "data.parquet")), typed=True)
    csv = pandas.read_csv(folder / "data.csv")
    assert list(csv.columns) == COLUMNS
    check_rows(records(csv), typed=False)
    jsonl = pandas.read_json(folder / "data.jsonl", lines=True)
    assert list(jsonl.columns) == COLUMNS
    check_rows(records(jsonl), typed=True)

    for name, typed in [("data.parquet", True), ("data.csv", False), ("data.jsonl", True)]:
        rows = duck(f"SELECT * FROM '{folder / name}' ORDER BY index")
        check_rows(rows, typed)


def partitioned(name, keys):
    folder = FOLDER / name
    for format in ["parquet", "csv", "jsonl"]:
        folders = {path.name for path in (folder / format).iterdir()}
        assert len(folders) == keys, folders
    rows = records(pandas.read_parquet(folder / "parquet"))
    check_rows(rows, typed=True)
    if name == "date":
        assert str(rows[150]["date"]) == "2026-01-02", rows[150]["date"]
    for format, typed in [("parquet", True), ("csv", False), ("jsonl", True)]:
        rows = duck(f"SELECT * FROM '{folder}/{format}/**/*.{format}' ORDER BY index")
        check_rows(rows, typed)


def shared_folder():
    """Records whose topic is a list have no folder of their own; their topic is in a column beside."""
    folder = FOLDER / "topic"
    partitioned("topic", 2)
    assert {path.name for path in (folder / "parquet").iterdir()} == {"topic=tea", "topic=__OTHER__"}
    for row in [
        *records(pandas.read_parquet(folder / "parquet")),
        *duck(f"SELECT * FROM '{folder}/parquet/**/*.parquet'"),
    ]:
        listed = row["index"] % 7 == 0
        assert row["topic"] == ("__OTHER__" if listed else "tea"), row
        assert json.loads(row["topic_value"]) == (["a", "list"] if listed else "tea"), row


def empty():
    folder = FOLDER / "empty"
    table = pyarrow.parquet.read_table(folder / "data.parquet")
    assert table.num_rows == 0
    assert str(table.schema.field("score").type) == "double", table.schema
    assert len(pandas.read_parquet(folder / "data.parquet")) == 0
    csv = pandas.read_csv(folder / "data.csv")
    assert len(csv) == 0 and list(csv.columns)[5:7] == ["question", "score"], csv
    assert len(duck(f"SELECT * FROM '{folder / 'data.parquet'}'")) == 0


def manifests():
    for name in ["none", "date", "language", "topic", "empty"]:
        folder = FOLDER / name
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["files"], manifest
        for file in manifest["files"]:
            data = (folder / file["path"]).read_bytes()
            assert len(data) == file["bytes"], file
            assert hashlib.sha256(data).hexdigest() == file["sha256"], file


def hugging_face():
    datasets.disable_progress_bars()
    # a field in the folders' names and a column of several types leave CSV only
    for name, typed in [("none", True), ("date", True), ("language", False), ("topic", True)]:
        cache = str(FOLDER / "cache" / name)
        loaded = datasets.load_dataset(str(FOLDER / name), cache_dir=cache)["train"]
        rows = sorted(loaded, key=lambda row: row["index"])
        check_rows(rows, typed)


whole()
partitioned("date", 25)
partitioned("language", 3)
shared_folder()
empty()
manifests()
hugging_face()
