// Names are checked before they become keys or paths, and keys are made and parsed nowhere else.
//   {table}/{shard}/{incarnation}/redo/{first index, 16 digits}.redo
//   {table}/{shard}/{incarnation}/snapshots/{index, 16 digits}-e{epoch}.parquet
//   {table}/{shard}/{incarnation}/attached/{sequence, 16 digits}/{name}
//   _quarantine/{key of a damaged object}
//   _store.json
// Numbers are padded so that the order of names is the order of indexes.

import { callError } from "./errors.ts";
import { SHARDS_MAX, TABLE_NAME_LENGTH_MAX } from "./limits.ts";
import { type Epoch, type Index, toEpoch, toIndex } from "./position.ts";

/** The object that bears the store's id. No table's name begins so. */
export const STORE_KEY = "_store.json";

/** Where repair puts copies of damaged objects: outside of every table, so that no sweep sees them. */
const QUARANTINE = "_quarantine/";

const ATTACHED = "attached/";

const INDEX_DIGITS = 16;
const TABLE_NAME = /^[a-z0-9](?:[a-z0-9_-]|\.(?!\.))*$/;
const INCARNATION = /^[0-9a-f]{16}$/;
const ATTACHMENT = "attached\\/([0-9]{16})\\/(?:[A-Za-z0-9_-]|\\.(?!\\.)|\\/(?![./])){1,200}";
const REFERENCE = new RegExp(`"(${ATTACHMENT})"`, "g");
const WHOLE_ATTACHMENT = new RegExp(`^${ATTACHMENT}$`);

/** One of a table's parts, written `table/shard`. */
export interface ShardId {
  readonly table: string;
  readonly shard: number;
}

/** Refuses what is not a table's name: lower-case letters, digits, `-`, `_`, single dots; a letter or digit first; at most 64. */
export function checkTableName(name: string): void {
  if (!isTableName(name)) {
    throw callError(
      "bad-table-name",
      `${JSON.stringify(name)} is not a table name: use lower-case letters, digits, "-", "_" and single dots, a letter or digit first, at most ${TABLE_NAME_LENGTH_MAX} characters`,
    );
  }
}

export function isTableName(name: string): boolean {
  return TABLE_NAME.test(name) && name.length <= TABLE_NAME_LENGTH_MAX;
}

/** Parses `TABLE` or `TABLE/SHARD`. */
export function parseTarget(text: string): { readonly table: string; readonly shard?: number } {
  const slash = text.indexOf("/");
  if (slash < 0) {
    checkTableName(text);
    return { table: text };
  }
  const table = text.slice(0, slash);
  checkTableName(table);
  const digits = text.slice(slash + 1);
  const shard = Number(digits);
  if (!/^(0|[1-9][0-9]*)$/.test(digits) || shard >= SHARDS_MAX) {
    throw callError("bad-shard", `${JSON.stringify(text)} does not name a shard: write TABLE/SHARD with a shard from 0 to ${SHARDS_MAX - 1}`);
  }
  return { table, shard };
}

export function shardName({ table, shard }: ShardId): string {
  return `${table}/${shard}`;
}

/** The prefix of one life of a shard, with its last slash. */
export function incarnationPrefix(id: ShardId, incarnation: string): string {
  return `${shardName(id)}/${incarnation}/`;
}

export function isIncarnation(text: string): boolean {
  return INCARNATION.test(text);
}

export function redoKey(prefix: string, first: Index): string {
  return `${prefix}redo/${pad(first)}.redo`;
}

export function snapshotKey(prefix: string, index: Index, epoch: Epoch): string {
  return `${prefix}snapshots/${pad(index)}-e${epoch}.parquet`;
}

/** Where the copy of a damaged object lies; of a prefix, where those of all objects below it do. */
export function quarantineKey(key: string): string {
  return `${QUARANTINE}${key}`;
}

/** What a record's value calls an attachment: its key without the prefix of the shard's life. */
export function attachmentReference(sequence: number, name: string): string {
  return `${ATTACHED}${pad(sequence)}/${name}`;
}

/** The references in a value, or in any bytes that hold values: JSON strings that begin as no other text of a source does. */
export function referencesIn(bytes: Buffer): readonly string[] {
  return [...bytes.toString("latin1").matchAll(REFERENCE)].map(([, reference]) => reference);
}

export type ObjectName =
  | { readonly kind: "redo"; readonly first: Index }
  | { readonly kind: "attached"; readonly sequence: number }
  | { readonly kind: "snapshot"; readonly index: Index; readonly epoch: Epoch }
  | { readonly kind: "unknown" };

/** What a key below an incarnation's prefix (given without that prefix) names. */
export function parseObjectName(rest: string): ObjectName {
  const redo = /^redo\/([0-9]{16})\.redo$/.exec(rest);
  if (redo !== null && isSafe(redo[1])) return { kind: "redo", first: toIndex(Number(redo[1])) };
  const snapshot = /^snapshots\/([0-9]{16})-e([1-9][0-9]*)\.parquet$/.exec(rest);
  if (snapshot !== null && isSafe(snapshot[1]) && isSafe(snapshot[2])) {
    return { kind: "snapshot", index: toIndex(Number(snapshot[1])), epoch: toEpoch(Number(snapshot[2])) };
  }
  const attached = WHOLE_ATTACHMENT.exec(rest);
  if (attached !== null && isSafe(attached[1])) return { kind: "attached", sequence: Number(attached[1]) };
  return { kind: "unknown" };
}

export function pad(value: number): string {
  return String(value).padStart(INDEX_DIGITS, "0");
}

function isSafe(digits: string | undefined): boolean {
  return Number.isSafeInteger(Number(digits));
}
