// What a user changes: mutations in batches. A batch is all or nothing, and is known by its producer and sequence (I3).

import { checkKey, checkValue, utf8 } from "./bytes.ts";
import { callError } from "./errors.ts";
import { BATCH_BYTES_MAX, BATCH_MUTATIONS_MAX, PRODUCER_BYTES_MAX, SEQUENCE_BITS } from "./limits.ts";
import type { Index } from "./position.ts";

/** How a table's values are read: JSON texts, kept byte for byte, or opaque bytes. */
export type ValueCodec = "json" | "bytes";

/** put: the key has this value now. delete: the key is gone. patch: RFC 7396, `value` is the JSON merge patch. */
export type Mutation =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Uint8Array }
  | { readonly kind: "patch"; readonly key: Uint8Array; readonly value: Uint8Array };

/** Who sent a batch, and its place in that producer's order. */
export interface ProducerMark {
  /** 1 to 128 bytes of text. */
  readonly producer: string;
  /** Unsigned, at most 192 bits; each batch of a producer has a greater one than the batch before. */
  readonly sequence: bigint;
  /**
   * A next index of the shard that was seen before this batch was first sent: stays the same when it is
   * sent again, and lets a batch be refused that the shard may have forgotten (rule 11).
   */
  readonly since: Index;
}

export interface Batch {
  readonly mutations: readonly Mutation[];
  readonly mark?: ProducerMark;
}

/** Bytes of a batch's keys and values. */
export function batchBytes(mutations: readonly Mutation[]): number {
  let bytes = 0;
  for (const mutation of mutations) bytes += mutation.key.length + (mutation.kind === "delete" ? 0 : mutation.value.length);
  return bytes;
}

/** Refuses a batch that the format cannot hold; `what` names it in the error. Values of JSON tables are checked where they are parsed. */
export function checkMutations(mutations: readonly Mutation[], codec: ValueCodec, what = "the batch"): void {
  if (mutations.length === 0) throw callError("empty-batch", `${what} is empty: a batch has 1 to ${BATCH_MUTATIONS_MAX} mutations`);
  if (mutations.length > BATCH_MUTATIONS_MAX) {
    throw callError("batch-too-large", `${what} has ${mutations.length} mutations: at most ${BATCH_MUTATIONS_MAX} are allowed; send several batches`);
  }
  for (const [place, mutation] of mutations.entries()) {
    checkKey(mutation.key, () => `the key of mutation ${place + 1} of ${what}`);
    if (mutation.kind !== "delete") checkValue(mutation.value, () => `the value of mutation ${place + 1} of ${what}`);
    if (mutation.kind === "patch" && codec === "bytes") {
      throw callError("patch-of-bytes", `mutation ${place + 1} of ${what} is a patch, but the table's values are bytes: send a put`);
    }
  }
  const bytes = batchBytes(mutations);
  if (bytes > BATCH_BYTES_MAX) throw callError("batch-too-large", `${what} has ${bytes} bytes: at most ${BATCH_BYTES_MAX} are allowed; send several batches`);
}

/** Refuses a producer's name or a sequence that the format cannot hold. */
export function checkProducer(producer: string, sequence: bigint): void {
  const bytes = utf8(producer, "the producer").length;
  if (bytes === 0 || bytes > PRODUCER_BYTES_MAX) throw callError("bad-producer", `a producer has 1 to ${PRODUCER_BYTES_MAX} bytes, this one has ${bytes}`);
  if (sequence < 0n || sequence >= 1n << BigInt(SEQUENCE_BITS)) {
    throw callError("bad-sequence", `${sequence} is not a sequence: use a whole number from 0 to 2^${SEQUENCE_BITS} - 1`);
  }
}
