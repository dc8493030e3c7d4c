// How a program's values become a table's, and back.

import { utf8 } from "../model/bytes.ts";
import { callError } from "../model/errors.ts";
import type { ValueCodec } from "../model/mutation.ts";

export interface Codec<Value> {
  /** What the table must have been made with. */
  readonly kind: ValueCodec;
  /** Of the kind "json" one JSON text, nested at most 512 levels deep: another is refused. */
  encode(value: Value): Uint8Array;
  decode(bytes: Buffer): Value;
}

/** Values as JSON texts, made by JSON.stringify. `Value` is a promise of the caller's: what is read is not checked against it. */
export function json<Value>(): Codec<Value> {
  return {
    kind: "json",
    encode: jsonBytes,
    decode: (bytes) => JSON.parse(bytes.toString("utf8")) as Value,
  };
}

/** Values as they are, copied when they are taken. Patches are refused. */
export function bytes(): Codec<Uint8Array> {
  return { kind: "bytes", encode: (value) => Buffer.from(value), decode: (stored) => stored };
}

/** @throws {TidemarkError} `call` "no-json" for what JSON cannot say: undefined, a function, a bigint, a cycle */
export function jsonBytes(value: unknown): Uint8Array {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw callError("no-json", "the value cannot be written as JSON: it holds a bigint or itself", error);
  }
  if (text === undefined) throw callError("no-json", `the value cannot be written as JSON: it is ${typeof value}`);
  return utf8(text, "the value");
}
