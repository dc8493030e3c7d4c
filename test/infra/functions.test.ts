import { Duration } from "aws-cdk-lib";
import { SecurityGroup, Vpc } from "aws-cdk-lib/aws-ec2";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { describe, expect, test } from "vitest";
import { FUNCTION_NAMES, pascal } from "../../infra/functions.ts";
import { statementsOf } from "./policies.ts";
import { propertiesOf, synthesize } from "./scene.ts";

const FUNCTION = "AWS::Lambda::Function";
const SOURCE = { name: "metrics", host: "10.0.0.5", every: Duration.hours(1) };
const bare = synthesize();
const EVERYTHING = { tables: [{ name: "players" }], influxdb: [SOURCE] };
const plain = synthesize(EVERYTHING);

function functionsOf(scene: Parameters<typeof propertiesOf>[0]) {
  return FUNCTION_NAMES.map((name) => [name, propertiesOf(scene, FUNCTION, `${pascal(name)}Function`)] as const);
}

describe("every function", () => {
  test("runs on Node 24 for ARM, and is a bundle's handler", () => {
    for (const [, properties] of functionsOf(plain)) {
      expect(properties).toMatchObject({ Runtime: "nodejs24.x", Architectures: ["arm64"], Handler: "index.handler" });
    }
  });

  test("is traced where that is asked for, and not otherwise", () => {
    const traced = synthesize({ ...EVERYTHING, tracing: true });
    for (const [, properties] of functionsOf(traced)) {
      expect(properties).toMatchObject({ TracingConfig: { Mode: "Active" }, Environment: { Variables: { POWERTOOLS_TRACE_ENABLED: "true" } } });
    }
    for (const [, properties] of functionsOf(plain)) {
      expect(properties).toMatchObject({ Environment: { Variables: { POWERTOOLS_TRACE_ENABLED: "false" } } });
      expect(properties.TracingConfig).toBeUndefined();
    }
  });

  test("there is no function but ours", () => {
    plain.template.resourceCountIs(FUNCTION, FUNCTION_NAMES.length);
  });

  test("knows the store, the pipeline and its own name", () => {
    for (const [name, properties] of functionsOf(plain)) {
      expect(properties.Environment).toMatchObject({
        Variables: {
          TIDEMARK_BUCKET: { Ref: "PipelineBucket5BC3F8EA" },
          TIDEMARK_PREFIX: "",
          TIDEMARK_TABLE: { Ref: "PipelineTable0C1A5F45" },
          TIDEMARK_PIPELINE: "Test/Pipeline",
          POWERTOOLS_SERVICE_NAME: `tidemark-${name}`,
          POWERTOOLS_METRICS_NAMESPACE: "Tidemark",
          POWERTOOLS_LOG_LEVEL: "INFO",
        },
      });
    }
  });

  test("lets the heap of captures grow", () => {
    const options = functionsOf(plain).map(([name, { Environment }]) => [name, Object(Environment).Variables.NODE_OPTIONS]);
    const others = FUNCTION_NAMES.filter((name) => name !== "snapshot").map((name) => [name, "--max-semi-space-size=2"]);
    expect(Object.fromEntries(options)).toEqual({ ...Object.fromEntries(others), snapshot: "--max-semi-space-size=2 --max-old-space-size=2048" });
  });

  test("knows the queues that it sends to, and where its dead letters go", () => {
    const variables = functionsOf(plain).map(([name, { Environment }]) => {
      const { Variables } = Object(Environment);
      return [name, Object.keys(Variables).filter((key) => /^TIDEMARK_.*_(QUEUE|MAX|BUS)$/.test(key))];
    });
    expect(Object.fromEntries(variables)).toEqual({
      plan: ["TIDEMARK_SNAPSHOT_QUEUE"],
      snapshot: ["TIDEMARK_SNAPSHOT_QUEUE", "TIDEMARK_CLEANUP_QUEUE", "TIDEMARK_DEAD_LETTER_QUEUE", "TIDEMARK_RECEIVES_MAX"],
      cleanup: ["TIDEMARK_CLEANUP_QUEUE", "TIDEMARK_DEAD_LETTER_QUEUE", "TIDEMARK_RECEIVES_MAX"],
      ingest: [],
      "ingest-queue": ["TIDEMARK_DEAD_LETTER_QUEUE", "TIDEMARK_RECEIVES_MAX"],
      requests: ["TIDEMARK_SNAPSHOT_QUEUE"],
      events: ["TIDEMARK_EVENT_BUS"],
      tables: [],
      influxdb: ["TIDEMARK_BACKUP_QUEUE", "TIDEMARK_SNAPSHOT_QUEUE", "TIDEMARK_DEAD_LETTER_QUEUE", "TIDEMARK_RECEIVES_MAX"],
    });
  });

  test("logs to a group of its own, which forgets after a month or as it is told", () => {
    const retentions = [plain, synthesize({ logRetention: RetentionDays.ONE_WEEK })].map(({ template }) =>
      Object.values(template.findResources("AWS::Logs::LogGroup")).map(({ Properties }) => Properties.RetentionInDays),
    );
    expect(retentions).toEqual([Array(9).fill(30), Array(8).fill(7)]);
  });

  test("has the time and memory that it is given", () => {
    const sized = synthesize({
      snapshot: { timeout: Duration.seconds(70), memorySize: 3_008 },
      cleanup: { timeout: Duration.seconds(80), memorySize: 300 },
      ingest: { timeout: Duration.seconds(20), memorySize: 400, reservedConcurrency: 7 },
    });
    const sizes = ["Snapshot", "Cleanup", "Ingest", "IngestQueue"].map((id) => {
      const { Timeout, MemorySize, ReservedConcurrentExecutions } = propertiesOf(sized, FUNCTION, `${id}Function`);
      return [Timeout, MemorySize, ReservedConcurrentExecutions];
    });
    expect(sizes).toEqual([
      [70, 3_008, undefined],
      [80, 300, undefined],
      [20, 400, 7],
      [20, 400, undefined],
    ]);
  });

  test("can have a name that begins with a prefix", () => {
    const named = synthesize({ functionNamePrefix: "game-state" });
    expect(propertiesOf(named, FUNCTION, "IngestQueueFunction").FunctionName).toBe("game-state-ingest-queue");
  });

  test("runs in the VPC that is given, and may make its network interfaces there", () => {
    const inVpc = synthesize((stack) => {
      const vpc = new Vpc(stack, "Vpc");
      return { vpc, securityGroups: [new SecurityGroup(stack, "Group", { vpc })] };
    });
    const group = { "Fn::GetAtt": ["GroupC77FDACD", "GroupId"] };
    const { VpcConfig } = propertiesOf(inVpc, FUNCTION, "SnapshotFunction");
    expect([VpcConfig, statementsOf(inVpc.template, "SnapshotRole").some(({ actions }) => actions.includes("ec2:CreateNetworkInterface"))]).toEqual([
      { SecurityGroupIds: [group], SubnetIds: [expect.anything(), expect.anything()] },
      true,
    ]);
  });

  test("whose bundle is missing is told of with the remedy", () => {
    expect(() => synthesize({ bundles: "/nowhere" })).toThrow('/nowhere/plan/index.cjs is missing, the bundle of the function plan: run "npm run build" first');
  });
});

