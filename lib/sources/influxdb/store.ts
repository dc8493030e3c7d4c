// What a generation stores: files of shards, and the metastore, each as an attachment under the generation's number, and under a
// name that was never used.

import { attach, type AttachDeps } from "../../attachments/attach.ts";
import { attachmentReference } from "../../model/names.ts";
import type { Random } from "../../ports/random.ts";
import type { FileRecord, MetastoreRecord } from "./records.ts";
import type { TarEntry } from "./tar.ts";

export interface StoreDeps extends AttachDeps {
  readonly random: Random;
}

/** The prefix of the life's keys, and the generation that is made. */
export interface StorePlace {
  readonly prefix: string;
  readonly generation: number;
}

const SUFFIX_DIGITS = 16;

export async function storeFile(
  deps: StoreDeps,
  { prefix, generation }: StorePlace,
  { shard, name, entry }: { readonly shard: number; readonly name: string; readonly entry: TarEntry },
): Promise<FileRecord> {
  const object = attachmentReference(generation, `${shard}/${name}-${deps.random.id(SUFFIX_DIGITS)}`);
  return { name, ...(await attach(deps, `${prefix}${object}`, entry.body)), modifiedS: entry.modifiedS, object };
}

export async function storeMetastore(
  deps: StoreDeps,
  { prefix, generation }: StorePlace,
  { meta, users }: { readonly meta: Buffer; readonly users: MetastoreRecord["users"] },
): Promise<MetastoreRecord> {
  const object = attachmentReference(generation, `metastore-${deps.random.id(SUFFIX_DIGITS)}`);
  return { ...(await attach(deps, `${prefix}${object}`, [meta])), object, users };
}
