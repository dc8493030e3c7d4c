// What processes ask of the stores, as data.

import {
  type Attachment,
  attachmentText,
  type CaptureRecord,
  type Control,
  type Hint,
  type Part,
  type PartItem,
  type Row,
  type SnapshotName,
  snapshotText,
  type Upload,
} from "./stored.ts";
import type { Fold, RedoFile } from "./values.ts";

export type Request =
  | { readonly kind: "create redo file"; readonly file: RedoFile }
  | { readonly kind: "delete redo file"; readonly life: number; readonly first: number }
  | { readonly kind: "delete snapshot"; readonly name: SnapshotName }
  | { readonly kind: "create upload"; readonly upload: Upload }
  | { readonly kind: "send part"; readonly upload: number; readonly part: Part }
  | { readonly kind: "copy part"; readonly upload: number; readonly part: Part; readonly base: SnapshotName }
  | { readonly kind: "complete upload"; readonly record: CaptureRecord; readonly parts: readonly Pick<Part, "number" | "etag">[]; readonly fold: Fold }
  | { readonly kind: "abort upload"; readonly id: number }
  /** The control item, if it still has the stamp; with it a new history row, or a changed one that is still kept. */
  | { readonly kind: "write control"; readonly from: number; readonly to: Control | undefined; readonly adds?: Row; readonly changes?: Row }
  | { readonly kind: "mark row"; readonly from: number; readonly name: SnapshotName }
  | { readonly kind: "drop row"; readonly name: SnapshotName }
  /** A part's item, if its writer still holds the lease. */
  | { readonly kind: "note part"; readonly life: number; readonly epoch: number; readonly checksHolder: boolean; readonly item: PartItem }
  | { readonly kind: "drop part"; readonly item: PartItem }
  | { readonly kind: "store attachment"; readonly attachment: Attachment }
  | { readonly kind: "delete attachment"; readonly attachment: Attachment }
  | { readonly kind: "publish tail"; readonly hint: Hint };

/** In words, for a trace. */
export function requestText(request: Request): string {
  switch (request.kind) {
    case "delete redo file":
      return `deletes redo/${request.first}`;
    case "delete snapshot":
      return `deletes ${snapshotText(request.name)}`;
    case "abort upload":
      return `aborts upload ${request.id}`;
    case "mark row":
      return `marks ${snapshotText(request.name)} as going`;
    case "drop row":
      return `drops the row of ${snapshotText(request.name)}`;
    case "drop part":
      return `drops a note of part ${request.item.number}`;
    case "store attachment":
      return `stores ${attachmentText(request.attachment)}`;
    case "delete attachment":
      return `deletes ${attachmentText(request.attachment)}`;
    default:
      return request.kind;
  }
}
