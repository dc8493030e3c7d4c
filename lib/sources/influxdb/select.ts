// Which shards of a server a backup is of (pure). The metastore is asked first and tells where each shard belongs; what the
// server then lists of its databases is held against it.

import { callError } from "../../model/errors.ts";
import { type Database, INTERNAL, type Metastore, type PlacedShard, shardsOf } from "./meta.ts";

export interface Selection {
  readonly database?: string;
  readonly policy?: string;
  readonly shard?: number;
}

/** Times as ISO 8601 with a zone; an open end is the end of time. */
export interface Range {
  readonly start?: string;
  readonly end?: string;
}

/** One without open ends. */
export type WholeRange = Required<Range>;

/** The first and the last nanosecond that InfluxDB has times for. */
const FIRST_TIME = "1677-09-21T00:12:43.145224194Z";
const LAST_TIME = "2262-04-11T23:47:16.854775806Z";

export function wholeRange({ start, end }: Range): WholeRange | undefined {
  return start === undefined && end === undefined ? undefined : { start: start ?? FIRST_TIME, end: end ?? LAST_TIME };
}

/** @throws {TidemarkError} `call` "bad-selection" */
export function checkSelection({ database, policy, shard }: Selection): void {
  if (policy !== undefined && database === undefined) throw callError("bad-selection", "a policy is one of a database: name that with --database");
  if (shard !== undefined && (database === undefined || policy === undefined)) {
    throw callError("bad-selection", "a shard is one of a policy of a database: name them with --database and --policy");
  }
}

/**
 * @param owner whose databases they are, in words
 * @throws {TidemarkError} `call` "unknown-database", "unknown-policy"
 */
export function checkThere(databases: readonly Database[], { database, policy }: Selection, owner: string): void {
  if (database === undefined) return;
  const found = databases.find(({ name }) => name === database);
  const names = (known: readonly { readonly name: string }[]): string => known.map(({ name }) => JSON.stringify(name)).join(", ") || "none";
  if (found === undefined) throw callError("unknown-database", `${owner} has no database ${JSON.stringify(database)}; it has ${names(databases)}`);
  if (policy !== undefined && !found.policies.some(({ name }) => name === policy)) {
    const message = `database ${JSON.stringify(database)} of ${owner} has no retention policy ${JSON.stringify(policy)}; it has ${names(found.policies)}`;
    throw callError("unknown-policy", message);
  }
}

/**
 * The shards that are selected, by id.
 * @throws {TidemarkError} `call` "unknown-database", "unknown-policy", "unknown-shard"
 */
export function selectShards(metastore: Metastore, selection: Selection, range?: WholeRange): readonly PlacedShard[] {
  checkSelection(selection);
  const { database, policy, shard } = selection;
  checkThere(metastore.databases, selection, "the server");
  const found = shardsOf(metastore).filter(
    (placed) =>
      (database === undefined ? placed.database !== INTERNAL : placed.database === database) &&
      (policy === undefined || placed.policy === policy) &&
      (shard === undefined || placed.shard === shard),
  );
  if (shard !== undefined && found.length === 0) throw callError("unknown-shard", unknownShard(metastore, { database, policy, shard }));
  return range === undefined ? found : found.filter((placed) => overlaps(placed, range));
}

function unknownShard(
  metastore: Metastore,
  { database, policy, shard }: { readonly database?: string | undefined; readonly policy?: string | undefined; readonly shard: number },
): string {
  const elsewhere = shardsOf(metastore).find((placed) => placed.shard === shard);
  const where = elsewhere === undefined ? "the server has no such shard" : `it belongs to ${elsewhere.database}/${elsewhere.policy}`;
  return `shard ${shard} is not one of ${database}/${policy}: ${where}`;
}

/** Whether all of a shard's stretch of time lies in the range: then all of its files do. */
export function isInside({ startNs, endNs }: PlacedShard, { start, end }: WholeRange): boolean {
  return nanosecondsOf(start) <= startNs && endNs <= nanosecondsOf(end) + 1n;
}

function overlaps({ startNs, endNs }: PlacedShard, { start, end }: WholeRange): boolean {
  return startNs <= nanosecondsOf(end) && nanosecondsOf(start) < endNs;
}

/**
 * Of a time that `Date` reads, with up to nine digits of a second.
 * @throws {TidemarkError} `call` "bad-time"
 */
export function nanosecondsOf(time: string): bigint {
  const [, digits = ""] = /\.([0-9]{1,9})/.exec(time) ?? [];
  const seconds = Date.parse(time.replace(/\.[0-9]+/, "")) / 1_000;
  if (!Number.isSafeInteger(seconds)) throw callError("bad-time", `${JSON.stringify(time)} is no time: write one as 2026-08-03T01:00:00Z`);
  return BigInt(seconds) * 1_000_000_000n + BigInt(digits.padEnd(9, "0"));
}
