// The items of the checkpoint store: their keys and attributes, as docs/format.md lists them, made and parsed nowhere else.

import type { CaptureRecord, Checkpoint, Control, HistoryRow, TailHint } from "../model/control.ts";
import { damagedItem, newerFormat } from "../model/errors.ts";
import type { LogSize } from "../model/log-size.ts";
import { incarnationPrefix, isIncarnation, pad, type ShardId, shardName, snapshotKey } from "../model/names.ts";
import { type Border, type Epoch, type Index, toEpoch, toIndex } from "../model/position.ts";
import { POLICY_DEFAULTS, SOURCES, type Table } from "../model/table.ts";
import type { Attributes, Item, ItemKey } from "../ports/checkpoint-store.ts";

const ITEM_FORMAT_VERSION = 1;

/** Value of the `dirty` attribute: marks shards with mutations that no capture holds. */
export const DIRTY = "dirty";
export const TABLES_PARTITION = "tables";
export const HISTORY_SORT = "snapshot#";
export const PART_SORT = "part#";
export const NOTE_SORT = "note#";

/** An item as errors name it. */
export function itemName({ partition, sort }: ItemKey): string {
  return `${partition} ${sort}`;
}

export function shardPartition(id: ShardId): string {
  return `shard#${shardName(id)}`;
}

export function storeItem(): ItemKey {
  return { partition: "store", sort: "id" };
}

export function tableItem(name: string): ItemKey {
  return { partition: TABLES_PARTITION, sort: name };
}

export function controlItem(id: ShardId): ItemKey {
  return { partition: shardPartition(id), sort: "control" };
}

export function tailItem(id: ShardId): ItemKey {
  return { partition: shardPartition(id), sort: "tail" };
}

export function jobItem(id: ShardId): ItemKey {
  return { partition: shardPartition(id), sort: "job#snapshot" };
}

export function requestItem(id: ShardId, request: string): ItemKey {
  return { partition: shardPartition(id), sort: `request#${request}` };
}

export function historyItem(id: ShardId, row: { readonly index: Index; readonly epoch: Epoch }): ItemKey {
  return { partition: shardPartition(id), sort: `${HISTORY_SORT}${pad(row.index)}-e${row.epoch}` };
}

export function partItem(id: ShardId, born: Epoch, number: number): ItemKey {
  return { partition: shardPartition(id), sort: `${partSort(born)}${String(number).padStart(5, "0")}` };
}

/** Start of the sort keys of all parts of the capture born in an epoch. */
export function partSort(born: Epoch): string {
  return `${PART_SORT}${pad(born)}#`;
}

/** What a source notes of a batch that it gathers: of which sequence, and under what name. */
export function noteItem(id: ShardId, sequence: number, name: string): ItemKey {
  return { partition: shardPartition(id), sort: `${noteSort(sequence)}${name}` };
}

/** Start of the sort keys of all notes of a sequence. */
export function noteSort(sequence: number): string {
  return `${NOTE_SORT}${pad(sequence)}#`;
}

/** The sequence and name in a note's key. */
export function parseNoteItem(key: ItemKey): { readonly sequence: number; readonly name: string } {
  const [, sequence, ...name] = key.sort.split("#");
  return { sequence: Number(sequence), name: name.join("#") };
}

/** Who gathers the next batch of a source. */
export function gatheringItem(id: ShardId): ItemKey {
  return { partition: shardPartition(id), sort: "gathering" };
}

/** A restore of a source under way, by what it restores to. */
export function restoreItem(id: ShardId, place: string): ItemKey {
  return { partition: shardPartition(id), sort: `restore#${place}` };
}

/** The epoch and number in a part item's key. */
export function parsePartItem(key: ItemKey): { readonly born: Epoch; readonly number: number } {
  const [, born, number] = key.sort.split("#");
  return { born: toEpoch(Number(born)), number: Number(number) };
}

/** The shard that an item of a shard's partition belongs to. */
export function shardOfItem(key: ItemKey): ShardId {
  const [table, shard] = key.partition.slice("shard#".length).split("/");
  return { table, shard: Number(shard) };
}

export function controlAttributes(control: Control): Attributes {
  return {
    formatVersion: ITEM_FORMAT_VERSION,
    stamp: control.stamp,
    incarnation: control.incarnation,
    epoch: control.epoch,
    lowWater: control.lowWater,
    ...(control.lease && { leaseOwner: control.lease.owner, leaseUntilMs: control.lease.untilMs }),
    ...(control.checkpoint && { checkpoint: checkpointAttributes(control.checkpoint) }),
    ...(control.capture && { capture: { ...control.capture, target: borderAttributes(control.capture.target) } }),
  };
}