describe("one function and another", () => {
  test("the planner runs once at a time, and a run that failed is not repeated", () => {
    expect(propertiesOf(plain, FUNCTION, "PlanFunction").ReservedConcurrentExecutions).toBe(1);
    plain.template.hasResourceProperties("AWS::Lambda::EventInvokeConfig", { MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 });
  });

  test("an account without executions to spare can have the planner without its own", () => {
    const shared = synthesize({ plan: { reserveConcurrency: false } });
    expect(propertiesOf(shared, FUNCTION, "PlanFunction").ReservedConcurrentExecutions).toBeUndefined();
  });

  test("those that send messages to themselves are not ended as loops", () => {
    const allowed = functionsOf(plain).flatMap(([name, { RecursiveLoop }]) => (RecursiveLoop === "Allow" ? [name] : []));
    expect(allowed).toEqual(["snapshot", "cleanup", "influxdb"]);
  });

  test("both function URLs ask for a signature, and no other site's page may call them", () => {
    const urls = Object.values(plain.template.findResources("AWS::Lambda::Url")).map(({ Properties }) => [Properties.AuthType, Properties.Cors]);
    expect([urls, plain.template.findResources("AWS::Lambda::Permission")]).toEqual([Array(2).fill(["AWS_IAM", undefined]), {}]);
  });
});

