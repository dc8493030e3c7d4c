// Verifies all that is kept of a shard: reads every byte of every generation and of the log from the mark to the tail,
// checks every checksum and the chain, and replays the log from each generation to the next and compares (I5, I8).

import { readControl, readHistory } from "../checkpoint/control.ts";
import { rowsCollector } from "../machines/keyed/collect.ts";
import { checkpointBorder, type Control, type HistoryRow } from "../model/control.ts";
import { isTidemarkError, TidemarkError } from "../model/errors.ts";
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
import { openSnapshot, type Snapshot } from "../snapshot/read.ts";
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
  /** Key of the object. */
  readonly object: string;
  readonly what: string;
}

/** @throws {TidemarkError} `retry` where cleanup kept passing by; damage is told in the report. */
export async function verifyShard(deps: VerifyDeps, request: { readonly id: ShardId; readonly codec: ValueCodec }): Promise<VerifyReport> {
  const { id } = request;
  for (let attempt = 0; attempt < RECOVER_ATTEMPTS_MAX; attempt++) {
    const control = await readControl(deps.checkpoints, id);
    if (control === undefined) return { shard: id.shard, objects: 0, bytes: 0, redoFiles: 0, generations: 0, replayed: 0, findings: [] };
    const report = await verifyLife(deps, { ...request, control, rows: await readHistory(deps.checkpoints, id) });
    // What cleanup deletes under a reading looks like damage, or like the end of the log: a report counts only if all that was read is still covered.
    if (await covers(deps, { id, incarnation: control.incarnation }, control.lowWater)) return report;
  }
  throw new TidemarkError("retry", "contended", `${shardName(id)} was cleaned under ${RECOVER_ATTEMPTS_MAX} attempts to verify it: try again`);
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
  const log = await noting(findings, () => verifyLog(deps, subject));
  let replayed = 0;
  let bytes = log?.bytes ?? 0;
  let previous: HistoryRow | "empty" | undefined = control.lowWater === ORIGIN.next ? "empty" : undefined;
  for (const row of kept) {
    const snapshot = await noting(findings, () => readWhole(deps, row));
    if (snapshot === undefined) continue;
    bytes += row.size;
    if (previous === "empty" || (previous !== undefined && previous.border.next >= control.lowWater)) {
      const from = previous;
      replayed += (await noting(findings, () => compareReplay(deps, subject, { from, row, snapshot }))) ?? 0;
    }
    previous = row;
  }
  const redoFiles = log?.files ?? 0;
  return { shard: id.shard, objects: kept.length + redoFiles, bytes, redoFiles, generations: kept.length, replayed, findings: distinct(findings) };
}

/** Reads the log from the mark to the tail; each generation's border must lie on its chain. */
async function verifyLog(deps: VerifyDeps, { id, control, rows }: Subject): Promise<{ readonly files: number; readonly bytes: number }> {
  const life = { id, incarnation: control.incarnation };
  const digests = new Map(rows.map(({ border, key }) => [border.next, { digest: border.digest, key }] as const));
  let border = await borderAtMark(deps, life, control);
  let files = 0;
  let bytes = 0;
  for (;;) {
    const known = digests.get(border.next);
    const key = redoKey(incarnationPrefix(id, control.incarnation), border.next);
    if (known !== undefined && known.digest !== border.digest)
      throw new TidemarkError("repair", "damaged-object", "the log before it is not that of its generation", { object: key });
    const step = await readFile(deps, life, border);
    if (step.kind === "found") {
      files++;
      bytes += step.bytes;
      border = step.border;
      continue;
    }
    const meaning = await settle(deps, life, { step, from: control.lowWater, border });
    if (meaning !== "moved") return { files, bytes };
  }
}

/** The mark is a redo file's first index, or where the checkpoint goes on; the chain digest before it may be known to that file alone. */
async function borderAtMark({ objects }: VerifyDeps, { id, incarnation }: Life, control: Control): Promise<Border> {
  const next = control.lowWater;
  if (next === ORIGIN.next) return ORIGIN;
  if (next === checkpointBorder(control).next) return checkpointBorder(control);
  const key = redoKey(incarnationPrefix(id, incarnation), next);
  const got = await objects.get(key);
  if (got.kind === "absent") throw new TidemarkError("repair", "damaged-object", "it is missing", { object: key });
  const head = decodeRedoHeader(got.body, key);
  if (head.kind === "more") throw new TidemarkError("repair", "damaged-object", "it is cut off in its header", { object: key });
  return { next, digest: head.header.previousDigest, timeMs: 0 };
}

async function readWhole({ objects }: VerifyDeps, row: HistoryRow): Promise<Snapshot> {
  const opened = await openSnapshot({ store: objects }, row);
  if (opened.kind === "absent") throw new TidemarkError("repair", "damaged-object", "it is missing", { object: row.key });
  let count = 0;
  for await (const rows of opened.snapshot.rows()) {
    count += rows.count;
    releaseRows(rows);
  }
  if (count !== row.rows)
    throw new TidemarkError("repair", "damaged-object", `it holds ${count} records, its history row says ${row.rows}`, { object: row.key });
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
  throw new TidemarkError("repair", "damaged-object", `it is not what the log behind the generation before makes: ${difference}`, { object: row.key });
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
    findings.push({ object: error.object ?? "", what: error.message });
    return undefined;
  }
}

/** One damaged object can be met on several ways. */
function distinct(findings: readonly Finding[]): readonly Finding[] {
  const byObject = new Map<string, Finding>();
  for (const finding of findings) if (!byObject.has(finding.object)) byObject.set(finding.object, finding);
  return [...byObject.values()];
}
