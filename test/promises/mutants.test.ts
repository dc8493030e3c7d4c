import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MUTANTS } from "./mutants.ts";

const ROOT = new URL("../../", import.meta.url);

/** Proving takes minutes (test/promises/prove.ts); that every mutant still has its place does not. */
test("each mutant's text occurs exactly once in its file, and its tests exist", () => {
  const sources = ["holes.test.ts", "promises.test.ts"].map((name) => readFileSync(new URL(`test/promises/${name}`, ROOT), "utf8")).join();
  const wrong = MUTANTS.filter(({ file, find, tests }) => {
    const places = readFileSync(new URL(file, ROOT), "utf8").split(find).length - 1;
    return places !== 1 || !sources.includes(`test("${tests}`);
  });
  expect(wrong.map(({ id }) => id)).toEqual([]);
});

test("the ids of mutants are their own", () => {
  expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length);
});
