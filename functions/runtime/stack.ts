// The one middleware stack. A handler is given a parsed event and how long it has; what it throws is logged and traced,
// and fails the invocation.

import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import { captureLambdaHandler } from "@aws-lambda-powertools/tracer/middleware";
import middy from "@middy/core";
import type { Context } from "aws-lambda";
import * as z from "zod/mini";
import { callError } from "../../lib/model/errors.ts";
import { faultsOf, loggable, presentable } from "./faults.ts";
import type { Instruments } from "./telemetry.ts";

export interface Invocation {
  /** Aborts in time to end in order before Lambda ends the process. */
  readonly signal: AbortSignal;
  /** How long that is, in ms. */
  readonly timeMs: number;
}

export type LambdaHandler<Result> = (event: unknown, context: Context) => Promise<Result>;

/** Kept back for ending in order: releasing a lease, sending the messages that go on. */
const ENDING_SHARE = 0.2;
const ENDING_MS_MAX = 20_000;

export function lambdaHandler<Event, Result>(
  { logger, tracer }: Pick<Instruments, "logger" | "tracer">,
  schema: z.core.$ZodType<Event>,
  work: (event: Event, invocation: Invocation) => Promise<Result>,
): LambdaHandler<Result> {
  // Said here whatever the environment says: an event or a reply would bring the users' data into logs and traces.
  // Middy would end a handler a moment before its time is out, and leave its work to go on in the background of the next
  // call. Killed by Lambda it is gone, which is what the protocol counts with.
  return middy({ timeoutEarlyInMillis: 0 })
    .use(captureLambdaHandler(tracer, { captureResponse: false }))
    .use(injectLambdaContext(logger, { resetKeys: true, logEvent: false }))
    .handler(async (event: unknown, context: Context) => {
      const leftMs = context.getRemainingTimeInMillis();
      const timeMs = Math.floor(leftMs - Math.min(ENDING_MS_MAX, leftMs * ENDING_SHARE));
      const signal = timeMs > 0 ? AbortSignal.timeout(timeMs) : AbortSignal.abort();
      try {
        return await work(parseEvent(schema, event), { signal, timeMs });
      } catch (error) {
        logger.error("the invocation failed", { fault: loggable(error) });
        throw presentable(error);
      }
    });
}

/** @throws {TidemarkError} `call` "malformed-event", naming the member; its value is not repeated */
function parseEvent<Event>(schema: z.core.$ZodType<Event>, event: unknown): Event {
  const parsed = z.safeParse(schema, event);
  if (parsed.success) return parsed.data;
  throw callError("malformed-event", `the event is not one that this function takes: ${faultsOf(parsed.error)}`);
}
