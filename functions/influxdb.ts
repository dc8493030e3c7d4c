// Backups of an InfluxDB server, called by the queue of its source.

import { influxdbHandler } from "./handlers/influxdb.ts";
import { influxdbSource, instruments, openDeadLetters, openQueue, openWorld } from "./runtime/wiring.ts";

export const handler = influxdbHandler({
  ...instruments,
  world: openWorld(),
  source: influxdbSource(),
  backups: openQueue("TIDEMARK_BACKUP_QUEUE"),
  captures: openQueue("TIDEMARK_SNAPSHOT_QUEUE"),
  deadLetters: openDeadLetters(),
});
