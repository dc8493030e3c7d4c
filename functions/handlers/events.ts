// Tells the world what was committed. The control table's stream has every commit once, in each item's order; it is read
// again from the first record that was not told, so that an event is sent at least once and never without its commit.

import * as z from "zod/mini";
import { unmarshalItem, type Values } from "../../lib/adapters/aws/expressions.ts";
import { eventsOf, type ItemHistory, type PipelineEvent } from "../../lib/jobs/events.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import type { EventBus, SentEvent } from "../runtime/event-bus.ts";
import type { BatchReply } from "../runtime/queue.ts";
import { loggable } from "../runtime/faults.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import type { Instruments } from "../runtime/telemetry.ts";

export interface EventsDeps extends Instruments {
  readonly bus: EventBus;
  readonly clock: Pick<Clock, "sleep">;
  /** Stands in each event: several pipelines may share a bus. */
  readonly pipeline: string;
}

const image = z.optional(z.custom<Values>((value) => typeof value === "object" && value !== null));

const RECORD = z.object({
  dynamodb: z.object({ SequenceNumber: z.string(), ApproximateCreationDateTime: z.number(), OldImage: image, NewImage: image }),
});

type StreamRecord = z.infer<typeof RECORD>["dynamodb"];

interface Telling {
  readonly sequenceNumber: string;
  readonly event: SentEvent;
}

const ATTEMPTS_MAX = 3;
const PAUSE_MS = 200;

export function eventsHandler(deps: EventsDeps) {
  return lambdaHandler(deps, z.object({ Records: z.array(RECORD) }), async ({ Records }): Promise<BatchReply> => {
    let untold: readonly Telling[] = Records.flatMap(({ dynamodb }) => tellingsOf(deps, dynamodb));
    for (let attempt = 1; untold.length > 0 && attempt <= ATTEMPTS_MAX; attempt++) {
      if (attempt > 1) await deps.clock.sleep(PAUSE_MS * attempt);
      untold = await tell(deps, untold);
    }
    // Lambda reads the stream again from the first of them.
    return { batchItemFailures: untold.slice(0, 1).map(({ sequenceNumber }) => ({ itemIdentifier: sequenceNumber })) };
  });
}

/** Those that the bus did not take. */
async function tell({ bus, logger }: EventsDeps, tellings: readonly Telling[]): Promise<readonly Telling[]> {
  try {
    const taken = await bus.put(tellings.map(({ event }) => event));
    return tellings.filter((_, place) => !taken.has(place));
  } catch (error) {
    logger.error("the bus took no events", { fault: loggable(error) });
    return tellings;
  }
}

/** A record that nobody can read would come back until it lapses, and hold up all behind it: it is logged and passed over. */
function tellingsOf({ logger, pipeline }: EventsDeps, record: StreamRecord): readonly Telling[] {
  const { SequenceNumber, ApproximateCreationDateTime } = record;
  try {
    const history = historyOf(record);
    const events: readonly PipelineEvent[] = history === undefined ? [] : eventsOf(history);
    return events.map(({ type, detail }) => ({
      sequenceNumber: SequenceNumber,
      event: { type, detail: { ...detail, pipeline }, atMs: ApproximateCreationDateTime * 1_000 },
    }));
  } catch (error) {
    logger.error("a change of an item was passed over", { sequenceNumber: SequenceNumber, fault: loggable(error) });
    return [];
  }
}

function historyOf({ OldImage, NewImage }: StreamRecord): ItemHistory | undefined {
  const before = OldImage && unmarshalItem(OldImage);
  const after = NewImage && unmarshalItem(NewImage);
  const key = (after ?? before)?.key;
  if (key === undefined) return undefined;
  return { key, ...(before && { before: before.attributes }), ...(after && { after: after.attributes }) };
}
