// The bus on EventBridge.

import { type EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import type { Logger } from "@aws-lambda-powertools/logger";

export interface SentEvent {
  readonly type: string;
  readonly detail: object;
  readonly atMs: number;
}

export interface EventBus {
  /** Sends events; tells the places of those that the bus took. */
  put(events: readonly SentEvent[]): Promise<ReadonlySet<number>>;
}

/** EventBridge takes so many events at once. */
const PUT_TOGETHER_MAX = 10;
const SOURCE = "tidemark";

/** `bus`: its name or ARN. */
export function eventBridgeBus(client: EventBridgeClient, { bus, logger }: { readonly bus: string; readonly logger: Logger }): EventBus {
  return {
    async put(events) {
      const taken = new Set<number>();
      for (let at = 0; at < events.length; at += PUT_TOGETHER_MAX) {
        const Entries = events
          .slice(at, at + PUT_TOGETHER_MAX)
          .map(({ type, detail, atMs }) => ({ EventBusName: bus, Source: SOURCE, DetailType: type, Detail: JSON.stringify(detail), Time: new Date(atMs) }));
        // Answers stand in the order of what was sent.
        for (const [place, { EventId, ErrorCode }] of ((await client.send(new PutEventsCommand({ Entries }))).Entries ?? []).entries()) {
          if (EventId === undefined) logger.warn("the bus refused an event", { code: ErrorCode });
          else taken.add(at + place);
        }
      }
      return taken;
    },
  };
}
