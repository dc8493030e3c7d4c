// Props that cannot be kept are refused before anything is made, with what to write instead.

import { App, Duration, Stack, Token } from "aws-cdk-lib";
import { Table } from "aws-cdk-lib/aws-dynamodb";
import { SecurityGroup, Vpc } from "aws-cdk-lib/aws-ec2";
import { Bucket, ObjectLockRetention } from "aws-cdk-lib/aws-s3";
import { describe, expect, test } from "vitest";
import { checkProps } from "../../infra/checks.ts";
import type { InfluxdbSource, SnapshotPipelineProps } from "../../infra/snapshot-pipeline.ts";

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

const INFLUXDB = { name: "metrics", host: "10.0.0.5", every: Duration.hours(1) };
const REFUSED_SOURCES: readonly (readonly [string, Partial<InfluxdbSource>, string])[] = [
  ["a name with capitals", { name: "Metrics" }, '"Metrics" is not a table name: use lower-case letters'],
  ["a host with its port", { host: "db:8088" }, 'influxdb metrics: host is "db:8088": write the server\'s name or IP address alone, and its port as port'],
  ["a URL for a host", { host: "http://db" }, "write the server's name or IP address alone"],
  ["no host", { host: "" }, "write the server's name or IP address alone"],
  ["port 0", { port: 0 }, "influxdb metrics: port is 0: use a whole number from 1 to 65535"],
  ["a port that is none", { port: 65_536 }, "use a whole number from 1 to 65535"],
  ["a backup each half minute", { every: Duration.seconds(30) }, 'influxdb metrics: every is "30 seconds": use whole minutes from 1 to 2880'],
  ["a backup each week", { every: Duration.days(7) }, "use whole minutes from 1 to 2880"],
  ["one kept backup", { keep: { last: 1 } }, "keep-snapshots is 1: use a whole number from 2 to 10000"],
  ["a database without a name", { selection: { database: "" } }, "write the name of a database"],
  ["a timeout beyond Lambda's", { timeout: Duration.minutes(16) }, "influxdb metrics.timeout in seconds is 960: use a whole number from 1 to 900"],
  ["too little memory", { memorySize: 64 }, "influxdb metrics.memorySize in MiB is 64"],
  ["a silence of nothing", { silentFor: Duration.millis(1) }, "influxdb metrics: silentFor in ms is 1"],
  ["subnets without a VPC", { vpcSubnets: {} }, 'influxdb metrics: vpcSubnets or securityGroups is "given": they need vpc'],
];

describe("refused of a source", () => {
  test.each(REFUSED_SOURCES)("%s", (_, source, message) => {
    expect(() => checkProps({ influxdb: [{ ...INFLUXDB, ...source }] })).toThrow(message);
  });

  test("a name that another has, or a table", () => {
    expect(() => checkProps({ influxdb: [INFLUXDB, { ...INFLUXDB, host: "other" }] })).toThrow('influxdb is "metrics": it is there twice');
    expect(() => checkProps({ influxdb: [INFLUXDB], tables: [{ name: "metrics" }] })).toThrow("a table has that name");
  });

  test("a function's name that Lambda would not take", () => {
    const of = (name: string) => () => checkProps({ functionNamePrefix: "game-state", influxdb: [{ ...INFLUXDB, name }] });
    expect(of("a.b")).toThrow(
      'functionNamePrefix is "game-state": the function of influxdb a.b would be game-state-influxdb-a.b: choose shorter names, without dots',
    );
    expect(of("n".repeat(45))).toThrow("choose shorter names");
    expect(of("n".repeat(44))).not.toThrow();
  });
});

describe("refused", () => {
  test.each(REFUSED)("%s", (_, props, message) => {
    expect(() => checkProps(props)).toThrow(message);
  });
});

describe("taken", () => {
  const hosts = ["10.0.0.5", "::1", "fd00::1:2", "db.internal", "db_1", Token.asString({ Ref: "Server" })];
  const SOURCES = hosts.map((host, at) => ({ ...INFLUXDB, name: `metrics-${at}`, host }));
  const TAKEN: readonly (readonly [string, SnapshotPipelineProps])[] = [
    ["nothing at all", {}],
    ["the smallest of everything", { plan: { every: Duration.minutes(1) }, snapshot: { timeout: Duration.seconds(1), memorySize: 128, maxConcurrency: 2 } }],
    ["the largest of everything", { cleanup: { every: Duration.days(2), timeout: Duration.minutes(15), memorySize: 10_240, maxConcurrency: 1_000 } }],
    ["a prefix of several folders", { prefix: "games/state/" }],
    ["a source by an address, by a name, and by what is only known when it is deployed", { influxdb: SOURCES }],
    ["an empty prefix", { prefix: "" }],
  ];
  test.each(TAKEN)("%s", (_, props) => {
    expect(() => checkProps(props)).not.toThrow();
  });
});
