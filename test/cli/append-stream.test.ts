import { expect, test } from "vitest";
import { appendStream, type AppendStreamRequest } from "../../cli/append-stream.ts";
import type { InputBatch } from "../../lib/ndjson/batches.ts";
import { tableWriter } from "../../lib/jobs/append.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { contentOf, id, noAnswer, patch, START_MS, withObjects, worldWithTable } from "../unit/jobs/world.ts";

const TABLE = { name: id.table, shards: 1, codec: "json", createdAtMs: START_MS } as const;
const BATCHES = 12;

/** Each batch counts up a key of its own and shares one with all, so that losing, doubling or reordering a batch shows. */
const batches: readonly InputBatch[] = Array.from({ length: BATCHES }, (_, number) => ({
  firstLine: number + 1,
  lastLine: number + 1,
  mutations: [patch("shared", { [`b${number}`]: number, last: number })],
  bytes: 20,
}));

async function run(world: World, from: number, request: Partial<AppendStreamRequest> = {}) {
  async function* source() {
    for (const batch of batches.slice(from)) {
      yield batch;
      // A turn for the writer, so that batches get into several redo files.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return appendStream(tableWriter(world, TABLE), { batches: source(), ...request });
}

test("I3: a producer's stream that fails anywhere goes on from its report, and every batch applies once", async () => {
  for (let failing = 1; failing <= 6; failing++) {
    const world = await worldWithTable();
    let writes = 0;
    // Its effect is done or not: nobody told the writer.
    const faulty = withObjects(world, (objects) => ({
      async createIfAbsent(key, body) {
        writes += 1;
        if (writes >= failing && writes < failing + 3) {
          if (failing % 2 === 0) await objects.createIfAbsent(key, body);
          throw noAnswer();
        }
        return objects.createIfAbsent(key, body);
      },
    }));
    const producer = { name: "loader", firstSequence: 1n };
    const first = await run(faulty, 0, { producer });
    if (first.stopped !== undefined) {
      expect(first.nextSequence).toBe(BigInt(first.batches + 1));
      const second = await run(world, first.batches, { producer: { name: "loader", firstSequence: first.nextSequence ?? 0n } });
      expect(second.stopped).toBeUndefined();
      expect(first.batches + second.batches).toBe(BATCHES);
    }
    const view = await recover(world, { id, codec: "json" });
    const [content] = await contentOf(view);
    const value = JSON.parse(content.slice(content.indexOf("=") + 1, content.lastIndexOf("@")));
    expect(value).toEqual({ ...Object.fromEntries(Array.from({ length: BATCHES }, (_, number) => [`b${number}`, number])), last: BATCHES - 1 });
  }
});

test("a stream that breaks off appends what came before, and tells where that ends", async () => {
  const world = await worldWithTable();
  const broken = new Error("the source broke off");
  async function* source() {
    yield* batches.slice(0, 3);
    throw broken;
  }
  const report = await appendStream(tableWriter(world, TABLE), { batches: source() });
  expect(report).toEqual({ batches: 3, mutations: 3, bytes: 60, throughLine: 3, shards: [{ shard: 0, lastIndex: 3 }], stopped: { error: broken, inDoubt: 0 } });
});

test.each([
  ["bytes", 1024 * 1024, 1, 17],
  ["mutations", 10, 1_000, 101],
])("of a stream no more is read than may be in flight, by its %s", async (_, bytes, mutations, most) => {
  let read = 0;
  async function* source() {
    for (; read < 2 * most; read++) yield { firstLine: read + 1, lastLine: read + 1, mutations: Array(mutations).fill(patch("a", 1)), bytes };
  }
  const landing = Promise.withResolvers<never[]>();
  const writer = { append: () => landing.promise, close: async () => undefined };
  const appended = appendStream(writer, { batches: source() });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(read).toBe(most - 1);
  landing.resolve([]);
  expect(await appended).toMatchObject({ batches: 2 * most });
});
