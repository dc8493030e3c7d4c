// Items of any shape, and what DynamoDB's stream hands over of them: parsed, or refused by name.

import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { unmarshalItem, marshalItem } from "../../lib/adapters/aws/expressions.ts";
import {
  controlAttributes,
  controlItem,
  historyAttributes,
  historyItem,
  itemName,
  parseControl,
  parseHistoryRow,
  parseTable,
  parseTail,
  tableAttributes,
  tableItem,
  tailAttributes,
  tailItem,
} from "../../lib/checkpoint/items.ts";
import { eventsOf } from "../../lib/jobs/events.ts";
import { parseObjectName, parseTarget, redoKey, shardName, snapshotKey } from "../../lib/model/names.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { Attributes, Item } from "../../lib/ports/checkpoint-store.ts";
import { checkpointAt, controlWith, hintWith, recordAt, rowAt, shard } from "../unit/checkpoint/samples.ts";
import { editedJson } from "./edits.ts";
import { atDoor, casesTried, fuzz, FUZZING } from "./runs.ts";

afterAll(() => console.log(`${casesTried()} items and names`));

const lease = { owner: "me", untilMs: 5 };
const items: readonly (readonly [string, (item: Item) => unknown, (parsed: never) => Attributes, Item])[] = [
  [
    "a control item",
    parseControl,
    controlAttributes,
    {
      key: controlItem(shard),
      attributes: controlAttributes(controlWith({ lease, checkpoint: checkpointAt(8), capture: { ...recordAt(9, 3), sections: [0, 4] } })),
    },
  ],
  [
    "a history row",
    parseHistoryRow,
    historyAttributes,
    { key: historyItem(shard, rowAt(8)), attributes: historyAttributes(rowAt(8, { pins: { reader: 5, other: 6 } })) },
  ],
  ["a tail", parseTail, tailAttributes, { key: tailItem(shard), attributes: tailAttributes(hintWith({ next: 9, capturedNext: 4, snapshotBytes: 7 })) }],
  [
    "a table",
    parseTable,
    tableAttributes,
    {
      key: tableItem("players"),
      attributes: tableAttributes({ ...POLICY_DEFAULTS, name: "players", shards: 4, codec: "bytes", createdAtMs: 5, state: "live" }),
    },
  ],
];

test.each(items)(
  "%s of any shape is refused by name, or is read as it would be written",
  FUZZING,
  async (_, parse, attributesOf, { key, attributes: sound }) => {
    let accepted = 0;
    await fuzz(editedJson(sound), 3_000, async (wrong) => {
      const attributes = (typeof wrong === "object" && wrong !== null ? wrong : {}) as Attributes;
      const found = await atDoor(() => parse({ key, attributes }), { refuses: ["repair", "call"], names: itemName(key) });
      if (found === undefined) return;
      accepted++;
      const again = attributesOf(found.answer as never);
      expect(parse({ key, attributes: again })).toEqual(found.answer);
    });
    expect(accepted).toBeGreaterThan(50);
  },
);

test("a change of an item tells events or is refused, whatever it was before and after", FUZZING, async () => {
  const [[, , , control], [, , , row]] = items;
  const job: Item = {
    key: { partition: "shard#players/0", sort: "job#snapshot" },
    attributes: { formatVersion: 1, stage: "snapshot", startedAtMs: 1, durationMs: 2, outcome: "failed", error: "x" },
  };
  const change = fc.constantFrom(control, row, job).chain(({ key, attributes }) =>
    fc.record({
      key: fc.constant(key),
      before: fc.option(editedJson(attributes), { nil: undefined }),
      after: fc.option(editedJson(attributes), { nil: undefined }),
    }),
  );
  await fuzz(change, 4_000, async ({ key, before, after }) => {
    const maps = [before, after].map((side) => (typeof side === "object" && side !== null ? (side as Attributes) : undefined));
    // The function passes over a change that it cannot read, whatever is thrown, and logs it.
    await atDoor(() => eventsOf({ key, ...(maps[0] && { before: maps[0] }), ...(maps[1] && { after: maps[1] }) }), {
      refuses: ["repair", "call"],
      throws: [RangeError],
    });
  });
});

test("an item of DynamoDB of any shape is refused, or is one", FUZZING, async () => {
  const sound = marshalItem(items[0][3].key, items[0][3].attributes);
  await fuzz(editedJson(sound), 4_000, async (wrong) => {
    await atDoor(() => unmarshalItem(wrong as never), { refuses: ["repair"], throws: [TypeError] });
  });
});

test("a name that is understood is the name that would be made of it", FUZZING, async () => {
  const near = fc.stringMatching(/^(redo|snapshots)\/[0-9]{15,17}(-e[0-9]{1,17})?\.(redo|parquet)$/);
  await fuzz(fc.oneof(fc.string({ unit: "binary", maxLength: 60 }), near), 6_000, async (text) => {
    const name = parseObjectName(text);
    if (name.kind === "redo") expect(redoKey("", name.first)).toBe(text);
    if (name.kind === "snapshot") expect(snapshotKey("", name.index, name.epoch)).toBe(text);
    const target = await atDoor(() => parseTarget(text), { refuses: ["call"] });
    if (target?.answer.shard !== undefined) expect(shardName({ table: target.answer.table, shard: target.answer.shard })).toBe(text);
  });
});
