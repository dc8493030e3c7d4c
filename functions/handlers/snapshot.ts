// Captures one shard for each message. What does not fit one invocation goes on in the next, from the parts that are
// stored; cleanup is another function's right, and follows by a message.

import type { CleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { type CaptureReport, captureShard } from "../../lib/jobs/snapshot.ts";
import { toEpoch } from "../../lib/model/position.ts";
import type { World } from "../../lib/ports/world.ts";
import { SNAPSHOT_MESSAGE, type SnapshotMessage, type TakenMessage } from "../runtime/messages.ts";
import { type DeadLetters, handleRecords, QUEUE_EVENT, type Queue, sendAll } from "../runtime/queue.ts";
import { type Invocation, lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publish } from "../runtime/telemetry.ts";

export interface SnapshotDeps extends Instruments {
  readonly world: World;
  readonly captures: Queue;
  readonly cleanups: Queue;
  readonly deadLetters: DeadLetters;
}

export function snapshotHandler(deps: SnapshotDeps) {
  const { world, captures, cleanups, logger, metrics } = deps;
  return lambdaHandler(deps, QUEUE_EVENT, ({ Records }, invocation) =>
    handleRecords(deps, Records, SNAPSHOT_MESSAGE, (message) => carryOut(message, invocation)),
  );

  async function carryOut({ table, shard, request, section, turn }: TakenMessage, invocation: Invocation): Promise<void> {
    logger.appendKeys({ shard: `${table}/${shard}` });
    try {
      const made = section && { epoch: toEpoch(section.epoch), number: section.number };
      const report = await captureShard(world, {
        id: { table, shard },
        spread: true,
        ...(request !== undefined && { request }),
        ...(made && { section: made }),
        ...invocation,
      });
      logger.info("capture", { ...report, turn });
      const next = { table, shard, request, turn: turn + 1 };
      const send = (messages: readonly SnapshotMessage[]): Promise<void> =>
        sendAll(
          captures,
          messages.map((body) => ({ body, group: table })),
        );
      switch (report.next) {
        case "capture":
          return await send([next]);
        case "section":
          return await send([{ ...next, section }]);
        case "sections":
          return await send(sectionMessages(next, report.outcome));
        case "cleanup":
          return await sendAll(cleanups, [{ body: { kind: "after", table, shard } satisfies CleanupTask, group: table }]);
        case "nothing":
          return;
      }
    } catch (error) {
      publish(metrics, { SnapshotsFailed: 1 }, table);
      throw error;
    }
  }
}

/** Side by side: a message for each. */
function sectionMessages(message: SnapshotMessage, outcome: CaptureReport["outcome"]): readonly SnapshotMessage[] {
  return outcome.kind === "spread" ? outcome.sections.map((number) => ({ ...message, section: { epoch: outcome.epoch, number } })) : [];
}
