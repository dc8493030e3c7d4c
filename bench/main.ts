// `npm run bench`: every bench in a process of its own, one after the other. `npm run bench -- NAME…` runs some.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

const BENCHES = ["redo", "parquet", "fold", "append", "recovery", "planning", "amplification", "requests", "functions", "influxdb"];

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !BENCHES.includes(name));
if (unknown !== undefined) {
  console.error(`there is no bench ${JSON.stringify(unknown)}: choose from ${BENCHES.join(", ")}`);
  process.exit(2);
}
for (const name of asked.length > 0 ? asked : BENCHES) {
  console.log(`\n== ${name} (bench/${name}.ts), Node ${process.versions.node}`);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, `${name}.ts`)], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
