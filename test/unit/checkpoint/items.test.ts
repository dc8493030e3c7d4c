import { expect, test } from "vitest";
import {
  controlAttributes,
  controlItem,
  historyAttributes,
  gatheringItem,
  historyItem,
  jobItem,
  noteItem,
  noteSort,
  parseControl,
  parseHistoryRow,
  parseNoteItem,
  parsePartItem,
  parseTable,
  parseTail,
  partItem,
  partSort,
  requestItem,
  restoreItem,
  shardOfItem,
  tableAttributes,
  tableItem,
  tailAttributes,
  tailItem,
} from "../../../lib/checkpoint/items.ts";
import type { TailHint } from "../../../lib/model/control.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS, type Table } from "../../../lib/model/table.ts";
import type { Attributes, Item } from "../../../lib/ports/checkpoint-store.ts";
import { borderAt, checkpointAt, controlWith, hintWith, incarnation, recordAt, rowAt, shard } from "./samples.ts";

const table: Table = { ...POLICY_DEFAULTS, name: "players", shards: 4, codec: "bytes", createdAtMs: 5, state: "deleting" };
const hint: TailHint = {
  incarnation,
  border: borderAt(9),
  capturedNext: toIndex(4),
  capturedAtMs: 77,
  dueSinceMs: 80,
  askedAtMs: 90,
  log: { files: 8, bytes: 8_000, rawBytes: 24_000 },
  capturedLog: { files: 3, bytes: 3_000 },
  snapshotBytes: 5_000,
  sentBytes: 9_000,
  rates: { replayPerSecond: 300_000, fileMicros: 9_000, readPerSecond: 50_000_000 },
};

const hintAttributes: Attributes = { ...tailAttributes(hint), dueSinceMs: 80, askedAtMs: 90 };

test.each([
  ["as it was opened", controlWith()],
  ["with a lease", controlWith({ lease: { owner: "me", untilMs: 5 } })],
  ["with all it can have", controlWith({ lease: { owner: "me", untilMs: 5 }, checkpoint: checkpointAt(8), capture: recordAt(9, 3) })],
  ["with a capture by sections, far enough to be read back", controlWith({ capture: { ...recordAt(9, 3), sections: [0, 7, 12], readBack: 4 } })],
])("a control item reads back %s", (_, control) => {
  expect(parseControl({ key: controlItem(shard), attributes: controlAttributes(control) })).toEqual(control);
});

test.each([[rowAt(8)], [rowAt(8, { pins: { reader: 5, export: 9 }, state: "deleting", verified: false })]])("a history row reads back", (row) => {
  expect(parseHistoryRow({ key: historyItem(shard, row), attributes: historyAttributes(row) })).toEqual(row);
});

test("tail and table read back", () => {
  expect(parseTail({ key: tailItem(shard), attributes: hintAttributes })).toEqual(hint);
  expect(parseTail({ key: tailItem(shard), attributes: tailAttributes(hint) })).toEqual({ ...hint, dueSinceMs: undefined, askedAtMs: undefined });
  expect(parseTable({ key: tableItem("players"), attributes: tableAttributes(table) })).toEqual(table);
  const ofSource: Table = { ...table, source: "influxdb" };
  expect(parseTable({ key: tableItem("players"), attributes: tableAttributes(ofSource) })).toEqual(ofSource);
});

test("what an item does not have is absent, not undefined", () => {
  const control = parseControl({ key: controlItem(shard), attributes: controlAttributes(controlWith({ capture: recordAt(9, 3) })) });
  expect([Object.keys(control), Object.keys(control.capture ?? {})].flat()).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/^(lease|checkpoint|sections|readBack)$/)]),
  );
  expect(Object.keys(parseTable({ key: tableItem("players"), attributes: tableAttributes(table) }))).not.toContain("source");
});

test("a tail item that an older version wrote reads as one of which nothing is known", () => {
  const { incarnation, next, digest, timeMs, capturedNext, capturedAtMs, formatVersion } = tailAttributes(hint) as Record<string, string | number>;
  const attributes = { formatVersion, incarnation, next, digest, timeMs, capturedNext, capturedAtMs };
  expect(parseTail({ key: tailItem(shard), attributes })).toEqual(hintWith({ next: 9, capturedNext: 4, capturedAtMs: 77 }));
});

test("a table that an older version made has the defaults of the settings that it did not know", () => {
  const { captureLogPercent, recoverWithinMs, capturesTogetherMax, ...attributes } = tableAttributes({ ...table, captureAfterMs: 3_600_000 });
  expect(parseTable({ key: tableItem("players"), attributes })).toEqual({ ...table, captureAfterMs: 3_600_000 });
  expect([captureLogPercent, recoverWithinMs, capturesTogetherMax]).toEqual([50, 60_000, 10_000]);
});

