// A writer that rested while others appended.

import { expect, test } from "vitest";
import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { manualClock } from "../../lib/adapters/memory/clock.ts";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { APPEND_ATTEMPTS_MAX } from "../../lib/model/limits.ts";

test("a writer that others left far behind appends all the same", async () => {
  const world = {
    objects: memoryObjectStore(),
    checkpoints: memoryCheckpointStore(),
    clock: manualClock(1_000),
    random: seededRandom(1),
    telemetry: { report: () => undefined },
  };
  await createTable(world, { name: "trees", codec: "bytes" });
  const id = { table: "trees", shard: 0 };
  const resting = openWriter(world, { id, codec: "bytes" });
  const busy = openWriter(world, { id, codec: "bytes" });
  const batch = { mutations: [{ kind: "put" as const, key: Buffer.from("k"), value: Buffer.from("v") }] };
  expect(await resting.append(batch)).toMatchObject({ kind: "appended", first: 1 });
  for (let file = 0; file < 3 * APPEND_ATTEMPTS_MAX; file++) await busy.append(batch);
  expect(await resting.append(batch)).toMatchObject({ kind: "appended", first: 3 * APPEND_ATTEMPTS_MAX + 2 });
});
