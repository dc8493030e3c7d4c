// How a law is proven: on a store of its own, which is empty, and disposed of whatever comes of it.

import { test } from "vitest";

export type Open<Store> = () => Promise<{ readonly store: Store; readonly dispose: () => Promise<void> }>;
export type Law<Store> = (title: string, prove: (store: Store) => Promise<void>) => void;

const LONG_MS = 120_000;

export function lawsOver<Store>(open: Open<Store>): Law<Store> {
  return (title, prove) =>
    test(title, { timeout: LONG_MS }, async () => {
      const { store, dispose } = await open();
      try {
        await prove(store);
      } finally {
        await dispose();
      }
    });
}

export function range(length: number): number[] {
  return Array.from({ length }, (_, place) => place);
}
