// Logs for the tests of the keyed machine, and the state they mean by the plainest model: a Map.

import { mergePatch } from "../../../../lib/machines/keyed/patch.ts";
import type { Mutation } from "../../../../lib/model/mutation.ts";
import { type LogRecords, RECORD_DELETE, RECORD_PATCH, RECORD_PUT, type Rows } from "../../../../lib/model/rows.ts";

export interface Change {
  readonly kind: Mutation["kind"];
  readonly key: string;
  readonly value?: string;
}

export interface StateRow {
  readonly key: string;
  readonly value: string;
  readonly index: number;
  readonly timeMs: number;
}

/** A time that tells mutations apart. */
export const timeOf = (index: number): number => 1_000 + Math.floor(index / 3);

/** The changes as a redo file's records, with bytes around them that belong to nobody. */
export function logRecords(changes: readonly Change[]): LogRecords {
  const pieces: Buffer[] = [];
  let length = 0;
  const put = (text: string) => {
    const bytes = Buffer.from(text);
    pieces.push(Buffer.from([0x7b]), bytes, Buffer.from([0x22]));
    length += bytes.length + 2;
    return { start: length - bytes.length - 1, length: bytes.length };
  };
  const kinds = { put: RECORD_PUT, delete: RECORD_DELETE, patch: RECORD_PATCH };
  const keys = changes.map(({ key }) => put(key));
  const values = changes.map(({ value }) => put(value ?? ""));
  return {
    count: changes.length,
    bytes: Buffer.concat(pieces),
    kinds: Uint8Array.from(changes, ({ kind }) => kinds[kind]),
    keyStarts: Uint32Array.from(keys, ({ start }) => start),
    keyLengths: Uint32Array.from(keys, (key) => key.length),
    valueStarts: Uint32Array.from(values, ({ start }) => start),
    valueLengths: Uint32Array.from(values, (value) => value.length),
  };
}

/** The state after the changes, which have the indexes 1…n, in memcmp order of keys. */
export function modelState(changes: readonly Change[]): readonly StateRow[] {
  const state = new Map<string, StateRow>();
  for (const [place, { kind, key, value = "" }] of changes.entries()) {
    const index = place + 1;
    if (kind === "delete") {
      state.delete(key);
      continue;
    }
    const before = state.get(key);
    const target = before === undefined ? undefined : Buffer.from(before.value);
    const after = kind === "put" ? value : mergePatch(target, Buffer.from(value)).toString();
    state.set(key, { key, value: after, index, timeMs: timeOf(index) });
  }
  return [...state.values()].sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}

export function rowsOf(state: readonly StateRow[]): Rows {
  const keys = state.map(({ key }) => Buffer.from(key));
  const values = state.map(({ value }) => Buffer.from(value));
  return {
    count: state.length,
    keys: Buffer.concat(keys),
    keyEnds: ends(keys),
    values: Buffer.concat(values),
    valueEnds: ends(values),
    indexes: Float64Array.from(state, ({ index }) => index),
    times: Float64Array.from(state, ({ timeMs }) => timeMs),
  };
}

export function stateOf(rows: Rows): readonly StateRow[] {
  return Array.from({ length: rows.count }, (_, row) => ({
    key: rows.keys.toString("utf8", row === 0 ? 0 : rows.keyEnds[row - 1], rows.keyEnds[row]),
    value: rows.values.toString("utf8", row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]),
    index: rows.indexes[row],
    timeMs: rows.times[row],
  }));
}

function ends(pieces: readonly Buffer[]): Uint32Array {
  let end = 0;
  return Uint32Array.from(pieces, (piece) => {
    end += piece.length;
    return end;
  });
}
