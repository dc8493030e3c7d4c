import { Duration } from "aws-cdk-lib";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import { Topic } from "aws-cdk-lib/aws-sns";
import { describe, expect, test } from "vitest";
import { propertiesOf, type Scene, synthesize } from "./scene.ts";

const ALARM = "AWS::CloudWatch::Alarm";
const SEVEN_DAYS_SECONDS = 7 * 86_400;
const DIMENSIONS = [{ Name: "pipeline", Value: "Test/Pipeline" }];
const plain = synthesize();

interface AlarmProperties {
  readonly AlarmDescription?: string;
  readonly AlarmActions?: readonly unknown[];
  readonly OKActions?: readonly unknown[];
  readonly Dimensions: readonly { readonly Name: string }[];
  readonly Threshold: number;
  readonly Period: number;
  readonly EvaluationPeriods: number;
}

function alarmsOf({ template }: Scene): Readonly<Record<string, AlarmProperties>> {
  const found = Object.values(template.findResources(ALARM));
  return Object.fromEntries(found.map(({ Metadata, Properties }) => [Metadata?.["aws:cdk:path"].split("/").at(-2), Properties]));
}

describe("what is watched", () => {
  test("captures, cleanup, ingest and every queue of dead letters", () => {
    expect(Object.keys(alarmsOf(plain))).toEqual([
      "CheckpointLag",
      "PlannerStopped",
      "SnapshotsFailed",
      "CleanupStalled",
      "CleanupsFailed",
      "IngestWaits",
      "IngestFaults",
      "IngestThrottles",
      "SnapshotDeadLetters",
      "CleanupDeadLetters",
      "IngestDeadLetters",
      "EventsDeadLetters",
    ]);
  });

  test("a checkpoint that lags for more than a quarter of an hour, twice in a row", () => {
    expect(alarmsOf(plain).CheckpointLag).toMatchObject({
      Namespace: "Tidemark",
      MetricName: "CheckpointLag",
      Dimensions: DIMENSIONS,
      Statistic: "Maximum",
      Period: 300,
      EvaluationPeriods: 2,
      Threshold: 900,
      ComparisonOperator: "GreaterThanThreshold",
      TreatMissingData: "notBreaching",
    });
  });

  test.each([1, 5, 10, 60])("with a planner that runs every %i minutes each period of the lag has a figure: two in a row can be above", (minutes) => {
    const every = Duration.minutes(minutes);
    expect(alarmsOf(synthesize({ plan: { every } })).CheckpointLag.Period).toBe(Math.max(300, 2 * every.toSeconds()));
  });

  test("the lag that is allowed can be set", () => {
    expect(alarmsOf(synthesize({ alarms: { checkpointLag: Duration.hours(1) } })).CheckpointLag.Threshold).toBe(3_600);
  });

  test("a planner that sends nothing, by the silence itself", () => {
    const silence = {
      MetricName: "CheckpointLag",
      Statistic: "SampleCount",
      Threshold: 1,
      ComparisonOperator: "LessThanThreshold",
      TreatMissingData: "breaching",
    };
    expect(alarmsOf(plain).PlannerStopped).toMatchObject({ ...silence, Period: 300 });
    expect(alarmsOf(synthesize({ plan: { every: Duration.hours(1) } })).PlannerStopped).toMatchObject({ ...silence, Period: 7_200 });
  });

  test.each([1, 2, 3, 10, 59, 60, 90, 360, 1_440, 2_880])("a cleanup every %i minutes that has not run for two and a half of its periods", (minutes) => {
    const every = Duration.minutes(minutes);
    const { Period, EvaluationPeriods, ...alarm } = alarmsOf(synthesize({ cleanup: { every } })).CleanupStalled;
    expect(alarm).toMatchObject({
      MetricName: "CleanupPasses",
      Statistic: "Sum",
      Threshold: 1,
      ComparisonOperator: "LessThanThreshold",
      TreatMissingData: "breaching",
    });
    expect(Period % 60).toBe(0);
    expect(Period * EvaluationPeriods).toBeGreaterThanOrEqual(2.5 * every.toSeconds());
    expect(Period * EvaluationPeriods).toBeLessThanOrEqual(SEVEN_DAYS_SECONDS);
  });

  test.each([30, 1, 900])("a message of the ingest queue that is older than one that fails is tried, where a try may take %i s", (seconds) => {
    const scene = synthesize({ ingest: { timeout: Duration.seconds(seconds) } });
    const { VisibilityTimeout, RedrivePolicy } = Object(propertiesOf(scene, "AWS::SQS::Queue", "IngestQueue"));
    expect(alarmsOf(scene).IngestWaits).toMatchObject({
      Namespace: "AWS/SQS",
      MetricName: "ApproximateAgeOfOldestMessage",
      Dimensions: [{ Name: "QueueName", Value: { "Fn::GetAtt": [expect.stringContaining("PipelineIngestQueue"), "QueueName"] } }],
      Statistic: "Maximum",
      EvaluationPeriods: 1,
      Threshold: RedrivePolicy.maxReceiveCount * VisibilityTimeout,
      ComparisonOperator: "GreaterThanThreshold",
      TreatMissingData: "notBreaching",
    });
  });

  test("no age of a queue that is not there", () => {
    expect(alarmsOf(synthesize({ ingest: { queue: false } })).IngestWaits).toBeUndefined();
  });

  test("one message among the dead letters", () => {
    for (const of of ["Snapshot", "Cleanup", "Ingest", "Events"]) {
      expect(alarmsOf(plain)[`${of}DeadLetters`]).toMatchObject({
        MetricName: "ApproximateNumberOfMessagesVisible",
        Dimensions: [{ Name: "QueueName", Value: { "Fn::GetAtt": [expect.stringContaining(`Pipeline${of}DeadLetterQueue`), "QueueName"] } }],
        Threshold: 0,
        ComparisonOperator: "GreaterThanThreshold",
      });
    }
  });

  test("no metric names a shard", () => {
    const dimensions = Object.values(alarmsOf(plain)).flatMap(({ Dimensions }) => Dimensions.map(({ Name }) => Name));
    expect(new Set(dimensions)).toEqual(new Set(["pipeline", "QueueName", "FunctionName"]));
  });
});

