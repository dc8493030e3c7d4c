// The app's settings: each key of the context, its default, and what is said where it cannot be used.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseSettings } from "../../infra/settings.ts";
import { BUNDLES, propertiesOf, synthesizeApp } from "./scene.ts";

describe("settings", () => {
  test("all of them may be left away", () => {
    expect(parseSettings({})).toEqual({
      stackName: "Tidemark",
      tables: [],
      influxdb: [],
      logRetentionDays: 30,
      logLevel: "INFO",
      tracing: false,
      planEveryMinutes: 1,
      planReservedConcurrency: true,
      snapshotTimeoutSeconds: 900,
      snapshotMemoryMb: 1_769,
      snapshotConcurrency: 10,
      cleanupEveryMinutes: 1_440,
      cleanupTimeoutSeconds: 900,
      ingestQueue: true,
      events: true,
      alarms: true,
      checkpointLagMinutes: 15,
      dashboard: false,
    });
  });

  test("texts, as -c gives them, and values, as cdk.json has them, mean the same", () => {
    const tables = [{ name: "players", shards: 4 }];
    const texts = { tables: JSON.stringify(tables), planEveryMinutes: "5", ingestQueue: "false", logRetentionDays: "7" };
    const values = { tables, planEveryMinutes: 5, ingestQueue: false, logRetentionDays: 7 };
    expect(parseSettings(texts)).toEqual(parseSettings(values));
  });

  test("each setting of a table comes to its prop", () => {
    const all = {
      ...{ name: "players", shards: 4, codec: "bytes", captureLogShare: 0.25, recoverWithinSeconds: 30, captureEverySeconds: 300, captureAfterMutations: 9 },
      ...{ capturesTogether: 2, keepLast: 3, keepForSeconds: 60, compactionOverhead: 7 },
    };
    const [{ Properties }] = Object.values(synthesizeApp({ tables: [all] }).template.findResources("Custom::TidemarkTables"));
    expect(JSON.parse(Properties.Tables)).toEqual([
      {
        ...{ name: "players", shards: 4, codec: "bytes", captureLogPercent: 25, recoverWithinMs: 30_000, captureAfterMutations: 9, captureAfterMs: 300_000 },
        ...{ capturesTogetherMax: 2, keepSnapshots: 3, keepForMs: 60_000, compactionOverhead: 7 },
      },
    ]);
  });

  test("each setting of a source comes to its prop", () => {
    const all = {
      ...{ name: "metrics", host: "10.0.0.5", port: 8099, everyMinutes: 30, database: "telegraf", policy: "autogen", keepLast: 5, keepForSeconds: 60 },
      ...{ skipErrors: false, withoutUsers: true, timeoutSeconds: 60, silentSeconds: 30, memoryMb: 512 },
      ...{ vpcId: "vpc-0123456789abcdef0", subnetIds: ["subnet-0123456789abcdef0"], securityGroupIds: ["sg-0123456789abcdef0"] },
    };
    const { template } = synthesizeApp({ influxdb: [all] });
    const { Environment, ...properties } = propertiesOf({ template }, "AWS::Lambda::Function", "InfluxdbFunction");
    expect(JSON.parse(Object(Environment).Variables.TIDEMARK_INFLUXDB)).toEqual({
      ...{ name: "metrics", host: "10.0.0.5", port: 8099, selection: { database: "telegraf", policy: "autogen" } },
      ...{ skipErrors: false, withoutUsers: true, silentMs: 30_000 },
    });
    expect(properties).toMatchObject({
      Timeout: 60,
      MemorySize: 512,
      VpcConfig: { SubnetIds: ["subnet-0123456789abcdef0"], SecurityGroupIds: ["sg-0123456789abcdef0"] },
    });
    const [{ Properties }] = Object.values(template.findResources("Custom::TidemarkTables"));
    expect(JSON.parse(Properties.Tables)).toMatchObject([{ name: "metrics", source: "influxdb", keepSnapshots: 5, keepForMs: 60_000 }]);
    expect(Object.keys(template.findOutputs("InfluxdbSources"))).toEqual(["InfluxdbSources"]);
  });

  test("tables can lie in a file", () => {
    const path = join(BUNDLES, "tables.json");
    writeFileSync(path, '[{ "name": "players", "captureEverySeconds": 300 }]');
    expect(parseSettings({ tables: path }).tables).toEqual([{ name: "players", captureEverySeconds: 300 }]);
  });

  test("CDK's own keys are not taken for ours", () => {
    expect(parseSettings({ "aws:cdk:bundling-stacks": ["**"], "@aws-cdk/core:checkSecretUsage": true, "cli-telemetry": false })).toEqual(parseSettings({}));
  });

  const WRONG: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
    [{ tabels: "[]" }, "-c tabels is no setting: use one of stackName, prefix, tables,"],
    [{ influxdb: "[{}]" }, "-c influxdb: 0.name: "],
    [{ influxdb: "/nowhere" }, '-c influxdb=/nowhere: no such file, nor a JSON list: write -c influxdb=\'[{"name":"metrics"'],
    [
      { influxdb: '[{"name":"metrics","host":"db","everyMinutes":5,"vpcId":"vpc-0123456789abcdef0"}]' },
      "-c influxdb: metrics: vpcId and subnetIds belong together",
    ],
    [{ influxdb: '[{"name":"metrics","host":"db","everyMinutes":5,"vpcId":"none"}]' }, "-c influxdb: 0.vpcId: an id such as vpc-0123456789abcdef0"],
    [{ influxdb: '[{"name":"metrics","host":"db","everyMinutes":5,"policy":"p"}]' }, "-c influxdb: metrics: policy is one of a database"],
    [{ prefix: "states" }, '-c prefix="states" cannot be used: write a prefix of keys that ends with a slash, as in "states/"'],
    [{ planEveryMinutes: "0" }, '-c planEveryMinutes="0" cannot be used: write a whole number from 1 to 60'],
    [{ snapshotTimeoutSeconds: "901" }, "write a whole number from 1 to 900"],
    [{ snapshotConcurrency: "x" }, '-c snapshotConcurrency="x" cannot be used: write a whole number from 2 to 1000'],
    [{ logRetentionDays: "31" }, "write one of 1, 3, 5, 7,"],
    [{ dashboard: "yes" }, '-c dashboard="yes" cannot be used: write true or false'],
    [{ alarmEmail: "me" }, '-c alarmEmail="me" cannot be used: write an e-mail address'],
    [{ kms: "mine" }, 'write "new", "alias/NAME" or the ARN of a key'],
    [{ tables: "[{" }, '-c tables is not JSON: write a list such as [{"name":"players","shards":4}]'],
    [{ tables: "[{}]" }, "-c tables: 0.name: "],
    [{ tables: '[{"name":"players","shard":4}]' }, "-c tables: 0: Unrecognized key"],
    [{ tables: "/nowhere/tables.json" }, "-c tables=/nowhere/tables.json: no such file, nor a JSON list"],
    [{ existingBucket: "a-bucket" }, "-c existingBucket and -c existingTable belong together: give both, or neither"],
    [{ tableName: "a-table" }, "-c bucketName and -c tableName belong together: give both, or neither"],
    [{ bucketName: "a-bucket", existingBucket: "b-bucket" }, "-c bucketName and -c existingBucket are both given: leave one of them away"],
    [{ existingTableStream: "arn:aws:dynamodb:eu-west-1:123456789012:table/own/stream/x" }, "existingTableStream is given without existingTable"],
  ];
  test.each(WRONG)("%j is refused with the remedy", (context, message) => {
    expect(() => parseSettings(context)).toThrow(message);
  });
});

