// Those that gather generations of a backup: each asks for the number of the next one, reads the state it rests on, stores an
// attachment, and appends one batch with that number as its sequence. How a batch gets into the log is told in writer.ts: here
// it is one step.

import { type Gatherer, IDLE_GATHERER } from "./gatherer-state.ts";
import { attachmentText } from "./stored.ts";
import { asks, truthTail } from "./stores.ts";
import { truthAtTail } from "./truth.ts";
import type { RedoFile } from "./values.ts";
import { replaced, type Setting, type Step, type World } from "./world.ts";

/** All of them are one producer, and no writer's. */
const PRODUCER = 3;

export function gathererSteps(world: World, n: number, setting: Setting): readonly Step[] {
  const me = world.gatherers[n];
  const { rules } = setting;
  const { control, left } = world;
  const step = (says: string, take: (next: World) => void): Step => ({ says: `G${n} ${says}`, take });
  const to = (next: World, change: Partial<Gatherer>): void => {
    next.gatherers = replaced(next.gatherers, n, { ...next.gatherers[n], ...change });
  };
  const behind = { number: rules.numbersFirst ? "head" : "store", head: rules.numbersFirst ? "store" : "number" } as const;

  switch (me.at) {
    case "idle":
      if (left.gatherings === 0 || control === undefined) return [];
      return [
        step(`begins in life ${control.life}`, (next) => {
          next.left = { ...left, gatherings: left.gatherings - 1 };
          to(next, { at: rules.numbersFirst ? "number" : "head", life: control.life, name: String(left.gatherings) });
        }),
      ];
    case "number": {
      const session = truthAtTail(world, setting).sessions.find(({ producer }) => producer === PRODUCER);
      const sequence = (session?.sequence ?? 0) + 1;
      return [step(`asks which generation comes next: ${sequence}`, (next) => to(next, { at: behind.number, sequence, name: `${sequence}/${me.name}` }))];
    }
    case "head": {
      const { names } = truthAtTail(world, setting);
      return [step(`reads the newest state, which names ${names.join(" and ") || "nothing"}`, (next) => to(next, { at: behind.head, head: names }))];
    }
    case "store": {
      const attachment = { life: me.life, sequence: me.sequence, name: me.name };
      const stores = asks(world, {
        says: `G${n} stores ${attachmentText(attachment)}`,
        request: () => ({ kind: "store attachment", attachment }),
        answered: (next) => to(next, rules.storesBeforeAppend ? { at: "append" } : IDLE_GATHERER),
        unanswered: () => undefined,
      });
      // Who was killed left a note of what it had stored for this generation.
      const stored = world.attached.filter(({ life, sequence }) => life === me.life && sequence === me.sequence);
      const finds = stored.map(({ name }) => step(`finds attached/${name} stored for it`, (next) => to(next, { at: "append", name })));
      return rules.storesBeforeAppend || me.names !== undefined ? [...stores, ...finds] : [step("puts it off", (next) => to(next, { at: "append" }))];
    }
    case "append": {
      if (control === undefined || (control.life !== me.life && rules.appendsToItsLife))
        return [step("finds its life ended", (next) => to(next, IDLE_GATHERER))];
      const choices = me.names !== undefined ? [me.names] : [[me.name], ...(me.head.length > 0 ? [[...me.head, me.name]] : [])];
      return choices.flatMap((names) =>
        asks(world, {
          says: `G${n} appends generation ${me.sequence}, which names ${names.join(" and ")}`,
          request: () => ({ kind: "create redo file", file: fileOf(world, n, me, names) }),
          answered: (next) => to(next, rules.storesBeforeAppend ? IDLE_GATHERER : { at: "store", names }),
          unanswered: (next) => to(next, { names }),
        }),
      );
    }
  }
}

function fileOf(world: World, n: number, { sequence, name }: Gatherer, names: readonly string[]): RedoFile {
  const { next, digest, time } = truthTail(world);
  const batches = [{ producer: PRODUCER, sequence, since: 1, names }];
  return { life: world.control?.life ?? 0, first: next, batches, previous: digest, writeId: `G${n}.${name}`, time, damaged: false };
}
