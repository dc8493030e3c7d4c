// What a shard's log says, by the plainest model: every redo file decoded once, when it was created, and its batches
// applied to a Map. Nothing of the fold, the merge, the snapshots or the sessions of the core is used.

import type { Batch, Mutation } from "../../lib/model/mutation.ts";
import { type Border, ORIGIN } from "../../lib/model/position.ts";
import type { RedoFile } from "../../lib/model/redo-file.ts";
import { RECORD_DELETE, RECORD_PUT, type Rows } from "../../lib/model/rows.ts";

export interface TrueRow {
  readonly value: string;
  readonly index: number;
  readonly timeMs: number;
}

/** The state behind a batch. */
export interface TrueState {
  readonly index: number;
  readonly timeMs: number;
  readonly rows: ReadonlyMap<string, TrueRow>;
  /** Last applied sequence of each producer. */
  readonly sessions: ReadonlyMap<string, bigint>;
}

export interface TrueFile {
  readonly first: number;
  readonly body: Buffer;
  /** Where the log goes on behind it. */
  readonly border: Border;
}

export interface TrueLog {
  readonly files: readonly TrueFile[];
  /** Where the next redo file belongs. */
  readonly tail: Border;
  /** Adds a file at the tail; `body` is the stored object. */
  extend(file: RedoFile, body: Buffer): void;
  /** States behind batches, by index; that of index 0 is empty. */
  readonly states: readonly TrueState[];
  /** The state behind the last batch wholly at or before both. */
  stateAt(bound: { readonly index?: number; readonly timeMs?: number }): TrueState;
  /** Whether this very batch lies at these indexes. */
  holds(batch: Batch, first: number): boolean;
  /** How often a producer's batch was applied. */
  applied(producer: string, sequence: bigint): number;
}

const EMPTY: TrueState = { index: 0, timeMs: 0, rows: new Map(), sessions: new Map() };

export function trueLog(): TrueLog {
  const files: TrueFile[] = [];
  const states: TrueState[] = [EMPTY];
  const batches = new Map<number, string>();
  const applied = new Map<string, number>();
  let tail = ORIGIN;

  return {
    files,
    states,
    get tail() {
      return tail;
    },
    extend({ header, records }, body) {
      const mutations = decoded(records);
      let at = 0;
      for (const { count, timeMs, mark } of header.batches) {
        const before = states[states.length - 1];
        const first = header.first + at;
        const batch = mutations.slice(at, at + count);
        const applies = mark === undefined || mark.sequence > (before.sessions.get(mark.producer) ?? -1n);
        const index = first + count - 1;
        batches.set(first, signature(batch, mark));
        if (mark !== undefined && applies) applied.set(`${mark.producer} ${mark.sequence}`, (applied.get(`${mark.producer} ${mark.sequence}`) ?? 0) + 1);
        states.push({
          index,
          timeMs,
          rows: applies ? changed(before.rows, batch, first, timeMs) : before.rows,
          sessions: mark !== undefined && applies ? new Map([...before.sessions, [mark.producer, mark.sequence]]) : before.sessions,
        });
        at += count;
      }
      tail = { next: (header.first + header.count) as Border["next"], digest: header.digest, timeMs: states[states.length - 1].timeMs };
      files.push({ first: header.first, body, border: tail });
    },
    stateAt({ index = Number.POSITIVE_INFINITY, timeMs = Number.POSITIVE_INFINITY }) {
      return states.findLast((state) => state.index <= index && state.timeMs <= timeMs) ?? EMPTY;
    },
    holds: (batch, first) => batches.get(first) === signature(batch.mutations.map(plain), batch.mark),
    applied: (producer, sequence) => applied.get(`${producer} ${sequence}`) ?? 0,
  };
}

/** What differs between rows and a state; undefined where nothing does. */
export function difference(rows: readonly Rows[], state: TrueState): string | undefined {
  const expected = [...state.rows].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  let at = 0;
  for (const { count, keys, keyEnds, values, valueEnds, indexes, times } of rows) {
    for (let row = 0; row < count; row++, at++) {
      const key = keys.toString("utf8", row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
      const value = values.toString("utf8", row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]);
      const found = rowDifference(expected[at], [key, { value, index: indexes[row], timeMs: times[row] }]);
      if (found !== undefined) return found;
    }
  }
  return at < expected.length ? `key ${expected[at][0]} is missing` : undefined;
}

export async function rowsOf(pages: AsyncIterable<Rows>): Promise<readonly Rows[]> {
  const rows: Rows[] = [];
  for await (const page of pages) rows.push(page);
  return rows;
}

/** What differs between a record that was read and the one that should be there. */
export function rowDifference(expected: readonly [string, TrueRow] | undefined, found: readonly [string, TrueRow]): string | undefined {
  const same =
    expected !== undefined &&
    expected[0] === found[0] &&
    expected[1].index === found[1].index &&
    expected[1].timeMs === found[1].timeMs &&
    (expected[1].value === found[1].value || canonical(JSON.parse(expected[1].value)) === canonical(JSON.parse(found[1].value)));
  return same ? undefined : `${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`;
}

interface PlainMutation {
  readonly kind: Mutation["kind"];
  readonly key: string;
  readonly value: string;
}

function plain(mutation: Mutation): PlainMutation {
  return { kind: mutation.kind, key: Buffer.from(mutation.key).toString(), value: mutation.kind === "delete" ? "" : Buffer.from(mutation.value).toString() };
}

function decoded({ count, bytes, kinds, keyStarts, keyLengths, valueStarts, valueLengths }: RedoFile["records"]): readonly PlainMutation[] {
  return Array.from({ length: count }, (_, i) => ({
    kind: kinds[i] === RECORD_PUT ? "put" : kinds[i] === RECORD_DELETE ? "delete" : "patch",
    key: bytes.toString("utf8", keyStarts[i], keyStarts[i] + keyLengths[i]),
    value: bytes.toString("utf8", valueStarts[i], valueStarts[i] + valueLengths[i]),
  }));
}

/** `since` is left out: it may differ between sendings that no writer has in common. */
function signature(batch: readonly PlainMutation[], mark: Batch["mark"]): string {
  return JSON.stringify([mark === undefined ? null : [mark.producer, String(mark.sequence)], batch.map(({ kind, key, value }) => [kind, key, value])]);
}

function changed(rows: TrueState["rows"], batch: readonly PlainMutation[], first: number, timeMs: number): TrueState["rows"] {
  const after = new Map(rows);
  for (const [place, { kind, key, value }] of batch.entries()) {
    const index = first + place;
    if (kind === "delete") after.delete(key);
    else if (kind === "put") after.set(key, { value, index, timeMs });
    else after.set(key, { value: JSON.stringify(merged(JSON.parse(after.get(key)?.value ?? "null"), JSON.parse(value))), index, timeMs });
  }
  return after;
}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** RFC 7396, section 2, word by word. */
function merged(target: Json, patch: Json): Json {
  if (!isMembers(patch)) return patch;
  const after: { [name: string]: Json } = isMembers(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete after[name];
    else after[name] = merged(after[name] ?? null, value);
  }
  return after;
}

function isMembers(value: Json): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function canonical(value: Json): string {
  return JSON.stringify(value, (_, inner: Json) => (isMembers(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner));
}
