// How a snapshot is cut into pages, row groups and parts. Kept with a capture, so that who goes on with it cuts alike (rule 15).

import { COPY_PART_BYTES, PART_BYTES, S3_PART_BYTES_MIN } from "../model/limits.ts";
import type { CaptureRecord } from "../model/control.ts";
import { ENCODER_VERSION } from "./parquet/description.ts";
import { GROUP_STORED_BYTES, type GroupSizes, PAGE_ROWS_MAX } from "./parquet/layout.ts";
import type { PartSizes } from "./parts.ts";

export interface SnapshotSizes extends GroupSizes, PartSizes {}

export const SNAPSHOT_SIZES: SnapshotSizes = {
  pageRows: PAGE_ROWS_MAX,
  groupBytes: GROUP_STORED_BYTES,
  partBytes: PART_BYTES,
  partBytesMin: S3_PART_BYTES_MIN,
  copyBytes: COPY_PART_BYTES,
};

export function sizesOf(asked: Partial<SnapshotSizes> = {}): SnapshotSizes {
  return { ...SNAPSHOT_SIZES, ...asked };
}

/** The sizes in a form that is equal where they are. */
export function sizesText({ pageRows, groupBytes, partBytes, partBytesMin, copyBytes }: SnapshotSizes): string {
  return [pageRows, groupBytes, partBytes, partBytesMin, copyBytes].join(" ");
}

/** Whether this program, with these sizes, would write the same bytes as the one that began the capture. */
export function cutsAlike({ encoderVersion, sizes }: CaptureRecord, asked: Partial<SnapshotSizes> | undefined): boolean {
  return encoderVersion === ENCODER_VERSION && sizes === sizesText(sizesOf(asked));
}
