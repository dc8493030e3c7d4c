import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MUTANTS } from "./mutants.ts";
import { PLANTED } from "./planted.ts";

const ROOT = new URL("../../", import.meta.url);

/** Proving takes minutes (test/promises/prove.ts); that every mutant still has its place does not. */
test("each mutant's text occurs exactly once in its file, and its tests exist", () => {
  const sources = ["holes.test.ts", "promises.test.ts", "bounded.test.ts"].map((name) => readFileSync(new URL(`test/promises/${name}`, ROOT), "utf8")).join();
  const displaced = [...MUTANTS, ...PLANTED].filter(({ file, find }) => readFileSync(new URL(file, ROOT), "utf8").split(find).length !== 2);
  const untested = MUTANTS.filter(({ tests }) => !sources.includes(`test("${tests}`));
  expect([...displaced, ...untested].map(({ id }) => id)).toEqual([]);
});

test("the ids of mutants are their own", () => {
  const ids = [...MUTANTS, ...PLANTED].map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});
