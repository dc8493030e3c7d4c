// Archives for the tests of what reads them, and chunks as a connection hands them out: all in one buffer, which is overwritten
// once the next is asked for.

import { tarEnd, tarEntries, tarHeader, tarPadding } from "../../../../lib/sources/influxdb/tar.ts";

export interface ArchivedFile {
  readonly name: string;
  readonly modifiedS: number;
  readonly body: Buffer;
}

export function archiveOf(files: readonly ArchivedFile[]): Buffer {
  const parts = files.flatMap(({ name, modifiedS, body }) => [tarHeader({ name, size: body.length, modifiedS }), body, tarPadding(body.length)]);
  return Buffer.concat([...parts, tarEnd()]);
}

/** @param lengths of the chunks, over and over */
export async function* reusedChunks(bytes: Buffer, lengths: readonly number[] = [bytes.length]): AsyncGenerator<Buffer> {
  const buffer = Buffer.alloc(Math.max(1, ...lengths));
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const copied = bytes.copy(buffer, 0, at, at + Math.max(1, lengths[turn % lengths.length]));
    at += copied;
    yield buffer.subarray(0, copied);
    buffer.fill(0xaa);
  }
}

/** All files of an archive, copied while they are there. */
export async function filesIn(chunks: AsyncIterable<Buffer>): Promise<readonly ArchivedFile[]> {
  const files: ArchivedFile[] = [];
  for await (const { name, size, modifiedS, body } of tarEntries(chunks)) {
    const pieces: Buffer[] = [];
    for await (const piece of body) pieces.push(Buffer.from(piece));
    const whole = Buffer.concat(pieces);
    if (whole.length !== size) throw new Error(`${name} has ${whole.length} bytes, and was said to have ${size}`);
    files.push({ name, modifiedS, body: whole });
  }
  return files;
}

/** The code of what is thrown, or "read". */
export async function outcomeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "read",
    (error: { readonly code?: string }) => error.code ?? String(error),
  );
}
