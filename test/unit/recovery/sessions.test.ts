import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { SESSIONS_MAX } from "../../../lib/model/limits.ts";
import { type Border, toIndex } from "../../../lib/model/position.ts";
import { sessionsAt } from "../../../lib/recovery/sessions.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { id, mark, type MemoryWorld, put, START_MS, worldWithTable } from "../jobs/world.ts";

/** Producer p at sequence 5, captured; then at sequence 6, behind the snapshot. */
async function worldWithProducer(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  await writer.append({ mutations: [put("a", 1)], mark: mark("p", 5) });
  await capture(world, { id, codec: "json" });
  await writer.append({ mutations: [put("a", 2)], mark: mark("p", 6) });
  return world;
}

async function verdicts(world: MemoryWorld, about: Partial<Border> = {}): Promise<readonly string[] | undefined> {
  const belief = await findTail(world, id, START_MS);
  const life = { id, incarnation: belief.incarnation };
  const sessions = await sessionsAt(world, life, { ...belief.border, ...about });
  return sessions && [5, 6, 7].map((sequence) => sessions.verdict({ producer: "p", sequence: BigInt(sequence), since: toIndex(1) }));
}

test("a verdict rests on the snapshot's sessions and the log behind it", async () => {
  expect(await verdicts(await worldWithProducer())).toEqual(["duplicate", "duplicate", "applies"]);
});

test("a damaged snapshot is passed over for the log alone", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  world.objects.damage(row.key, (body) => body.subarray(1));
  expect(await verdicts(world)).toEqual(["duplicate", "duplicate", "applies"]);
});

test("a log that does not come to the border that is asked for tells nothing: a ghost's is another", async () => {
  const world = await worldWithProducer();
  expect(await verdicts(world, { digest: "f".repeat(64) })).toBeUndefined();
  expect(await verdicts(world, { next: toIndex(4) })).toBeUndefined();
});

test("a damaged redo file on the way is named", async () => {
  const world = await worldWithProducer();
  const key = [...world.objects.objects.keys()].filter((name) => name.endsWith(".redo")).sort()[1];
  world.objects.damage(key, (body) => body.subarray(0, 20));
  const { incarnation } = (await readControl(world.checkpoints, id)) ?? { incarnation: "" };
  await expect(sessionsAt(world, { id, incarnation }, { next: toIndex(3), digest: "0".repeat(64), timeMs: 0 })).rejects.toMatchObject({
    kind: "repair",
    object: key,
  });
});

test("where neither a snapshot nor the log tells the sessions, nothing is told", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  world.objects.damage(row.key, (body) => body.subarray(1));
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 2 } }]);
  expect(await verdicts(world)).toBeUndefined();
  expect((await readControl(world.checkpoints, id))?.lowWater).toBe(2);
});

test("a batch that the shard has forgotten is turned away before it is written, whoever captured in between (I3)", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  const first = { mutations: [put("old", 1)], mark: mark("old", 1, 1) };
  await writer.append(first);
  await Promise.all(Array.from({ length: SESSIONS_MAX }, (_, i) => writer.append({ mutations: [put("k", i)], mark: mark(`p${i}`, 1) })));
  const before = world.objects.objects.size;
  expect(await writer.append(first)).toEqual({ kind: "forgotten" });
  await capture(world, { id, codec: "json" });
  expect(await openWriter(world, { id, codec: "json" }).append(first)).toEqual({ kind: "forgotten" });
  expect(world.objects.objects.size).toBe(before + 1);
}, 30_000);
