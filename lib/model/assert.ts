import { TidemarkError } from "./errors.ts";

/** Stops the program where an invariant of its own is broken; `invariant` says it in words. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new TidemarkError("bug", "broken-invariant", `broken invariant: ${invariant}`);
}