test("a tail item with all it can have costs one write unit", () => {
  const most = 2 ** 53 - 1;
  const longest: TailHint = {
    ...hint,
    border: { ...borderAt(9), timeMs: most },
    log: { files: most, bytes: most, rawBytes: most },
    capturedLog: { files: most, bytes: most },
    snapshotBytes: most,
    sentBytes: most,
    rates: { replayPerSecond: most, fileMicros: most, readPerSecond: most },
  };
  const keys = JSON.stringify(tailItem({ table: "t".repeat(64), shard: 9_999 }));
  expect(keys.length + JSON.stringify({ ...tailAttributes(longest), dirty: "dirty", dueSinceMs: most, askedAtMs: most }).length).toBeLessThan(1_024);
});

test("a control item with all it can have stays under 4 KB", () => {
  const longest = controlWith({
    lease: { owner: "f".repeat(16), untilMs: 2 ** 53 - 1 },
    checkpoint: checkpointAt(2 ** 53 - 2),
    capture: { ...recordAt(2 ** 53 - 2, 3), uploadId: "u".repeat(1_024) },
  });
  expect(JSON.stringify(controlAttributes(longest)).length).toBeLessThan(4_096);
});

test("a shard's items lie in its partition, its history in the order of indexes", () => {
  const sorts = [9, 10, 100, 2 ** 53 - 1].map((index) => historyItem(shard, { index: toIndex(index), epoch: toEpoch(1) }).sort);
  expect([
    controlItem(shard),
    historyItem(shard, { index: toIndex(57), epoch: toEpoch(3) }),
    partItem(shard, toEpoch(3), 12),
    shardOfItem(tailItem(shard)),
  ]).toEqual([
    { partition: "shard#players/0", sort: "control" },
    { partition: "shard#players/0", sort: "snapshot#0000000000000057-e3" },
    { partition: "shard#players/0", sort: "part#0000000000000003#00012" },
    shard,
  ]);
  expect(sorts).toEqual([...sorts].sort());
});

test("a part's key gives its epoch and number back", () => {
  const key = partItem(shard, toEpoch(12), 10_000);
  expect([parsePartItem(key), key.sort.startsWith(partSort(toEpoch(12))), key.sort.startsWith(partSort(toEpoch(1)))]).toEqual([
    { born: 12, number: 10_000 },
    true,
    false,
  ]);
});

test("jobs, requests, notes, gatherings and restores have keys of their own in the shard's partition", () => {
  const keys = [jobItem(shard), requestItem(shard, "ab12"), noteItem(shard, 7, "files"), gatheringItem(shard), restoreItem(shard, "db/one")];
  expect(keys.map(({ partition }) => partition)).toEqual(keys.map(() => "shard#players/0"));
  expect(keys.map(({ sort }) => sort)).toEqual(["job#snapshot", "request#ab12", "note#0000000000000007#files", "gathering", "restore#db/one"]);
});

test("a note's key gives its sequence and name back, whatever the name", () => {
  const key = noteItem(shard, 12, "a#b");
  expect([parseNoteItem(key), key.sort.startsWith(noteSort(12)), key.sort.startsWith(noteSort(1))]).toEqual([{ sequence: 12, name: "a#b" }, true, false]);
});

const parsers: readonly (readonly [string, (item: Item) => unknown, Item])[] = [
  [
    "control",
    parseControl,
    {
      key: controlItem(shard),
      attributes: controlAttributes(
        controlWith({ checkpoint: checkpointAt(8), capture: { ...recordAt(9, 3), sections: [0, 4] }, lease: { owner: "me", untilMs: 4 } }),
      ),
    },
  ],
  ["history", parseHistoryRow, { key: historyItem(shard, rowAt(8)), attributes: historyAttributes(rowAt(8, { pins: { reader: 5 } })) }],
  ["tail", parseTail, { key: tailItem(shard), attributes: hintAttributes }],
  ["table", parseTable, { key: tableItem("players"), attributes: tableAttributes(table) }],
];

test.each(parsers)("an item of a newer format is refused: %s", (_, parse, item) => {
  const newer = { ...item, attributes: { ...item.attributes, formatVersion: 2 } };
  expect(() => parse(newer)).toThrow(expect.objectContaining({ kind: "call", code: "newer-format", message: expect.stringContaining(item.key.sort) }));
});

/** Attributes that a parser may do without. */
const OPTIONAL = new Set([
  ...["formatVersion", "leaseOwner", "checkpoint", "capture", "leaseUntilMs", "captureLogPercent", "recoverWithinMs", "capturesTogetherMax"],
  ...["dueSinceMs", "askedAtMs", "logFiles", "logBytes", "logRawBytes", "capturedLogFiles", "capturedLogBytes", "snapshotBytes", "sentBytes"],
  ...["replayPerSecond", "fileMicros", "readPerSecond"],
]);

