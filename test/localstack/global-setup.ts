// Before the tests of this folder: one LocalStack with the project deployed into it, and an InfluxDB that it backs up; after
// them both are gone.

import type { TestProject } from "vitest/node";
import { bundleFunctions } from "../../functions/bundle.ts";
import { contextWith, type StackContext } from "./context.ts";
import { bootstrap, type Deployment, deploy } from "./deployment.ts";
import { type InfluxdbHere, startInfluxdb } from "./influxdb.ts";
import { REGION, startLocalStack } from "./localstack.ts";

declare module "vitest" {
  interface ProvidedContext {
    localstack: Deployment & { readonly endpoint: string; readonly region: string; readonly context: StackContext };
    influxdb: InfluxdbHere;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const localstack = await startLocalStack();
  const ends = [localstack.stop];
  const stop = async (): Promise<void> => {
    for (const end of ends.toReversed()) await end();
  };
  try {
    const influxdb = await startInfluxdb(localstack);
    ends.push(influxdb.stop);
    await Promise.all([bundleFunctions(), bootstrap(localstack)]);
    const context = contextWith(influxdb.here);
    const deployment = await deploy({ localstack, stackName: `tidemark-${process.pid}`, context });
    project.provide("localstack", { endpoint: localstack.endpoint, region: REGION, context, ...deployment });
    project.provide("influxdb", influxdb.here);
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}
