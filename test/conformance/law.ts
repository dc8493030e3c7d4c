// How a law is proven: on a store of its own, which is empty, and disposed of whatever comes of it.

import { test } from "vitest";

export type Open<Store> = () => Promise<{ readonly store: Store; readonly dispose: () => Promise<void> }>;
export type Law<Store> = (title: string, prove: (store: Store) => Promise<void>) => void;

/**
 * A law that a server which is not ours breaks, and cannot be made to keep. It is tried all the same: it counts as
 * skipped only if it fails just so, and a law that is kept after all must be struck from the list.
 */
export interface Deviation {
  /** The law's title. */
  readonly law: string;
  /** What the failure says. */
  readonly shows: RegExp;
  readonly why: string;
  /** A race, which the server loses now and then: the law is tried again, on another store, and must be kept in the end. */
  readonly seldom?: boolean;
}

const LONG_MS = 120_000;
const RACES_MAX = 20;

export function lawsOver<Store>(open: Open<Store>, deviations: readonly Deviation[] = []): Law<Store> {
  return (title, prove) =>
    test(title, { timeout: LONG_MS }, async ({ skip }) => {
      const deviation = deviations.find(({ law }) => law === title);
      for (let race = 1; ; race++) {
        const { store, dispose } = await open();
        try {
          await prove(store);
          break;
        } catch (error) {
          if (deviation === undefined || !(error instanceof Error) || !deviation.shows.test(error.message)) throw error;
          if (deviation.seldom !== true) skip(deviation.why);
          if (race === RACES_MAX) throw error;
        } finally {
          await dispose();
        }
      }
      if (deviation !== undefined && deviation.seldom !== true) throw new Error("the law is kept: strike it from the deviations");
    });
}

export function range(length: number): number[] {
  return Array.from({ length }, (_, place) => place);
}
