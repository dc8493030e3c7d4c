// A shard's state at an index: the newest sound generation at or below it, and the log behind that, folded (I5).
// Captures write it into a snapshot, recoveries hand it to a reader.
//
// Loading ends with the check that what was read is still covered by incarnation and mark (rule 27); from then on the
// state rests on one immutable snapshot, whose name is never used again, and on memory: the changes that fit it. Those that
// do not are read again from the log when their turn comes (changes.ts).

import { historyItem, parseHistoryRow } from "../checkpoint/items.ts";
import { damagedObject, isTidemarkError, TidemarkError } from "../model/errors.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import { shardName } from "../model/names.ts";
import { FOLD_BYTES_MAX } from "../model/limits.ts";
import type { ProducerMark, ValueCodec } from "../model/mutation.ts";
import { type Border, type Epoch, type Index, type Position, toIndex } from "../model/position.ts";
import type { RedoFile } from "../model/redo-file.ts";
import { Sessions } from "../model/sessions.ts";
import { keyedFold } from "../machines/keyed/fold.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { covers, filesFrom, type Life, settle } from "../redo-log/read.ts";
import { type Bound, replay } from "../redo-log/replay.ts";
import { type Changes, logChanges, type Stretch, STRETCH_RAW_BYTES, widened } from "./changes.ts";
import { type Base, baseBorder, basesFor } from "./choose.ts";
import { openGeneration } from "./generation.ts";
import type { Snapshot } from "./read.ts";

export interface StateDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "head" | "list">;
  readonly checkpoints: Pick<CheckpointStore, "get">;
  readonly telemetry: Telemetry;
}

export interface StateRequest {
  readonly life: Life;
  readonly codec: ValueCodec;
  readonly control: Control;
  readonly rows: readonly HistoryRow[];
  readonly bound?: Bound;
  /** Memory that the folded log may take at a time; FOLD_BYTES_MAX by default. */
  readonly foldBytesMax?: number;
  /** Of the keys, the first to be folded, and the first that is not wanted; default: all. */
  readonly firstFrom?: Buffer;
  readonly above?: Buffer;
  /** Stop at the first redo file's end where so many raw bytes of the log were read and `past` is passed. */
  readonly logBytesMax?: number;
  readonly past?: Index;
  /** The same where this says so. It is told how many times the log so far will be read, about. */
  readonly isLong?: (readings: number) => boolean;
  /** What was found of snapshots, by key, when their records were read. */
  readonly damaged?: ReadonlyMap<string, TidemarkError>;
  /** Whether the changes are read once, by one reader, in key order: then memory is freed on the way. */
  readonly oneReader?: boolean;
  /** Asked before each redo file is read; false stops the loading. */
  readonly goOn?: () => Promise<boolean>;
}

export interface ShardState {
  /** The state is that after mutations 1…index; 0 is empty. */
  readonly index: Index;
  /** Where the log goes on; absent where the state ends inside a redo file. */
  readonly border?: Border;
  /** The last batch that was folded; absent where nothing lies behind the base. */
  readonly position?: Position;
  /** Time of the last batch (ms since 1970); 0 for the empty state. */
  readonly timeMs: number;
  readonly base: Base;
  /** Mutations replayed behind the base. */
  readonly mutations: number;
  /** Whether the log was read to its end. */
  readonly atTail: boolean;
  readonly sessions: Sessions;
  readonly changes: Changes;
  /** What was read of the log, once: redo files, their bytes as stored, and those of keys and values. */
  readonly log: { readonly files: number; readonly bytes: number; readonly rawBytes: number };
  readonly snapshot?: Snapshot;
  /** Generations that were passed over for their damage, newest first. */
  readonly passedOver: readonly PassedOver[];
}

export interface PassedOver {
  readonly key: string;
  readonly index: Index;
  readonly epoch: Epoch;
  readonly reason: string;
}

