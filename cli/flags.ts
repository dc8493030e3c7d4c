// Flags as people write them, parsed once, at the door.

import { z } from "zod";
import { callError } from "../lib/model/errors.ts";
import { type Index, toIndex } from "../lib/model/position.ts";

/** The flags of a command; `schema` has them by their names in camel case, as commander hands them over. */
export function parseFlags<Schema extends z.ZodType>(schema: Schema, flags: unknown): z.output<Schema> {
  const parsed = schema.safeParse(flags);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  const flag = String(path[0] ?? "").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw callError("bad-flag", `--${flag}: ${message}`);
}

export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  const remedy = `write a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^[0-9]{1,16}$/, remedy)
    .transform(Number)
    .refine((number) => Number.isSafeInteger(number) && number >= min && number <= max, remedy);
}

/** A number that may have a fraction. */
export function decimal(min: number, max: number) {
  const remedy = `write a number from ${min} to ${max}, as 2.5`;
  return z
    .string()
    .regex(/^[0-9]{1,12}(\.[0-9]{1,6})?$/, remedy)
    .transform(Number)
    .refine((number) => number >= min && number <= max, remedy);
}

/** A share as 0.5 or 1, in hundredths: from 0.01. */
export function hundredths(max: number) {
  const remedy = `write a share from 0.01 to ${max / 100}, as 0.5`;
  return z
    .string()
    .regex(/^[0-9]{1,6}(\.[0-9]{1,2})?$/, remedy)
    .transform((text) => Math.round(Number(text) * 100))
    .refine((number) => number >= 1 && number <= max, remedy);
}

/** Seconds, in ms; fractions are allowed. */
export function seconds(minMs: number) {
  return z
    .string()
    .regex(/^[0-9]{1,12}(\.[0-9]{1,3})?$/, "write a number of seconds, as 60")
    .transform((text) => Math.round(Number(text) * 1_000))
    .refine((ms) => ms >= minMs, `write at least ${minMs / 1_000} seconds`);
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** `90s`, `15m`, `36h`, `7d`, `2w`, or `0`, in ms. */
export const duration = z
  .string()
  .regex(/^(0|[0-9]{1,9}[smhdw])$/, "write a number and its unit, as 90s, 15m, 36h, 7d or 2w; 0 for none")
  .transform((text) => (text === "0" ? 0 : Number(text.slice(0, -1)) * UNIT_MS[text.slice(-1)]));

/** A duration that something may take. */
export const waitingTime = duration.refine((ms) => ms >= 1_000, "write at least 1s");

/** A sequence: up to 192 bits, checked on by those who append it. */
export const sequence = z
  .string()
  .regex(/^[0-9]{1,58}$/, "write a whole number from 0 to 2^192 - 1")
  .transform(BigInt);

/** A state that is asked for: by index, or by time (ms since 1970). */
export type At = { readonly index: Index } | { readonly timeMs: number };

const TIME = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/;
const TIME_WITHOUT_ZONE = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$/;

/** A time as people write it, with its zone and up to nine digits of a second, kept as text. */
export const timeText = z
  .string()
  .refine((text) => TIME.test(text) && isDay(text) && !Number.isNaN(Date.parse(text)), "write a time with its zone, as 2026-11-01T12:00Z");

/** @throws {TidemarkError} `call` "bad-time", or "bad-index" for digits that are no index */
export function parseAt(text: string): At {
  if (/^[0-9]+$/.test(text)) return { index: toIndex(Number(text)) };
  if (TIME_WITHOUT_ZONE.test(text)) {
    throw callError("bad-time", `--at: ${JSON.stringify(text)} has no time zone: write 2026-11-01T12:00Z for UTC, or 2026-11-01T12:00+01:00`);
  }
  const timeMs = TIME.test(text) && isDay(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(timeMs)) {
    throw callError("bad-time", `--at: ${JSON.stringify(text)} is neither an index nor a time: write digits, or a time as 2026-11-01T12:00Z`);
  }
  return { timeMs };
}

/** Date.parse takes a 30th of February for the 1st or 2nd of March. */
function isDay(text: string): boolean {
  const day = new Date(`${text.slice(0, 10)}T00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().slice(0, 10) === text.slice(0, 10);
}
