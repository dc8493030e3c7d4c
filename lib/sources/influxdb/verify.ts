// Verifies a backup: the table as any other, and every attachment that a state which can be brought back names, each read whole
// and held against its SHA-256 (I8).

import { eachKeptValue } from "../../attachments/kept-values.ts";
import { readAttachment } from "../../attachments/read.ts";
import { readControl, readHistory } from "../../checkpoint/control.ts";
import { isTidemarkError, TidemarkError } from "../../model/errors.ts";
import { RECOVER_ATTEMPTS_MAX } from "../../model/limits.ts";
import { incarnationPrefix, shardName } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import { type Finding, type VerifyReport, verifyShard } from "../../recovery/verify.ts";
import { checkSource, idOf, listGenerations } from "./open-backup.ts";
import { type Attached, attachmentsOf } from "./records.ts";

export interface BackupVerifyReport {
  readonly table: VerifyReport;
  /** Generations that can be brought back, and the attachments of all of them. */
  readonly generations: number;
  readonly attachments: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
}

/** @throws {TidemarkError} `call` "unknown-table", "other-source"; `retry` where cleanup kept passing by, or it is stopped */
export async function verifyBackup(world: World, name: string, signal?: AbortSignal): Promise<BackupVerifyReport> {
  await checkSource(world, name);
  const id = idOf(name);
  const table = await verifyShard(world, { id, codec: "json" });
  // What is damaged there can name no attachments.
  if (table.findings.length > 0) return { table, generations: 0, attachments: 0, bytes: 0, findings: table.findings };
  for (let attempt = 0; attempt < RECOVER_ATTEMPTS_MAX; attempt++) {
    const generations = (await listGenerations(world, name)).length;
    const control = await readControl(world.checkpoints, id);
    if (control === undefined) return { table, generations: 0, attachments: 0, bytes: 0, findings: [] };
    const subject = { id, control, rows: await readHistory(world.checkpoints, id) };
    const named = await attachmentsNamed(world, subject);
    if (named === "stale") continue;
    const prefix = incarnationPrefix(id, control.incarnation);
    const findings: Finding[] = [];
    let bytes = 0;
    let done = 0;
    for (const attached of named.values()) {
      if (signal?.aborted === true) throw new TidemarkError("retry", "interrupted", "interrupted: not all was verified");
      const what = await findingOf(world, `${prefix}${attached.object}`, attached);
      if (what !== undefined) findings.push({ object: `${prefix}${attached.object}`, what });
      bytes += attached.bytes;
      done += 1;
      world.telemetry.report({ kind: "gathered", shard: shardName(id), what: "attachment", done, total: named.size, bytes });
    }
    // What cleanup let go meanwhile is missing rightly.
    const now = findings.length === 0 ? named : await attachmentsNamed(world, { ...subject, ...(await currentOf(world, id, control)) });
    if (now === "stale") continue;
    const still = findings.filter(({ object }) => now.has(object.slice(prefix.length)));
    return { table, generations, attachments: named.size, bytes, findings: still };
  }
  throw new TidemarkError("retry", "contended", `${name} was cleaned under ${RECOVER_ATTEMPTS_MAX} attempts to verify it: try again`);
}

type Subject = Parameters<typeof eachKeptValue>[1];

async function currentOf({ checkpoints }: World, id: Subject["id"], before: Subject["control"]): Promise<Pick<Subject, "control" | "rows">> {
  const control = (await readControl(checkpoints, id)) ?? before;
  return { control, rows: await readHistory(checkpoints, id) };
}

async function attachmentsNamed(world: World, subject: Subject): Promise<ReadonlyMap<string, Attached> | "stale"> {
  const named = new Map<string, Attached>();
  const outcome = await eachKeptValue(world, subject, (value) => {
    for (const attached of attachmentsOf(value)) named.set(attached.object, attached);
  });
  return outcome.kind === "stale" ? "stale" : named;
}

async function findingOf(world: World, key: string, attached: Attached): Promise<string | undefined> {
  try {
    for await (const _ of readAttachment(world, key, attached));
    return undefined;
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "repair") return error.message;
    throw error;
  }
}
