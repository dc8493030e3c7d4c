// Brings a shard's state back: the newest, that at an index, or that at a time (rules 27 and 28). It stops at the last
// batch wholly at or before what was asked for, and says which; damage of a snapshot is passed over to the generation
// before it, and said (I8).

import { readControl, readHistory } from "../checkpoint/control.ts";
import { rowsCollector } from "../machines/keyed/collect.ts";
import { keyedFold, releaseFold } from "../machines/keyed/fold.ts";
import { lookUp } from "../machines/keyed/look-up.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../model/errors.ts";
import { PIN_TTL_MS, RECOVER_ATTEMPTS_MAX } from "../model/limits.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { type ShardId, shardName } from "../model/names.ts";
import { type Index, ORIGIN, type Position, toIndex } from "../model/position.ts";
import type { Rows } from "../model/rows.ts";
import { Sessions } from "../model/sessions.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import type { Bound } from "../redo-log/replay.ts";
import { pour } from "../snapshot/pour.ts";
import { isDamageOf, loadState, type PassedOver, type ShardState } from "../snapshot/state.ts";
import { pin, unpin } from "./pin.ts";
import { snapshotFile } from "./snapshot-file.ts";

export interface RecoverDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "head" | "list">;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

export interface RecoverRequest {
  readonly id: ShardId;
  readonly codec: ValueCodec;
  /** An index or a time (ms since 1970); neither asks for the newest state. */
  readonly at?: Bound;
  /** Hold the generation that is read until the view is closed, or not read for as long as a pin lasts. */
  readonly pinned?: boolean;
}

/** One record of a recovered state, with index and time (ms since 1970) of the mutation that made it what it is. */
export interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly index: Index;
  readonly timeMs: number;
}

