// Cleaners: any number of them, however stale. One lists page by page, reads the control item after that and the history rows
// last, plans, raises the mark in a conditional write, and only then deletes. Cleaners alone delete and abort.

import { keptSteps } from "./attachments.ts";
import { type Cleaner, type CleanerAt, IDLE_CLEANER, type Listing, NOTHING_LISTED } from "./cleaner-state.ts";
import { plansFor } from "./cleanup-plan.ts";
import { type Request, requestText } from "./request.ts";
import { attachmentText, type Control, sameName } from "./stored.ts";
import { asks, give } from "./stores.ts";
import { replaced, type Setting, type Step, type World } from "./world.ts";

export function cleanerSteps(world: World, n: number, setting: Setting): readonly Step[] {
  const me = world.cleaners[n];
  const { bounds, rules } = setting;
  const step = (says: string, take: (next: World) => void): Step => ({ says: `K${n} ${says}`, take });
  const to = (next: World, change: Partial<Cleaner>): void => {
    next.cleaners = replaced(next.cleaners, n, { ...next.cleaners[n], ...change });
  };
  const end = (next: World): void => to(next, IDLE_CLEANER);
  /** Attachments come last: what names them is looked for in what the rest has left. */
  const turnsToAttachments =
    ({ attached }: Listing) =>
    (next: World): void => {
      if (attached.length === 0) end(next);
      else to(next, { ...IDLE_CLEANER, at: "kept control", listing: { ...NOTHING_LISTED, attached } });
    };
  const order = readingOrder(setting);
  const behind = (at: CleanerAt): CleanerAt => order[order.indexOf(at) + 1] ?? "plan";

  switch (me.at) {
    case "idle":
      if (world.left.cleanups === 0) return [];
      return readsAt(order[0], (next) => {
        next.left = { ...next.left, cleanups: next.left.cleanups - 1 };
      });
    case "raise":
      return raises();
    case "delete":
      return deletes();
    case "kept control":
    case "kept rows":
    case "kept base":
    case "kept log":
    case "kept behind":
    case "kept check":
      return keptSteps({ world, me, setting, step, to, end });
    default:
      return readsAt(me.at);
  }

  function readsAt(at: CleanerAt, first: (next: World) => void = () => undefined): readonly Step[] {
    switch (at) {
      case "list":
        return listsPage(first);
      case "uploads": {
        const uploads = world.uploads.map(({ parts: _, ...upload }) => upload);
        return reads("lists the uploads", "uploads", { listing: { ...me.listing, uploads } });
      }
      case "control":
        return reads("reads the control item", "control", { control: world.control });
      case "rows": {
        if (rules.looksTwice && me.control === undefined && world.rows.length > 0) {
          return [step("finds history rows, but no control item", (next) => to(next, { at: "look twice" }))];
        }
        return reads("reads the history rows", "rows", { rows: world.rows });
      }
      // Rows beside no control item are those of a life that is past, or of one that began between the two readings.
      default:
        if (world.control === undefined) return plans("looks again: there is no control item", { ...me, rows: world.rows });
        return [step("looks again: a new life has begun", (next) => to(next, { at: "rows", control: world.control }))];
    }

    function reads(says: string, what: CleanerAt, read: Partial<Cleaner>): readonly Step[] {
      const then = behind(what);
      if (then === "plan") return plans(says, { ...me, ...read });
      return [
        step(says, (next) => {
          first(next);
          to(next, { ...read, at: then });
        }),
      ];
    }
  }

  /** What was read is forgotten but for the plan, and the control item that it rests on. */
  function plans(says: string, read: Cleaner): readonly Step[] {
    return plansFor(read, setting).map(({ mark, fence, todo }) => {
      const changes = read.control !== undefined && (mark !== read.control.mark || fence);
      const at = changes && rules.raisesFirst ? "raise" : "delete";
      const plan = {
        ...IDLE_CLEANER,
        at,
        control: read.control,
        change: { mark, fence },
        todo,
        listing: { ...NOTHING_LISTED, attached: read.listing.attached },
      } as const;
      const what = [...(mark === (read.control?.mark ?? 0) ? [] : [`the mark at ${mark}`]), ...(fence ? ["a fence"] : []), `${todo.length} to delete`];
      return step(`${says}, and plans ${what.join(", ")}`, todo.length === 0 && !changes ? turnsToAttachments(plan.listing) : (next) => to(next, plan));
    });
  }

  /** The next page of the shard's objects, in the order of their keys. What is created behind the cursor is missed. */
  function listsPage(first: (next: World) => void): readonly Step[] {
    const keys = [
      ...world.attached.map((attachment) => ({ ...NOTHING_LISTED, key: `${attachment.life}/${attachmentText(attachment)}`, attached: [attachment] })),
      ...world.redo.map(({ life, first: name }) => ({ ...NOTHING_LISTED, key: `${life}/redo/${name}`, redo: [{ life, first: name }] })),
      ...world.snapshots.map(({ life, index, epoch }) => ({
        ...NOTHING_LISTED,
        key: `${life}/snapshots/${index}-e${epoch}`,
        snapshots: [{ life, index, epoch }],
      })),
    ]
      .filter(({ key }) => key > me.cursor)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const page = keys.slice(0, bounds.page);
    const isLast = page.length === keys.length;
    const listing: Listing = {
      ...me.listing,
      redo: [...me.listing.redo, ...page.flatMap(({ redo }) => redo)],
      snapshots: [...me.listing.snapshots, ...page.flatMap(({ snapshots }) => snapshots)],
      attached: [...me.listing.attached, ...page.flatMap(({ attached }) => attached)],
      parts: me.cursor === "" ? world.parts : me.listing.parts,
    };
    return [
      step(`lists ${page.length === 0 ? "nothing" : page.map(({ key }) => key).join(", ")}${isLast ? "" : " …"}`, (next) => {
        first(next);
        to(next, isLast ? { at: behind("list"), cursor: "", listing } : { at: "list", cursor: page.at(-1)?.key ?? "", listing });
      }),
    ];
  }

  /** The mark and the fence, in one write that asks for everything to be as it was read. */
  function raises(): readonly Step[] {
    const { control, change } = me;
    if (control === undefined) return [step("has nothing to raise", end)];
    const after = rules.raisesFirst ? "delete" : "idle";
    if (me.doubt !== 0) {
      const isMine = world.control?.stamp === me.doubt;
      return [step(isMine ? "sees that its write came through" : "does not know what came of its write", isMine ? (next) => raised(next) : end)];
    }
    const from = rules.raisesAsRead ? control : (world.control ?? control);
    const to1: Control = { ...from, mark: change.mark, ...(change.fence && { epoch: from.epoch + 1, record: undefined }) };
    return asks(world, {
      says: `K${n} ${change.fence ? `fences: epoch ${to1.epoch}` : `raises the mark to ${change.mark}`}${world.control?.stamp === from.stamp ? "" : ", refused"}`,
      request: (next) => ({ kind: "write control", from: from.stamp, to: { ...to1, stamp: give(next) } }),
      answered: (next, answer) => (answer === "done" ? raised(next) : end(next)),
      unanswered: (next) => to(next, { doubt: next.given }),
    });

    function raised(next: World): void {
      if (after === "idle") end(next);
      else to(next, { at: "delete", control: next.control, doubt: 0 });
    }
  }

  function deletes(): readonly Step[] {
    const [first, ...others] = me.todo;
    if (first === undefined) return [step("is done", rules.raisesFirst ? turnsToAttachments(me.listing) : (next) => to(next, { at: "raise" }))];
    const request: Request = first.kind === "mark row" ? { ...first, from: (rules.marksAsRead ? me.control : world.control)?.stamp ?? 0 } : first;
    return asks(world, {
      says: `K${n} ${requestText(request)}`,
      request: () => request,
      answered(next, answer) {
        // Who holds it meanwhile keeps it.
        const spared = answer === "refused" && first.kind === "mark row" ? first.name : undefined;
        const todo = others.filter((one) => spared === undefined || !("name" in one) || !sameName(one.name, spared));
        if (todo.length === 0 && rules.raisesFirst) turnsToAttachments(me.listing)(next);
        else to(next, { todo });
      },
      unanswered: end,
    });
  }
}

/** Facts that cannot become untrue: what was listed before the control item was read, and rows read behind it. */
function readingOrder({ rules }: Setting): readonly CleanerAt[] {
  const items: readonly CleanerAt[] = rules.readsRowsLast ? ["control", "rows"] : ["rows", "control"];
  return rules.listsFirst ? ["list", "uploads", ...items] : [...items, "list", "uploads"];
}
