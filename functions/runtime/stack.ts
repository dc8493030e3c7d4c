// The one middleware stack. A handler is given a parsed event and how long it has; what it throws is logged and traced,
// and fails the invocation.

import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import { logMetrics } from "@aws-lambda-powertools/metrics/middleware";
import { captureLambdaHandler } from "@aws-lambda-powertools/tracer/middleware";
import middy from "@middy/core";
import type { Context } from "aws-lambda";
import type { z } from "zod";
import { callError } from "../../lib/model/errors.ts";
import { logger, metrics, tracer } from "./wiring.ts";

export interface Invocation {
  /** Aborts in time to end in order before Lambda ends the process. */
  readonly signal: AbortSignal;
}

/** Kept back for ending in order: releasing a lease, sending the messages that go on. */
const ENDING_SHARE = 0.2;
const ENDING_MS_MAX = 20_000;

export function lambdaHandler<Event, Result>(
  schema: z.ZodType<Event>,
  work: (event: Event, invocation: Invocation) => Promise<Result>,
): (event: unknown, context: Context) => Promise<Result> {
  return middy()
    .use(captureLambdaHandler(tracer, { captureResponse: false }))
    .use(injectLambdaContext(logger, { resetKeys: true }))
    .use(logMetrics(metrics))
    .handler(async (event: unknown, context: Context) => {
      const leftMs = context.getRemainingTimeInMillis();
      const signal = AbortSignal.timeout(Math.max(0, Math.floor(leftMs - Math.min(ENDING_MS_MAX, leftMs * ENDING_SHARE))));
      try {
        return await work(parseEvent(schema, event), { signal });
      } catch (error) {
        logger.error("the invocation failed", { error });
        throw error;
      }
    });
}

/** @throws {TidemarkError} `call` "malformed-event", naming the member; its value is not repeated */
function parseEvent<Event>(schema: z.ZodType<Event>, event: unknown): Event {
  const parsed = schema.safeParse(event);
  if (parsed.success) return parsed.data;
  throw callError("malformed-event", `the event is not one that this function takes: ${faultsOf(parsed.error)}`);
}

export function faultsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.length === 0 ? "it" : path.join(".")}: ${message}`).join("; ");
}
