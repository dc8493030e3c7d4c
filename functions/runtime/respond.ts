// CloudFormation's way to get an answer: a PUT to an address that it signed.

import { TidemarkError } from "../../lib/model/errors.ts";
import type { Clock } from "../../lib/ports/clock.ts";

/** PUTs the answer to the address that CloudFormation gave, which is a key to it: it stands in no log. */
export type Respond = (address: string, body: string) => Promise<void>;

const ATTEMPTS_MAX = 3;
const PAUSE_MS = 500;
const ANSWER_MS_MAX = 3_000;

export function putResponse({ clock, put = fetch }: { readonly clock: Pick<Clock, "sleep">; readonly put?: typeof fetch }): Respond {
  return async (address, body) => {
    let status: number | undefined;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      if (attempt > 1) await clock.sleep(PAUSE_MS * attempt);
      status = await putOnce(address, body);
      if (status !== undefined && status < 300) return;
    }
    throw new TidemarkError("retry", "no-answer", `CloudFormation did not take the answer (${status ?? "no reply"})`);
  };

  async function putOnce(address: string, body: string): Promise<number | undefined> {
    try {
      // As bytes: a text would get a content type, which the address was signed without.
      return (await put(address, { method: "PUT", body: Buffer.from(body), signal: AbortSignal.timeout(ANSWER_MS_MAX) })).status;
    } catch {
      // The error may repeat the address; that no reply came is all there is to tell.
      return undefined;
    }
  }
}
