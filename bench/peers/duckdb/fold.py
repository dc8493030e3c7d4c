"""DuckDB over one Parquet object, sorted by key: `fold.py EXTENSION load FILE OBJECT | fold FILE OBJECT NEW | content OBJECT`.

The whole object is read, joined with the changes, sorted, and written anew.
"""

import os
import sys
from pathlib import Path

import duckdb

sys.path.append(str(Path(__file__).parent.parent))
from work import print_content, report_work

FETCHED_ROWS = 50_000
FORMAT = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"


def connect(extension: str):
    env = os.environ
    connection = duckdb.connect()
    connection.load_extension(extension)
    # A bound that it keeps without spilling; by default it may take four fifths of the machine.
    connection.execute("SET memory_limit = '1500MB'; SET preserve_insertion_order = false")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{env['AWS_ACCESS_KEY_ID']}', SECRET '{env['AWS_SECRET_ACCESS_KEY']}', REGION '{env['AWS_REGION']}',"
        f" ENDPOINT '{env['AWS_ENDPOINT_URL'].removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
    )
    return connection


def records(file: str) -> str:
    """Lines {"k":"…","v":…} cut apart where they lie: its JSON reader would parse the values too."""
    lines = f"read_csv('{file}', columns = {{'l': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '', header = false)"
    return f"(SELECT l[7:21] AS k, l[28:-2] AS v FROM {lines})"


def s3(name: str) -> str:
    return f"'s3://{os.environ['AWS_BUCKET']}/{name}'"


extension, action, *args = sys.argv[1:]
connection = connect(extension)
if action == "load":
    file, target = args
    with report_work():
        connection.execute(f"COPY (SELECT * FROM {records(file)} ORDER BY k) TO {s3(target)} {FORMAT}")
elif action == "fold":
    file, source, target = args
    # The changes are of keys that are there. (With new ones it takes a full join.)
    joined = f"SELECT k, coalesce(u.v, b.v) AS v FROM read_parquet({s3(source)}) b LEFT JOIN {records(file)} u USING (k) ORDER BY k"
    with report_work():
        connection.execute(f"COPY ({joined}) TO {s3(target)} {FORMAT}")
else:
    (source,) = args
    cursor = connection.execute(f"SELECT k, v FROM read_parquet({s3(source)}) ORDER BY k")
    print_content(iter(lambda: cursor.fetchmany(FETCHED_ROWS), []))
