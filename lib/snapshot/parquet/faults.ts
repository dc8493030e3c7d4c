// A fault of the codec becomes one that names the object (I8).

import { damagedObject, isTidemarkError, messageOf } from "../../model/errors.ts";

/** What `decode` gives; anything it throws says that the object is damaged. */
export function orDamaged<T>(object: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw asDamage(object, cause);
  }
}

export function asDamage(object: string, cause: unknown): Error {
  return isTidemarkError(cause) && cause.kind === "repair" ? cause : damagedObject(object, messageOf(cause), cause);
}
