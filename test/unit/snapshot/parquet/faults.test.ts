import { expect, test } from "vitest";
import { damagedObject, TidemarkError } from "../../../../lib/model/errors.ts";
import { asDamage, orDamaged } from "../../../../lib/snapshot/parquet/faults.ts";

test("whatever is thrown says that the object is damaged, and damage that is told already stays as it is", () => {
  const told = damagedObject("base", "it is missing");
  const passing = new TidemarkError("retry", "no-answer", "the reply was lost");
  expect(asDamage("snapshot", told)).toBe(told);
  for (const cause of [passing, new RangeError("a page is cut"), { kind: "repair" }]) {
    expect(asDamage("snapshot", cause)).toMatchObject({ kind: "repair", code: "damaged-object", object: "snapshot", cause });
  }
});

test("what decodes without a fault is handed on", () => {
  expect(orDamaged("snapshot", () => 7)).toBe(7);
});
