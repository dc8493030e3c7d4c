// The world that each process and the test itself work in: one local store, and beside it what the test needs to know.
//
//   {root}/store/      the store
//   {root}/ledgers/    what each process did
//   {root}/freed/      redo files that cleanup freed: kept for the model, which folds the log from its beginning
//
// Time runs faster, so that the lease of a killed capture lapses soon. Nothing's safety rests on clocks.

import { linkSync, readFileSync, unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../lib/adapters/local/random.ts";
import { openLocalStore } from "../../lib/adapters/local/store.ts";
import type { CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { Telemetry } from "../../lib/ports/telemetry.ts";
import type { World } from "../../lib/ports/world.ts";

export const SHARD = { table: "trees", shard: 0 };
/** Small, so that a small snapshot has many parts. */
export const PART_BYTES = 4_096;
/** A lease of a minute lapses in 0.12 seconds. */
const HASTE = 500;
const HASTE_SINCE_MS = Date.UTC(2026, 0, 1);

export function storeOf(root: string): string {
  return join(root, "store");
}

export function ledgerOf(root: string, name: string): string {
  return join(root, "ledgers", name);
}

export function freedOf(root: string): string {
  return join(root, "freed");
}

export interface WorldOptions {
  readonly telemetry?: Telemetry;
  /** Told the key of each snapshot that became a generation. */
  readonly onCommit?: (key: string) => void;
}

export async function openWorld(root: string, options: WorldOptions = {}): Promise<World & { close(): Promise<void> }> {
  const { telemetry = { report: () => undefined }, onCommit = () => undefined } = options;
  const { objects, checkpoints, close } = await openLocalStore(storeOf(root));
  return {
    objects: keepingFreed(objects, root),
    checkpoints: tellingCommits(checkpoints, onCommit),
    clock: hastyClock(),
    random: cryptoRandom(),
    telemetry,
    close,
  };
}

function tellingCommits(checkpoints: CheckpointStore, onCommit: (key: string) => void): CheckpointStore {
  return {
    ...checkpoints,
    async write(changes) {
      const outcome = await checkpoints.write(changes);
      for (const change of outcome.kind === "written" ? changes : []) {
        if ("put" in change && change.item.sort.startsWith("snapshot#") && change.put.state === "kept") onCommit(String(change.put.key));
      }
      return outcome;
    },
  };
}

function hastyClock(): Clock {
  const { now, sleep } = systemClock();
  return {
    now: () => HASTE_SINCE_MS + (now() - HASTE_SINCE_MS) * HASTE,
    sleep: (ms, signal) => sleep(ms / HASTE, signal),
  };
}

/** Links each redo file away before it is deleted. The first file of a name is the log's; a later one is a ghost. */
function keepingFreed(objects: ObjectStore, root: string): ObjectStore {
  return {
    ...objects,
    deleteMany(keys) {
      for (const key of keys) if (key.endsWith(".redo")) keep(join(storeOf(root), "objects", key), join(freedOf(root), basename(key)));
      return objects.deleteMany(keys);
    },
  };
}

function keep(file: string, freed: string): void {
  if (linked(file, freed) !== "EEXIST") return;
  // Another cleaner may delete it at any moment: it is linked away before it is looked at.
  const ghost = `${freed}.ghost-${process.hrtime.bigint()}`;
  if (linked(file, ghost) === undefined && readFileSync(ghost).equals(readFileSync(freed))) unlinkSync(ghost);
}

/** Why the file could not be linked there: it is gone, or something is there; undefined where it was linked. */
function linked(file: string, to: string): "ENOENT" | "EEXIST" | undefined {
  try {
    linkSync(file, to);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "EEXIST") return code;
    throw error;
  }
}
