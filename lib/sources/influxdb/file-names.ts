// The files of an InfluxDB shard, `GENERATION-SEQUENCE.tsm` with a `.tombstone` beside it where rows were deleted. A
// compaction makes files of a generation into one of a higher sequence.

import { TidemarkError } from "../../model/errors.ts";
import type { ShardPlace } from "./wire.ts";

/** Fifteen digits are always a safe number. */
const FILE_NAME = /^([0-9]{9,15})-([0-9]{9,15})\.(tsm|tombstone)$/;
const INDEX_FILE = /^index\/(MANIFEST|L[0-9]{1,2}-[0-9]{8,15}\.(tsl|tsi))$/;

export interface FileName {
  readonly generation: number;
  readonly sequence: number;
  readonly kind: "tsm" | "tombstone";
}

/** @throws {TidemarkError} `retry` "bad-entry" where a server sends what it should not */
export function parseFileName(name: string): FileName {
  const [, generation, sequence, kind] = FILE_NAME.exec(name) ?? [];
  if (kind !== "tsm" && kind !== "tombstone") throw badEntry(name, "it is no file of a shard");
  return { generation: Number(generation), sequence: Number(sequence), kind };
}

/** A file's name, taken from that of an archive's entry, which must lie in the folder of the shard itself. */
export function fileOfEntry(entry: string, { database, policy, shard }: ShardPlace): string {
  const folder = `${database}/${policy}/${shard}/`;
  const name = entry.slice(folder.length);
  if (!entry.startsWith(folder)) throw badEntry(entry, `it lies outside of ${folder}`);
  parseFileName(name);
  return name;
}

/** Whether an archive's entry is of the shard's index: servers of 1.3 and 1.4 with the index "tsi1" send it along, and any makes it anew. */
export function isOfIndex(entry: string, { database, policy, shard }: ShardPlace): boolean {
  const folder = `${database}/${policy}/${shard}/`;
  return entry.startsWith(folder) && INDEX_FILE.test(entry.slice(folder.length));
}

/**
 * Files of an earlier list that a later one lacks, and that no compaction since accounts for. A flush makes a file of sequence 1
 * and takes none away; a compaction makes one of a higher sequence, of the highest of the generations that it takes away,
 * which follow on each other. A tombstone goes with its file, and not before.
 * @param seen all that was there before the later list: a file among them that comes back was made by no compaction since
 */
export function unexplained(earlier: readonly string[], later: readonly string[], seen: ReadonlySet<string> = new Set(earlier)): readonly string[] {
  const kept = new Set(later);
  const left = earlier.filter((name) => kept.has(name) && name.endsWith(".tsm")).map(parseFileName);
  const compacted = later.filter((name) => !seen.has(name) && name.endsWith(".tsm")).map(parseFileName);
  const isExplained = (name: string): boolean => {
    const { generation, sequence, kind } = parseFileName(name);
    if (kind === "tombstone") return !kept.has(name.replace(/\.tombstone$/, ".tsm"));
    return compacted.some(
      (file) =>
        file.sequence > 1 &&
        (file.generation > generation || (file.generation === generation && file.sequence > sequence)) &&
        !left.some((one) => one.generation >= generation && one.generation <= file.generation),
    );
  };
  return earlier.filter((name) => !kept.has(name) && !isExplained(name));
}

function badEntry(entry: string, finding: string): TidemarkError {
  return new TidemarkError("retry", "bad-entry", `the archive holds ${JSON.stringify(entry)}: ${finding}`);
}