/** `stale`: cleanup passed while the log was read; read the control item again. `none`: no kept generation serves the bound. */
export type StateOutcome = { readonly kind: "loaded"; readonly state: ShardState } | { readonly kind: "stale" | "none" | "stopped" };

/**
 * @throws {TidemarkError} `repair` where damage leaves no way to the state; the message names the object (I8).
 */
export async function loadState(deps: StateDeps, request: StateRequest): Promise<StateOutcome> {
  const bases = basesFor(request.control, request.rows, request.bound ?? {});
  const passedOver: PassedOver[] = [];
  let fault: TidemarkError | undefined;
  for (const [place, base] of bases.entries()) {
    try {
      const opened = await openBase(deps, request, base);
      if (opened.kind === "stale") return opened;
      const outcome = await replayBehind(deps, request, base, opened.snapshot);
      return outcome.kind === "loaded" ? { kind: "loaded", state: { ...outcome.state, passedOver } } : outcome;
    } catch (error) {
      if (base.kind === "empty" || !isDamageOf(error, base.row.key)) throw error;
      fault = error;
      const { key, index, epoch } = base.row;
      passedOver.push({ key, index, epoch, reason: error.message });
      const next = bases[place + 1];
      if (next !== undefined) report(deps, request.life, base.row, error, next);
    }
  }
  if (fault !== undefined) {
    const { key } = passedOver[passedOver.length - 1];
    throw new TidemarkError("repair", fault.code, `${fault.message}; no older generation with its log is left`, { cause: fault, object: key });
  }
  return { kind: "none" };
}

/** Whether an error says that this snapshot is damaged, so that an older one may serve. */
export function isDamageOf(error: unknown, key: string): error is TidemarkError {
  return isTidemarkError(error) && error.kind === "repair" && error.object === key;
}

async function openBase(
  deps: StateDeps,
  request: StateRequest,
  base: Base,
): Promise<{ readonly kind: "stale" } | { readonly kind: "opened"; readonly snapshot?: Snapshot }> {
  if (base.kind === "empty") return { kind: "opened" };
  const { key } = base.row;
  const known = request.damaged?.get(key);
  if (known !== undefined) throw known;
  const opened = await openGeneration({ store: deps.objects }, request.life, base.row);
  if (opened.kind === "opened") {
    const { codec } = opened.snapshot.description;
    if (codec !== request.codec) throw damagedObject(key, `its values are ${codec}, those of its table ${request.codec}: one of the two is not what it was`);
    return opened;
  }
  const item = await deps.checkpoints.get(historyItem(request.life.id, base.row));
  if (item === undefined || parseHistoryRow(item).state !== "kept") return { kind: "stale" };
  throw damagedObject(key, "it is missing");
}

