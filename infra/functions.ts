// One way to make a function, so that all of them are alike: runtime, bundle, log group, tracing, environment, and a role
// of its own that may write its logs and traces and what it is given, and nothing else.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import type { ISecurityGroup, IVpc, SubnetSelection } from "aws-cdk-lib/aws-ec2";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Architecture, Code, Function as LambdaFunction, type RecursiveLoop, Runtime, Tracing } from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import { callError } from "../lib/model/errors.ts";
import { acknowledgeWildcards } from "./acknowledgements.ts";
import { METRICS_NAMESPACE } from "./metrics.ts";
import { allow, type Permissions } from "./permissions.ts";
import type { SnapshotPipelineProps } from "./props.ts";
import { RUNTIME_ENVIRONMENT } from "./runtime.ts";
import type { Storage } from "./storage.ts";

export const FUNCTION_NAMES = ["plan", "snapshot", "cleanup", "ingest", "ingest-queue", "requests", "events", "tables", "influxdb"] as const;

export type FunctionName = (typeof FUNCTION_NAMES)[number];

/** What a function gets unless the props say otherwise. */
export const TIMEOUT = { long: Duration.minutes(15), work: Duration.minutes(1), call: Duration.seconds(30) } as const;

/** Lambda gives one whole processor with 1769 MiB. */
export const MEMORY_MIB = { snapshot: 1_769, cleanup: 1_024, ingest: 1_024, small: 512 } as const;

/** What all functions of a pipeline have in common. */
export interface FunctionSettings {
  readonly storage: Storage;
  readonly pipelineName: string;
  readonly bundles: string;
  readonly logRetention: RetentionDays;
  readonly logLevel: string;
  readonly tracing: boolean;
  readonly namePrefix: string | undefined;
  readonly network: Network;
}

/** Where functions run. */
export interface Network {
  readonly vpc?: IVpc;
  readonly vpcSubnets?: SubnetSelection;
  readonly securityGroups?: ISecurityGroup[];
}

/** What one function has of its own. */
export interface FunctionRequest {
  readonly name: FunctionName;
  /** Whose it is, where there are several of that name. */
  readonly of?: string;
  readonly timeout: Duration;
  /** In MiB. */
  readonly memorySize: number;
  readonly permissions: Permissions;
  readonly environment?: Readonly<Record<string, string>>;
  readonly reservedConcurrency?: number | undefined;
  readonly recursiveLoop?: RecursiveLoop;
  /** Default: that of all functions. */
  readonly network?: Network;
  /** How long an asynchronous call may wait, and how often it is repeated. */
  readonly asynchronous?: { readonly maxEventAge: Duration; readonly retryAttempts: number };
}

export function functionSettings(storage: Storage, pipelineName: string, props: SnapshotPipelineProps): FunctionSettings {
  return {
    storage,
    pipelineName,
    bundles: props.bundles ?? packageBundles(),
    logRetention: props.logRetention ?? RetentionDays.ONE_MONTH,
    logLevel: props.logLevel ?? "INFO",
    tracing: props.tracing ?? false,
    namePrefix: props.functionNamePrefix,
    network: networkOf(props),
  };
}

export function networkOf({ vpc, vpcSubnets, securityGroups }: Network): Network {
  return { ...(vpc && { vpc }), ...(vpcSubnets && { vpcSubnets }), ...(securityGroups && { securityGroups }) };
}

/** As `functionNamePrefix` has it. */
export function functionName(prefix: string, { name, of }: Pick<FunctionRequest, "name" | "of">): string {
  return [prefix, name, ...(of === undefined ? [] : [of])].join("-");
}

