// Items that a newer program wrote, or that lost an attribute: refused by name, by whoever reads them.

import { beforeAll, beforeEach, expect, test } from "vitest";
import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { Attributes, Item } from "../../lib/ports/checkpoint-store.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { asBytes, copyOf, type MemoryWorld, mutationsOf, smallShard, type SmallShard } from "./shard.ts";

let shard: SmallShard;
let world: MemoryWorld;
let before: string;

beforeAll(async () => {
  shard = await smallShard();
});
beforeEach(async () => {
  world = await copyOf(shard.world);
  before = contents();
});

const readers: Record<string, () => Promise<unknown>> = {
  recover: () => recover(world, { id: shard.id, codec: "json" }),
  verify: () => verifyShard(world, { id: shard.id, codec: "json" }),
  append: () => openWriter(world, { id: shard.id, codec: "json" }).append({ mutations: mutationsOf(1).map(asBytes) }),
  snapshot: () => snapshotShard(world, { id: shard.id }),
  cleanup: () => cleanupShard(world, { id: shard.id, policy: POLICY_DEFAULTS }),
};

test.each(Object.keys(readers))("%s refuses a control item of a newer format version, and changes nothing", async (name) => {
  await put(item("control"), { formatVersion: 2 });
  const changed = contents();
  await expect(readers[name]()).rejects.toMatchObject({ code: "newer-format", message: expect.stringContaining("shard#trees/0 control") });
  expect(contents()).toBe(changed);
  expect(changed).not.toBe(before);
});

const FIGURES = ["logFiles", "logBytes", "logRawBytes", "capturedLogFiles", "capturedLogBytes", "snapshotBytes", "sentBytes"];

test("each attribute that an item lost is named with the item", async () => {
  let cases = 0;
  for (const sort of ["control", "tail", rowSort()]) {
    const whole = item(sort);
    for (const [name, value] of Object.entries(whole.attributes)) {
      // What an item may lack: a shard that was never captured, or that nothing waits in; and the planner's figures, which
      // an older version did not write.
      if (["dirty", "checkpoint", ...FIGURES].includes(name)) continue;
      await isRefused(whole, without(whole.attributes, name), name);
      cases++;
      await put(whole, whole.attributes);
      expect(typeof value).not.toBe("undefined");
    }
  }
  const control = item("control");
  const checkpoint = control.attributes.checkpoint as Attributes;
  for (const name of Object.keys(checkpoint)) {
    await isRefused(control, { ...control.attributes, checkpoint: without(checkpoint, name) }, name);
    cases++;
  }
  console.log(`${cases} lost attributes`);
});

async function isRefused(whole: Item, attributes: Attributes, name: string): Promise<void> {
  await world.checkpoints.write([{ item: whole.key, when: [], put: attributes }]);
  const reader = whole.key.sort === "tail" ? readers.append : readers.recover;
  const message = expect.stringMatching(new RegExp(`${whole.key.partition} ${whole.key.sort}.*${name}`));
  await expect(reader(), `${whole.key.sort} without ${name}`).rejects.toMatchObject({ kind: "repair", code: "damaged-item", message });
}

function item(sort: string): Item {
  const found = world.checkpoints.items.find(({ key }) => key.partition === "shard#trees/0" && key.sort === sort);
  if (found === undefined) throw new Error(`there is an item ${sort}`);
  return found;
}

function rowSort(): string {
  const found = world.checkpoints.items.find(({ key }) => key.sort.startsWith("snapshot#"));
  return found?.key.sort ?? "";
}

async function put(whole: Item, attributes: Attributes): Promise<void> {
  await world.checkpoints.write([{ item: whole.key, when: [], put: { ...whole.attributes, ...attributes } }]);
}

function without(attributes: Attributes, name: string): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([other]) => other !== name));
}

/** All but the job's own item, which keeps what failed. */
function contents(): string {
  return JSON.stringify([[...world.objects.objects.keys()].sort(), world.checkpoints.items.filter(({ key }) => key.sort !== "job#snapshot")]);
}