/** A recovered state. Its content stays what it is, whatever is appended or cleaned meanwhile. */
export interface ShardView {
  /** The state is that after mutations 1…index: the last batch wholly at or before what was asked for. */
  readonly index: Index;
  readonly timeMs: number;
  /** The last replayed batch; absent where the state is a snapshot's own, or empty. */
  readonly position?: Position;
  /** Index of the generation it was rebuilt from; 0: from the log alone. */
  readonly from: Index;
  /** Mutations replayed behind that generation. */
  readonly replayed: number;
  /** Whether more appends can still change the answer: a time that the log has not passed yet. */
  readonly final: boolean;
  /** Damaged generations that were passed over; may grow while rows are read. */
  readonly passedOver: readonly PassedOver[];
  /** There are at most so many rows: those of the generation, and one for each mutation behind it. */
  readonly rowsMax: number;
  /** Rows in key order. */
  rows(): AsyncGenerator<Rows>;
  /** The state as one snapshot file, Parquet, from its first byte to its last. Behind "restart" it begins anew: what came before is void. */
  snapshotFile(): AsyncGenerator<Buffer | "restart">;
  get(key: Buffer): Promise<Entry | undefined>;
  /**
   * Holds the generation anew, for as long as at first; for who reads what lies beside it, as reading it does so by itself. False where
   * it is not, or no longer, held.
   */
  keep(): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * @throws {TidemarkError} `call` "out-of-range" where the state asked for lies behind the tail or is no longer kept;
 * `repair` where damage leaves no way to it.
 */
export async function recover(deps: RecoverDeps, request: RecoverRequest): Promise<ShardView> {
  const loaded = await load(deps, request, new Map());
  if (loaded !== "unopened") return view(deps, request, loaded);
  const { id, at: { index = 0 } = {} } = request;
  if (index > 0) throw beyondTail(id, index, 0);
  return emptyView(request);
}

interface Loaded {
  readonly incarnation: string;
  readonly state: ShardState;
  readonly held: Hold;
}

interface Hold {
  renew(): Promise<boolean>;
  release(): Promise<void>;
}

const NO_HOLD: Hold = { renew: async () => false, release: async () => undefined };
const RENEW_AFTER_MS = PIN_TTL_MS / 3;

async function load(deps: RecoverDeps, request: RecoverRequest, damaged: ReadonlyMap<string, TidemarkError>): Promise<Loaded | "unopened"> {
  const { id, codec, at = {} } = request;
  for (let attempt = 0; attempt < RECOVER_ATTEMPTS_MAX; attempt++) {
    const control = await readControl(deps.checkpoints, id);
    if (control === undefined) return "unopened";
    const life = { id, incarnation: control.incarnation };
    const rows = await readHistory(deps.checkpoints, id);
    const outcome = await loadState(deps, { life, codec, control, rows, bound: at, damaged });
    if (outcome.kind === "none") throw belowMark(id, at, control, rows);
    if (outcome.kind !== "loaded") continue;
    const { state } = outcome;
    if (state.atTail && state.index < (at.index ?? 0)) throw beyondTail(id, at.index ?? 0, state.index);
    const held = await hold(deps, request, state, life.incarnation);
    if (held !== "gone") return { incarnation: life.incarnation, state, held };
  }
  throw new TidemarkError("retry", "contended", `${shardName(id)} was cleaned under ${RECOVER_ATTEMPTS_MAX} attempts to recover it: try again`);
}

async function hold(deps: RecoverDeps, { id, pinned }: RecoverRequest, state: ShardState, incarnation: string): Promise<Hold | "gone"> {
  if (pinned !== true || state.base.kind === "empty") return NO_HOLD;
  const request = { life: { id, incarnation }, row: state.base.row, pinId: deps.random.id(16) };
  const renew = (): Promise<boolean> => pin(deps, request, deps.clock.now() + PIN_TTL_MS);
  if (!(await renew()) && state.mutations > 0) return "gone";
  return {
    renew,
    async release() {
      await unpin(deps, request).catch(heldStill);
    },
  };
}

/** A hold lasts for longer than until its next renewal, and lapses by itself: what was read is not lost where either could not be written. */
function heldStill(error: unknown): void {
  if (!isTidemarkError(error) || (error.kind !== "retry" && error.kind !== "wait")) throw error;
}

function view(deps: RecoverDeps, request: RecoverRequest, first: Loaded): ShardView {
  const { at = {} } = request;
  const passedOver: PassedOver[] = [...first.state.passedOver];
  const damaged = new Map<string, TidemarkError>();
  const { incarnation } = first;
  let { state, held } = first;
  const { index, timeMs, position, mutations, base } = state;

  let renewAtMs = deps.clock.now() + RENEW_AFTER_MS;
  let reloaded: Promise<void> = Promise.resolve();

  /** While it is read: all of it may take longer than a pin lasts. */
  async function keepOn(): Promise<void> {
    if (deps.clock.now() < renewAtMs) return;
    renewAtMs = deps.clock.now() + RENEW_AFTER_MS;
    await held.renew().catch(heldStill);
  }

  /**
   * What only the reading of records shows: the same state again, by the generation before where this one is damaged. Of several readings
   * that met it the first one looks for it, and the others go on with what that found.
   */
  function again(error: unknown, failed: ShardState): Promise<void> {
    const turn = reloaded.then(() => (failed === state ? reload(error) : undefined));
    reloaded = turn.catch(() => undefined);
    return turn;
  }

  async function reload(error: unknown): Promise<void> {
    const key = damagedBase(error, state);
    if (key === undefined && !isCleanedLog(error)) throw error;
    if (key !== undefined) damaged.set(key, error as TidemarkError);
    await held.release();
    const loaded = await load(deps, { ...request, at: { index } }, damaged).catch(async (fault: unknown) => {
      throw (await isPassed(fault)) ? passed(request.id, index, fault) : fault;
    });
    // The table was deleted meanwhile: what there is now, if anything, is of another log.
    if (loaded === "unopened") throw error;
    if (loaded.incarnation !== incarnation) {
      await loaded.held.release();
      throw error;
    }
    ({ state, held } = loaded);
    passedOver.push(...state.passedOver.filter((one) => !passedOver.some((known) => known.key === one.key)));
  }

  /** Whether no way is left to what was the newest state, while there is a snapshot of a newer one by now: cleanup went by it, or by all ways but a damaged one. */
  async function isPassed(fault: unknown): Promise<boolean> {
    const isLost = isTidemarkError(fault) && (fault.kind === "repair" || fault.code === "out-of-range");
    if (!isLost || at.index !== undefined || at.timeMs !== undefined) return false;
    const control = await readControl(deps.checkpoints, request.id);
    return (control?.checkpoint?.index ?? 0) > index;
  }

  return {
    index,
    timeMs,
    ...(position && { position }),
    from: base.kind === "generation" ? base.row.index : toIndex(0),
    replayed: mutations,
    final: at.timeMs === undefined || !state.atTail,
    passedOver,
    rowsMax: (state.snapshot?.rowCount ?? 0) + mutations,
    async *rows() {
      let after: Buffer | undefined;
      for (;;) {
        const collector = rowsCollector();
        const read = state;
        try {
          for await (const _ of pour(read, collector, after)) {
            const rows = collector.take();
            if (rows.count === 0) continue;
            // The rows are the reader's from then on.
            const last = lastKey(rows);
            yield rows;
            after = last;
            await keepOn();
          }
          return;
        } catch (error) {
          await again(error, read);
        }
      }
    },
    async *snapshotFile() {
      for (;;) {
        const read = state;
        try {
          for await (const bytes of snapshotFile(read, { id: request.id, incarnation, codec: request.codec })) {
            yield bytes;
            await keepOn();
          }
          return;
        } catch (error) {
          await again(error, read);
          yield "restart";
        }
      }
    },
    async get(key) {
      await keepOn();
      for (;;) {
        const read = state;
        try {
          return await entryOf(read, key);
        } catch (error) {
          await again(error, read);
        }
      }
    },
    keep: () => held.renew(),
    async close() {
      await held.release();
    },
  };
}

function damagedBase(error: unknown, { base }: ShardState): string | undefined {
  return base.kind === "generation" && isDamageOf(error, base.row.key) ? base.row.key : undefined;
}

/** A log that memory does not hold at once is read again for its further keys, and cleanup may have passed by then. */
function isCleanedLog(error: unknown): boolean {
  return isTidemarkError(error) && error.code === "cleaned-log";
}

async function entryOf({ changes, snapshot }: ShardState, key: Buffer): Promise<Entry | undefined> {
  const fold = await changes.part(key);
  const record = await lookUp(fold, key, async () => snapshot?.get(key));
  return record && { key, value: record.value, index: toIndex(record.index), timeMs: record.timeMs };
}

function lastKey({ count, keys, keyEnds }: Rows): Buffer {
  return Buffer.from(keys.subarray(count > 1 ? keyEnds[count - 2] : 0, keyEnds[count - 1]));
}

/** Stands for the incarnation of a shard that was never opened. */
const NO_LIFE = "0".repeat(16);

function emptyState(codec: ValueCodec): ShardState {
  const fold = keyedFold({ codec }).sorted();
  return {
    index: toIndex(0),
    border: ORIGIN,
    timeMs: 0,
    base: { kind: "empty" },
    mutations: 0,
    atTail: true,
    sessions: new Sessions(),
    changes: { part: async () => fold, free: () => releaseFold(fold) },
    log: { files: 0, bytes: 0, rawBytes: 0 },
    passedOver: [],
  };
}

function emptyView({ id, codec, at = {} }: RecoverRequest): ShardView {
  return {
    index: toIndex(0),
    timeMs: 0,
    from: toIndex(0),
    replayed: 0,
    final: at.timeMs === undefined,
    passedOver: [],
    rowsMax: 0,
    async *rows() {},
    snapshotFile: () => snapshotFile(emptyState(codec), { id, incarnation: NO_LIFE, codec }),
    get: async () => undefined,
    keep: async () => false,
    close: async () => undefined,
  };
}

function passed(id: ShardId, index: Index, cause: unknown): TidemarkError {
  const what = `the state at ${index} of ${shardName(id)} was the newest, and can no longer be read`;
  return new TidemarkError("retry", "expired-state", `${what}: recover again, there is a snapshot of a newer one (${messageOf(cause)})`, { cause });
}

function beyondTail(id: ShardId, asked: number, tail: number): TidemarkError {
  return callError("out-of-range", `index ${asked} lies beyond the tail of ${shardName(id)}, which is ${tail}: ask for at most that`);
}

function belowMark(id: ShardId, at: Bound, control: Control, rows: readonly HistoryRow[]): TidemarkError {
  const kept = rows.filter(({ state, border }) => state === "kept" && border.next >= control.lowWater);
  const lowest = kept.reduce<HistoryRow | undefined>((low, row) => (low === undefined || row.index < low.index ? row : low), undefined);
  const asked = at.index === undefined ? new Date(at.timeMs ?? 0).toISOString() : `index ${at.index}`;
  const from = lowest === undefined ? ORIGIN.next : lowest.index;
  const since = lowest === undefined ? "" : `, of ${new Date(lowest.border.timeMs).toISOString()}`;
  return callError("out-of-range", `${asked} is no longer kept of ${shardName(id)}: the oldest recoverable state is that at index ${from}${since}`);
}
