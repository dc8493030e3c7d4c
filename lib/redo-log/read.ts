// Reads the redo log from a border on. A file counts only if it continues the chain: its name, shard, incarnation and
// first index are right, and its header holds the digest of the file before (I8).
//
// What is found wrong here is damage only if incarnation and low-water mark still cover the border that the reading
// began at: cleanup may have freed the names meanwhile, and a stalled writer may have taken one again (rules 5, 27).
// So a step tells what it saw, and `settle` tells what that means.

import { readControl } from "../checkpoint/control.ts";
import { itemName, parseTail, tailItem } from "../checkpoint/items.ts";
import { damagedItem, damagedObject, isTidemarkError, type TidemarkError } from "../model/errors.ts";
import { release } from "../model/memory.ts";
import { incarnationPrefix, parseObjectName, redoKey, type ShardId } from "../model/names.ts";
import { type Border, type Index, toIndex } from "../model/position.ts";
import { lastBatchTime, type RedoFile, type RedoHeader } from "../model/redo-file.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { GetOutcome, ObjectStore } from "../ports/object-store.ts";
import { decodeRedoFile, decodeRedoHeader } from "./codec.ts";

export interface ReadDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "list">;
  readonly checkpoints: Pick<CheckpointStore, "get">;
}

/** One life of a shard. */
export interface Life {
  readonly id: ShardId;
  readonly incarnation: string;
}

/** `border` is the one behind the file, `bytes` the size of the object. */
export type Step<Found> =
  | { readonly kind: "found"; readonly file: Found; readonly border: Border; readonly bytes: number }
  | { readonly kind: "absent" }
  | { readonly kind: "broken"; readonly fault: TidemarkError };

/** Bytes asked for at first where only the head of a file is wanted. */
const HEAD_BYTES = 16 * 1024;

/** The redo file at the border, whole. */
export async function readFile({ objects }: { readonly objects: Pick<ObjectStore, "get"> }, life: Life, border: Border): Promise<Step<RedoFile>> {
  const key = keyAt(life, border.next);
  const got = await objects.get(key);
  return got.kind === "absent" ? got : wholeFile(got, { life, border, key });
}

/**
 * The redo files from a border on, in their order, each fetched while the one before is worked on. The last step is the one
 * that found no file, or a broken one; none is read that begins behind `until`. Each is freed when the next is asked for.
 */
export async function* filesFrom(
  { objects }: { readonly objects: Pick<ObjectStore, "get"> },
  life: Life,
  from: Border,
  until = Number.POSITIVE_INFINITY,
): AsyncGenerator<Step<RedoFile>> {
  let border = from;
  let fetching = fetchAt(border.next);
  while (border.next <= until) {
    const got = await fetching;
    if (got.kind === "absent") {
      yield got;
      return;
    }
    const at = { life, border, key: keyAt(life, border.next) };
    const head = headOf(got, at);
    if (head.kind === "found" && head.border.next <= until) fetching = fetchAt(head.border.next);
    const whole = head.kind === "found" ? wholeFile(got, at) : head;
    release(got.body);
    yield whole;
    if (whole.kind !== "found") return;
    release(whole.file.records.bytes);
    border = whole.border;
  }

  function fetchAt(next: Index): Promise<GetOutcome> {
    const got = objects.get(keyAt(life, next));
    // It may fail while the file before is worked on, or when nobody reads on.
    got.catch(() => undefined);
    return got;
  }
}

type At = { readonly life: Life; readonly border: Border; readonly key: string };
type Got = Extract<GetOutcome, { readonly kind: "found" }>;

function wholeFile({ body, size }: Got, at: At): Step<RedoFile> {
  return step(
    () => {
      const file = decodeRedoFile(body, at.key);
      return { file, header: file.header };
    },
    { ...at, bytes: size },
  );
}

function headOf({ body, size }: Got, at: At): Step<RedoHeader> {
  return step(
    () => {
      const head = decodeRedoHeader(body, at.key);
      if (head.kind === "more") throw damagedObject(at.key, "it is cut off in its header");
      return { file: head.header, header: head.header };
    },
    { ...at, bytes: size },
  );
}

/** The head of the redo file at the border: enough to move behind it. */
export async function readHead({ objects }: { readonly objects: Pick<ObjectStore, "getRange"> }, life: Life, border: Border): Promise<Step<RedoHeader>> {
  const key = keyAt(life, border.next);
  const got = await objects.getRange(key, { offset: 0, length: HEAD_BYTES });
  if (got.kind === "absent") return got;
  let bytes = got.body;
  try {
    const head = decodeRedoHeader(bytes, key);
    if (head.kind === "more") {
      const longer = await objects.getRange(key, { offset: 0, length: head.bytesNeeded });
      if (longer.kind === "absent") return longer;
      bytes = longer.body;
    }
  } catch (error) {
    return brokenBy(error);
  }
  return headOf({ kind: "found", body: bytes, size: got.size }, { life, border, key });
}

