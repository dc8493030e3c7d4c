import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Metastore, PlacedShard } from "../../../../lib/sources/influxdb/meta.ts";
import { checkSelection, isInside, nanosecondsOf, selectShards, type Selection, type WholeRange, wholeRange } from "../../../../lib/sources/influxdb/select.ts";

const HOUR_NS = 3_600_000_000_000n;
const START = nanosecondsOf("2026-08-03T00:00:00Z");

function group(id: number, hour: number, shards: readonly number[], isDeleted = false) {
  const startNs = START + BigInt(hour) * HOUR_NS;
  return { id, startNs, endNs: startNs + HOUR_NS, isDeleted, shards };
}

const server: Metastore = {
  databases: [
    {
      name: "metrics",
      policies: [
        { name: "autogen", keptNs: 0n, groups: [group(1, 0, [1, 12]), group(2, 1, [2]), group(3, 2, [3], true)] },
        { name: "week", keptNs: 0n, groups: [group(4, 0, [5])] },
      ],
    },
    { name: "events", policies: [{ name: "autogen", keptNs: 0n, groups: [group(5, 0, [4])] }] },
    { name: "empty", policies: [] },
    { name: "_internal", policies: [{ name: "monitor", keptNs: 0n, groups: [group(6, 0, [9])] }] },
  ],
  maxShardGroupId: 6,
  maxShardId: 12,
  maxNodeId: 0,
  users: 0,
};

const chosen = (selection: Selection, range?: WholeRange) => selectShards(server, selection, range).map(({ shard }) => shard);

describe("a selection", () => {
  test.each<[string, Selection, readonly number[]]>([
    ["of nothing is all but _internal, by id, without groups that are deleted", {}, [1, 2, 4, 5, 12]],
    ["of a database is its shards", { database: "metrics" }, [1, 2, 5, 12]],
    ["of a policy is its shards", { database: "metrics", policy: "week" }, [5]],
    ["of a shard is that shard", { database: "metrics", policy: "autogen", shard: 12 }, [12]],
    ["of _internal is _internal", { database: "_internal" }, [9]],
    ["of a database without shards is none", { database: "empty" }, []],
  ])("%s", (_, selection, expected) => {
    expect(chosen(selection)).toEqual(expected);
  });

  test.each<[string, Selection, string, string]>([
    [
      "a database that is not there is refused with those that are",
      { database: "metric" },
      "unknown-database",
      'it has "metrics", "events", "empty", "_internal"',
    ],
    ["a policy that is not there is refused with those that are", { database: "metrics", policy: "day" }, "unknown-policy", 'it has "autogen", "week"'],
    ["a policy of a database that has none is refused", { database: "empty", policy: "day" }, "unknown-policy", "it has none"],
    [
      "a shard of another place is refused with its place",
      { database: "metrics", policy: "autogen", shard: 4 },
      "unknown-shard",
      "it belongs to events/autogen",
    ],
    ["a shard that is not there is refused", { database: "metrics", policy: "autogen", shard: 99 }, "unknown-shard", "the server has no such shard"],
    ["a shard of a deleted group is refused", { database: "metrics", policy: "autogen", shard: 3 }, "unknown-shard", "the server has no such shard"],
    ["a policy without a database is refused", { policy: "autogen" }, "bad-selection", "--database"],
    ["a shard without a policy is refused", { database: "metrics", shard: 1 }, "bad-selection", "--policy"],
    ["a shard without a database is refused", { policy: "autogen", shard: 1 }, "bad-selection", "--database"],
  ])("%s", (_, selection, code, words) => {
    expect(() => chosen(selection)).toThrow(expect.objectContaining({ kind: "call", code, message: expect.stringContaining(words) }));
  });

  test("is refused for its form before any server is asked", () => {
    expect(() => checkSelection({ shard: 1 })).toThrow(expect.objectContaining({ code: "bad-selection" }));
    expect(() => checkSelection({ database: "x", policy: "y", shard: 0 })).not.toThrow();
  });
});

describe("a range", () => {
  test.each<[string, string, string, readonly number[]]>([
    ["takes a group whose first nanosecond is its last", "2026-08-02T00:00:00Z", "2026-08-03T01:00:00Z", [1, 2, 4, 5, 12]],
    ["leaves a group that begins a nanosecond behind it", "2026-08-02T00:00:00Z", "2026-08-03T00:59:59.999999999Z", [1, 4, 5, 12]],
    ["takes a group whose last nanosecond is its first", "2026-08-03T00:59:59.999999999Z", "2026-08-03T00:59:59.999999999Z", [1, 4, 5, 12]],
    ["leaves a group that ends where it begins", "2026-08-03T01:00:00Z", "2026-08-04T00:00:00Z", [2]],
    ["before all is none", "2026-08-01T00:00:00Z", "2026-08-02T23:59:59.999999999Z", []],
  ])("%s", (_, start, end, expected) => {
    expect(chosen({}, { start, end })).toEqual(expected);
  });

  const hour: PlacedShard = { database: "d", policy: "p", shard: 1, startNs: START, endNs: START + HOUR_NS };
  test.each([
    ["2026-08-03T00:00:00Z", "2026-08-03T00:59:59.999999999Z", true],
    ["2026-08-03T00:00:00.000000001Z", "2026-08-03T00:59:59.999999999Z", false],
    ["2026-08-03T00:00:00Z", "2026-08-03T00:59:59.999999998Z", false],
    ["2026-08-03T02:00:00+02:00", "2026-08-03T03:00:00+02:00", true],
  ])("from %s to %s holds all of a shard of the first hour: %s", (start, end, expected) => {
    expect(isInside(hour, { start, end })).toBe(expected);
  });

  test("an open end is the end of InfluxDB's time, to the nanosecond", () => {
    expect(wholeRange({})).toBeUndefined();
    const { start } = wholeRange({ end: "2026-01-01T00:00:00Z" }) ?? { start: "" };
    const { end } = wholeRange({ start: "2026-01-01T00:00:00Z" }) ?? { end: "" };
    expect([nanosecondsOf(start), nanosecondsOf(end)]).toEqual([-(2n ** 63n) + 2n, 2n ** 63n - 2n]);
    expect(isInside({ ...hour, startNs: -(2n ** 63n) + 2n, endNs: 2n ** 63n - 1n }, { start, end })).toBe(true);
  });
});

test("a time with up to nine digits of a second is the same nanosecond in every zone", () => {
  const zone = fc.constantFrom(["Z", 0n], ["+00:00", 0n], ["+05:30", 19_800n], ["-11:00", -39_600n]);
  fc.assert(
    fc.property(
      fc.integer({ min: -9_000_000_000, max: 9_000_000_000 }),
      fc.nat({ max: 999_999_999 }),
      fc.integer({ min: 0, max: 9 }),
      zone,
      (seconds, fraction, digits, [suffix, offset]) => {
        const text = new Date(seconds * 1_000).toISOString().replace(/\.000Z$/, "");
        const kept = String(fraction).padStart(9, "0").slice(0, digits);
        const time = `${text}${digits === 0 ? "" : `.${kept}`}${suffix}`;
        expect(nanosecondsOf(time)).toBe((BigInt(seconds) - (offset as bigint)) * 1_000_000_000n + BigInt(kept.padEnd(9, "0")));
      },
    ),
  );
});

test("what is no time is refused as a wrong call", () => {
  for (const time of ["", "yesterday", "2026-13-01T00:00:00Z", "NaN", "2026-08-03T00:00:00.5.5Z"]) {
    expect(() => nanosecondsOf(time)).toThrow(expect.objectContaining({ kind: "call", code: "bad-time" }));
  }
});
