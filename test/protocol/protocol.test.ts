// The model of the protocol (docs/protocol), explored to the bounds that docs/protocol/README.md states.

import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { RULES } from "../../docs/protocol/model/rules.ts";
import { runner } from "../../docs/protocol/run.ts";
import { SCENARIOS } from "../../docs/protocol/scenarios.ts";
import { VARIANTS } from "../../docs/protocol/variants.ts";

const README = readFileSync(new URL("../../docs/protocol/README.md", import.meta.url), "utf8");
const STATES_MAX = 400_000;
/** So far a variant's world is explored with its rule in place. */
const KEPT_STATES_MAX = 10_000;
const STEPS_MAX = 60;

const runs = runner(2);
afterAll(() => runs.close());

describe("the protocol keeps its promises in every state", () => {
  const explorations = SCENARIOS.map(({ name }) => ({ name, explored: runs.run({ kind: "scenario", name, deep: false, statesMax: STATES_MAX }) }));

  test.each(explorations)("$name", async ({ name, explored }) => {
    const { finding, complete, states, depth } = await explored;
    expect(finding).toBeUndefined();
    expect(complete).toBe(true);
    expect(README, "the README states other figures").toContain(`| ${name} | ${states.toLocaleString("en")} | ${depth} |`);
  });
});

describe("without a rule", () => {
  const explorations = VARIANTS.map((variant) => ({
    ...variant,
    without: runs.run({ kind: "variant", name: variant.rule, deep: false, statesMax: STATES_MAX }),
    kept: runs.run({ kind: "kept", name: variant.rule, deep: false, statesMax: KEPT_STATES_MAX }),
  }));

  test.each(explorations.filter(({ breaks }) => breaks !== ""))(
    "$rule a promise is broken within a few steps, and with it none is",
    async ({ rule, breaks, without, kept }) => {
      const { finding } = await without;
      expect(finding?.promise).toMatch(new RegExp(`^${breaks}`));
      expect(finding?.trace.length).toBeLessThanOrEqual(STEPS_MAX);
      expect(README, "the README states another trace").toMatch(
        new RegExp(`\\| \`${rule}\` .*\\| ${finding?.promise.slice(0, 2)}.* \\| ${finding?.trace.length} \\|`),
      );
      expect((await kept).finding).toBeUndefined();
    },
  );

  test.each(explorations.filter(({ breaks }) => breaks === ""))("$rule no promise is broken: it saves work", async ({ without }) => {
    expect(await without).toMatchObject({ complete: true });
    expect((await without).finding).toBeUndefined();
  });

  test("every rule has its variant", () => {
    expect(VARIANTS.map(({ rule }) => rule).sort()).toEqual(Object.keys(RULES).sort());
  });
});
