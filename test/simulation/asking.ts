// What is asked of a copy of the stores: what may not be, which is refused and changes nothing; a state that is held while what
// it rests on is damaged; and the loop of one process, until it is told to stop.

import { openWriter, tableWriter } from "../../lib/jobs/append.ts";
import { ensureTables } from "../../lib/jobs/ensure-tables.ts";
import { findRequest, requestCapture, requestCaptures } from "../../lib/jobs/requests.ts";
import { runLoop } from "../../lib/jobs/run.ts";
import { deleteTable, getShards, getTable, shardsOf, updateTable } from "../../lib/jobs/tables.ts";
import { tableItem } from "../../lib/checkpoint/items.ts";
import { isTidemarkError, messageOf, TidemarkError } from "../../lib/model/errors.ts";
import { REDO_FILE_BATCHES_MAX, VALUE_BYTES_MAX } from "../../lib/model/limits.ts";
import type { ProducerMark } from "../../lib/model/mutation.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { Table } from "../../lib/model/table.ts";
import type { Random } from "../../lib/ports/random.ts";
import { quarantine } from "../../lib/recovery/quarantine.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { lastSequence } from "../../lib/recovery/sessions.ts";
import { type EncodeRedoRequest, encodeRedoFile } from "../../lib/redo-log/codec.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Copy, type CopiedWorld, judge, NOTHING_DAMAGED, restsOn } from "./copies.ts";
import { oneOf, rot } from "./damage.ts";
import { broken } from "./promises.ts";
import { checkOne, rowsOfFile } from "./readers.ts";
import { difference, rowsOf } from "./truth.ts";
import { A_PUT } from "./values.ts";

/** What no caller may ask is refused with its code, and the stores are as they were. */
export async function asksInVain(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { id, settings, random } = troupe;
  const { world, log } = copy;
  const table = await getTable(world, id.table);
  const { codec } = settings;
  const about = { name: table.name, shards: table.shards, codec, ...(table.source && { source: table.source }) };
  const tail = log.tail.next - 1;
  const lowWater = troupe.promises.control?.lowWater ?? 1;
  const calls: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["unknown-table", () => getTable(world, "nobody")],
    ["unknown-table", () => deleteTable(world, "nobody")],
    ["unknown-shard", () => getShards(world, { table: table.name, shard: table.shards })],
    ["unknown-shard", () => requestCapture(world, { table: table.name, shard: table.shards })],
    ["unknown-request", () => findRequest(world, id, "none")],
    ["unknown-request", () => findRequest(world, id, "0".repeat(16))],
    ["nothing-to-change", () => updateTable(world, table.name, {})],
    ["named-twice", () => ensureTables(world, [{ name: "x" }, { name: "x" }])],
    ["fixed-setting", () => ensureTables(world, [{ name: table.name, shards: table.shards, codec: codec === "json" ? "bytes" : "json" }])],
    ...(table.source === undefined ? ([["fixed-setting", () => ensureTables(world, [{ ...about, shards: table.shards + 1 }])]] as const) : []),
    // A source's table has one shard, and holds JSON.
    ...(codec === "json" && table.shards === 1 ? ([["fixed-setting", () => ensureTables(world, [otherwise(about)])]] as const) : []),
    ["sourced-table", async () => tableWriter(world, { ...table, source: "influxdb" })],
    ["closed-writer", () => appendClosed(copy, troupe)],
    ["bad-setting", () => ensureTables(world, [{ ...about, keepSnapshots: 0 }])],
    ["bad-setting", () => updateTable(world, table.name, { keepForMs: -1 })],
    ["value-too-large", () => openWriter(world, { id, codec }).append({ mutations: [{ ...A_PUT, value: Buffer.alloc(VALUE_BYTES_MAX + 1) }] })],
    ["batch-too-large", () => openWriter(world, { id, codec }).append({ mutations: [A_PUT, { ...A_PUT, value: LARGE }, { ...A_PUT, value: LARGE }] })],
    ["out-of-range", () => recover(world, { id, codec, at: { index: toIndex(tail + 1) } })],
    ["out-of-range", () => recover(world, { id: { ...id, shard: 9 }, codec, at: { index: toIndex(1) } })],
    ...(lowWater > 1 ? ([["out-of-range", () => recover(world, { id, codec, at: { timeMs: 0 } })]] as const) : []),
  ];
  await areRefused(world, calls);
  for (let each = 0; each < 8; each++) encodesInVain(random);
  const sealed = await openWriter(world, { id, codec, incarnation: "0".repeat(16) }).append({ mutations: [A_PUT] });
  if (sealed.kind !== "sealed") broken("I1", `a batch that was meant for another life was answered ${sealed.kind}`);
  const asked = await requestCaptures(world, shardsOf(table));
  for (const { id: of, request } of asked) if ((await findRequest(world, of, request)).state !== "pending") broken("I9", "what was asked for is not pending");
  await world.checkpoints.write([{ item: tableItem(id.table), when: [], set: { state: "deleting" } }]);
  await areRefused(world, [
    ["table-being-deleted", () => ensureTables(world, [about])],
    ["unknown-table", () => updateTable(world, table.name, { keepSnapshots: 4 })],
  ]);
  return true;
}

