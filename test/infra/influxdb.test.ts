// A source: what it has of its own, and that a pipeline without one is as it was.

import { Duration } from "aws-cdk-lib";
import { Port, SecurityGroup, Vpc } from "aws-cdk-lib/aws-ec2";
import { describe, expect, test } from "vitest";
import type { InfluxdbSource } from "../../infra/snapshot-pipeline.ts";
import { GATHERING_TTL_MS } from "../../lib/model/limits.ts";
import { propertiesOf, type Scene, synthesize } from "./scene.ts";

const QUEUE = "AWS::SQS::Queue";
const FUNCTION = "AWS::Lambda::Function";
const SEVEN_DAYS_SECONDS = 7 * 86_400;
const METRICS: InfluxdbSource = { name: "metrics", host: "10.0.0.5", every: Duration.hours(1) };
const plain = synthesize({ influxdb: [METRICS] });

function withSource(source: Partial<InfluxdbSource>): Scene {
  return synthesize({ influxdb: [{ ...METRICS, ...source }] });
}

function settingsOf(scene: Scene): unknown {
  return JSON.parse(Object(propertiesOf(scene, FUNCTION, "InfluxdbFunction").Environment).Variables.TIDEMARK_INFLUXDB);
}

function alarmsOf({
  template,
}: Scene): Readonly<Record<string, { readonly AlarmDescription: string; readonly Period: number; readonly EvaluationPeriods: number }>> {
  const found = Object.values(template.findResources("AWS::CloudWatch::Alarm")).map(({ Metadata, Properties }) => [Metadata?.["aws:cdk:path"], Properties]);
  return Object.fromEntries(found.filter(([path]) => path.includes("/Alarms/metrics/")).map(([path, properties]) => [path.split("/").at(-2), properties]));
}

describe("a source", () => {
  test("is a schedule that sends a message with its name and another job each time, to a queue of its own", () => {
    const { ScheduleExpression, Target } = propertiesOf(plain, "AWS::Scheduler::Schedule", "BackupSchedule");
    expect([ScheduleExpression, Target]).toEqual([
      "rate(1 hour)",
      {
        Arn: { "Fn::GetAtt": [expect.stringMatching(/^PipelineInfluxdbmetricsBackupQueue/), "Arn"] },
        RoleArn: { "Fn::GetAtt": [expect.stringMatching(/^PipelineInfluxdbmetricsBackupScheduleRole/), "Arn"] },
        Input: '{"source":"metrics","job":"<aws.scheduler.execution-id>"}',
        RetryPolicy: { MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 },
      },
    ]);
  });

  test("is made behind its table, which each of its generations is captured in, and which keeps thirty of them", () => {
    const [{ Properties }] = Object.values(plain.template.findResources("Custom::TidemarkTables"));
    expect(JSON.parse(Properties.Tables)).toMatchObject([
      { name: "metrics", source: "influxdb", shards: 1, codec: "json", captureAfterMutations: 1, keepSnapshots: 30, keepForMs: 0 },
    ]);
    const [{ DependsOn }] = Object.values(plain.template.findResources("AWS::Scheduler::Schedule", { Properties: { ScheduleExpression: "rate(1 hour)" } }));
    expect(DependsOn).toContain(Object.keys(plain.template.findResources("Custom::TidemarkTables"))[0]);
  });

  test("has its server and what is backed up of it in its function, the rest at its defaults", () => {
    expect(settingsOf(plain)).toEqual({ name: "metrics", host: "10.0.0.5", port: 8088, skipErrors: true, withoutUsers: false });
    const told = withSource({ port: 8099, selection: { database: "a b" }, skipErrors: false, withoutUsers: true, silentFor: Duration.seconds(5) });
    expect(settingsOf(told)).toEqual({
      ...{ name: "metrics", host: "10.0.0.5", port: 8099, selection: { database: "a b" }, skipErrors: false, withoutUsers: true, silentMs: 5_000 },
    });
  });

  test("has a function that takes one message at a time, and has the time and memory that it is given", () => {
    const [mapping] = Object.entries(plain.template.findResources("AWS::Lambda::EventSourceMapping")).flatMap(([id, { Properties }]) =>
      id.includes("Influxdb") ? [Properties] : [],
    );
    expect(mapping).toMatchObject({ BatchSize: 1, FunctionResponseTypes: ["ReportBatchItemFailures"], ScalingConfig: { MaximumConcurrency: 2 } });
    const sized = withSource({ timeout: Duration.seconds(70), memorySize: 3_008 });
    const sizes = [plain, sized].map((scene) => propertiesOf(scene, FUNCTION, "InfluxdbFunction")).map(({ Timeout, MemorySize }) => [Timeout, MemorySize]);
    expect(sizes).toEqual([
      [900, 1_769],
      [70, 3_008],
    ]);
  });

  test.each([1, 25, 60, 61, 300, 900])("with a timeout of %i s comes back only when whoever was killed no longer holds the backup", (seconds) => {
    const scene = withSource({ timeout: Duration.seconds(seconds) });
    const { VisibilityTimeout, RedrivePolicy } = propertiesOf(scene, QUEUE, "BackupQueue");
    expect(VisibilityTimeout).toBeGreaterThan(seconds + GATHERING_TTL_MS / 1_000);
    expect(VisibilityTimeout).toBeGreaterThanOrEqual(6 * seconds);
    expect(RedrivePolicy).toMatchObject({ maxReceiveCount: 5 });
  });

  test("can stand beside another, each with all of its own", () => {
    const { template, pipeline } = synthesize({ functionNamePrefix: "game", influxdb: [METRICS, { ...METRICS, name: "other" }] });
    const names = Object.values(template.findResources(FUNCTION)).flatMap(({ Properties }) =>
      /influxdb/.test(Properties.FunctionName) ? [Properties.FunctionName] : [],
    );
    expect([names, Object.keys(pipeline.influxdb)]).toEqual([
      ["game-influxdb-metrics", "game-influxdb-other"],
      ["metrics", "other"],
    ]);
  });

  test("is in no pipeline that names none", () => {
    const { template, pipeline } = synthesize({ dashboard: true });
    expect([pipeline.influxdb, JSON.stringify(template.toJSON()).match(/influxdb|backup/i)]).toEqual([{}, null]);
  });
});

