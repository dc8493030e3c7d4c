// Who gathers the next generation of a backup, and what was gathered of it so far. The lease only spares two jobs the same
// work: that one generation wins is kept by its sequence (I3), whoever holds the lease. Notes let a job that was killed go on.

import * as z from "zod";
import { queryAll } from "../../checkpoint/control.ts";
import { gatheringItem, noteItem, noteSort, parseNoteItem } from "../../checkpoint/items.ts";
import { DYNAMODB_ITEM_BYTES_MAX, GATHERING_TTL_MS } from "../../model/limits.ts";
import type { ShardId } from "../../model/names.ts";
import { parseJson } from "../../model/parse-json.ts";
import type { ItemWorld } from "../../ports/world.ts";
import { type FileRecord, type ShardRecord, FILE_RECORD, SHARD_RECORD } from "./records.ts";

const OWNER_DIGITS = 16;
/** A shard's note has room beside what else an item holds; one with more files is read again by who goes on. */
const NOTE_BYTES_MAX = DYNAMODB_ITEM_BYTES_MAX - 16 * 1024;

export interface Gathering {
  /** When the job began: that of an earlier attempt of the same job, where there was one. */
  readonly startedAtMs: number;
  /** Renews the lease when a part of its time has passed. False once another has it. */
  keep(): Promise<boolean>;
  release(): Promise<void>;
}

export type GatheringOutcome =
  | { readonly kind: "held"; readonly gathering: Gathering }
  | { readonly kind: "rejected"; readonly owner: string; readonly untilMs: number };

/** @param job attempts of one job share a name, and the time at which the first began */
export async function beginGathering({ checkpoints, clock, random }: ItemWorld, id: ShardId, job: string): Promise<GatheringOutcome> {
  const item = gatheringItem(id);
  const owner = random.id(OWNER_DIGITS);
  const before = (await checkpoints.get(item))?.attributes;
  const startedAtMs = before?.job === job && before.state === "running" ? Number(before.startedAtMs) : clock.now();
  const taken = await checkpoints.write([
    {
      item,
      when: [{ kind: "lt", attribute: "untilMs", value: clock.now() }],
      put: { formatVersion: 1, owner, job, startedAtMs, untilMs: clock.now() + GATHERING_TTL_MS, state: "running" },
    },
  ]);
  if (taken.kind === "refused") {
    const { owner: other, untilMs } = taken.item?.attributes ?? {};
    // A write of ours whose reply was lost.
    if (other !== owner) return { kind: "rejected", owner: String(other), untilMs: Number(untilMs) };
  }
  const mine = [{ kind: "eq", attribute: "owner", value: owner } as const];
  let renewAtMs = clock.now() + GATHERING_TTL_MS / 3;
  return {
    kind: "held",
    gathering: {
      startedAtMs,
      async keep() {
        if (clock.now() < renewAtMs) return true;
        renewAtMs = clock.now() + GATHERING_TTL_MS / 3;
        return (await checkpoints.write([{ item, when: mine, set: { untilMs: clock.now() + GATHERING_TTL_MS } }])).kind === "written";
      },
      async release() {
        await checkpoints.write([{ item, when: mine, set: { untilMs: 0 } }]);
      },
    },
  };
}

/** Ends the job by name, so that one of the same name begins anew. */
export async function endGathering({ checkpoints }: ItemWorld, id: ShardId, job: string): Promise<void> {
  await checkpoints.write([{ item: gatheringItem(id), when: [{ kind: "eq", attribute: "job", value: job }], set: { state: "done", untilMs: 0 } }]);
}

function noted<Schema extends z.ZodType>(schema: Schema) {
  return z.string().transform((text, context): z.output<Schema> => {
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    context.addIssue("it is no record");
    return z.NEVER;
  });
}

const NOTED_FILE = z.object({ prefix: z.string(), shard: z.int().nonnegative(), file: noted(FILE_RECORD) });
const NOTED_SHARD = z.object({ prefix: z.string(), job: z.string(), startedAtMs: z.int(), record: noted(SHARD_RECORD) });

export interface Notes {
  /** Files that were stored for the generation, by any job. */
  filesOf(shard: number): readonly FileRecord[];
  /** A shard that was read to its end by this very job, since it began. */
  shard(shard: number): ShardRecord | undefined;
  addFile(shard: number, file: FileRecord): Promise<void>;
  addShard(record: ShardRecord): Promise<void>;
}

/**
 * What is noted of the generation, by its life's prefix: a job that outlives its table may still note what lies under another. A
 * note that cannot be read is as none: its work is done again. A shard that was read before the job began, by one of the same name
 * that had ended or was overtaken, lacks what came since.
 */
export async function readNotes(
  { checkpoints }: ItemWorld,
  id: ShardId,
  about: { readonly generation: number; readonly job: string; readonly startedAtMs: number; readonly prefix: string },
): Promise<Notes> {
  const { generation, job, startedAtMs, prefix } = about;
  const files = new Map<number, FileRecord[]>();
  const shards = new Map<number, ShardRecord>();
  for (const { key, attributes } of await queryAll(checkpoints, id, noteSort(generation))) {
    if (parseNoteItem(key).name.startsWith("file/")) {
      const noted = NOTED_FILE.safeParse(attributes);
      if (noted.success && noted.data.prefix === prefix) files.set(noted.data.shard, [...(files.get(noted.data.shard) ?? []), noted.data.file]);
    } else {
      const noted = NOTED_SHARD.safeParse(attributes);
      const isOurs = noted.success && noted.data.prefix === prefix && noted.data.job === job && noted.data.startedAtMs === startedAtMs;
      if (isOurs) shards.set(noted.data.record.shard, noted.data.record);
    }
  }
  const put = async (name: string, attributes: Readonly<Record<string, string | number>>): Promise<void> => {
    await checkpoints.write([{ item: noteItem(id, generation, name), when: [], put: { formatVersion: 1, prefix, ...attributes } }]);
  };
  return {
    filesOf: (shard) => files.get(shard) ?? [],
    shard: (shard) => shards.get(shard),
    addFile: (shard, file) => put(`file/${shard}/${file.name}`, { shard, file: JSON.stringify(file) }),
    async addShard(record) {
      const text = JSON.stringify(record);
      if (Buffer.byteLength(text) <= NOTE_BYTES_MAX) await put(`shard/${record.shard}`, { job, startedAtMs, record: text });
    },
  };
}