export function pipelineFunction(scope: Construct, settings: FunctionSettings, request: FunctionRequest): LambdaFunction {
  const { storage } = settings;
  const { network = settings.network } = request;
  const id = pascal(request.name);
  const logGroup = new LogGroup(scope, `${id}Logs`, { retention: settings.logRetention, removalPolicy: RemovalPolicy.DESTROY });
  const role = functionRole(scope, `${id}Role`, { logGroup, usesVpc: network.vpc !== undefined });
  allow(role, request.permissions);
  return new LambdaFunction(scope, `${id}Function`, {
    ...(settings.namePrefix !== undefined && { functionName: functionName(settings.namePrefix, request) }),
    description: `Tidemark ${settings.pipelineName}: ${request.name}${request.of === undefined ? "" : ` of ${request.of}`}`,
    runtime: Runtime.NODEJS_24_X,
    architecture: Architecture.ARM_64,
    code: Code.fromAsset(bundleOf(settings.bundles, request.name)),
    handler: "index.handler",
    role,
    logGroup,
    tracing: settings.tracing ? Tracing.ACTIVE : Tracing.DISABLED,
    timeout: request.timeout,
    memorySize: request.memorySize,
    ...network,
    ...(request.reservedConcurrency !== undefined && { reservedConcurrentExecutions: request.reservedConcurrency }),
    ...(request.recursiveLoop && { recursiveLoop: request.recursiveLoop }),
    ...request.asynchronous,
    environment: {
      TIDEMARK_BUCKET: storage.bucket.bucketName,
      TIDEMARK_PREFIX: storage.prefix,
      TIDEMARK_TABLE: storage.table.tableName,
      TIDEMARK_PIPELINE: settings.pipelineName,
      ...RUNTIME_ENVIRONMENT,
      POWERTOOLS_SERVICE_NAME: `tidemark-${request.name}`,
      POWERTOOLS_METRICS_NAMESPACE: METRICS_NAMESPACE,
      POWERTOOLS_LOG_LEVEL: settings.logLevel,
      POWERTOOLS_TRACE_ENABLED: String(settings.tracing),
      ...request.environment,
    },
  });
}

/** CDK would attach a managed policy that lets it write every log group of the account. */
function functionRole(scope: Construct, id: string, { logGroup, usesVpc }: { readonly logGroup: LogGroup; readonly usesVpc: boolean }): Role {
  const role = new Role(scope, id, { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
  role.addToPrincipalPolicy(new PolicyStatement({ actions: ["logs:CreateLogStream", "logs:PutLogEvents"], resources: [logGroup.logGroupArn] }));
  if (usesVpc) role.addToPrincipalPolicy(new PolicyStatement({ actions: NETWORK_ACTIONS, resources: ["*"] }));
  acknowledgeWildcards(role, [logGroup.logGroupArn], "The streams within the function's own log group, which Lambda names.");
  acknowledgeWildcards(role, ["*"], "X-Ray's actions know no resource, nor do those on the network interfaces of a function in a VPC.");
  return role;
}

const NETWORK_ACTIONS = [
  "ec2:CreateNetworkInterface",
  "ec2:DeleteNetworkInterface",
  "ec2:DescribeNetworkInterfaces",
  "ec2:DescribeSubnets",
  "ec2:AssignPrivateIpAddresses",
  "ec2:UnassignPrivateIpAddresses",
];

function bundleOf(bundles: string, name: FunctionName): string {
  const folder = `${bundles}/${name}`;
  if (!existsSync(`${folder}/index.cjs`)) {
    throw callError("no-bundle", `${folder}/index.cjs is missing, the bundle of the function ${name}: run "npm run build" first`);
  }
  return folder;
}

/** Beside this file once it is built, in dist/ while it is source. */
function packageBundles(): string {
  const isBuilt = import.meta.url.endsWith(".js");
  return fileURLToPath(new URL(isBuilt ? "../functions" : "../dist/functions", import.meta.url));
}

/** `ingest-queue` as part of a construct's id: `IngestQueue`. */
export function pascal(name: string): string {
  return name.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** The stack's name, a slash, the construct's id. */
export function defaultPipelineName(scope: Construct): string {
  return `${Stack.of(scope).stackName}/${scope.node.id}`;
}