/** A checkpoint's key says whose it is: that of another shard, or another life, is no checkpoint of this one. */
export function parseControl(item: Item): Control {
  const read = reader(item);
  const lease = read.optional("leaseOwner");
  const checkpoint = read.optional("checkpoint");
  const capture = read.optional("capture");
  const incarnation = read.text("incarnation");
  if (!isIncarnation(incarnation)) read.refuse(`its incarnation is ${JSON.stringify(incarnation)}`);
  const prefix = incarnationPrefix(shardOfItem(item.key), incarnation);
  return {
    stamp: read.text("stamp"),
    incarnation,
    epoch: toEpoch(read.number("epoch")),
    lowWater: toIndex(read.number("lowWater")),
    ...(lease !== undefined && { lease: { owner: read.text("leaseOwner"), untilMs: read.number("leaseUntilMs") } }),
    ...(checkpoint !== undefined && { checkpoint: parseCheckpoint(read.inside("checkpoint"), prefix) }),
    ...(capture !== undefined && { capture: parseCapture(read.inside("capture")) }),
  };
}

export function historyAttributes(row: HistoryRow): Attributes {
  return {
    formatVersion: ITEM_FORMAT_VERSION,
    ...checkpointAttributes(row),
    epoch: row.epoch,
    state: row.state,
    pins: row.pins,
    verified: row.verified,
    rows: row.rows,
    mutations: row.mutations,
    capturedAtMs: row.capturedAtMs,
  };
}

export function parseHistoryRow(item: Item): HistoryRow {
  const read = reader(item);
  const pins = read.inside("pins");
  const checkpoint = parseCheckpoint(read, `${shardName(shardOfItem(item.key))}/`);
  const epoch = toEpoch(read.number("epoch"));
  const generation = { index: checkpoint.index, epoch };
  if (historyItem(shardOfItem(item.key), generation).sort !== item.key.sort) read.refuse("it is the row of another generation");
  if (!checkpoint.key.endsWith(snapshotKey("/", generation.index, epoch))) read.refuse(`its key is ${checkpoint.key}`);
  return {
    ...checkpoint,
    epoch,
    state: read.oneOf("state", ["kept", "deleting"]),
    pins: Object.fromEntries(Object.keys(pins.attributes).map((id) => [id, pins.number(id)])),
    verified: read.flag("verified"),
    rows: read.number("rows"),
    mutations: read.number("mutations"),
    capturedAtMs: read.number("capturedAtMs"),
  };
}

export function tailAttributes(hint: TailHint): Attributes {
  return {
    formatVersion: ITEM_FORMAT_VERSION,
    incarnation: hint.incarnation,
    ...borderAttributes(hint.border),
    capturedNext: hint.capturedNext,
    capturedAtMs: hint.capturedAtMs,
    ...logAttributes(hint.log),
    ...capturedAttributes(hint),
  };
}

export function logAttributes({ files, bytes, rawBytes }: LogSize): Attributes {
  return { logFiles: files, logBytes: bytes, logRawBytes: rawBytes };
}

/** What a capture leaves for the planner, besides how far it came. */
export function capturedAttributes({
  capturedLog,
  snapshotBytes,
  sentBytes,
  rates,
}: Pick<TailHint, "capturedLog" | "snapshotBytes" | "sentBytes" | "rates">): Attributes {
  return {
    capturedLogFiles: capturedLog.files,
    capturedLogBytes: capturedLog.bytes,
    ...(snapshotBytes !== undefined && { snapshotBytes }),
    sentBytes,
    ...rates,
  };
}

export function parseTail(item: Item): TailHint {
  const read = reader(item);
  return {
    incarnation: read.text("incarnation"),
    border: parseBorder(read),
    capturedNext: toIndex(read.number("capturedNext")),
    capturedAtMs: read.number("capturedAtMs"),
    ...numbersIn(read, ["dueSinceMs", "askedAtMs", "snapshotBytes"]),
    log: { files: read.numberOr("logFiles", 0), bytes: read.numberOr("logBytes", 0), rawBytes: read.numberOr("logRawBytes", 0) },
    capturedLog: { files: read.numberOr("capturedLogFiles", 0), bytes: read.numberOr("capturedLogBytes", 0) },
    sentBytes: read.numberOr("sentBytes", 0),
    rates: numbersIn(read, ["replayPerSecond", "fileMicros", "readPerSecond"]),
  };
}

/** Those of the attributes that are there. */
function numbersIn<Name extends string>(read: Reader, names: readonly Name[]): Partial<Record<Name, number>> {
  const found = names.filter((name) => read.optional(name) !== undefined).map((name) => [name, read.number(name)]);
  return Object.fromEntries(found) as Partial<Record<Name, number>>;
}

export function tableAttributes(table: Table): Attributes {
  return { formatVersion: ITEM_FORMAT_VERSION, ...table };
}

