// Copies of the stores, apart from the stage: what is done to one, no process of the schedule sees. So a schedule can have a
// shard in the middle of its life suffer what it is not promised to outlive, and what is left of it is judged all the same.

import { type ManualClock, manualClock } from "../../lib/adapters/memory/clock.ts";
import { memoryCheckpointStore, type MemoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore, type MemoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { LEASE_TTL_MS, PIN_TTL_MS } from "../../lib/model/limits.ts";
import { incarnationPrefix, parseObjectName } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { decodeRedoFile } from "../../lib/redo-log/codec.ts";
import { findTail, publishTail } from "../../lib/redo-log/tail.ts";
import type { Troupe } from "./actors.ts";
import { broken } from "./promises.ts";
import { SKEW_MS_MAX } from "./rest.ts";
import { difference, rowsOf, trueLog, type TrueLog } from "./truth.ts";

export interface CopiedWorld extends World {
  readonly objects: MemoryObjectStore;
  readonly checkpoints: MemoryCheckpointStore;
  readonly clock: ManualClock;
}

export interface Copy {
  readonly world: CopiedWorld;
  /** The same, whose truth nobody keeps: what is appended by it is more than `log` can take. */
  readonly unwatched: CopiedWorld;
  /** The truth of the copy: that of the schedule, and what is appended to the copy. */
  readonly log: TrueLog;
}

/** The stores as they are, once every lease and pin in them has lapsed, and the tail is published. */
export async function copyOf(troupe: Troupe): Promise<Copy> {
  const { stage, promises, id } = troupe;
  const prefix = incarnationPrefix(id, promises.control?.incarnation ?? "");
  const copy = await copied({ ...stage, random: troupe.random, nowMs: stage.nowMs + LEASE_TTL_MS + PIN_TTL_MS + SKEW_MS_MAX * 2 }, promises.log, prefix);
  await publishTail(copy.world.checkpoints, id, await findTail(copy.world, id, copy.world.clock.now()));
  return copy;
}

async function copied(
  { objects, checkpoints, random, nowMs }: Pick<CopiedWorld, "objects" | "checkpoints" | "random"> & { readonly nowMs: number },
  { files }: TrueLog,
  prefix: string,
): Promise<Copy> {
  const [stored, items, log] = [memoryObjectStore(), memoryCheckpointStore(), trueLog()];
  for (const [key, body] of objects.objects) await stored.createIfAbsent(key, body);
  for (const { key, attributes } of checkpoints.items) await items.write([{ item: key, when: [], put: attributes }]);
  for (const { body } of files) log.extend(decodeRedoFile(body, "true"), body);
  const watched: MemoryObjectStore = {
    ...stored,
    async createIfAbsent(key, body) {
      const outcome = await stored.createIfAbsent(key, body);
      const name = parseObjectName(key.startsWith(prefix) ? key.slice(prefix.length) : "");
      if (outcome.kind === "created" && name.kind === "redo" && name.first === log.tail.next)
        log.extend(decodeRedoFile(Buffer.from(body), key), Buffer.from(body));
      return outcome;
    },
  };
  const unwatched: CopiedWorld = { objects: stored, checkpoints: items, clock: manualClock(nowMs), random, telemetry: { report: () => undefined } };
  return { world: { ...unwatched, objects: watched }, unwatched, log };
}

/** `named`: refused, for an object that is damaged. `unkept`: what was asked for is kept no longer. */
export type Verdict = "right" | "named" | "unkept";

export const NOTHING_DAMAGED: ReadonlySet<string> = new Set();

/** What recovery says of the newest state, or of that at an index: the truth, or a refusal that names what is damaged, if that is known. */
export async function judge({ world, log }: Copy, { id, settings }: Troupe, damaged: ReadonlySet<string> | undefined, index?: number): Promise<Verdict> {
  try {
    const view = await recover(world, { id, codec: settings.codec, at: index === undefined ? {} : { index: toIndex(index) } });
    const state = log.stateAt(index === undefined ? {} : { index });
    if (view.index !== state.index) broken("I8", `of a damaged shard ${view.index} was recovered, not ${state.index}`);
    const wrong = difference(await rowsOf(view.rows()), state);
    if (wrong !== undefined) broken("I8", `the state at ${view.index} of a damaged shard differs from the replay: ${wrong}`);
    return "right";
  } catch (error) {
    if (!isTidemarkError(error) || error.kind === "bug") throw error;
    if (error.code === "out-of-range") return "unkept";
    if (damaged !== undefined && (error.kind !== "repair" || !damaged.has(error.object ?? "")))
      broken("I8", `the damage of ${[...damaged]} is told as ${error.message}`);
    return "named";
  }
}

/** The objects that kept states rest on: generations, and the log from the mark on. */
export function restsOn({ promises }: Troupe): { readonly redo: readonly string[]; readonly snapshots: readonly string[] } {
  const kept = [...promises.rows.values()].filter(({ state }) => state === "kept").sort((a, b) => a.index - b.index);
  return { redo: promises.redoKeys(), snapshots: kept.map(({ key }) => key) };
}

/** Nothing where it was refused for a reason that a caller can do something about. */
export async function orRefused<Answer>(work: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isTidemarkError(error) || error.kind === "bug") throw error;
    return undefined;
  }
}
