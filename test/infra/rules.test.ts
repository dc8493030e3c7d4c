// The AWS Solutions rules of cdk-nag and CloudFormation's own schema: nothing is left open, whatever is chosen.

import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AwsSolutionsChecks } from "cdk-nag";
import { expect, test } from "vitest";
import { BUNDLES, synthesizeApp } from "./scene.ts";

const TABLES = [{ name: "players", shards: 4 }];
const INFLUXDB = [
  { name: "metrics", host: "10.0.0.5", everyMinutes: 60 },
  {
    name: "other",
    host: "db",
    everyMinutes: 5,
    vpcId: "vpc-0123456789abcdef0",
    subnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    securityGroupIds: ["sg-0123456789abcdef0"],
  },
];
const CHOICES: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ["by default", {}],
  ["with everything", { tables: TABLES, influxdb: INFLUXDB, prefix: "a/", kms: "new", objectLockDays: 7, alarmEmail: "ops@example.com", dashboard: true }],
  ["with a key by alias", { kms: "alias/states" }],
  ["with as little as there can be", { ingestQueue: false, events: false, alarms: false }],
  ["with storage that exists", { existingBucket: "states", existingTable: "arn:aws:dynamodb:eu-west-1:123456789012:table/own" }],
];

test.each(CHOICES)("%s no rule is broken without a reason", (_, context) => {
  const { stack } = synthesizeApp(context);
  const findings = new AwsSolutionsChecks().validateScope(stack).violations;
  expect(findings.map(({ ruleName, violatingResources }) => [ruleName, violatingResources.map(({ constructPath }) => constructPath)])).toEqual([]);
});

function runApp(context: Readonly<Record<string, unknown>>) {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const env = { ...process.env, CDK_OUTDIR: mkdtempSync(join(BUNDLES, "app-")), CDK_CONTEXT_JSON: JSON.stringify({ bundles: BUNDLES, ...context }) };
  const { status, stderr } = spawnSync(process.execPath, [join(root, "infra", "app.ts")], { cwd: root, env, encoding: "utf8" });
  return { status, stderr };
}

test("the app that cdk runs synthesizes without a finding or a warning", () => {
  expect(runApp({ tables: TABLES, influxdb: INFLUXDB, "@aws-cdk/core:validateAgainstDefaultRules": true })).toEqual({ status: 0, stderr: "" });
});

test("a wrong setting ends the app with its message and no stack trace", () => {
  expect(runApp({ planEveryMinutes: "0" })).toEqual({ status: 2, stderr: '-c planEveryMinutes="0" cannot be used: write a whole number from 1 to 60\n' });
});