describe("tables", () => {
  test("their function is sent all settings of each as one text, those left away at their defaults", () => {
    const { template } = synthesize({
      tables: [
        { name: "players" },
        {
          name: "scores",
          shards: 4,
          codec: "bytes",
          capture: { logShare: 0.29, every: Duration.minutes(5), afterMutations: 9, together: 2 },
          recoverWithin: Duration.seconds(30),
          keep: { last: 3, for: Duration.days(1) },
          compactionOverhead: 7,
        },
      ],
    });
    const [{ Properties }] = Object.values(template.findResources("Custom::TidemarkTables"));
    expect(JSON.parse(Properties.Tables)).toEqual([
      {
        name: "players",
        shards: 1,
        codec: "json",
        captureLogPercent: 50,
        recoverWithinMs: 60_000,
        captureAfterMutations: 10_000_000,
        captureAfterMs: 86_400_000,
        capturesTogetherMax: 10_000,
        keepSnapshots: 2,
        keepForMs: 0,
        compactionOverhead: 0,
      },
      {
        name: "scores",
        shards: 4,
        codec: "bytes",
        captureLogPercent: 29,
        recoverWithinMs: 30_000,
        captureAfterMutations: 9,
        captureAfterMs: 300_000,
        capturesTogetherMax: 2,
        keepSnapshots: 3,
        keepForMs: 86_400_000,
        compactionOverhead: 7,
      },
    ]);
  });

  test("with another name for their function they are another resource: CloudFormation would refuse to change the one that is there", () => {
    const ids = [undefined, "game", "play"].map((functionNamePrefix) => {
      const { template } = synthesize({ tables: [{ name: "players" }], ...(functionNamePrefix && { functionNamePrefix }) });
      return Object.keys(template.findResources("Custom::TidemarkTables"));
    });
    expect(ids[0]).toEqual(["PipelineTables491B6AB1"]);
    expect(new Set(ids.flat()).size).toBe(3);
  });

  test("come before all that works on them; none is named, and the store is looked at all the same", () => {
    const [[id, { Properties }]] = Object.entries(bare.template.findResources("Custom::TidemarkTables"));
    expect(Properties.Tables).toBe("[]");
    const waiting = Object.entries(bare.template.findResources(FUNCTION)).filter(([, { DependsOn }]) => DependsOn?.includes(id));
    expect(waiting.length).toBe(Object.keys(bare.pipeline.functions).length - 1);
    expect(waiting.map(([name]) => name).join()).not.toContain("TablesFunction");
  });

  test("are looked at again where the bucket is another, or the prefix", () => {
    const stores = [bare, synthesize({ prefix: "states/" })].map(
      ({ template }) => Object.values(template.findResources("Custom::TidemarkTables"))[0].Properties.Store,
    );
    const bucket = { Ref: "PipelineBucket5BC3F8EA" };
    const table = { Ref: "PipelineTable0C1A5F45" };
    expect(stores).toEqual([{ "Fn::Join": ["", ["s3://", bucket, "/?table=", table]] }, { "Fn::Join": ["", ["s3://", bucket, "/states/?table=", table]] }]);
  });
});
