// The messages that functions send each other. A message names a shard and never carries state; it can come twice, late, or
// for a table that is gone.

import { z } from "zod";
import { CAPTURE_TURNS_MAX, SHARDS_MAX } from "../../lib/model/limits.ts";
import { isTableName } from "../../lib/model/names.ts";

const table = z.string().refine(isTableName, "is not a table name");
const shard = z
  .number()
  .int()
  .min(0)
  .max(SHARDS_MAX - 1);

export const SNAPSHOT_MESSAGE = z.strictObject({
  table,
  shard,
  /** Id of the request that asked for it, if one did. */
  request: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  /** How many invocations have worked on it before. */
  turn: z.number().int().min(0).max(CAPTURE_TURNS_MAX, "it took too many invocations: give the function more time or memory").default(0),
});

export type SnapshotMessage = z.input<typeof SNAPSHOT_MESSAGE>;

export const CLEANUP_MESSAGE = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("after"), table, shard }),
  z.strictObject({ kind: z.literal("shards"), table, from: shard, to: shard.max(SHARDS_MAX) }),
  z.strictObject({ kind: z.literal("deletion"), table }),
  z.strictObject({ kind: z.literal("strays") }),
]);
