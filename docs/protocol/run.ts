// Explores scenarios and variants in threads of their own, a few at a time.

import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { type Exploration, explore } from "./explore.ts";
import { NOTHING, SCENARIOS, settingOf } from "./scenarios.ts";
import { VARIANTS } from "./variants.ts";
import { ALL_RULES, without } from "./model/rules.ts";

/** Of each thread, at most: the deep runs take about 1 kB for each state. */
const HEAP_MB = 6_000;

/** `kept`: the world of a variant, with its rule in place. */
export interface Task {
  readonly kind: "scenario" | "variant" | "kept";
  readonly name: string;
  readonly deep: boolean;
  readonly statesMax: number;
}

export interface Runner {
  readonly run: (task: Task) => Promise<Exploration>;
  readonly close: () => Promise<void>;
}

/** Tasks begin in the order in which they are asked for. */
export function runner(threads: number): Runner {
  const workers: Worker[] = [];
  const free: Worker[] = [];
  const waiting: (() => void)[] = [];

  async function worker(): Promise<Worker> {
    const idle = free.pop();
    if (idle !== undefined) return idle;
    if (workers.length < threads) {
      const made = new Worker(fileURLToPath(import.meta.url), { resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
      workers.push(made);
      return made;
    }
    await new Promise<void>((wake) => waiting.push(wake));
    return worker();
  }

  return {
    async run(task) {
      const mine = await worker();
      const answer = once(mine, "message");
      mine.postMessage(task);
      const [exploration] = await answer;
      free.push(mine);
      waiting.shift()?.();
      return exploration;
    },
    async close() {
      await Promise.all(workers.map((one) => one.terminate()));
    },
  };
}

function carryOut({ kind, name, deep, statesMax }: Task): Exploration {
  if (kind === "scenario") {
    const scenario = SCENARIOS.find((one) => one.name === name);
    if (scenario === undefined) throw new Error(`there is no scenario ${name}: there are ${SCENARIOS.map((one) => one.name).join(", ")}`);
    return explore(settingOf(scenario, deep), statesMax);
  }
  const variant = VARIANTS.find(({ rule }) => rule === name);
  if (variant === undefined) throw new Error(`there is no variant ${name}: there are ${VARIANTS.map(({ rule }) => rule).join(", ")}`);
  const rules = kind === "kept" ? ALL_RULES : without(variant.rule);
  return explore({ bounds: { ...NOTHING, ...variant.bounds }, rules, prelude: variant.prelude ?? [] }, statesMax);
}

if (!isMainThread) {
  const port = parentPort;
  port?.on("message", (task: Task) => port.postMessage(carryOut(task)));
}
