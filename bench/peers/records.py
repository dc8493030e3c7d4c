"""Makes the records that every peer gets: `records.py FOLDER COUNT`. Standard library, seeded: the same bytes anywhere.

Lines are {"k":"user/0000000001","v":{…}} in key order, a value about 218 bytes of JSON, with a token that no compressor can shrink much.
    base.ndjson               COUNT records
    uniform-R, range-R, new-R COUNT/100 records each: keys drawn at random, a run of keys, and keys behind the last one
"""

import random
import sys
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
STATUSES = ["active", "suspended", "pending", "closed"]
COUNTRIES = ["SE", "DE", "US", "FR", "JP", "BR", "IN", "GB", "NL", "AU"]
ROUNDS = 2


def line(chance: random.Random, row: int, revision: int) -> str:
    """The order of the draws is part of the format."""
    below = chance.randrange
    value = (
        f'{{"id":{row},"rev":{revision},"status":"{STATUSES[below(4)]}","country":"{COUNTRIES[below(10)]}",'
        f'"email":"u{row:07d}@example.com","balance":{below(100000)}.{below(100):02d},"score":{below(1000)},'
        f'"updatedAt":{1700000000000 + below(10**10)},"token":"{"".join(chance.choices(LETTERS, k=64))}"}}'
    )
    return f'{{"k":"user/{row:010d}","v":{value}}}\n'


def write(path: Path, chance: random.Random, rows, revision: int) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(line(chance, row, revision) for row in rows)


def main(folder: Path, count: int) -> None:
    share = count // 100
    write(folder / "base.ndjson", random.Random(42), range(1, count + 1), 0)
    for revision in range(1, ROUNDS + 1):
        chance = random.Random(1000 + revision)
        write(folder / f"uniform-{revision}.ndjson", chance, sorted(chance.sample(range(1, count + 1), share)), revision)
        chance = random.Random(2000 + revision)
        first = chance.randrange(1, count - share)
        write(folder / f"range-{revision}.ndjson", chance, range(first, first + share), revision)
        first = count + (revision - 1) * share + 1
        write(folder / f"new-{revision}.ndjson", random.Random(3000 + revision), range(first, first + share), 0)


main(Path(sys.argv[1]), int(sys.argv[2]))
