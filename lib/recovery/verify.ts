// Verifies all that is kept of a shard: reads every byte of every generation and of the log from the mark to the tail,
// checks every checksum and the chain, and replays the log from each generation to the next and compares (I5, I8). Items
// have no checksums: what they say is held against each other and against the snapshots' footers.

import { isDeepStrictEqual } from "node:util";
import { readControl, readHistory } from "../checkpoint/control.ts";
import { checkpointAttributes, controlItem, itemName, tailItem } from "../checkpoint/items.ts";
import { rowsCollector } from "../machines/keyed/collect.ts";
import { checkpointBorder, type Control, type HistoryRow, type TailHint } from "../model/control.ts";
import { damagedItem, damagedObject, isTidemarkError, TidemarkError } from "../model/errors.ts";
import { RECOVER_ATTEMPTS_MAX } from "../model/limits.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { incarnationPrefix, redoKey, type ShardId, shardName } from "../model/names.ts";
import { type Border, ORIGIN } from "../model/position.ts";
import { releaseRows, type Rows } from "../model/rows.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { decodeRedoHeader } from "../redo-log/codec.ts";
import { covers, type Life, readFile, settle } from "../redo-log/read.ts";
import { readTail } from "../redo-log/tail.ts";
import { openGeneration } from "../snapshot/generation.ts";
import type { Snapshot } from "../snapshot/read.ts";
import { pour } from "../snapshot/pour.ts";
import { loadState, type ShardState } from "../snapshot/state.ts";
import { firstDifference } from "./compare.ts";

export interface VerifyDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "head" | "list">;
  readonly checkpoints: CheckpointStore;
  readonly telemetry: Telemetry;
}

export interface VerifyReport {
  readonly shard: number;
  /** Snapshots and redo files that were read whole, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  readonly redoFiles: number;
  readonly generations: number;
  /** Mutations replayed from a generation to the next. */
  readonly replayed: number;
  readonly findings: readonly Finding[];
}

export interface Finding {
  /** Key of the object, or name of the item. */
  readonly object: string;
  readonly what: string;
}

/** @throws {TidemarkError} `retry` where cleanup kept passing by; damage is told in the report. */
export async function verifyShard(deps: VerifyDeps, request: { readonly id: ShardId; readonly codec: ValueCodec }): Promise<VerifyReport> {
  const { id } = request;
  for (let attempt = 0; attempt < RECOVER_ATTEMPTS_MAX; attempt++) {
    const control = await readControl(deps.checkpoints, id);
    if (control === undefined) return { shard: id.shard, objects: 0, bytes: 0, redoFiles: 0, generations: 0, replayed: 0, findings: [] };
    const rows = await readHistory(deps.checkpoints, id);
    const report = await verifyLife(deps, { ...request, control, rows });
    // What cleanup deletes under a reading looks like damage, or like the end of the log: a report counts only if all that was read is still covered.
    if (!(await covers(deps, { id, incarnation: control.incarnation }, control.lowWater))) continue;
    const found = rows.filter(({ state, key }) => state === "kept" && report.findings.some(({ object }) => object === key));
    if (found.length === 0 || areKept(found, await readHistory(deps.checkpoints, id))) return report;
  }
  throw new TidemarkError("retry", "contended", `${shardName(id)} was cleaned under ${RECOVER_ATTEMPTS_MAX} attempts to verify it: try again`);
}

/** Generations are let go without the mark being moved: those of an earlier cleanup, by one that goes on with it. */
function areKept(some: readonly HistoryRow[], now: readonly HistoryRow[]): boolean {
  return some.every((row) => now.some(({ key, state }) => key === row.key && state === "kept"));
}

interface Subject {
  readonly id: ShardId;
  readonly codec: ValueCodec;
  readonly control: Control;
  readonly rows: readonly HistoryRow[];
}

