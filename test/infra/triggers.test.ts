// What makes the functions run: schedules, queues, the table's stream.

import { Duration } from "aws-cdk-lib";
import { EventBus } from "aws-cdk-lib/aws-events";
import { Key } from "aws-cdk-lib/aws-kms";
import { describe, expect, test } from "vitest";
import { LEASE_TTL_MS } from "../../lib/model/limits.ts";
import { propertiesOf, type Scene, synthesize } from "./scene.ts";

const QUEUE = "AWS::SQS::Queue";
const LEASE_SECONDS = LEASE_TTL_MS / 1_000;
const SQS_VISIBILITY_SECONDS_MAX = 12 * 3_600;
const FOURTEEN_DAYS_SECONDS = 14 * 86_400;
const plain = synthesize();

function sourceOf({ template }: Scene, of: string) {
  const mappings = Object.entries(template.findResources("AWS::Lambda::EventSourceMapping"));
  const [, mapping] = mappings.find(([id]) => id.startsWith(`Pipeline${of}`)) ?? [];
  return mapping?.Properties;
}

function visibilityOf(scene: Scene, of: string): number {
  return Number(propertiesOf(scene, QUEUE, `${of}Queue`).VisibilityTimeout);
}

describe("schedules", () => {
  test("the planner runs each minute, the cleanup each day, at the full minute", () => {
    const schedules = Object.values(plain.template.findResources("AWS::Scheduler::Schedule")).map(({ Properties }) => Properties);
    expect(schedules.map(({ ScheduleExpression, FlexibleTimeWindow, Target }) => [ScheduleExpression, FlexibleTimeWindow, Target.Input])).toEqual([
      ["rate(1 minute)", { Mode: "OFF" }, '{"kind":"plan"}'],
      ["rate(1 day)", { Mode: "OFF" }, '{"kind":"pass"}'],
    ]);
  });

  test("a schedule's call that failed is left to the next one", () => {
    const policies = Object.values(plain.template.findResources("AWS::Scheduler::Schedule")).map(({ Properties }) => Properties.Target.RetryPolicy);
    expect(policies).toEqual(Array(2).fill({ MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 }));
  });

  test("both rates can be set", () => {
    const { template } = synthesize({ plan: { every: Duration.minutes(5) }, cleanup: { every: Duration.hours(6) } });
    const rates = Object.values(template.findResources("AWS::Scheduler::Schedule")).map(({ Properties }) => Properties.ScheduleExpression);
    expect(rates).toEqual(["rate(5 minutes)", "rate(6 hours)"]);
  });

  test("only the scheduler of this account can take the schedules' roles", () => {
    for (const id of ["PlanScheduleRole", "CleanupScheduleRole"]) {
      expect(propertiesOf(plain, "AWS::IAM::Role", id).AssumeRolePolicyDocument).toMatchObject({
        Statement: [{ Principal: { Service: "scheduler.amazonaws.com" }, Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } } }],
      });
    }
  });
});

