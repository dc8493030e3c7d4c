// LocalStack for the tests: in a container where an engine runs, else as a process of this host, or one that runs already.

import type { LocalStack } from "./behaviour.ts";
import { engineRuns, startContainer } from "./container.ts";
import { startOnHost } from "./host/host.ts";

export const REGION = "us-east-1";

/** $TIDEMARK_LOCALSTACK chooses by hand: `container`, `host`, or the URL of one that runs already, which is left running. */
export async function startLocalStack(): Promise<LocalStack> {
  const choice = process.env.TIDEMARK_LOCALSTACK ?? ((await engineRuns()) ? "container" : "host");
  if (choice === "container") return await startContainer();
  if (choice === "host") return await startOnHost();
  if (/^https?:/.test(choice)) return { endpoint: new URL(choice).origin, how: "container", stop: async () => {} };
  throw new Error(`TIDEMARK_LOCALSTACK is "container", "host" or a URL, not "${choice}"`);
}

/** What the AWS SDK and the CDK read to reach LocalStack instead of AWS. */
export function awsEnvironment(endpoint: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_REGION: REGION,
  };
}
