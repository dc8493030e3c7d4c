// Before the tests of this folder: one LocalStack with the project deployed into it; after them it is gone.

import type { TestProject } from "vitest/node";
import { bundleFunctions } from "../../functions/bundle.ts";
import { CONTEXT } from "./context.ts";
import { bootstrap, type Deployment, deploy } from "./deployment.ts";
import { REGION, startLocalStack } from "./localstack.ts";

declare module "vitest" {
  interface ProvidedContext {
    localstack: Deployment & { readonly endpoint: string; readonly region: string };
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const localstack = await startLocalStack();
  try {
    await Promise.all([bundleFunctions(), bootstrap(localstack)]);
    const deployment = await deploy({ localstack, stackName: `tidemark-${process.pid}`, context: CONTEXT });
    project.provide("localstack", { endpoint: localstack.endpoint, region: REGION, ...deployment });
  } catch (error) {
    await localstack.stop();
    throw error;
  }
  return localstack.stop;
}
