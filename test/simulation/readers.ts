// Who reads on the stage: recoveries of the newest state, of an index and of a time, verification, and a producer that asks
// where it stands. What they get is compared with what the log says; every refusal must have its reason.

import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { toIndex } from "../../lib/model/position.ts";
import { keyOfRow, type Rows } from "../../lib/model/rows.ts";
import type { CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover, type ShardView } from "../../lib/recovery/recover.ts";
import { lastSequence } from "../../lib/recovery/sessions.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { decodeRedoHeader } from "../../lib/redo-log/codec.ts";
import { openSnapshot, type Snapshot } from "../../lib/snapshot/read.ts";
import { expectReason, KEYS, type Troupe, whole } from "./actors.ts";
import { readsAttachments } from "./gatherers.ts";
import { broken, type Promises } from "./promises.ts";
import type { Process } from "./stage.ts";
import { difference, rowDifference, rowsOf, type TrueLog } from "./truth.ts";

/** What a reader asks for. */
interface Wanted {
  readonly index?: number;
  readonly timeMs?: number;
}

export async function reader(troupe: Troupe, process: Process): Promise<void> {
  const { stage, promises, random, settings } = troupe;
  for (;;) {
    await stage.turn(process, "read");
    const job = random.fraction();
    if (troupe.settings.gatherers > 0 && random.fraction() < 0.5) await readsAttachments(troupe, process);
    else if (job < 0.1) await verifies(troupe, process);
    else if (job < 0.2) await asksForSequence(troupe, process);
    else {
      const tail = promises.log.tail.next - 1;
      const chance = random.fraction();
      const oldest = Math.min(...[...promises.rows.values()].map(({ index }) => index));
      const claimed = random.fraction() < 0.3 ? lastClaimed(stage) : undefined;
      const wanted: Wanted =
        claimed !== undefined
          ? { index: claimed }
          : settings.pins && promises.rows.size > 1 && chance < 0.7
            ? { index: oldest + whole(random, 0, 1) }
            : chance < 0.5
              ? {}
              : chance < 0.8
                ? { index: whole(random, Math.max(0, tail - 6), tail + 1) }
                : { timeMs: stage.nowMs - whole(random, 0, chance < 0.84 ? 20_000 : 500) };
      await readOnce(troupe, process, wanted, random.fraction() < (settings.pins ? 0.9 : 0.4));
    }
  }
}

/** The last index of a claim that stalls: what it makes may be a ghost that ends just there. */
function lastClaimed({ processes }: Troupe["stage"]): number | undefined {
  for (const { method, args, heldWhile } of processes.flatMap(({ pending }) => pending)) {
    const [key, body] = args;
    if (method !== "createIfAbsent" || heldWhile === undefined || typeof key !== "string" || !Buffer.isBuffer(body) || !key.endsWith(".redo")) continue;
    const decoded = decodeRedoHeader(body, key);
    if (decoded.kind === "header") return decoded.header.first + decoded.header.count - 1;
  }
  return undefined;
}

/** Verification of a shard that lives finds what was damaged, and nothing else. */
async function verifies(troupe: Troupe, { world }: Process): Promise<void> {
  const { id, promises, count } = troupe;
  const { log } = promises;
  try {
    const { findings } = await verifyShard(world, { id, codec: troupe.settings.codec });
    // Of a table that is deleted meanwhile, all is found missing.
    for (const { object, what } of promises.log === log ? findings : [])
      if (!promises.damage.mayBeNamed(object)) broken("I8", `verification finds ${object} damaged: ${what}`);
    count(findings.length === 0 ? "verifications" : "verifications that found damage");
  } catch (error) {
    expectReason(troupe, error);
  }
}

/** Where a producer goes on that forgot its last sequence: not before the last one that was acknowledged. */
async function asksForSequence(troupe: Troupe, { world }: Process): Promise<void> {
  const { id, stage, promises, count } = troupe;
  const producer = "p0";
  const { log } = promises;
  const before = log.stateAt({ index: promises.acknowledgedLast }).sessions.get(producer) ?? -1n;
  try {
    const sequence = (await lastSequence(world, id, producer, stage.nowMs)) ?? -1n;
    const { sessions } = promises.log.stateAt({});
    if (promises.log !== log) return;
    if (sequence < before || sequence > (sessions.get(producer) ?? -1n)) broken("I3", `${producer} is said to stand at ${sequence}, and stood at ${before}`);
    count("sequences");
  } catch (error) {
    expectReason(troupe, error);
  }
}

/** Recovers and compares with what the log says; every error must have its reason. */
export async function readOnce(troupe: Omit<Troupe, "stage">, process: Process, wanted: Wanted, pinned: boolean): Promise<void> {
  const { id, promises, count, finals, random } = troupe;
  const { log } = promises;
  const before = { log, acknowledged: promises.acknowledgedLast, generations: new Set([...promises.rows.values()].map(({ key }) => key)) };
  const at = { ...(wanted.index !== undefined && { index: toIndex(wanted.index) }), ...(wanted.timeMs !== undefined && { timeMs: wanted.timeMs }) };
  try {
    const { world, attempts } = countingAttempts(process);
    const view = await recover(world, { id, codec: troupe.settings.codec, at, pinned });
    if (attempts() > 1) count("readers starting over");
    const lives = promises.log === log ? [log] : [log, promises.log];
    if (lives.length === 1) checkReached(promises, wanted, view, before.acknowledged);
    if (lives.length === 1 && wanted.timeMs !== undefined && view.final) finals.push({ log, timeMs: wanted.timeMs, index: view.index });
    const rows = random.fraction() < 0.2 ? await rowsOfFile(view) : await rowsOf(view.rows());
    // Where the table was deleted meanwhile, it is one life's or the other's.
    const differences = lives.map((life) => difference(rows, life.stateAt({ index: view.index })));
    const of = lives[differences.indexOf(undefined)];
    if (of === undefined) broken("I5", `the state recovered at ${view.index} differs from the replay: ${differences}`);
    await checkOne(view, of.stateAt({ index: view.index }).rows, KEYS[view.index % KEYS.length]);
    await view.close();
    count("recoveries");
  } catch (error) {
    checkRefusal(troupe, wanted, before, error);
  }
}

