// Backs one InfluxDB server up, once for each message. A backup that does not fit one invocation goes on in the next, and one
// that was killed when its message comes again, both at the shard where they were: the message names the job. The capture
// that follows is the snapshot function's, by its message; where that was lost in a kill, the planner asks for it.

import { getTable } from "../../lib/jobs/tables.ts";
import { callError, isTidemarkError } from "../../lib/model/errors.ts";
import type { World } from "../../lib/ports/world.ts";
import { backUp, type BackupOutcome } from "../../lib/sources/influxdb/backup.ts";
import { influxClient } from "../../lib/sources/influxdb/client.ts";
import type { InfluxdbSource } from "../runtime/environment.ts";
import { BACKUP_MESSAGE, type BackupMessage, type SnapshotMessage, type TakenBackupMessage } from "../runtime/messages.ts";
import { type DeadLetters, handleRecords, QUEUE_EVENT, type Queue, sendAll } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publishOfTable } from "../runtime/telemetry.ts";

export interface InfluxdbDeps extends Instruments {
  readonly world: World;
  readonly source: InfluxdbSource;
  /** The function's own queue. */
  readonly backups: Queue;
  readonly captures: Queue;
  readonly deadLetters: DeadLetters;
}

/** Shards and files that one run names in its log. */
const NAMES_MAX = 20;

export function influxdbHandler(deps: InfluxdbDeps) {
  const { world, source, backups, captures, logger, metrics } = deps;
  const { name } = source;
  return lambdaHandler(deps, QUEUE_EVENT, ({ Records }, { signal }) => handleRecords(deps, Records, BACKUP_MESSAGE, (message) => carryOut(message, signal)));

  async function carryOut(message: TakenBackupMessage, signal: AbortSignal): Promise<void> {
    logger.appendKeys({ shard: `${name}/0` });
    const startedAtMs = world.clock.now();
    try {
      if (message.source !== name) throw callError("unknown-source", `this function backs up ${name}, and not ${message.source}: send it to that one's queue`);
      // Made by the deployment: this function may not, and would be denied what it needs for it.
      await getTable(world, name);
      const outcome = await backUpOrStop(deps, message, signal);
      await follow(message, outcome, world.clock.now() - startedAtMs);
    } catch (error) {
      publishOfTable(metrics, name, { BackupsFailed: 1 });
      throw error;
    }
  }

  async function follow({ job, turn }: TakenBackupMessage, outcome: Outcome, durationMs: number): Promise<void> {
    const about = { job, turn, outcome: outcome.kind, generation: "generation" in outcome ? outcome.generation : undefined, durationMs };
    switch (outcome.kind) {
      case "completed":
      case "partial": {
        const { generation, vanished } = outcome;
        const { failed, storedBytes, files, shards, changedShards, storedFiles, kind } = generation;
        logger.info("backup", {
          ...about,
          generation: generation.generation,
          kind,
          shards,
          changedShards,
          files,
          storedFiles,
          storedBytes,
          failed: failed.length,
        });
        for (const file of vanished.slice(0, NAMES_MAX))
          logger.warn("a file is gone, and no compaction accounts for it: were all of its rows deleted?", { file });
        for (const shard of failed.slice(0, NAMES_MAX)) logger.warn("a shard is as it was in the generation before", { failed: shard });
        const committed = outcome.kind === "completed" ? { BackupsCompleted: 1 } : { BackupsPartial: 1 };
        publishOfTable(metrics, name, { ...committed, BackupBytesStored: storedBytes, BackupMs: durationMs });
        return await sendAll(captures, [{ body: { table: name, shard: 0 } satisfies SnapshotMessage, group: name }]);
      }
      case "ignored":
        logger.info("backup", { ...about, shards: outcome.shards });
        publishOfTable(metrics, name, { BackupsCompleted: 1, BackupMs: durationMs });
        return;
      case "rejected":
      case "outOfDate":
        // Whoever was faster tells of it.
        logger.info("backup", about);
        return;
      case "aborted":
        logger.info("backup", about);
        return await sendAll(backups, [{ body: { source: name, job, turn: turn + 1 } satisfies BackupMessage, group: name }]);
    }
  }
}

/** What was stopped may not know its generation yet. */
type Outcome = BackupOutcome | { readonly kind: "aborted" };

/** One that was stopped before it knew its generation is stopped like any other. */
async function backUpOrStop({ world, source }: InfluxdbDeps, { job }: TakenBackupMessage, signal: AbortSignal): Promise<Outcome> {
  const { name, host, port, selection, skipErrors, withoutUsers, silentMs } = source;
  const client = influxClient({ address: { host, port }, silentMs, signal });
  try {
    return await backUp(world, { name, client, ...(selection && { selection }), skipErrors, withoutUsers, job, signal });
  } catch (error) {
    if (signal.aborted && isTidemarkError(error) && error.code === "interrupted") return { kind: "aborted" };
    throw error;
  }
}