describe("queues", () => {
  const TIMEOUTS = [1, 5, 11, 12, 13, 60, 900];

  test.each(TIMEOUTS)("with a timeout of %i s a message comes back only when its first receiver can hold neither the function nor the lease", (seconds) => {
    const timeout = Duration.seconds(seconds);
    const scene = synthesize({ snapshot: { timeout }, cleanup: { timeout }, ingest: { timeout }, alarms: false });
    for (const of of ["Snapshot", "Cleanup", "Ingest"]) {
      expect(visibilityOf(scene, of)).toBeGreaterThan(seconds + LEASE_SECONDS);
      expect(visibilityOf(scene, of)).toBeGreaterThanOrEqual(6 * seconds);
      expect(visibilityOf(scene, of)).toBeLessThanOrEqual(SQS_VISIBILITY_SECONDS_MAX);
    }
  });

  test("a message is received five times at most, then kept for fourteen days among the dead letters", () => {
    for (const of of ["Snapshot", "Cleanup", "Ingest"]) {
      expect(propertiesOf(plain, QUEUE, `${of}Queue`).RedrivePolicy).toMatchObject({ maxReceiveCount: 5 });
      expect(propertiesOf(plain, QUEUE, `${of}DeadLetterQueue`)).toMatchObject({ MessageRetentionPeriod: FOURTEEN_DAYS_SECONDS });
    }
  });

  test("every queue refuses whoever comes without TLS, and is encrypted", () => {
    const queues = Object.keys(plain.template.findResources(QUEUE));
    const policies = Object.values(plain.template.findResources("AWS::SQS::QueuePolicy"));
    const denials = policies.filter(({ Properties }) => JSON.stringify(Properties.PolicyDocument).includes('"aws:SecureTransport":"false"'));
    expect(denials.flatMap(({ Properties }) => Properties.Queues.map(({ Ref }: { Ref: string }) => Ref)).toSorted()).toEqual(queues.toSorted());
    for (const id of queues) expect(plain.template.findResources(QUEUE)[id].Properties.SqsManagedSseEnabled).toBe(true);
  });

  test("mutations of a shard stay in order, and equal bodies are not taken for one message", () => {
    expect(propertiesOf(plain, QUEUE, "IngestQueue")).toMatchObject({
      FifoQueue: true,
      ContentBasedDeduplication: false,
      DeduplicationScope: "messageGroup",
      FifoThroughputLimit: "perMessageGroupId",
    });
    expect(propertiesOf(plain, QUEUE, "IngestDeadLetterQueue").FifoQueue).toBe(true);
  });

  test("only the queues that hold mutations are encrypted by the key that is given", () => {
    const { template } = synthesize((stack) => ({ encryptionKey: new Key(stack, "Key") }));
    const encrypted = Object.entries(template.findResources(QUEUE)).flatMap(([id, { Properties }]) => (Properties.KmsMasterKeyId ? [id.slice(0, -8)] : []));
    expect(encrypted).toEqual(["PipelineIngestDeadLetterQueue", "PipelineIngestQueue"]);
  });

  test("without the ingest queue there is neither queue nor function", () => {
    const { pipeline, template } = synthesize({ ingest: { queue: false } });
    expect([pipeline.queues.ingest, pipeline.functions.ingestQueue]).toEqual([undefined, undefined]);
    expect(JSON.stringify(template.findResources(QUEUE))).not.toContain("Fifo");
  });

  test("a function takes one shard at a time, so many beside each other, and fails message by message", () => {
    const scene = synthesize({ snapshot: { maxConcurrency: 3 }, cleanup: { maxConcurrency: 4 } });
    const one = { BatchSize: 1, FunctionResponseTypes: ["ReportBatchItemFailures"] };
    expect(sourceOf(scene, "SnapshotFunction")).toMatchObject({ ...one, ScalingConfig: { MaximumConcurrency: 3 } });
    expect(sourceOf(scene, "CleanupFunction")).toMatchObject({ ...one, ScalingConfig: { MaximumConcurrency: 4 } });
    expect(sourceOf(scene, "IngestQueueFunction")).toMatchObject({ BatchSize: 10, FunctionResponseTypes: ["ReportBatchItemFailures"] });
  });
});

describe("events", () => {
  const source = sourceOf(plain, "EventsSource");

  test("only changes of generations, control items and jobs wake the function: appends do not", () => {
    const pattern = { dynamodb: { Keys: { sort: { S: [{ prefix: "snapshot#" }, "control", "job#snapshot"] } } } };
    expect(source?.FilterCriteria.Filters.map(({ Pattern }: { Pattern: string }) => JSON.parse(Pattern))).toEqual([pattern]);
  });

  test("what is on the stream before the function is there is told, too, and nothing is given up before the stream forgets it", () => {
    expect(source).toMatchObject({
      StartingPosition: "TRIM_HORIZON",
      FunctionResponseTypes: ["ReportBatchItemFailures"],
      BisectBatchOnFunctionError: true,
      MaximumRecordAgeInSeconds: 23 * 3_600,
      DestinationConfig: { OnFailure: { Destination: { "Fn::GetAtt": ["PipelineEventsDeadLetterQueueA716F256", "Arn"] } } },
    });
  });

  test("they go to the bus that is given", () => {
    const scene = synthesize((stack) => ({ events: { bus: new EventBus(stack, "Bus") } }));
    expect(propertiesOf(scene, "AWS::Lambda::Function", "EventsFunction").Environment).toMatchObject({
      Variables: { TIDEMARK_EVENT_BUS: { "Fn::GetAtt": ["BusEA82B648", "Arn"] } },
    });
  });

  test("where they are off nothing follows the stream", () => {
    const scene = synthesize({ events: false });
    expect([sourceOf(scene, "EventsSource"), scene.pipeline.functions.events]).toEqual([undefined, undefined]);
  });
});
