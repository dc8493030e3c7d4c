// What happens to processes and stores without their doing: crashes, requests that come late, pins that lapse, damage, and a
// table that is deleted and made again.

import { IDLE_CAPTURE } from "./capture-state.ts";
import { IDLE_CLEANER } from "./cleaner-state.ts";
import { IDLE_GATHERER } from "./gatherer-state.ts";
import { IDLE_READER } from "./reader-state.ts";
import { sameName, snapshotText } from "./stored.ts";
import { carryOut } from "./stores.ts";
import { type Left, replaced, type Setting, type Step, type World } from "./world.ts";
import { IDLE_WRITER } from "./writer-state.ts";

export function fateSteps(world: World, setting: Setting): readonly Step[] {
  return [...comesLate(world), ...crashes(world), ...lapses(world), ...damages(world, setting), ...deletions(world, setting)];
}

function spend(next: World, what: keyof Left): void {
  next.left = { ...next.left, [what]: next.left[what] - 1 };
}

function comesLate({ late }: World): readonly Step[] {
  return late.map((request, place) => ({
    says: `a late request is carried out: ${request.kind}`,
    take(next) {
      next.late = late.filter((_, at) => at !== place);
      carryOut(next, request);
    },
  }));
}

/** A process ends where it is. Its requests have come, or come late. */
function crashes(world: World): readonly Step[] {
  if (world.left.crashes === 0) return [];
  const kill = <Process extends { readonly at: string }>(
    all: readonly Process[],
    name: string,
    idle: Process,
    set: (next: World, all: readonly Process[]) => void,
  ): readonly Step[] =>
    all.flatMap((one, n) =>
      one.at === "idle"
        ? []
        : [
            {
              says: `${name}${n} is killed`,
              take(next: World) {
                spend(next, "crashes");
                set(next, replaced(all, n, idle));
              },
            },
          ],
    );
  return [
    ...kill(world.writers, "W", IDLE_WRITER, (next, all) => {
      next.writers = all;
    }),
    ...kill(world.captures, "C", IDLE_CAPTURE, (next, all) => {
      next.captures = all;
    }),
    ...kill(world.cleaners, "K", IDLE_CLEANER, (next, all) => {
      next.cleaners = all;
    }),
    ...kill(world.readers, "R", IDLE_READER, (next, all) => {
      next.readers = all;
    }),
    ...kill(world.gatherers, "G", IDLE_GATHERER, (next, all) => {
      next.gatherers = all;
    }),
  ];
}

/** A pin's time passes, as cleanup's clock has it: nobody writes anything. */
function lapses({ rows, left }: World): readonly Step[] {
  if (left.lapses === 0) return [];
  return rows.flatMap((row) =>
    row.pins.map((pin) => ({
      says: `the pin of R${pin} lapses`,
      take(next: World) {
        spend(next, "lapses");
        next.rows = next.rows.map((one) => (sameName(one, row) ? { ...one, pins: one.pins.filter((held) => held !== pin) } : one));
      },
    })),
  );
}

function damages(world: World, { bounds }: Setting): readonly Step[] {
  const { left, truth, control } = world;
  if (left.damages === 0 || control === undefined) return [];
  if (bounds.damage === "redo") {
    return truth.log
      .filter((file) => world.redo.some(({ first, life }) => first === file.first && life === file.life) && !truth.damaged.includes(file.first))
      .flatMap((file) => [
        damagesRedo(`redo/${file.first} is damaged`, file.first, (next) => {
          next.redo = next.redo.map((one) => (one.first === file.first && one.life === file.life ? { ...one, damaged: true } : one));
        }),
        // Of the last file, only the published tail tells; and of any, nothing does once a stalled writer has taken its name.
        ...(file === truth.log.at(-1) || bounds.writers > 1
          ? []
          : [
              damagesRedo(`redo/${file.first} is lost`, file.first, (next) => {
                next.redo = next.redo.filter((one) => one.first !== file.first || one.life !== file.life);
              }),
            ]),
      ]);
  }
  // One damage at a time: the next one strikes when a capture that began since has been committed.
  if ((control.checkpoint?.epoch ?? 0) <= world.damagedAt) return [];
  const strike = (says: string, damagedAt: number, change: (next: World) => void): Step => ({
    says,
    take(next) {
      spend(next, "damages");
      next.damagedAt = damagedAt;
      change(next);
    },
  });
  return [
    ...world.snapshots
      .filter((one) => !one.rotten)
      .map((one) =>
        strike(`${snapshotText(one)} is damaged`, control.epoch, (next) => {
          next.snapshots = next.snapshots.map((other) => (other === one ? { ...one, rotten: true, carriedRot: false } : other));
        }),
      ),
    ...world.uploads.flatMap((upload) =>
      upload.parts
        .filter(({ number }) => number > 1)
        .map((part) =>
          strike(`part ${part.number} of the upload of ${snapshotText(upload)} is stored damaged`, world.damagedAt, (next) => {
            const parts = upload.parts.map((other) => (other === part ? { ...part, rotten: true } : other));
            next.uploads = next.uploads.map((other) => (other === upload ? { ...upload, parts } : other));
          }),
        ),
    ),
  ];
}

function damagesRedo(says: string, first: number, change: (next: World) => void): Step {
  return {
    says,
    take(next) {
      spend(next, "damages");
      next.truth = { ...next.truth, damaged: [...next.truth.damaged, first] };
      change(next);
    },
  };
}

/** The control item goes first, which seals the shard; then what other items there are; then the table may be made again. */
function deletions(world: World, { rules }: Setting): readonly Step[] {
  if (world.deleting) {
    return [
      {
        says: "the shard's other items are deleted, and the table is made again",
        take(next) {
          deletesItems(next);
          next.deleting = false;
        },
      },
    ];
  }
  const { control } = world;
  if (control === undefined) return [];
  if (world.left.deletions === 0) {
    // A deletion that stalled goes on after the table was made again.
    if (rules.deletesAsDeleting || world.truth.life === 1 || world.rows.length === 0) return [];
    return [{ says: "a deletion that had stalled deletes the shard's other items", take: deletesItems }];
  }
  return [
    {
      says: "the table is deleted: its control item goes first",
      take(next) {
        spend(next, "deletions");
        next.control = undefined;
        next.deleting = true;
        next.truth = { ...next.truth, life: next.truth.life + (rules.freshLives ? 1 : 0), log: [], acknowledged: [], damaged: [] };
        // Without a name of its own, a life's objects would have to go before the next one begins.
        if (!rules.freshLives) {
          next.redo = [];
          next.snapshots = [];
          next.uploads = [];
        }
      },
    },
  ];
}

function deletesItems(next: World): void {
  next.rows = [];
  next.parts = [];
  next.hint = undefined;
}