export function parseTable(item: Item): Table {
  const read = reader(item);
  if (read.text("name") !== item.key.sort) read.refuse("it is the item of another table");
  return {
    name: read.text("name"),
    shards: read.number("shards"),
    codec: read.oneOf("codec", ["json", "bytes"]),
    ...(read.optional("source") !== undefined && { source: read.oneOf("source", SOURCES) }),
    createdAtMs: read.number("createdAtMs"),
    state: read.oneOf("state", ["live", "deleting"]),
    captureLogPercent: read.numberOr("captureLogPercent", POLICY_DEFAULTS.captureLogPercent),
    recoverWithinMs: read.numberOr("recoverWithinMs", POLICY_DEFAULTS.recoverWithinMs),
    captureAfterMutations: read.number("captureAfterMutations"),
    captureAfterMs: read.number("captureAfterMs"),
    capturesTogetherMax: read.numberOr("capturesTogetherMax", POLICY_DEFAULTS.capturesTogetherMax),
    keepSnapshots: read.number("keepSnapshots"),
    keepForMs: read.number("keepForMs"),
    compactionOverhead: read.number("compactionOverhead"),
  };
}

export function borderAttributes({ next, digest, timeMs }: Border): Attributes {
  return { next, digest, timeMs };
}

export function checkpointAttributes({ index, position, border, key, size, footerSha256, footerBytes }: Checkpoint): Attributes {
  return { index, redoFile: position.redoFile, batchOffset: position.batchOffset, ...borderAttributes(border), key, size, footerSha256, footerBytes };
}

/** @param prefix what the key of its object begins with */
function parseCheckpoint(read: Reader, prefix: string): Checkpoint {
  if (!read.text("key").startsWith(prefix)) read.refuse(`its key is ${read.text("key")}`);
  return {
    index: toIndex(read.number("index")),
    position: { redoFile: toIndex(read.number("redoFile")), batchOffset: read.number("batchOffset") },
    border: parseBorder(read),
    key: read.text("key"),
    size: read.number("size"),
    footerSha256: read.text("footerSha256"),
    footerBytes: read.number("footerBytes"),
  };
}

function parseCapture(read: Reader): CaptureRecord {
  return {
    key: read.text("key"),
    uploadId: read.text("uploadId"),
    born: toEpoch(read.number("born")),
    target: parseBorder(read.inside("target")),
    ...(read.optional("base") !== undefined && { base: read.text("base") }),
    full: read.flag("full"),
    encoderVersion: read.text("encoderVersion"),
    sizes: read.text("sizes"),
    ...(read.optional("sections") !== undefined && { sections: read.numbers("sections") }),
    startedAtMs: read.number("startedAtMs"),
    bytesExpected: read.number("bytesExpected"),
    ...(read.optional("readBack") !== undefined && { readBack: read.number("readBack") }),
  };
}

function parseBorder(read: Reader): Border {
  return { next: toIndex(read.number("next")), digest: read.text("digest"), timeMs: read.number("timeMs") };
}

interface Reader {
  readonly attributes: Attributes;
  optional(name: string): unknown;
  /** A whole number from 0: there are no others in items. */
  number(name: string): number;
  /** The same of an attribute that an older version did not write. */
  numberOr(name: string, absent: number): number;
  text(name: string): string;
  numbers(name: string): readonly number[];
  oneOf<Word extends string>(name: string, words: readonly Word[]): Word;
  flag(name: string): boolean;
  inside(name: string): Reader;
  /** The attributes are well-formed, but not what they must be. */
  refuse(what: string): never;
}

function reader(item: Item): Reader {
  const name = itemName(item.key);
  const read = attributeReader(item.attributes, name);
  const version = read.number("formatVersion");
  if (version > ITEM_FORMAT_VERSION) throw newerFormat(`the item ${name}`, version, ITEM_FORMAT_VERSION);
  return read;
}

function attributeReader(attributes: Attributes, item: string, part = ""): Reader {
  function refuse(what: string): never {
    throw damagedItem(item, what, part);
  }
  function need<T>(name: string, test: (value: unknown) => value is T): T {
    const value: unknown = attributes[name];
    if (test(value)) return value;
    return refuse(`its attribute ${name} is ${JSON.stringify(value)}`);
  }
  const number = (name: string) => need(name, (value): value is number => Number.isSafeInteger(value) && Number(value) >= 0);
  return {
    attributes,
    optional: (name) => attributes[name],
    number,
    numberOr: (name, absent) => (attributes[name] === undefined ? absent : number(name)),
    text: (name) => need(name, (value) => typeof value === "string"),
    numbers: (name) => need(name, (value): value is readonly number[] => Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && one >= 0)),
    oneOf: <Word extends string>(name: string, words: readonly Word[]) => need(name, (value): value is Word => words.some((word) => word === value)),
    flag: (name) => need(name, (value) => typeof value === "boolean"),
    inside: (name) =>
      attributeReader(
        need(name, (value): value is Attributes => typeof value === "object" && value !== null),
        item,
        `${part} (${name})`,
      ),
    refuse,
  };
}
