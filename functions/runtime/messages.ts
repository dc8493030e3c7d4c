// The messages that functions send each other. A message names a shard and never carries state; it can come twice, late, or
// for a table that is gone.

import * as z from "zod/mini";
import { BACKUP_TURNS_MAX, CAPTURE_TURNS_MAX, SECTIONS_MAX, SHARDS_MAX } from "../../lib/model/limits.ts";
import { isTableName } from "../../lib/model/names.ts";

const table = z.string().check(z.refine(isTableName, "is not a table name"));
const shard = z.int().check(z.gte(0), z.lt(SHARDS_MAX));
const shardEnd = z.int().check(z.gte(0), z.lte(SHARDS_MAX));

/** How many invocations have worked on it before. */
function turnUpTo(max: number, fault: string) {
  return z._default(
    z.int().check(
      z.gte(0),
      z.refine((turn) => turn <= max, fault),
    ),
    0,
  );
}

export const SNAPSHOT_MESSAGE = z.strictObject({
  table,
  shard,
  /** Id of the request that asked for it, if one did. */
  request: z.optional(z.string().check(z.regex(/^[0-9a-f]{16}$/))),
  /** Of a capture that is made side by side, one section. */
  section: z.optional(z.strictObject({ epoch: z.int().check(z.gte(0)), number: z.int().check(z.gte(0), z.lt(SECTIONS_MAX)) })),
  turn: turnUpTo(CAPTURE_TURNS_MAX, "has gone too far, the capture took too many invocations: give the function more time or memory"),
});

/** As it is sent, and as it is taken. */
export type SnapshotMessage = z.input<typeof SNAPSHOT_MESSAGE>;
export type TakenMessage = z.output<typeof SNAPSHOT_MESSAGE>;

export const BACKUP_MESSAGE = z.strictObject({
  /** What is backed up, by its name. */
  source: table,
  /** Names the backup: a message that comes again, or goes on, does the rest of the same one. */
  job: z.string().check(z.regex(/^[A-Za-z0-9._:-]{1,64}$/, "must be 1 to 64 letters, digits, and . _ : -")),
  turn: turnUpTo(
    BACKUP_TURNS_MAX,
    "has gone too far, the backup took too many invocations: give the function more time or memory, or back up by the command line",
  ),
});

export type BackupMessage = z.input<typeof BACKUP_MESSAGE>;
export type TakenBackupMessage = z.output<typeof BACKUP_MESSAGE>;

export const CLEANUP_MESSAGE = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("after"), table, shard }),
  z.strictObject({ kind: z.literal("shards"), table, from: shard, to: shardEnd }),
  z.strictObject({ kind: z.literal("deletion"), table }),
  z.strictObject({ kind: z.literal("strays") }),
]);
