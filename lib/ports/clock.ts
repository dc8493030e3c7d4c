/** Time, handed in. Nothing's safety rests on it: clocks decide when to try, epochs and names who is right. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Resolves after `ms`, or at once when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
