// The whole log of a shard, with what cleanup has let go: for so long the bucket keeps old versions of its objects.

import { GetObjectCommand, ListObjectVersionsCommand, type ObjectVersion, PutBucketVersioningCommand, type S3Client } from "@aws-sdk/client-s3";
import type { ShardId } from "../../../../lib/model/names.ts";
import { s3 } from "../../clients.ts";
import { output } from "../stack.ts";

/** From now on; returns what ends it. */
export async function keepVersions(): Promise<() => Promise<void>> {
  const set = async (Status: "Enabled" | "Suspended") => {
    await s3().send(new PutBucketVersioningCommand({ Bucket: output("BucketName"), VersioningConfiguration: { Status } }));
  };
  await set("Enabled");
  return () => set("Suspended");
}

/** Redo files in their order. The first version of a name is the log's; a later one is a ghost, of a writer that came when its name was free again. */
export async function keptRedoFiles({ table, shard }: ShardId): Promise<{ readonly files: readonly Buffer[]; readonly ghosts: number }> {
  const client = s3();
  const Bucket = output("BucketName");
  const versions = (await listVersions(client, { Bucket, Prefix: `${table}/${shard}/` })).filter(({ Key }) => Key?.endsWith(".redo"));
  const byKey = Map.groupBy(versions, ({ Key = "" }) => Key);
  const files: Buffer[] = [];
  let ghosts = 0;
  for (const [Key, ofOne] of [...byKey].sort(([a], [b]) => (a < b ? -1 : 1))) {
    ghosts += ofOne.length - 1;
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, VersionId: ofOne.at(-1)?.VersionId }));
    files.push(Buffer.from((await Body?.transformToByteArray()) ?? []));
  }
  return { files, ghosts };
}

/** Of each key the newest version first. */
async function listVersions(client: S3Client, where: { readonly Bucket: string; readonly Prefix: string }): Promise<readonly ObjectVersion[]> {
  const listed: ObjectVersion[] = [];
  let behind = {};
  for (;;) {
    const { Versions = [], IsTruncated, NextKeyMarker, NextVersionIdMarker } = await client.send(new ListObjectVersionsCommand({ ...where, ...behind }));
    listed.push(...Versions);
    if (IsTruncated !== true) return listed;
    behind = { KeyMarker: NextKeyMarker, VersionIdMarker: NextVersionIdMarker };
  }
}
