"""A Delta table of keys and values by delta-rs: `merge.py load FILE | merge FILE | content`. A MERGE writes the files anew in which keys match."""

import os
import sys
from pathlib import Path

import pyarrow
from deltalake import DeltaTable, WriterProperties, write_deltalake

sys.path.append(str(Path(__file__).parent.parent))
from work import print_content, report_work

TABLE = f"s3://{os.environ['AWS_BUCKET']}/table"
OPTIONS = {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}
WRITER = WriterProperties(compression="ZSTD", max_row_group_size=65536)
FILE_BYTES = 32 << 20
FETCHED_ROWS = 50_000


def records(file: str) -> pyarrow.Table:
    """Lines {"k":"…","v":…} cut apart where they lie."""
    with open(file, encoding="ascii") as lines:
        pairs = [(line[6:21], line[27:-2]) for line in lines]
    return pyarrow.table({"k": [key for key, _ in pairs], "v": [value for _, value in pairs]})


action, *args = sys.argv[1:]
if action == "load":
    table = records(args[0])
    with report_work():
        write_deltalake(TABLE, table, storage_options=OPTIONS, target_file_size=FILE_BYTES, writer_properties=WRITER)
elif action == "merge":
    changes = records(args[0])
    with report_work():
        merge = DeltaTable(TABLE, storage_options=OPTIONS).merge(
            changes, "t.k = s.k", source_alias="s", target_alias="t", writer_properties=WRITER
        )
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
else:
    table = DeltaTable(TABLE, storage_options=OPTIONS).to_pyarrow_table().sort_by("k")
    batches = table.to_batches(max_chunksize=FETCHED_ROWS)
    print_content(list(zip(batch["k"].to_pylist(), batch["v"].to_pylist())) for batch in batches)