describe("what somebody reads who is woken", () => {
  test("each alarm says what it means and what to look at first", () => {
    for (const { AlarmDescription } of Object.values(alarmsOf(plain))) expect(AlarmDescription).toMatch(/^[A-Z][^.:]+[.:;].* (Look first at|Read it in) /);
  });

  test("each alarm acts when it starts and when it ends", () => {
    const scene = synthesize((stack) => ({
      alarms: { actions: [new SnsAction(Topic.fromTopicArn(stack, "Topic", "arn:aws:sns:eu-west-1:123456789012:alarms"))] },
    }));
    const topic = ["arn:aws:sns:eu-west-1:123456789012:alarms"];
    for (const { AlarmActions, OKActions } of Object.values(alarmsOf(scene))) expect([AlarmActions, OKActions]).toEqual([topic, topic]);
  });
});

describe("by choice", () => {
  test("there are no alarms", () => {
    expect(alarmsOf(synthesize({ alarms: false }))).toEqual({});
  });

  test("there is a dashboard; it costs, so otherwise there is none", () => {
    const [without, with_] = [plain, synthesize({ dashboard: true })].map(
      ({ template }) => Object.keys(template.findResources("AWS::CloudWatch::Dashboard")).length,
    );
    expect([without, with_]).toEqual([0, 1]);
  });

  test("a pipeline's name goes into functions, alarms and metrics alike", () => {
    const scene = synthesize({ pipelineName: "games" });
    const { Variables } = Object(propertiesOf(scene, "AWS::Lambda::Function", "PlanFunction").Environment);
    const { dimensions } = scene.pipeline.metricCheckpointLag().toMetricConfig().metricStat ?? {};
    expect([Variables.TIDEMARK_PIPELINE, alarmsOf(scene).CheckpointLag.Dimensions, dimensions]).toEqual([
      "games",
      [{ Name: "pipeline", Value: "games" }],
      [{ name: "pipeline", value: "games" }],
    ]);
  });

  test("what a table alone has is asked for by the table, and shown for every table", () => {
    const { pipeline, template } = synthesize({ dashboard: true, pipelineName: "games" });
    const metrics = [pipeline.metricExpectedRecoveryTime("players"), pipeline.metricWriteAmplification("players")];
    expect(metrics.map(({ metricName, statistic, dimensions }) => [metricName, statistic, dimensions])).toEqual([
      ["ExpectedRecoveryTime", "Maximum", { pipeline: "games", table: "players" }],
      ["WriteAmplification", "Maximum", { pipeline: "games", table: "players" }],
    ]);
    const [{ Properties }] = Object.values(template.findResources("AWS::CloudWatch::Dashboard"));
    for (const name of ["ExpectedRecoveryTime", "WriteAmplification"]) {
      const search = `SEARCH('{Tidemark,pipeline,table} MetricName=\\"${name}\\" pipeline=\\"games\\"', 'Maximum')`;
      expect(JSON.stringify(Properties.DashboardBody)).toContain(JSON.stringify(search).slice(1, -1));
    }
  });

  test("each metric method asks for the metric of its name", () => {
    const { pipeline } = plain;
    const metrics = [
      pipeline.metricCheckpointLag(),
      pipeline.metricDirtyShards(),
      pipeline.metricSnapshotsCompleted(),
      pipeline.metricSnapshotsFailed(),
      pipeline.metricCleanupsFailed(),
      pipeline.metricMutationsAppended(),
    ];
    expect(metrics.map(({ metricName, statistic }) => `${metricName} ${statistic}`)).toEqual([
      "CheckpointLag Maximum",
      "DirtyShards Maximum",
      "SnapshotsCompleted Sum",
      "SnapshotsFailed Sum",
      "CleanupsFailed Sum",
      "MutationsAppended Sum",
    ]);
  });
});
