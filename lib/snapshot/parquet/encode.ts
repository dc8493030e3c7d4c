// Rows to a whole snapshot. Guarantees: the bytes are a function of the rows, the description and ENCODER_VERSION
// (rule 15), so that two workers on one upload write the same. See groups.ts for the hot part.

import { hash } from "node:crypto";
import { assert } from "../../model/assert.ts";
import type { RowSink } from "../../model/rows.ts";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import { rowGroupEncoder } from "./groups.ts";
import { MAGIC, type RowGroup } from "./layout.ts";
import { encodeTail } from "./tail.ts";

/** The bytes of a snapshot from first to last, made while its rows are pushed. */
export interface SnapshotEncoder extends RowSink {
  /** The bytes finished since the last call, in file order: whole row groups. */
  take(): Buffer[];
  /** Ends the snapshot; the result has the bytes that `take` has not handed over. */
  finish(): EncodedSnapshot;
}

export interface EncodedSnapshot {
  /** Bytes of the whole object. */
  readonly size: number;
  /** SHA-256 of the tail, 64 hex digits: what the checkpoint records. */
  readonly footerSha256: string;
  readonly rows: number;
  readonly groups: readonly RowGroup[];
  /** The rest of the bytes, behind those that `take` handed over. */
  readonly chunks: readonly Buffer[];
}

export function snapshotEncoder(description: SnapshotDescription): SnapshotEncoder {
  const encoder = rowGroupEncoder();
  const groups: RowGroup[] = [];
  let size = MAGIC.length;
  let chunks: Buffer[] = [Buffer.from(MAGIC)];
  let finished = false;

  function collect(): void {
    for (const { group, bytes } of encoder.take()) {
      groups.push({ ...group, offset: size });
      chunks.push(bytes);
      size += bytes.length;
    }
  }
  function take(): Buffer[] {
    collect();
    const taken = chunks;
    chunks = [];
    return taken;
  }

  return {
    push: encoder.push,
    pushRow: encoder.pushRow,
    take,
    finish() {
      assert(!finished, "a snapshot is finished once");
      finished = true;
      encoder.cut();
      collect();
      const tail = encodeTail(description, groups);
      chunks.push(tail);
      size += tail.length;
      const rows = groups.reduce((sum, group) => sum + group.rows, 0);
      return { size, footerSha256: hash("sha256", tail, "hex"), rows, groups, chunks: take() };
    },
  };
}