async function verifyLife(deps: VerifyDeps, subject: Subject): Promise<VerifyReport> {
  const { id, control } = subject;
  const kept = subject.rows.filter(({ state }) => state === "kept").sort((a, b) => a.index - b.index);
  const findings: Finding[] = [];
  const tail = await noting(findings, () => verifyItems(deps, subject));
  const log = await verifyLog(deps, { ...subject, tail }, findings);
  let replayed = 0;
  let bytes = log.bytes;
  let previous: HistoryRow | "empty" | undefined = control.lowWater === ORIGIN.next ? "empty" : undefined;
  for (const row of kept) {
    const snapshot = await noting(findings, () => readWhole(deps, subject, row));
    if (snapshot === undefined) continue;
    bytes += row.size;
    if (previous === "empty" || (previous !== undefined && previous.border.next >= control.lowWater)) {
      const from = previous;
      replayed += (await noting(findings, () => compareReplay(deps, subject, { from, row, snapshot }))) ?? 0;
    }
    previous = row;
  }
  const redoFiles = log.files;
  return { shard: id.shard, objects: kept.length + redoFiles, bytes, redoFiles, generations: kept.length, replayed, findings: distinct(findings) };
}

/** The mark lies within what captures hold, the checkpoint is that of its generation's row, and the tail that of the shard's life. */
async function verifyItems({ checkpoints }: VerifyDeps, { id, control, rows }: Subject): Promise<TailHint> {
  const { checkpoint, incarnation, lowWater } = control;
  if (lowWater < ORIGIN.next || lowWater > checkpointBorder(control).next)
    throw damagedItem(itemName(controlItem(id)), `its low-water mark is ${lowWater}, beyond what any capture holds`);
  const row = rows.find(({ key }) => key === checkpoint?.key);
  if (checkpoint !== undefined && row !== undefined && !isDeepStrictEqual(checkpointAttributes(checkpoint), checkpointAttributes(row)))
    throw damagedItem(itemName(controlItem(id)), `its checkpoint is not what the history row of ${row.key} says`);
  // Only a generation that another has passed loses its row.
  if (checkpoint !== undefined && row === undefined && (await readControl(checkpoints, id))?.checkpoint?.key === checkpoint.key)
    throw damagedItem(itemName(controlItem(id)), `the history row of its checkpoint, ${checkpoint.key}, is missing`);
  const tail = await readTail(checkpoints, id);
  if (tail?.incarnation !== incarnation) throw damagedItem(itemName(tailItem(id)), "it is missing, or of another incarnation than the control item");
  return tail;
}

interface LogRead {
  files: number;
  bytes: number;
}

/**
 * Reads the log from the mark to the tail; each generation's border must lie on its chain. Where the chain breaks, it is
 * taken up again at the next generation's border, whose row tells the digest. Writers begin where the published tail says:
 * that must be a border of the chain as well.
 */
async function verifyLog(deps: VerifyDeps, { tail, ...subject }: Subject & { readonly tail: TailHint | undefined }, findings: Finding[]): Promise<LogRead> {
  const { id, control, rows } = subject;
  const read: LogRead = { files: 0, bytes: 0 };
  const borders = rows.map(({ border }) => border).sort((a, b) => a.next - b.next);
  let from = await noting(findings, () => borderAtMark(deps, { id, incarnation: control.incarnation }, subject));
  let reached = control.lowWater;
  let isOnChain = tail === undefined || tail.border.next < reached;
  const passed = ({ next, digest }: Border): void => {
    reached = next;
    isOnChain ||= tail?.border.next === next && tail.border.digest === digest;
  };
  for (;;) {
    const start = from;
    const end = start && (await noting(findings, () => readStretch(deps, subject, { from: start, read, passed })));
    if (end === "tail") {
      if (!isOnChain && findings.length === 0) findings.push({ object: itemName(tailItem(id)), what: `the log is another at ${tail?.border.next}` });
      return read;
    }
    from = borders.find(({ next }) => next > reached);
    if (from === undefined) return read;
    reached = from.next;
  }
}