describe("the stack", () => {
  const STORE = "s3://<bucket>/states/?table=<table>&region=<region>";

  test("tells what the command line, callers and operators need to know", () => {
    const { template } = synthesizeApp({ prefix: "states/", tables: [{ name: "players" }] });
    expect(Object.keys(template.findOutputs("*"))).toEqual([
      "StoreUrl",
      "IngestUrl",
      "RequestsUrl",
      "BucketName",
      "TableName",
      "SnapshotQueueUrl",
      "SnapshotDeadLetterQueueUrl",
      "CleanupQueueUrl",
      "CleanupDeadLetterQueueUrl",
      "IngestQueueUrl",
      "IngestDeadLetterQueueUrl",
      "EventsDeadLetterQueueUrl",
      "EventBusName",
      "PlanFunctionName",
      "SnapshotFunctionName",
      "CleanupFunctionName",
      "IngestFunctionName",
      "IngestQueueFunctionName",
      "RequestsFunctionName",
      "EventsFunctionName",
      "TablesFunctionName",
    ]);
  });

  test("its StoreUrl is what the command line takes", () => {
    const { template } = synthesizeApp({ prefix: "states/" });
    const parts: readonly unknown[] = template.findOutputs("StoreUrl").StoreUrl.Value["Fn::Join"][1];
    const names = new Map([
      ['{"Ref":"PipelineBucket5BC3F8EA"}', "<bucket>"],
      ['{"Ref":"PipelineTable0C1A5F45"}', "<table>"],
      ['{"Ref":"AWS::Region"}', "<region>"],
    ]);
    expect(parts.map((part) => names.get(JSON.stringify(part)) ?? part).join("")).toBe(STORE);
  });

  test("bucket and table have the names that are given", () => {
    const scene = synthesizeApp({ bucketName: "game-states", tableName: "game-control" });
    expect([propertiesOf(scene, "AWS::S3::Bucket", "Bucket").BucketName, propertiesOf(scene, "AWS::DynamoDB::Table", "Table").TableName]).toEqual([
      "game-states",
      "game-control",
    ]);
  });

  test("what a stack left behind when it was destroyed can be taken up again", () => {
    const existingTable = "arn:aws:dynamodb:eu-west-1:123456789012:table/game-control";
    const { template } = synthesizeApp({ existingBucket: "game-states", existingTable, existingTableStream: `${existingTable}/stream/x` });
    expect([template.findResources("AWS::S3::Bucket"), template.findResources("AWS::DynamoDB::Table")]).toEqual([{}, {}]);
    expect(template.findOutputs("*")).toMatchObject({
      BucketName: { Value: "game-states" },
      TableName: { Value: "game-control" },
      EventBusName: { Value: "default" },
    });
  });

  test("alarms go to the address that is given", () => {
    const { template } = synthesizeApp({ alarmEmail: "ops@example.com" });
    template.hasResourceProperties("AWS::SNS::Subscription", { Protocol: "email", Endpoint: "ops@example.com" });
    template.allResourcesProperties("AWS::CloudWatch::Alarm", { AlarmActions: [{ Ref: "AlarmTopicD01E77F9" }] });
  });

  test("the topic that is made lets the alarms of this account publish: a policy of its own takes the place of SNS's, which would", () => {
    const [{ Properties }] = Object.values(synthesizeApp({ alarmEmail: "ops@example.com" }).template.findResources("AWS::SNS::TopicPolicy"));
    expect(Properties.PolicyDocument.Statement.filter(({ Effect }: { Effect: string }) => Effect === "Allow")).toMatchObject([
      {
        Action: "sns:Publish",
        Principal: { Service: "cloudwatch.amazonaws.com" },
        Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } },
        Resource: { Ref: "AlarmTopicD01E77F9" },
      },
    ]);
  });
});
