// Work side by side, so many pieces at a time: whoever brings more waits, so that nothing piles up (I10).

export interface Lanes {
  /** Begins with a piece of work as soon as there is room. @throws what an earlier piece threw */
  begin(work: () => Promise<void>): Promise<void>;
  /** Waits until all that was begun has ended. @throws the first that a piece threw */
  end(): Promise<void>;
}

export function lanes(atOnce: number): Lanes {
  const running = new Set<Promise<void>>();
  let fault: { readonly error: unknown } | undefined;
  const check = (): void => {
    if (fault !== undefined) throw fault.error;
  };
  return {
    async begin(work) {
      while (running.size >= atOnce) await Promise.race(running);
      check();
      const piece = work()
        .catch((error: unknown) => {
          fault ??= { error };
        })
        .finally(() => running.delete(piece));
      running.add(piece);
    },
    async end() {
      await Promise.all(running);
      check();
    },
  };
}
