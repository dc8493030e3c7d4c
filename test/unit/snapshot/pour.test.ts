import { expect, test } from "vitest";
import { rowsCollector } from "../../../lib/machines/keyed/collect.ts";
import { stateMerge } from "../../../lib/snapshot/pour.ts";
import { type Change, rowsOf, stateOf } from "../machines/keyed/log.ts";
import { changesOf } from "./splices.ts";

const base = ["b", "d", "f", "h", "j", "l"].map((key, i) => ({ key, value: `"${key}"`, index: i + 1, timeMs: 1 }));
const log: readonly Change[] = [
  ...["a", "d", "g", "k", "m"].map((key): Change => ({ kind: "put", key, value: "1" })),
  { kind: "delete", key: "h" },
  { kind: "patch", key: "j", value: "7" },
];
const all = 'a=1 b="b" d=1 f="f" g=1 j=7 k=1 l="l" m=1';
/** Borders of parts: none, on keys of the changes, on keys of the base, between them, and behind all. */
const cuts: readonly (readonly string[])[] = [
  [],
  ["d"],
  ["f"],
  ["c", "e", "i"],
  ["a", "d", "g", "h", "j", "k", "m"],
  ["b", "d", "f", "h", "j", "l"],
  ["d", "z"],
  ["l", "l\u0000"],
];

async function merged(borders: readonly string[], blocks: readonly (readonly [number, number])[], from?: string): Promise<string> {
  const sink = rowsCollector();
  const merge = await stateMerge(changesOf(log, 0, borders), sink, from === undefined ? undefined : Buffer.from(from));
  for (const [first, end] of blocks) for await (const _ of merge.rows(rowsOf(base.slice(first, end))));
  for await (const _ of merge.end());
  return textOf(sink.take());
}

const textOf = (rows: Parameters<typeof stateOf>[0]) =>
  stateOf(rows)
    .map(({ key, value }) => `${key}=${value}`)
    .join(" ");

test.each(cuts.map((borders) => [borders]))(
  "the state is the same in whatever parts the changes come, and in whatever blocks the rows: %j",
  async (borders) => {
    for (const blocks of [
      [[0, 6]],
      [
        [0, 1],
        [1, 2],
        [2, 6],
      ],
      [
        [0, 3],
        [3, 4],
        [4, 5],
        [5, 6],
      ],
    ] as const)
      expect(await merged(borders, blocks)).toBe(all);
    expect(await merged(borders, [[0, 6]], "e")).toBe('f="f" g=1 j=7 k=1 l="l" m=1');
    expect(await merged(borders, [[0, 6]], "d")).toBe('d=1 f="f" g=1 j=7 k=1 l="l" m=1');
  },
);

test.each(cuts.map((borders) => [borders]))("changes below a key come by themselves, in whatever parts, and the next key is known: %j", async (borders) => {
  const keys = ["a", "d", "g", "h", "j", "k", "m"];
  for (const border of ["a", "c", "d", "e", "g", "i", "m", "n"]) {
    const sink = rowsCollector();
    const merge = await stateMerge(changesOf(log, 0, borders), sink);
    for await (const _ of merge.below(Buffer.from(border)));
    const below = textOf(sink.take());
    expect((await merge.nextKey())?.toString()).toBe(keys.find((key) => key >= border));
    for await (const _ of merge.end());
    const rest = textOf(sink.take());
    // Without the base a patch of a number stands by itself.
    expect(`${below} ${rest}`.trim()).toBe("a=1 d=1 g=1 j=7 k=1 m=1");
    expect(below.split(" ").filter((row) => row !== "")).toEqual(["a=1", "d=1", "g=1", "j=7", "k=1", "m=1"].filter((row) => row < border));
    expect(await merge.nextKey()).toBeUndefined();
  }
});

test("what is touched is known of the part in memory", async () => {
  const merge = await stateMerge(changesOf(log, 0, ["h"]), rowsCollector());
  const touches = (first: string, last: string) => merge.touches(Buffer.from(first), Buffer.from(last));
  expect([touches("a", "a"), touches("b", "c"), touches("e", "g"), touches("m", "m")]).toEqual([true, false, true, false]);
  for await (const _ of merge.below(Buffer.from("i")));
  expect([touches("m", "m"), touches("n", "z")]).toEqual([true, false]);
});
