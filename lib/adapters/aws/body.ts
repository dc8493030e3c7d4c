// The bodies of S3's answers, and what is said of an answer that nobody can read.

import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { GetObjectCommandOutput } from "@aws-sdk/client-s3";
import { release } from "../../model/memory.ts";
import { TidemarkError } from "../../model/errors.ts";

/** The body in one buffer of its own; S3 tells its length beforehand, not every server does. */
export async function bodyOf({ Body, ContentLength }: GetObjectCommandOutput, key: string): Promise<Buffer> {
  if (!(Body instanceof Readable) || ContentLength === undefined) {
    const bytes = await Body?.transformToByteArray();
    if (bytes === undefined || (ContentLength !== undefined && bytes.length !== ContentLength)) throw unreadable(key, "a body that was cut off");
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  const body = Buffer.allocUnsafeSlow(ContentLength);
  let length = 0;
  // Not by iterating over it, which joins the chunks that wait by one more copy.
  Body.on("data", (chunk: Buffer) => {
    if (length + chunk.length > ContentLength) Body.destroy(unreadable(key, "a body that is longer than it says"));
    else length += chunk.copy(body, length);
    release(chunk);
  });
  await finished(Body, { writable: false });
  if (length < ContentLength) throw unreadable(key, "a body that was cut off");
  return body;
}

export function unreadable(place: string, what: string, cause?: unknown): TidemarkError {
  return new TidemarkError("retry", "unreadable-answer", `${place}: S3 answered with ${what}; call again`, { cause });
}