describe("a source's network", () => {
  test("is the pipeline's, or its own, and its server can let it in", () => {
    const networks = (["own", "pipeline"] as const).map((whose) => {
      const scene = synthesize(
        (stack) => {
          const vpc = new Vpc(stack, "Vpc");
          const group = new SecurityGroup(stack, "Group", { vpc });
          return whose === "own" ? { influxdb: [{ ...METRICS, vpc, securityGroups: [group] }] } : { vpc, influxdb: [{ ...METRICS, securityGroups: [group] }] };
        },
        (pipeline) => {
          const server = new SecurityGroup(pipeline, "Server", {
            vpc: Vpc.fromVpcAttributes(pipeline, "Other", { vpcId: "vpc-1", availabilityZones: ["eu-west-1a"] }),
          });
          server.connections.allowFrom(pipeline.influxdb.metrics.function, Port.tcp(8088));
        },
      );
      const [source, plan] = ["InfluxdbFunction", "PlanFunction"].map((id) => Object(propertiesOf(scene, FUNCTION, id).VpcConfig));
      scene.template.resourceCountIs("AWS::EC2::SecurityGroupIngress", 1);
      return [source.SecurityGroupIds, plan.SubnetIds !== undefined];
    });
    const group = [{ "Fn::GetAtt": ["GroupC77FDACD", "GroupId"] }];
    expect(networks).toEqual([
      [group, false],
      [group, true],
    ]);
  });
});

describe("a source is watched", () => {
  test("for backups that are overdue, partial, or given up", () => {
    const dimensions = [
      { Name: "pipeline", Value: "Test/Pipeline" },
      { Name: "table", Value: "metrics" },
    ];
    expect(alarmsOf(plain)).toEqual({
      BackupOverdue: expect.objectContaining({
        MetricName: "BackupsCompleted",
        Dimensions: dimensions,
        Statistic: "Sum",
        Period: 1_800,
        EvaluationPeriods: 5,
        Threshold: 1,
        ComparisonOperator: "LessThanThreshold",
        TreatMissingData: "breaching",
      }),
      BackupsPartial: expect.objectContaining({ MetricName: "BackupsPartial", Dimensions: dimensions, Threshold: 0, TreatMissingData: "notBreaching" }),
      BackupDeadLetters: expect.objectContaining({
        MetricName: "ApproximateNumberOfMessagesVisible",
        Dimensions: [{ Name: "QueueName", Value: { "Fn::GetAtt": [expect.stringMatching(/BackupDeadLetterQueue/), "QueueName"] } }],
      }),
    });
    for (const { AlarmDescription } of Object.values(alarmsOf(plain))) expect(AlarmDescription).toMatch(/^[A-Z][^.:]+[.:;].* (Look first at|Read it in) /);
  });

  test.each([1, 5, 60, 90, 1_440, 2_880])("each %i minutes, an overdue one within what CloudWatch looks back", (minutes) => {
    const { Period, EvaluationPeriods } = alarmsOf(withSource({ every: Duration.minutes(minutes) })).BackupOverdue;
    expect(Period % 60).toBe(0);
    expect(Period * EvaluationPeriods).toBeGreaterThanOrEqual(2.5 * 60 * minutes);
    expect(Period * EvaluationPeriods).toBeLessThanOrEqual(SEVEN_DAYS_SECONDS);
  });

  test("by metrics that can be asked for by its name, and on the dashboard", () => {
    const { pipeline, template } = synthesize({ influxdb: [METRICS], dashboard: true, pipelineName: "games" });
    const metrics = [pipeline.metricBackupsCompleted("metrics"), pipeline.metricBackupsPartial("metrics"), pipeline.metricBackupsFailed("metrics")];
    expect(metrics.map(({ metricName, statistic, dimensions }) => [metricName, statistic, dimensions])).toEqual(
      ["BackupsCompleted", "BackupsPartial", "BackupsFailed"].map((name) => [name, "Sum", { pipeline: "games", table: "metrics" }]),
    );
    const [{ Properties }] = Object.values(template.findResources("AWS::CloudWatch::Dashboard"));
    expect(JSON.stringify(Properties.DashboardBody)).toContain("BackupsCompleted");
  });
});
