// The requests that AWS bills for what the pipeline does, counted while the real jobs run on stores in memory, with the
// fewest that the protocol allows in parentheses, and what the rest is for. Counts, so they are the same on every machine;
// test/cli/requests.test.ts pins them. Dollars are list prices.
// Not counted: requests that are sent again after a fault, Lambda's own polling of queues, what SQS and S3 do inside.
//   node bench/requests.ts

import type { Requests } from "../cli/request-counts.ts";
import { SCENARIOS, type Scenario } from "./request-scenarios.ts";
import { requestTable } from "./request-table.ts";

const measured: { readonly scenario: Scenario; readonly counted: Requests }[] = [];
for (const scenario of SCENARIOS) measured.push({ scenario, counted: await scenario.run() });
console.log(requestTable(measured));
console.log("\nWhat is sent beyond the fewest is for:");
for (const { name, surplus } of SCENARIOS) console.log(`- ${name}: ${surplus}.`);
