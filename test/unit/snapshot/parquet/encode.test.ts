import { expect, test } from "vitest";
import { snapshotAssembly } from "../../../../lib/snapshot/parquet/encode.ts";
import { rowGroupEncoder } from "../../../../lib/snapshot/parquet/groups.ts";
import { MAGIC } from "../../../../lib/snapshot/parquet/layout.ts";
import { description, jsonRecords, toRows } from "./records.ts";

const encoder = rowGroupEncoder({ pageRows: 2, groupBytes: 300 });
encoder.push(toRows(jsonRecords(20)), 0, 20);
encoder.cut();
const finished = await encoder.drain();
const lengths = finished.map(({ bytes }) => bytes.length);

test("row groups lie one behind the other, from the head on or from where they are to begin", () => {
  for (const start of [undefined, 0, 1_000]) {
    const assembly = snapshotAssembly(start);
    const ends = finished.map(({ group, pages }) => {
      const { offset } = assembly.add(group, pages).group;
      return [offset, assembly.end];
    });
    const expected = lengths.map((length, i) => {
      const offset = lengths.slice(0, i).reduce((sum, each) => sum + each, start ?? MAGIC.length);
      return [offset, offset + length];
    });
    expect(ends).toEqual(expected);
  }
});

test("a row group that lies there already is taken where the next one would lie, and nowhere else", () => {
  const whole = snapshotAssembly();
  const [first, second] = finished.map(({ group, pages }) => whole.add(group, pages));
  const assembly = snapshotAssembly();
  expect(() => assembly.restore(second)).toThrow(expect.objectContaining({ kind: "bug" }));
  assembly.restore(first);
  assembly.restore(second);
  expect(assembly.groups).toEqual([first, second]);
});

test("row groups that are read back are told as never carried, the others as often as they were", () => {
  const assembly = snapshotAssembly();
  for (const [i, { group, pages }] of finished.entries()) assembly.add({ ...group, carried: i + 1 }, pages);
  const { groups } = assembly.finish(description, [0, 2]);
  expect(groups.map(({ group }) => group.carried)).toEqual(groups.map((_, i) => (i === 0 || i === 2 ? 0 : i + 1)));
  expect(() => assembly.finish(description)).toThrow(expect.objectContaining({ kind: "bug" }));
});