async function readStretch(
  deps: VerifyDeps,
  { id, control, rows }: Subject,
  { from, read, passed }: { readonly from: Border; readonly read: LogRead; readonly passed: (border: Border) => void },
): Promise<"tail"> {
  const life = { id, incarnation: control.incarnation };
  const digests = new Map(rows.map(({ border }) => [border.next, border.digest] as const));
  let border = from;
  for (;;) {
    passed(border);
    const known = digests.get(border.next);
    const key = redoKey(incarnationPrefix(id, control.incarnation), border.next);
    if (known !== undefined && known !== border.digest) throw damagedObject(key, "the log before it is not that of its generation");
    const step = await readFile(deps, life, border);
    if (step.kind === "found") {
      read.files++;
      read.bytes += step.bytes;
      border = step.border;
      continue;
    }
    const meaning = await settle(deps, life, { step, from: control.lowWater, border });
    if (meaning !== "moved") return "tail";
  }
}

/** The mark is a redo file's first index, or where a generation's log goes on; the chain digest before it may be known to that file alone. */
async function borderAtMark({ objects }: VerifyDeps, { id, incarnation }: Life, { control, rows }: Subject): Promise<Border> {
  const next = control.lowWater;
  const known = [ORIGIN, checkpointBorder(control), ...rows.map(({ border }) => border)].find((border) => border.next === next);
  if (known !== undefined) return known;
  const key = redoKey(incarnationPrefix(id, incarnation), next);
  const got = await objects.get(key);
  if (got.kind === "absent") throw damagedObject(key, "it is missing");
  const head = decodeRedoHeader(got.body, key);
  if (head.kind === "more") throw damagedObject(key, "it is cut off in its header");
  return { next, digest: head.header.previousDigest, timeMs: 0 };
}

async function readWhole({ objects }: VerifyDeps, { id, control }: Subject, row: HistoryRow): Promise<Snapshot> {
  const opened = await openGeneration({ store: objects }, { id, incarnation: control.incarnation }, row);
  if (opened.kind === "absent") throw damagedObject(row.key, "it is missing");
  let count = 0;
  for await (const rows of opened.snapshot.rows()) {
    count += rows.count;
    releaseRows(rows);
  }
  if (count !== row.rows) throw damagedObject(row.key, `it holds ${count} records, its history row says ${row.rows}`);
  return opened.snapshot;
}

/** The generation before, and the log behind it, must make the same records. */
async function compareReplay(
  deps: VerifyDeps,
  { id, codec, control }: Subject,
  { from, row, snapshot }: { readonly from: HistoryRow | "empty"; readonly row: HistoryRow; readonly snapshot: Snapshot },
): Promise<number> {
  const life = { id, incarnation: control.incarnation };
  const outcome = await loadState(deps, { life, codec, control, rows: from === "empty" ? [] : [from], bound: { index: row.index } });
  if (outcome.kind !== "loaded") return 0;
  const difference = await firstDifference(pouredRows(outcome.state), snapshot.rows());
  if (difference === undefined) return outcome.state.mutations;
  throw damagedObject(row.key, `it is not what the log behind the generation before makes: ${difference}`);
}

async function* pouredRows(state: ShardState): AsyncGenerator<Rows> {
  const collector = rowsCollector();
  for await (const _ of pour(state, collector)) yield collector.take();
}

/** Damage becomes a finding, and the rest is verified all the same. */
async function noting<Result>(findings: Finding[], work: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "repair") throw error;
    const { object = "", message } = error;
    // The object is named beside it.
    findings.push({ object, what: message.split(" is damaged: ").slice(-1)[0] });
    return undefined;
  }
}

/** One damaged object can be met on several ways. */
function distinct(findings: readonly Finding[]): readonly Finding[] {
  const byObject = new Map<string, Finding>();
  for (const finding of findings) if (!byObject.has(finding.object)) byObject.set(finding.object, finding);
  return [...byObject.values()];
}