/** What no redo file may hold is a bug of whoever would write it, and is not written. */
function encodesInVain(random: Random): void {
  const batches = [{ mutations: [A_PUT], timeMs: 1 }];
  const sound = { table: "t", shard: 0, incarnation: "0".repeat(16), first: toIndex(1), previousDigest: "0".repeat(64), writeId: "0".repeat(32), batches };
  const marked = (mark: object) => ({ batches: [{ ...batches[0], mark: { producer: "p", sequence: 1n, since: 0, ...mark } as ProducerMark }] });
  const holding = (...mutations: readonly Partial<typeof A_PUT>[]) => ({
    batches: [{ ...batches[0], mutations: mutations.map((one) => ({ ...A_PUT, ...one })) }],
  });
  const wrong: readonly Partial<EncodeRedoRequest>[] = [
    { table: "_t" },
    { shard: -1 },
    { incarnation: "0" },
    { first: toIndex(Number.MAX_SAFE_INTEGER) },
    { previousDigest: "0" },
    { writeId: "0" },
    { batches: [] },
    { batches: [{ ...batches[0], timeMs: 0.5 }] },
    { batches: [{ ...batches[0], timeMs: 2 }, ...batches] },
    { batches: Array.from({ length: REDO_FILE_BATCHES_MAX + 1 }, () => batches[0]) },
    ...[{ producer: "" }, { producer: "\ud83c" }, { sequence: -1n }, { sequence: 1n << 192n }, { since: -1 }].map(marked),
    holding({ key: Buffer.alloc(0) }),
    holding({ key: Buffer.of(0x80) }),
    holding({ key: Buffer.of(0x6b, 0xc3) }),
    holding({ value: Buffer.alloc(VALUE_BYTES_MAX + 1) }),
    holding(...Array.from({ length: 4 }, () => ({ value: LARGE }))),
  ];
  const request = { ...sound, ...oneOf(random, wrong) };
  try {
    encodeRedoFile(request);
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "bug") return;
    throw error;
  }
  broken("I8", "a redo file was encoded that nobody may read");
}

const LARGE = Buffer.alloc(VALUE_BYTES_MAX);

function otherwise(about: Pick<Table, "name" | "shards" | "codec" | "source">): Parameters<typeof ensureTables>[1][number] {
  const { source, ...rest } = about;
  return source === undefined ? { ...rest, source: "influxdb" } : rest;
}

async function appendClosed({ world }: Copy, { id, settings }: Troupe): Promise<unknown> {
  const writer = openWriter(world, { id, codec: settings.codec });
  await writer.close();
  return writer.append({ mutations: [A_PUT] });
}