/** Where the log goes on behind a redo file. */
export function borderBehind(header: RedoHeader): Border {
  return { next: toIndex(header.first + header.count), digest: header.digest, timeMs: lastBatchTime(header) };
}

/** Whether what was read from `from` on is still covered: the lemma of the low-water mark. */
export async function covers({ checkpoints }: Pick<ReadDeps, "checkpoints">, life: Life, from: Index): Promise<boolean> {
  const control = await readControl(checkpoints, life.id);
  return control !== undefined && control.incarnation === life.incarnation && control.lowWater <= from;
}

/**
 * What an absent or broken redo file means to one who reads from `from` on and has come to `border`.
 * `tail`: the log ends here. `moved`: it went on meanwhile, read again. `stale`: cleanup has passed, start over.
 * @throws {TidemarkError} `repair` where the file, or one that must be here, is damaged or missing (I8).
 */
export async function settle(
  deps: ReadDeps,
  life: Life,
  seen: { readonly step: Exclude<Step<unknown>, { kind: "found" }>; readonly from: Index; readonly border: Border },
): Promise<"tail" | "moved" | "stale"> {
  if (seen.step.kind === "broken") {
    if (await covers(deps, life, seen.from)) throw seen.step.fault;
    return "stale";
  }
  if (!(await goesOn(deps, life, seen.border.next))) return (await covers(deps, life, seen.from)) ? "tail" : "stale";
  const key = keyAt(life, seen.border.next);
  const again = await deps.objects.getRange(key, { offset: 0, length: 1 });
  if (again.kind === "found") return "moved";
  if (!(await covers(deps, life, seen.from))) return "stale";
  throw damagedObject(key, "it is missing, and the log goes on behind it");
}

/** Whether a later redo file, or the published tail, shows that the log goes on behind `next`. */
async function goesOn({ objects, checkpoints }: ReadDeps, life: Life, next: Index): Promise<boolean> {
  const prefix = incarnationPrefix(life.id, life.incarnation);
  // A page, not one name: what is not of this program's making is no redo file, and left alone.
  const later = await objects.list({ prefix: `${prefix}redo/`, after: keyAt(life, next) });
  if (later.objects.some(({ key }) => parseObjectName(key.slice(prefix.length)).kind === "redo")) return true;
  const item = await checkpoints.get(tailItem(life.id));
  if (item === undefined) return false;
  const hint = parseTail(item);
  // Both items are born in one write: a life that was there before the tail was read, and still is, has no other.
  if (hint.incarnation !== life.incarnation && (await readControl(checkpoints, life.id))?.incarnation === life.incarnation)
    throw damagedItem(itemName(item.key), `it is of incarnation ${hint.incarnation}, the control item of ${life.incarnation}`);
  return hint.incarnation === life.incarnation && hint.border.next > next;
}

function step<Found>(decode: () => { readonly file: Found; readonly header: RedoHeader }, at: At & { readonly bytes: number }): Step<Found> {
  try {
    const { file, header } = decode();
    const wrong = mismatch(header, at.life, at.border);
    if (wrong !== undefined) return { kind: "broken", fault: damagedObject(at.key, wrong) };
    return { kind: "found", file, border: borderBehind(header), bytes: at.bytes };
  } catch (error) {
    return brokenBy(error);
  }
}

function mismatch(header: RedoHeader, { id, incarnation }: Life, border: Border): string | undefined {
  if (header.table !== id.table || header.shard !== id.shard) return `it belongs to shard ${header.table}/${header.shard}`;
  if (header.incarnation !== incarnation) return `it belongs to incarnation ${header.incarnation}`;
  if (header.first !== border.next) return `it begins at index ${header.first}`;
  if (header.previousDigest !== border.digest) return "it does not continue the redo file before it";
  if (header.batches[0].timeMs < border.timeMs) return "its time lies before that of the redo file before it";
  return undefined;
}

function brokenBy(error: unknown): { readonly kind: "broken"; readonly fault: TidemarkError } {
  if (isTidemarkError(error) && error.kind === "repair") return { kind: "broken", fault: error };
  throw error;
}

function keyAt({ id, incarnation }: Life, next: Index): string {
  return redoKey(incarnationPrefix(id, incarnation), next);
}
