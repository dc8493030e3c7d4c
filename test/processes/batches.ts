// What each writer appends, told by its name and the batch's number alone, so that the test knows it without asking.

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import type { ModelMutation } from "./keyed-model.ts";

export const KEYS = 300;
const MUTATIONS_MAX = 6;

/** Writers by name; the last one appends without a producer. */
export const WRITERS = ["alder", "birch", "cedar", "dogwood"];

export function producerOf(writer: string): string | undefined {
  return writer === WRITERS[WRITERS.length - 1] ? undefined : writer;
}

/**
 * Writers share the keys, so that their order shows in the state. The first mutation is a put, whose value says which batch it is.
 * @param keyOf the key of a number below KEYS
 */
export function mutationsOf(writer: string, sequence: number, keyOf = (number: number) => `k/${number}`): readonly ModelMutation[] {
  const random = seededRandom(WRITERS.indexOf(writer) * 1_000_000 + sequence);
  const below = (limit: number) => Math.floor(random.fraction() * limit);
  return Array.from({ length: 1 + below(MUTATIONS_MAX) }, (_, place) => {
    const key = keyOf(below(KEYS));
    const kind = place === 0 ? 9 : below(10);
    if (kind === 0) return { kind: "delete", key, value: "" };
    if (kind <= 2) return { kind: "patch", key, value: JSON.stringify({ last: { [writer]: `${sequence}.${place}` }, note: below(2) === 0 ? null : "n" }) };
    return { kind: "put", key, value: JSON.stringify({ by: writer, batch: sequence, place, note: "", ballast: random.id(160) }) };
  });
}