async function areRefused(world: CopiedWorld, calls: readonly (readonly [string, () => Promise<unknown>])[]): Promise<void> {
  const before = contentOf(world);
  for (const [code, call] of calls) {
    const told = await call().then(
      () => "nothing",
      (error: unknown) => (isTidemarkError(error) && error.kind === "call" ? error.code : messageOf(error)),
    );
    if (told !== code) broken("I9", `what must be refused as ${code} was answered by ${told}`);
    if (contentOf(world) !== before) broken("I9", `what was refused as ${code} changed the stores`);
  }
}

function contentOf({ objects, checkpoints }: CopiedWorld): string {
  return JSON.stringify([[...objects.objects.keys()], [...objects.uploads.keys()], checkpoints.items]);
}

/** A state that is held comes whole, however it is read, where a generation before the damaged one serves as well; or the damage is named. */
export async function views(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id, settings } = troupe;
  const { world, log } = copy;
  const newestFirst = restsOn(troupe).snapshots.toReversed();
  if (newestFirst.length < 2) return false;
  const view = await recover(world, { id, codec: settings.codec, pinned: random.fraction() < 0.7 });
  const state = log.stateAt({ index: view.index });
  const holds = await view.keep();
  const damaged = oneOf(random, newestFirst.slice(0, 2));
  if (random.fraction() < 0.2) await world.objects.deleteMany([damaged]);
  else rot(world.objects, random, damaged);
  const kept = await quarantine(world, damaged, random.fraction() < 0.5 ? 0 : undefined);
  const [is, was] = [world.objects.objects.get(kept ?? ""), world.objects.objects.get(damaged)];
  if (was === undefined ? kept !== undefined : !is?.equals(was)) broken("I8", `the copy of ${damaged} in quarantine is another`);
  const readings = [
    async () => difference(await rowsOf(view.rows()), state),
    async () => difference(await rowsOfFile(view), state),
    async () => checkOne(view, state.rows, oneOf(random, ["none", ...state.rows.keys()])),
    async () => ((await lastSequence(world, id, "p0", world.clock.now())) === state.sessions.get("p0") ? undefined : "the last sequence of p0 differs"),
  ];
  for (const read of random.fraction() < 0.5 ? readings : readings.toReversed()) {
    const wrong = await read().catch((error: unknown) => refusalOf(error, damaged));
    if (wrong !== undefined) broken("I8", `of a view at ${view.index} whose base is damaged: ${wrong}`);
  }
  for (const { key } of view.passedOver) if (key !== damaged) broken("I8", `${key} was passed over, and is sound`);
  if (holds && view.passedOver.length === 0 && !(await view.keep())) broken("I6", "a generation that is held is held no longer");
  await view.close();
  return true;
}

/** Damage that is named by its object is no wrong answer. An object that is gone is asked for again. */
function refusalOf(error: unknown, damaged: string): string | undefined {
  const isNamed = isTidemarkError(error) && error.kind === "repair" && error.object === damaged;
  return isNamed || (isTidemarkError(error) && error.kind === "retry") ? undefined : messageOf(error);
}

/** Some rounds of plan, capture and cleanup, with failures in between: the newest state is kept, and the loop ends when it is told to. */
export async function loops(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, settings } = troupe;
  const { world } = copy;
  const rounds = whole(random, 1, 3);
  const controller = new AbortController();
  let begun = 0;
  const failing = {
    ...world,
    clock: { ...world.clock, sleep: async () => endRound() },
    checkpoints: {
      ...world.checkpoints,
      queryDirty: async (request: Parameters<typeof world.checkpoints.queryDirty>[0]) => {
        if (random.fraction() < 0.3) throw new TidemarkError("retry", "no-answer", "no answer came");
        return world.checkpoints.queryDirty(request);
      },
    },
  };
  const endRound = (): void => {
    begun += 1;
    world.clock.advance(settings.policy.captureAfterMs);
    if (begun === rounds) controller.abort();
  };
  await runLoop(failing, { everyMs: 1_000, cleanEvery: 2, signal: controller.signal, onRound: () => undefined });
  if (begun !== rounds) broken("I9", `the loop played ${begun} rounds, and was told to stop behind ${rounds}`);
  if ((await judge(copy, troupe, NOTHING_DAMAGED)) !== "right") broken("I6", "the newest state is kept no longer");
  return true;
}
