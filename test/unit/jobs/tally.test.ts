import { expect, test } from "vitest";
import type { PlannedShard } from "../../../lib/jobs/plan.ts";
import { tally } from "../../../lib/jobs/tally.ts";
import type { TailHint } from "../../../lib/model/control.ts";
import { POLICY_DEFAULTS, type Table } from "../../../lib/model/table.ts";
import { hintWith } from "../checkpoint/samples.ts";
import { START_MS } from "./world.ts";

const tableOf = (name: string): Table => ({ ...POLICY_DEFAULTS, name, shards: 9, codec: "json", createdAtMs: 0, state: "live" });

function shardOf(table: string, kind: "due" | "waits", hint: Partial<Omit<TailHint, "capturedNext">>): PlannedShard {
  const qualification = kind === "due" ? ({ kind: "qualifies", by: "log", mutations: 1 } as const) : ({ kind: "waits", mutations: 1, dueAtMs: 0 } as const);
  return { id: { table, shard: 0 }, table: tableOf(table), hint: { ...hintWith({ next: 2 }), ...hint }, qualification };
}

/** A recovery of so many seconds. */
const taking = (seconds: number) => ({ log: { files: seconds, bytes: 0, rawBytes: 0 }, rates: { fileMicros: 1_000_000 } });

test("of each table its dirty and due shards are counted, and of all tables together", () => {
  const all = tally(START_MS);
  for (const shard of [shardOf("a", "due", {}), shardOf("a", "waits", {}), shardOf("b", "waits", {}), shardOf("a", "due", {})]) all.add(shard);
  const { dirty, due, tables } = all.report();
  expect([dirty, due, [...tables].map(([name, of]) => [name, of.dirty, of.due])]).toEqual([
    4,
    2,
    [
      ["a", 3, 2],
      ["b", 1, 0],
    ],
  ]);
});

test("the lag is that of the due shard that waits longest: one that waits and is not due does not count, one just found due has none", () => {
  const all = tally(START_MS);
  all.add(shardOf("a", "due", { dueSinceMs: START_MS - 30 }));
  all.add(shardOf("a", "due", { dueSinceMs: START_MS - 70 }));
  all.add(shardOf("a", "waits", { dueSinceMs: START_MS - 900 }));
  all.add(shardOf("b", "due", {}));
  all.add(shardOf("c", "waits", {}));
  const { tables } = all.report();
  expect([tables.get("a")?.lagMs, tables.get("b")?.lagMs, Object.keys(tables.get("c") ?? {})]).toEqual([70, 0, ["dirty", "due", "recoveryMs"]]);
});

test("the recovery is that of the shard that takes longest, due or not", () => {
  const all = tally(START_MS);
  for (const [kind, seconds] of [
    ["due", 3],
    ["waits", 8],
    ["due", 5],
  ] as const)
    all.add(shardOf("a", kind, taking(seconds)));
  expect(all.report().tables.get("a")?.recoveryMs).toBe(8_000);
});

test("the write amplification is that of all shards' bytes together", () => {
  const all = tally(START_MS);
  all.add(shardOf("a", "due", { log: { files: 1, bytes: 100, rawBytes: 300 }, sentBytes: 500 }));
  all.add(shardOf("a", "waits", { log: { files: 1, bytes: 50, rawBytes: 200 }, sentBytes: 0 }));
  expect(all.report().tables.get("a")?.writeAmplification).toBe(650 / 500);
});
