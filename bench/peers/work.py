"""What work.ts is for programs in Python, and how they read the records."""

import contextlib
import hashlib
import json
import time


@contextlib.contextmanager
def report_work():
    """CPU seconds are those of all threads of this process."""
    start, cpu = time.monotonic(), time.process_time()
    yield
    print("REPORT", json.dumps({"seconds": time.monotonic() - start, "cpuSeconds": time.process_time() - cpu}))


def print_content(batches) -> None:
    """Of batches of (key, value) in key order."""
    content, rows = hashlib.sha256(), 0
    for batch in batches:
        content.update("".join(f"{key}\t{value}\n" for key, value in batch).encode())
        rows += len(batch)
    print(json.dumps({"rows": rows, "sha256": content.hexdigest()[:32]}))
