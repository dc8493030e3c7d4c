// The counted requests as a table in Markdown: bench/requests.ts prints it, docs/cost.md holds it.

import { LIST_PRICES, dollarsOf } from "../cli/prices.ts";
import { NO_REQUESTS, type Requests } from "../cli/request-counts.ts";
import type { Scenario } from "./request-scenarios.ts";

const KINDS = [
  ["s3Writes", "PUT, POST, LIST"],
  ["s3Reads", "GET, HEAD"],
  ["writeUnits", "write units"],
  ["readUnits", "read units"],
  ["messages", "SQS"],
] as const satisfies readonly (readonly [keyof Requests, string])[];

/** In parentheses, the fewest that the protocol allows, where that is less. */
export function requestTable(measured: readonly { readonly scenario: Pick<Scenario, "name" | "fewest">; readonly counted: Requests }[]): string {
  const rows = measured.map(({ scenario, counted }) => {
    const fewest = { ...NO_REQUESTS, ...scenario.fewest };
    const cells = KINDS.map(([kind]) => beside(String(counted[kind]), String(fewest[kind])));
    return [scenario.name, ...cells, beside(perMillion(counted), perMillion(fewest))];
  });
  const heads = ["", ...KINDS.map(([, head]) => head), "dollars a million"];
  return [heads, heads.map((_, place) => (place === 0 ? "---" : "---:")), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function beside(counted: string, fewest: string): string {
  return counted === fewest ? counted : `${counted} (${fewest})`;
}

function perMillion(requests: Requests): string {
  return (dollarsOf(requests, LIST_PRICES) * 1e6).toFixed(2);
}
