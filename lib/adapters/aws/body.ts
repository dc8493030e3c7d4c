// The bodies of S3's answers, and what is said of an answer that nobody can read.

import { Readable } from "node:stream";
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
  for await (const chunk of Body as AsyncIterable<Buffer>) {
    if (length + chunk.length > ContentLength) throw unreadable(key, "a body that is longer than it says");
    length += chunk.copy(body, length);
    release(chunk);
  }
  if (length < ContentLength) throw unreadable(key, "a body that was cut off");
  return body;
}

export function unreadable(place: string, what: string, cause?: unknown): TidemarkError {
  return new TidemarkError("retry", "unreadable-answer", `${place}: S3 answered with ${what}; call again`, { cause });
}
