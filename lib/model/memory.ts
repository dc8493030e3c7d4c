// Large buffers are freed as soon as their owner is done with them. What waits for the garbage collector counts as memory, and
// every 32 MB or so of it have the collector mark the whole heap (bench/README.md, Profiles).

import { isMarkedAsUntransferable } from "node:worker_threads";

/** Smaller ones are not worth a call. */
const RELEASED_BYTES_MIN = 2 * 1024;

/** Frees the memory that is viewed. Only for who owns all of it, last: every view of it is empty from then on. */
export function release({ buffer }: ArrayBufferView): void {
  // Node's pool for small buffers has many owners, and says so by its mark.
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= RELEASED_BYTES_MIN && !isMarkedAsUntransferable(buffer)) buffer.transfer(0);
}