/** What the Parquet file of the state holds. */
export async function rowsOfFile(view: ShardView): Promise<readonly Rows[]> {
  let pieces: Buffer[] = [];
  for await (const piece of view.snapshotFile()) {
    if (piece === "restart") pieces = [];
    // A piece is its reader's only until the next one is asked for.
    else pieces.push(Buffer.from(piece));
  }
  const store = memoryObjectStore();
  await store.createIfAbsent("file", Buffer.concat(pieces));
  const opened = await openSnapshot({ store }, { key: "file" });
  if (opened.kind === "absent") throw new Error("the file was just stored");
  if (opened.snapshot.description.index !== view.index) broken("I5", `the file of ${view.index} says that it is of ${opened.snapshot.description.index}`);
  const rows = await rowsOf(opened.snapshot.rows());
  await checkStretch(opened.snapshot, rows);
  return rows;
}

/** Rows behind a key are those of all rows that are. */
async function checkStretch(snapshot: Snapshot, all: readonly Rows[]): Promise<void> {
  const keys = all.flatMap((rows) => Array.from({ length: rows.count }, (_, row) => keyOfRow(rows, row).toString()));
  const after = Buffer.from(KEYS[2]);
  const found = await rowsOf(snapshot.rows(after));
  const told = found.flatMap((rows) => Array.from({ length: rows.count }, (_, row) => keyOfRow(rows, row).toString()));
  const expected = keys.filter((key) => Buffer.compare(Buffer.from(key), after) > 0);
  if (told.join() !== expected.join()) broken("I5", `the keys behind ${KEYS[2]} are said to be ${told}, not ${expected}`);
}

/** A recovery reads the history once an attempt. */
function countingAttempts({ world }: Process): { readonly world: World; readonly attempts: () => number } {
  let attempts = 0;
  const query: CheckpointStore["query"] = (request) => {
    attempts += 1;
    return world.checkpoints.query(request);
  };
  return { world: { ...world, checkpoints: { ...world.checkpoints, query } }, attempts: () => attempts };
}

export async function checkOne(
  view: ShardView,
  rows: ReadonlyMap<string, { readonly value: string; readonly index: number; readonly timeMs: number }>,
  key: string,
): Promise<void> {
  const entry = await view.get(Buffer.from(key));
  const expected = rows.get(key);
  if (entry === undefined && expected === undefined) return;
  const wrong = entry === undefined ? "it is absent" : rowDifference(expected && [key, expected], [key, { ...entry, value: entry.value.toString() }]);
  if (wrong !== undefined) broken("I5", `the record of ${key} at ${view.index}: ${wrong}`);
}

function checkReached({ log }: Promises, wanted: Wanted, view: ShardView, acknowledgedBefore: number): void {
  const state = log.stateAt({ index: view.index });
  if (state.index !== view.index || state.timeMs !== view.timeMs) broken("I5", `${view.index} was recovered, which is no batch's end`);
  const must = log.stateAt({ ...wanted, index: Math.min(wanted.index ?? Number.POSITIVE_INFINITY, acknowledgedBefore) }).index;
  if (view.index < must) broken("I1", `${view.index} was recovered, but ${must} had been acknowledged before`);
  const may = log.stateAt(wanted).index;
  if (view.index > may) broken("I5", `${view.index} was recovered, which lies behind what was asked for`);
  if (wanted.index !== undefined && view.index !== may)
    broken("I5", `${view.index} was recovered, but ${may} is the last batch's end at or before ${wanted.index}`);
}

function checkRefusal(
  { promises, count }: Pick<Troupe, "promises" | "count">,
  wanted: Wanted,
  before: { readonly log: TrueLog; readonly acknowledged: number; readonly generations: ReadonlySet<string> },
  error: unknown,
): void {
  if (promises.log !== before.log && isTidemarkError(error) && error.code === "out-of-range") {
    count("refusals of another life");
    return;
  }
  if (isTidemarkError(error) && error.kind === "repair" && Object.keys(wanted).length > 0 && promises.damage.snapshot !== undefined) {
    count("refusals of damaged states");
    return;
  }
  if (isTidemarkError(error) && error.object === promises.damage.snapshot && error.kind === "repair") {
    broken("I8", `one damaged snapshot costs the newest state: ${error.message}`);
  }
  if (!isTidemarkError(error) || error.code !== "out-of-range") {
    expectReason({ promises, count }, error);
    return;
  }
  const { index = Number.POSITIVE_INFINITY, timeMs = Number.POSITIVE_INFINITY } = wanted;
  if (/beyond the tail/.test(error.message)) {
    if (index <= before.acknowledged) broken("I1", `${index} was refused as beyond the tail, but ${before.acknowledged} had been acknowledged`);
    count("refusals beyond the tail");
    return;
  }
  const lowWater = promises.control?.lowWater ?? 1;
  const served = [...promises.rows.values()].some(
    (row) => row.state === "kept" && before.generations.has(row.key) && row.index <= index && row.border.timeMs <= timeMs && row.border.next >= lowWater,
  );
  if (served || lowWater === 1) broken("I6", `the state at ${JSON.stringify(wanted)} was refused as no longer kept: ${error.message}`);
  count("refusals below the mark");
}
