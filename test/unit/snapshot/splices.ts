// Splices for tests: changes as a log means them, snapshots of tiny row groups as bases, and what the pieces stand for by the
// plainest model, a Map.

import fc from "fast-check";
import { keyedFold } from "../../../lib/machines/keyed/fold.ts";
import { successor } from "../../../lib/model/bytes.ts";
import type { SnapshotDescription } from "../../../lib/model/snapshot.ts";
import type { Changes } from "../../../lib/snapshot/changes.ts";
import { type EncodedSnapshot, snapshotAssembly } from "../../../lib/snapshot/parquet/encode.ts";
import { type GroupSizes, MAGIC } from "../../../lib/snapshot/parquet/layout.ts";
import { openSnapshot, type Snapshot } from "../../../lib/snapshot/read.ts";
import { NO_BASE, type Piece, splice, type SpliceRequest } from "../../../lib/snapshot/splice.ts";
import { type Change, logRecords, type StateRow, stateOf, timeOf } from "../machines/keyed/log.ts";
import { description } from "./parquet/records.ts";
import { storeOf } from "./store-of.ts";

/** Row groups of some rows. */
export const TINY: GroupSizes = { pageRows: 2, groupBytes: 300 };

export const keyOf = (number: number): string => `k${String(number).padStart(4, "0")}`;

/** Keys of which most are between and behind those of a base that has the even numbers. */
export function anyChanges(keys: number, maxLength: number): fc.Arbitrary<readonly Change[]> {
  const key = fc.nat(keys).map(keyOf);
  const value = fc.oneof(
    fc.constantFrom('{"a":1}', '"x"', "[]"),
    fc.nat(200).map((length) => JSON.stringify("v".repeat(length))),
  );
  const change: fc.Arbitrary<Change> = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("patch" as const), key, value: fc.constantFrom('{"a":2}', '{"b":{"c":null}}', "7") }) },
  );
  return fc.array(change, { maxLength });
}

/** The changes `from` (included) to the end of a log, in parts that end at each of `cuts`. */
export function changesOf(log: readonly Change[], from: number, cuts: readonly string[] = []): Changes & { readonly asked: (Buffer | undefined)[] } {
  const records = logRecords(log);
  const borders = [...new Set(cuts)].map((cut) => Buffer.from(cut)).sort(Buffer.compare);
  const asked: (Buffer | undefined)[] = [];
  return {
    asked,
    async part(lowest) {
      asked.push(lowest);
      const end = borders.find((border) => lowest === undefined || Buffer.compare(border, lowest) > 0);
      const fold = keyedFold({ codec: "json", ...(lowest && { from: lowest }), ...(end && { end }) });
      for (let place = from; place < log.length; place++) fold.apply(records, place, place + 1, place + 1, timeOf(place + 1));
      return fold.sorted();
    },
    free: () => undefined,
  };
}

export interface SplicedSnapshot extends EncodedSnapshot {
  readonly bytes: Buffer;
  /** The row groups of the base that were carried over, by their places there. */
  readonly carried: readonly number[];
}

export async function piecesOf(request: Partial<SpliceRequest> & Pick<SpliceRequest, "changes">): Promise<readonly Piece[]> {
  return Array.fromAsync(splice({ base: NO_BASE, full: false, sizes: TINY, ...request }));
}

/** The snapshot that the pieces make, as a capture makes it. */
export async function snapshotOf(pieces: readonly Piece[], base: Snapshot | undefined, of: SnapshotDescription = description): Promise<SplicedSnapshot> {
  const assembly = snapshotAssembly();
  const bodies: Buffer[] = [MAGIC];
  const carried: number[] = [];
  for (const piece of pieces) {
    if (piece.kind === "fresh") {
      assembly.add(piece.group.group, piece.group.pages);
      bodies.push(piece.group.bytes);
      continue;
    }
    if (base === undefined) throw new Error("nothing is carried over from no base");
    const pages = await base.pagesOf(piece.from, piece.to);
    for (let place = piece.from; place < piece.to; place++) {
      const group = base.groups[place];
      assembly.add({ ...group, carried: group.carried + 1 }, pages[place - piece.from]);
      carried.push(place);
    }
    for await (const bytes of base.bytesOfGroups(piece.from, piece.to)) bodies.push(bytes);
  }
  const encoded = assembly.finish({ ...of, splices: base === undefined ? 0 : base.description.splices + 1 });
  return { ...encoded, bytes: Buffer.concat([...bodies, ...encoded.tail]), carried };
}

/** The snapshot of a log's first `until` changes. */
export async function baseOf(log: readonly Change[], until = log.length, sizes = TINY): Promise<Snapshot> {
  return opened((await snapshotOf(await piecesOf({ changes: changesOf(log.slice(0, until), 0), sizes }), undefined)).bytes);
}

export async function opened(bytes: Buffer): Promise<Snapshot> {
  const outcome = await openSnapshot({ store: storeOf(new Map([["snapshot", bytes]])) }, { key: "snapshot" });
  if (outcome.kind === "absent") throw new Error("the snapshot is there");
  return outcome.snapshot;
}

export async function statesOf(snapshot: Snapshot): Promise<readonly StateRow[]> {
  const rows: StateRow[] = [];
  for await (const page of snapshot.rows()) rows.push(...stateOf(page));
  return rows;
}

/** Puts of the even numbers below `keys`, so that others fall between them. */
export function evenPuts(keys: number): readonly Change[] {
  return Array.from(
    { length: keys / 2 },
    (_, i): Change => ({ kind: "put", key: keyOf(2 * i), value: JSON.stringify({ a: i, text: "t".repeat((i * 37) % 60) }) }),
  );
}

/** What is left of the pieces behind the last key of one of them. */
export function behind(pieces: readonly Piece[], base: Snapshot | undefined, after: Buffer): readonly Piece[] {
  return pieces.flatMap((piece): readonly Piece[] => {
    if (piece.kind === "fresh") return Buffer.compare(piece.group.group.lastKey, after) > 0 ? [piece] : [];
    const from =
      base === undefined ? piece.to : Math.max(piece.from, base.groups.filter(({ lastKey }) => Buffer.compare(lastKey, successor(after)) < 0).length);
    return from < piece.to ? [{ ...piece, from }] : [];
  });
}

/** Pieces by what their row groups are: carried ones by place, fresh ones by hash. */
export function namesOf(pieces: readonly Piece[]): readonly string[] {
  return pieces.flatMap((piece) =>
    piece.kind === "fresh" ? [piece.group.group.sha256] : Array.from({ length: piece.to - piece.from }, (_, i) => `carried ${piece.from + i}`),
  );
}
