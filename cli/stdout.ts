// Bytes to stdout, at the pace of whoever reads them.

import { fileFault } from "./whole-file.ts";

/**
 * Settles once the bytes are handed over, so that their memory can be used again; false when the reader has gone.
 * @throws {TidemarkError} where stdout is a file that takes no more
 */
export function writeToStdout(bytes: Buffer): Promise<boolean> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (!error) resolve(true);
      else if (isGone(error)) resolve(false);
      else reject(fileFault(error, "stdout"));
    });
  });
}

/** EPIPE, and every write after it. */
function isGone(error: Error): boolean {
  return "code" in error && (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED");
}
