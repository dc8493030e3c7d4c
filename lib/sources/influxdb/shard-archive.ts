// A shard's files as the archive that a server takes, or that a portable backup has.

import type { PreparedFile } from "./prepared-files.ts";
import { tarBytes, tarEnd, tarHeader, tarPadding } from "./tar.ts";

/** `folder`: `DATABASE/POLICY/SHARD`, without a last slash. */
export async function* shardArchive(folder: string, files: readonly PreparedFile[]): AsyncGenerator<Buffer> {
  for (const file of files) {
    yield tarHeader(entryOf(folder, file));
    yield* file.chunks();
    const padding = tarPadding(file.bytes);
    if (padding.length > 0) yield padding;
  }
  yield tarEnd();
}

export function archiveBytes(folder: string, files: readonly PreparedFile[]): number {
  return files.reduce((sum, file) => sum + tarBytes(entryOf(folder, file)), tarEnd().length);
}

function entryOf(folder: string, { name, bytes, modifiedS }: PreparedFile): { readonly name: string; readonly size: number; readonly modifiedS: number } {
  return { name: `${folder}/${name}`, size: bytes, modifiedS };
}