test.each(parsers)("each attribute that is missing or of another kind is damage, and named: %s", (_, parse, item) => {
  for (const [name, value] of Object.entries(item.attributes)) {
    const { [name]: __, ...without } = item.attributes;
    const wrong: Attributes[] = [{ ...item.attributes, [name]: typeof value === "string" ? 7 : "x" }];
    if (typeof value === "number" && name !== "formatVersion") wrong.push({ ...item.attributes, [name]: -1 }, { ...item.attributes, [name]: 1.5 });
    if (!OPTIONAL.has(name)) wrong.push(without);
    if (name === "formatVersion") continue;
    for (const attributes of wrong) {
      expect(() => parse({ ...item, attributes }), name).toThrow(
        expect.objectContaining({ kind: "repair", code: "damaged-item", message: expect.stringContaining(name) }),
      );
    }
  }
});

test("a state that no version knows is damage, never a reason to delete", () => {
  const row = historyAttributes(rowAt(8));
  expect(() => parseHistoryRow({ key: historyItem(shard, rowAt(8)), attributes: { ...row, state: "kpet" } })).toThrow(
    expect.objectContaining({ code: "damaged-item" }),
  );
  expect(() => parseTable({ key: tableItem("players"), attributes: { ...tableAttributes(table), state: "LIVE" } })).toThrow(
    expect.objectContaining({ code: "damaged-item" }),
  );
  expect(() => parseTable({ key: tableItem("players"), attributes: { ...tableAttributes(table), codec: "xml" } })).toThrow(
    expect.objectContaining({ code: "damaged-item" }),
  );
});

test("damage within a checkpoint, a capture or the pins is named with its place", () => {
  const control = controlAttributes(controlWith({ checkpoint: checkpointAt(8), capture: recordAt(9, 3) }));
  const key = controlItem(shard);
  expect(() => parseControl({ key, attributes: { ...control, checkpoint: { ...checkpointAt(8) } as never } })).toThrow(
    /control \(checkpoint\) is damaged: its attribute redoFile/,
  );
  expect(() => parseControl({ key, attributes: { ...control, capture: { ...recordAt(9, 3), target: { next: 1 } } } })).toThrow(
    /\(capture\) \(target\) is damaged: its attribute digest/,
  );
  expect(() => parseHistoryRow({ key: historyItem(shard, rowAt(8)), attributes: { ...historyAttributes(rowAt(8)), pins: { reader: "soon" } } })).toThrow(
    /\(pins\) is damaged: its attribute reader/,
  );
});

test.each([
  ["all of them", "0,4"],
  ["one of no number", [0, "4"]],
  ["one below 0", [-1, 4]],
  ["one between two", [0, 1.5]],
])("sections that are no row groups are damage: %s", (_, sections) => {
  const control = controlAttributes(controlWith());
  const capture = { ...recordAt(9, 3), target: { ...borderAt(10) }, sections };
  expect(() => parseControl({ key: controlItem(shard), attributes: { ...control, capture } })).toThrow(/\(capture\) is damaged: its attribute sections/);
});

test("nothing in the place of a checkpoint is damage", () => {
  const attributes = { ...controlAttributes(controlWith()), checkpoint: null as never };
  expect(() => parseControl({ key: controlItem(shard), attributes })).toThrow("its attribute checkpoint is null");
});

test("a row whose key is that of another generation of its shard is damage", () => {
  const attributes = { ...historyAttributes(rowAt(8)), key: checkpointAt(9).key };
  expect(() => parseHistoryRow({ key: historyItem(shard, rowAt(8)), attributes })).toThrow("is damaged: its key is players/0/");
});

test("an item in another's place is damage, and both are told apart", () => {
  const row = { key: historyItem(shard, rowAt(9)), attributes: historyAttributes(rowAt(8)) };
  expect(() => parseHistoryRow(row)).toThrow("snapshot#0000000000000009-e1 is damaged: it is the row of another generation");
  const ofOther = { key: historyItem({ ...shard, shard: 1 }, rowAt(8)), attributes: historyAttributes(rowAt(8)) };
  expect(() => parseHistoryRow(ofOther)).toThrow("shard#players/1 snapshot#0000000000000008-e1 is damaged: its key is players/0/");
  const control = controlAttributes(controlWith({ checkpoint: checkpointAt(8) }));
  expect(() => parseControl({ key: controlItem({ ...shard, shard: 1 }), attributes: control })).toThrow(
    "players/1 control (checkpoint) is damaged: its key is",
  );
  expect(() => parseControl({ key: controlItem(shard), attributes: { ...control, incarnation: "ffeeddccbbaa9988" } })).toThrow("(checkpoint) is damaged");
  expect(() => parseTable({ key: tableItem("others"), attributes: tableAttributes(table) })).toThrow(
    "tables others is damaged: it is the item of another table",
  );
});
