// A codec knows bytes, not files: what it finds is a RangeError. Here it becomes a fault that names the file and the place (I8).

import { damagedObject, isTidemarkError, messageOf, TidemarkError } from "../../../model/errors.ts";

/** What `decode` gives; anything it throws says that `place` of the file is damaged. */
export function orDamaged<T>(name: string, place: () => string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (isTidemarkError(cause)) throw cause;
    throw damagedObject(name, `${place()}: ${messageOf(cause)}`, cause);
  }
}

/** A file that may be whole, but holds more than this program takes into memory. */
export function tooLarge(name: string, what: string): TidemarkError {
  const message = `${name} cannot be rewritten: ${what}; "tidemark influxdb export --format data" takes it as it is`;
  return new TidemarkError("call", "too-large", message, { object: name });
}

/** A key in words, shortened: keys hold what users wrote. */
export function quoted(key: Buffer): string {
  const text = key.toString("utf8", 0, 200);
  return JSON.stringify(key.length > 200 ? `${text}…` : text);
}
