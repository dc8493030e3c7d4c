// Records of a backup, as small as they can be.

import { createHash } from "node:crypto";
import { openShard } from "../../../../lib/checkpoint/control.ts";
import { attachmentReference } from "../../../../lib/model/names.ts";
import type { World } from "../../../../lib/ports/world.ts";
import type { Life } from "../../../../lib/redo-log/read.ts";
import type { FileRecord, GenerationRecord, ShardRecord } from "../../../../lib/sources/influxdb/records.ts";
import { id } from "../../jobs/world.ts";

export function sha(of: number | string | Buffer): string {
  return createHash("sha256")
    .update(typeof of === "number" ? String(of) : of)
    .digest("hex");
}

export function aFile({ name = "000000001-000000001.tsm", content = 0, generation = 1 } = {}): FileRecord {
  return {
    name,
    bytes: 10 + content,
    sha256: sha(content),
    frames: [17],
    modifiedS: 1_700_000_000,
    object: attachmentReference(generation, `7/${name}-${content}`),
  };
}

export function aShard({ shard, ...rest }: Pick<ShardRecord, "shard"> & Partial<ShardRecord>): ShardRecord {
  return {
    shard,
    database: "metrics",
    policy: "autogen",
    startNs: "-1",
    endNs: "9223372036854775806",
    generation: 1,
    capturedAt: "2026-01-01T00:00:00.000Z",
    files: [],
    ...rest,
  };
}

export function aGeneration(change: Partial<GenerationRecord> = {}): GenerationRecord {
  return {
    generation: 1,
    kind: "full",
    job: "a job",
    server: "127.0.0.1:8088",
    startedAt: "2026-01-01T00:00:00.000Z",
    finishedAt: "2026-01-01T00:00:01.000Z",
    selection: {},
    databases: ["metrics"],
    shards: 1,
    files: 1,
    bytes: 10,
    changedShards: 1,
    storedFiles: 1,
    storedBytes: 17,
    outcome: "complete",
    failed: [],
    digest: sha("state"),
    ...change,
  };
}

/** The table's life as it is, begun if need be. */
export async function lifeOf(world: World): Promise<Life> {
  const { incarnation } = await openShard(world, id, world.clock.now());
  return { id, incarnation };
}
