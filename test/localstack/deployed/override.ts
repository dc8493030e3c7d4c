// Another environment for a deployed function, for a while.

import { GetFunctionConfigurationCommand, UpdateFunctionConfigurationCommand } from "@aws-sdk/client-lambda";
import { lambda } from "../clients.ts";
import { until } from "./stack.ts";

/** Adds to a function's environment, and changes it; returns what puts it back. */
export async function overrideEnvironment(
  FunctionName: string,
  override: (before: Readonly<Record<string, string>>) => Readonly<Record<string, string>>,
): Promise<() => Promise<void>> {
  const { Environment } = await lambda().send(new GetFunctionConfigurationCommand({ FunctionName }));
  const change = async (Variables: Record<string, string>): Promise<void> => {
    await lambda().send(new UpdateFunctionConfigurationCommand({ FunctionName, Environment: { Variables } }));
    await until("the changed function", 120_000, async () => {
      const { LastUpdateStatus } = await lambda().send(new GetFunctionConfigurationCommand({ FunctionName }));
      return LastUpdateStatus === "Successful" || undefined;
    });
  };
  const before = Environment?.Variables ?? {};
  await change({ ...before, ...override(before) });
  return () => change(before);
}