async function replayBehind(
  deps: StateDeps,
  request: StateRequest,
  base: Base,
  snapshot: Snapshot | undefined,
): Promise<{ readonly kind: "stale" | "stopped" } | { readonly kind: "loaded"; readonly state: Omit<ShardState, "passedOver"> }> {
  const { life, codec, bound = {}, foldBytesMax = FOLD_BYTES_MAX, firstFrom, above } = request;
  const from = baseBorder(base);
  const sessions = new Sessions(snapshot?.description.sessions, snapshot?.description.forgottenThrough);
  const fold = keyedFold({ codec, ...(firstFrom && { from: firstFrom }), ...(above && { end: above }), bytesMax: foldBytesMax });
  const stretches: Stretch[] = [];
  const refused = new Set<number>();
  const applies = (mark: ProducerMark, first: Index, last: Index): boolean => {
    const isApplied = sessions.apply(mark, last) === "applies";
    if (!isApplied) refused.add(first);
    return isApplied;
  };
  const reached = {
    border: from as Border | undefined,
    index: toIndex(from.next - 1),
    timeMs: from.timeMs,
    position: undefined as Position | undefined,
    atTail: false,
  };
  const log = { files: 0, bytes: 0, rawBytes: 0 };
  let next = from;
  while (!isAtBound()) {
    const outcome = await readOn();
    if (outcome === "stale" || outcome === "stopped") return { kind: outcome };
    if (outcome === "end") break;
  }
  // `settle` has checked the cover at the tail; a reading that stopped before it is checked here, even one that replayed
  // nothing: that the log goes on behind the time asked for may be a ghost's word.
  if (log.files > 0 && !reached.atTail && !(await covers(deps, life, from.next))) return { kind: "stale" };
  const { border, position, ...rest } = reached;
  const { oneReader = false, goOn } = request;
  const about = { life, codec, foldBytesMax, from, bound: { index: reached.index }, stretches, refused, oneReader };
  const changes = logChanges(deps, { ...about, ...(firstFrom && { firstFrom }), ...(above && { above }), ...(goOn && { goOn }) }, fold);
  const state = { ...rest, ...(border && { border }), ...(position && { position }), base, mutations: reached.index - from.next + 1, sessions, changes, log };
  return { kind: "loaded", state: snapshot === undefined ? state : { ...state, snapshot } };

  function isAtBound(): boolean {
    if (reached.index >= (bound.index ?? Number.POSITIVE_INFINITY)) return true;
    // A log too long for one capture is cut, and so is one that memory cannot fold, however few of its keys are taken at a time.
    const isLong = log.rawBytes >= (request.logBytesMax ?? Number.POSITIVE_INFINITY) || (fold.bytes > foldBytesMax && request.logBytesMax !== undefined);
    const readings = fold.end === undefined ? 1 : 1 + log.rawBytes / foldBytesMax;
    return (isLong || request.isLong?.(readings) === true) && reached.index > (request.past ?? 0);
  }

  /** Replays file after file. `moved`: the log went on while its end was looked at, read again. */
  async function readOn(): Promise<"stale" | "stopped" | "end" | "moved"> {
    for await (const step of filesFrom(deps, life, next, bound.index)) {
      if (step.kind !== "found") {
        const meaning = await settle(deps, life, { step, from: from.next, border: next });
        if (meaning !== "tail") return meaning;
        reached.atTail = true;
        return "end";
      }
      log.files++;
      log.bytes += step.bytes;
      log.rawBytes += step.file.records.bytes.length;
      addTo(stretches, next, step, fold.end !== undefined);
      const replayed = replay(step.file, { applies, fold }, bound);
      if (replayed.last !== undefined) {
        reached.index = replayed.last.index;
        reached.timeMs = replayed.last.timeMs;
        reached.position = replayed.last.position;
        reached.border = replayed.whole ? step.border : undefined;
        deps.telemetry.report({ kind: "replayed", shard: shardName(life.id), mutations: reached.index - from.next + 1, redoFile: step.file.header.first });
      }
      if (!replayed.whole) return "end";
      next = step.border;
      if (isAtBound()) return "end";
      if (request.goOn !== undefined && !(await request.goOn())) return "stopped";
    }
    return "end";
  }
}

/** @param noted whether the keys of a stretch that begins here are noted: only where the log will be read again */
function addTo(stretches: Stretch[], from: Border, { file, border }: { readonly file: RedoFile; readonly border: Border }, noted: boolean): void {
  const { records } = file;
  const rawBytes = records.bytes.length;
  const lastIndex = toIndex(border.next - 1);
  const last = stretches.at(-1);
  if (last === undefined || last.rawBytes >= STRETCH_RAW_BYTES) {
    stretches.push({ from, last: lastIndex, rawBytes, ...(noted && { keys: widened(undefined, records) }) });
    return;
  }
  last.last = lastIndex;
  last.rawBytes += rawBytes;
  if (last.keys !== undefined) last.keys = widened(last.keys, records);
}

function report({ telemetry }: StateDeps, { id }: Life, damaged: HistoryRow, error: TidemarkError, next: Base): void {
  telemetry.report({ kind: "fell-back", shard: shardName(id), damaged: damaged.key, reason: error.message, to: toIndex(baseBorder(next).next - 1) });
}
