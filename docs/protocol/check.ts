// Checks the model of the protocol: node docs/protocol/check.ts [--scenario NAME,…] [--variant RULE,…] [--deep] [--states N]
//
// Every scenario must keep all promises, and every variant must break the one that its rule is there for. With neither named,
// all are checked. A variant that is named shows its trace.

import { parseArgs } from "node:util";
import type { Exploration } from "./explore.ts";
import { type Runner, runner } from "./run.ts";
import { SCENARIOS } from "./scenarios.ts";
import { VARIANTS } from "./variants.ts";
import { RULES } from "./model/rules.ts";

const THREADS = 2;
const STATES_MAX = 1_000_000;
const DEEP_STATES_MAX = 1_500_000;

const { values } = parseArgs({
  options: { scenario: { type: "string" }, variant: { type: "string" }, deep: { type: "boolean", default: false }, states: { type: "string" } },
});
const statesMax = Number(values.states ?? (values.deep ? DEEP_STATES_MAX : STATES_MAX));
const all = values.scenario === undefined && values.variant === undefined;
const scenarios = all ? SCENARIOS.map(({ name }) => name) : (values.scenario?.split(",") ?? []);
const variants = all
  ? values.deep
    ? []
    : VARIANTS
  : VARIANTS.filter(({ rule, hole }) => values.variant?.split(",").some((name) => name === rule || name === hole));

const runs = runner(THREADS);
const unexpected = [...(await checkScenarios(runs)), ...(await checkVariants(runs))];
await runs.close();
console.log(unexpected.length === 0 ? "all as expected" : `NOT AS EXPECTED: ${unexpected.join(", ")}`);
process.exitCode = unexpected.length === 0 ? 0 : 1;

async function checkScenarios({ run }: Runner): Promise<readonly string[]> {
  const outcomes = scenarios.map(async (name) => {
    const found = await run({ kind: "scenario", name, deep: values.deep, statesMax });
    console.log(
      `${name.padEnd(24)} ${figures(found)}  ${found.finding?.promise ?? (found.complete ? "keeps all promises" : "keeps all promises as far as it was explored")}`,
    );
    show(found);
    return found.finding === undefined ? [] : [name];
  });
  return (await Promise.all(outcomes)).flat();
}

async function checkVariants({ run }: Runner): Promise<readonly string[]> {
  const outcomes = variants.map(async ({ rule, hole, breaks }) => {
    const found = await run({ kind: "variant", name: rule, deep: false, statesMax });
    const isExpected = breaks === "" ? found.finding === undefined : (found.finding?.promise.startsWith(breaks) ?? false);
    const steps = found.finding === undefined ? "" : `, ${found.finding.trace.length} steps`;
    console.log(`${rule.padEnd(24)} ${figures(found)}  ${hole === undefined ? "" : `${hole} `}${found.finding?.promise ?? "breaks no promise"}${steps}`);
    if (!all) {
      console.log(`  without the rule: ${RULES[rule]}`);
      show(found);
    }
    return isExpected ? [] : [rule];
  });
  return (await Promise.all(outcomes)).flat();
}

function figures({ states, transitions, depth, ms }: Exploration): string {
  const [s, t, d] = [states, transitions, depth].map((figure) => figure.toLocaleString("en"));
  return `${s.padStart(10)} states ${t.padStart(11)} steps  depth ${d.padStart(2)} ${(ms / 1000).toFixed(1).padStart(6)} s`;
}

function show({ finding }: Exploration): void {
  if (finding === undefined) return;
  for (const [place, line] of finding.trace.entries()) console.log(`  ${String(place + 1).padStart(3)}. ${line}`);
  console.log(`   => ${finding.promise}${finding.atRest ? " (everything killed there, and let come to rest)" : ""}`);
}
