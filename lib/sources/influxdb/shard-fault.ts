// What went wrong with a shard names it: the server's log, where the cause is told, knows it by its number.

import { isTidemarkError, TidemarkError } from "../../model/errors.ts";
import type { ShardPlace } from "./wire.ts";

/** The same fault, and of which shard it is. */
export function ofShard(error: unknown, { database, policy, shard }: ShardPlace): unknown {
  if (!isTidemarkError(error)) return error;
  const { kind, code, message, object } = error;
  return new TidemarkError(kind, code, `shard ${shard} of ${database}/${policy}: ${message}`, { cause: error, ...(object !== undefined && { object }) });
}
