// How a snapshot is cut into pages, row groups and parts. Kept with a capture, so that who goes on with it cuts alike (rule 15).

import { COPY_BY_HAND_BYTES_MAX, COPY_PART_BYTES, PART_BYTES, PARTS_EXPECTED_MAX, S3_PART_BYTES_MIN } from "../model/limits.ts";
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

/** Two parts of so many bytes, of which one may be too short, are copied by hand as one. */
const LEAST_BYTES_MAX = COPY_BY_HAND_BYTES_MAX / 2;

/** What is asked for; but of a snapshot of so many bytes, about, no part is so short that S3 would not take all of them. */
export function sizesOf(asked: Partial<SnapshotSizes> | undefined, bytesExpected: number): SnapshotSizes {
  const sizes = { ...SNAPSHOT_SIZES, ...asked };
  const least = Math.min(Math.ceil(bytesExpected / PARTS_EXPECTED_MAX), LEAST_BYTES_MAX);
  if (least <= sizes.partBytesMin) return sizes;
  const copyBytes = Math.max(least, Math.min(sizes.copyBytes, COPY_BY_HAND_BYTES_MAX - least));
  return { ...sizes, partBytesMin: least, partBytes: Math.max(sizes.partBytes, least), copyBytes };
}

/** The sizes in a form that is equal where they are. */
export function sizesText({ pageRows, groupBytes, partBytes, partBytesMin, copyBytes }: SnapshotSizes): string {
  return [pageRows, groupBytes, partBytes, partBytesMin, copyBytes].join(" ");
}

/** Whether this program, with these sizes, would write the same bytes as the one that began the capture. */
export function cutsAlike({ encoderVersion, sizes, bytesExpected }: CaptureRecord, asked: Partial<SnapshotSizes> | undefined): boolean {
  return encoderVersion === ENCODER_VERSION && sizes === sizesText(sizesOf(asked, bytesExpected));
}
