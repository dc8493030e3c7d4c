// What the process says with its exit code: one place, so that every command says the same. docs/cli.md lists them.

import { type FaultKind, isTidemarkError } from "../lib/model/errors.ts";

export const EXIT = {
  /** Done, or nothing to do. */
  complete: 0,
  /** An unexpected fault, or a bug. */
  fault: 1,
  /** The call is to be corrected. */
  call: 2,
  /** Try again. */
  retry: 3,
  /** Some shards failed, others did not. */
  partial: 4,
  /** Stored bytes are damaged. */
  damage: 5,
  /** Make room, or wait. */
  wait: 6,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_CODES_HELP = `Exit codes:
  0  complete
  1  unexpected fault, or a bug: report it
  2  the call is to be corrected: a flag, the input, an unknown table, a state that is not kept, a newer format
  3  try again: another run was at it, or no answer came
  4  partial: some shards failed, others did not
  5  damage was found
  6  no space, or a limit is reached: make room or wait`;

export function exitOfError(error: unknown): ExitCode {
  return isTidemarkError(error) ? exitOfKind(error.kind) : EXIT.fault;
}

function exitOfKind(kind: FaultKind): ExitCode {
  switch (kind) {
    case "call":
      return EXIT.call;
    case "retry":
      return EXIT.retry;
    case "wait":
      return EXIT.wait;
    case "repair":
      return EXIT.damage;
    case "bug":
      return EXIT.fault;
  }
}
