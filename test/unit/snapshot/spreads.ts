// Captures in sections, for tests: a base of several row groups, and changes of which each section has some.

import { expect } from "vitest";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture, spreadCapture } from "../../../lib/snapshot/capture.ts";
import type { Spread } from "../../../lib/snapshot/outcome.ts";
import { partsStart } from "../../../lib/snapshot/sections.ts";
import { appendEach, current, id, type MemoryWorld, noise, put, remove } from "../jobs/world.ts";
import { request, worldWithLog } from "./captures.ts";

/** Row groups and parts of a few records, three sections. */
export const wide = { ...request, sizes: { pageRows: 2, groupBytes: 1_000, partBytes: 3_000, partBytesMin: 1_500, copyBytes: 4_000 }, sections: 3 };

export async function worldWithChanges(changes: readonly Mutation[]): Promise<MemoryWorld> {
  const world = await worldWithLog();
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  await appendEach(world, [changes]);
  return world;
}

export async function spread(world: MemoryWorld): Promise<Spread> {
  const outcome = await spreadCapture(world, wide);
  if (outcome.kind !== "spread") throw new Error(`the capture is ${outcome.kind}, and not spread`);
  return outcome;
}

export async function isRight(world: MemoryWorld, expected: readonly string[]): Promise<void> {
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
  expect(await current(world)).toEqual(expected);
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect(world.objects.uploads.size).toBe(0);
  expect(world.checkpoints.items.filter(({ key }) => key.sort.startsWith("part#"))).toEqual([]);
}

export const scattered = [
  put("key-0-5", noise(1, 310)),
  remove("key-1-7"),
  put("key-1-99", noise(2, 310)),
  put("a", 1),
  put("z", 2),
  put("key-2-39", noise(3, 310)),
];

/** The number of the part that has the tail, behind three sections. */
export const TAIL = partsStart(3, 3) + 1;
