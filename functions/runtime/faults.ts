// What logs, traces and the service learn of a fault. The message of a call error quotes the call: parts of lines, names,
// members. Those may be anybody's data, so they go to the caller, or with a message to the dead letters, and nowhere
// else; the logs have the error's code. Where code is thrown that this program does not know, the name and the place are
// kept, and the words only where no parser of input wrote them.

import type * as z from "zod/mini";
import { isTidemarkError } from "../../lib/model/errors.ts";

/**
 * "Correct the call", said of a call that the function made: rights, names and keys of the deployment. Whoever called the
 * function cannot correct them, and a message is not to blame: these wait for a better deployment.
 */
const OF_THE_DEPLOYMENT: ReadonlySet<string> = new Set([
  "no-credentials",
  "no-access",
  "no-bucket",
  "no-control-table",
  "no-key",
  "no-region",
  "wrong-region",
  "wrong-clock",
  "wrong-table",
  "name-taken",
  "archived-object",
  "bad-endpoint",
  "part-too-small",
  "no-server-copy",
  "item-too-large",
  "newer-format",
]);

export function isOfTheDeployment(error: unknown): boolean {
  return isTidemarkError(error) && error.kind === "call" && OF_THE_DEPLOYMENT.has(error.code);
}

/** Whether the caller is to correct the call, so that the same call can never succeed. */
export function isOfTheCall(error: unknown): boolean {
  return isTidemarkError(error) && error.kind === "call" && !isOfTheDeployment(error);
}

export interface Fault {
  readonly name: string;
  readonly kind?: string;
  readonly code?: string;
  readonly message?: string;
  /** Where it was thrown; without the message. */
  readonly stack?: readonly string[];
  readonly cause?: Fault;
}

const CAUSES_MAX = 5;
const FRAMES_MAX = 12;

/** A fault as the logs may have it. */
export function loggable(error: unknown, depth = 0): Fault {
  if (!(error instanceof Error)) return { name: typeof error };
  const { name, message, cause } = error;
  const known = isTidemarkError(error) && { kind: error.kind, code: error.code };
  // Where the call is at fault, the place in this code says nothing, and the cause is what a parser said of the input.
  if (isOfTheCall(error)) return { name, ...known };
  return {
    name,
    ...known,
    ...(!quotesInput(error) && { message }),
    stack: framesOf(error),
    ...(cause !== undefined && depth < CAUSES_MAX && { cause: loggable(cause, depth + 1) }),
  };
}

/** What may leave the handler: Lambda's runtime and X-Ray keep the message and the stack of what is thrown. */
export function presentable(error: unknown): Error {
  const { name, code, message } = loggable(error);
  const shown = new Error([code ?? name, message].filter((part) => part !== undefined).join(": "));
  shown.name = name;
  shown.stack = `${name}: ${shown.message}`;
  return shown;
}

/** JSON.parse, BigInt, decodeURIComponent and RegExp repeat in their messages what they were given. */
function quotesInput(error: Error): boolean {
  return error instanceof SyntaxError || error instanceof URIError;
}

function framesOf({ stack = "" }: Error): readonly string[] {
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .slice(0, FRAMES_MAX)
    .map((line) => line.trim());
}

/** What zod found, by place. Values and the names of members that nobody asked for are not repeated. */
export function faultsOf({ issues }: { readonly issues: readonly z.core.$ZodIssue[] }): string {
  return issues.map((issue) => `${issue.path.length === 0 ? "it" : issue.path.join(".")} ${wordsOf(issue)}`).join("; ");
}

function wordsOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `must be of type ${issue.expected}`;
    case "unrecognized_keys":
      return "has members that mean nothing here";
    case "too_small":
      return `must be at least ${issue.minimum}`;
    case "too_big":
      return `must be at most ${issue.maximum}`;
    case "invalid_value":
      return `must be ${issue.values.map(String).join(" or ")}`;
    case "invalid_union":
      return "is of no known form";
    case "invalid_format":
    case "not_multiple_of":
    case "invalid_key":
    case "invalid_element":
    case "custom":
      return issue.message === DEFAULT_WORDS ? "is not as it must be" : issue.message;
  }
}

/** zod/mini's one message, where a schema gives no words of its own. */
const DEFAULT_WORDS = "Invalid input";
