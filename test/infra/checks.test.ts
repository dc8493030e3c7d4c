// Props that cannot be kept are refused before anything is made, with what to write instead.

import { App, Duration, Stack } from "aws-cdk-lib";
import { Table } from "aws-cdk-lib/aws-dynamodb";
import { SecurityGroup, Vpc } from "aws-cdk-lib/aws-ec2";
import { Bucket, ObjectLockRetention } from "aws-cdk-lib/aws-s3";
import { describe, expect, test } from "vitest";
import { checkProps } from "../../infra/checks.ts";
import type { SnapshotPipelineProps } from "../../infra/snapshot-pipeline.ts";

const stack = new Stack(new App(), "Test");
const vpc = new Vpc(stack, "Vpc");

const REFUSED: readonly (readonly [string, SnapshotPipelineProps, string])[] = [
  ["a prefix without its slash", { prefix: "states" }, 'prefix is "states": end it with one slash and start it without one, as in "states/"'],
  ["a prefix that starts with a slash", { prefix: "/states/" }, "start it without one"],
  ["a prefix that IAM would read as a pattern", { prefix: "stat*s/" }, "use letters, digits and the signs"],
  ["a table's name with capitals", { tables: [{ name: "Players" }] }, '"Players" is not a table name: use lower-case letters'],
  ["a table without shards", { tables: [{ name: "players", shards: 0 }] }, "shards is 0: use a whole number from 1 to 10000"],
  ["a log share finer than a hundredth", { tables: [{ name: "players", capture: { logShare: 0.255 } }] }, "capture-log-share, in hundredths, is 25.5"],
  ["no capture at a time", { tables: [{ name: "players", capture: { together: 0 } }] }, "captures-together is 0: use a whole number from 1 to 10000"],
  ["a recovery within half a second", { tables: [{ name: "players", recoverWithin: Duration.millis(500) }] }, "recover-within, in ms, is 500"],
  ["one kept snapshot", { tables: [{ name: "players", keep: { last: 1 } }] }, "keep-snapshots is 1: use a whole number from 2 to 10000"],
  ["two tables of a name", { tables: [{ name: "players" }, { name: "players", shards: 2 }] }, 'tables is "players": it is there twice'],
  ["a timeout beyond Lambda's", { snapshot: { timeout: Duration.minutes(16) } }, "snapshot.timeout in seconds is 960: use a whole number from 1 to 900"],
  ["a timeout of half a second", { cleanup: { timeout: Duration.millis(500) } }, "cleanup.timeout in seconds is 0.5"],
  ["too little memory", { ingest: { memorySize: 64 } }, "ingest.memorySize in MiB is 64: use a whole number from 128 to 10240"],
  ["one capture at a time", { snapshot: { maxConcurrency: 1 } }, "snapshot.maxConcurrency is 1: use a whole number from 2 to 1000"],
  ["a reservation of nothing", { ingest: { reservedConcurrency: 0 } }, "ingest.reservedConcurrency is 0: use a whole number from 1"],
  ["a planner that runs each half minute", { plan: { every: Duration.seconds(30) } }, 'plan.every is "30 seconds": use whole minutes from 1 to 60'],
  ["a cleanup each week", { cleanup: { every: Duration.days(7) } }, "use whole minutes from 1 to 2880"],
  ["a function's name with a dot", { functionNamePrefix: "a.b" }, 'functionNamePrefix is "a.b": use 1 to 48 letters'],
  ["events of a table without a stream", { events: {}, table: Table.fromTableName(stack, "Table", "table") }, "the table that is given has no stream"],
  [
    "Object Lock for a given bucket",
    { objectLock: ObjectLockRetention.governance(Duration.days(1)), bucket: Bucket.fromBucketName(stack, "Bucket", "own") },
    "set it on the bucket",
  ],
  ["security groups without a VPC", { securityGroups: [new SecurityGroup(stack, "Group", { vpc })] }, "they need vpc"],
];

describe("refused", () => {
  test.each(REFUSED)("%s", (_, props, message) => {
    expect(() => checkProps(props)).toThrow(message);
  });
});

describe("taken", () => {
  const TAKEN: readonly (readonly [string, SnapshotPipelineProps])[] = [
    ["nothing at all", {}],
    ["the smallest of everything", { plan: { every: Duration.minutes(1) }, snapshot: { timeout: Duration.seconds(1), memorySize: 128, maxConcurrency: 2 } }],
    ["the largest of everything", { cleanup: { every: Duration.days(2), timeout: Duration.minutes(15), memorySize: 10_240, maxConcurrency: 1_000 } }],
    ["a prefix of several folders", { prefix: "games/state/" }],
    ["an empty prefix", { prefix: "" }],
  ];
  test.each(TAKEN)("%s", (_, props) => {
    expect(() => checkProps(props)).not.toThrow();
  });
});
