// What became of the blocks that are cut, in the order of the file: all that is kept of them between the passes, 20 bytes each.

export interface CutBlock {
  /** Bytes, with the CRC; 0 where no point is left. */
  readonly length: number;
  readonly first: bigint;
  readonly last: bigint;
}

export interface CutLog {
  push(cut: CutBlock): void;
  at(index: number): CutBlock;
}

export function cutLog(): CutLog {
  let lengths = new Uint32Array(64);
  let times = new BigInt64Array(128);
  let count = 0;
  return {
    push({ length, first, last }) {
      if (count === lengths.length) grow();
      lengths[count] = length;
      times[2 * count] = first;
      times[2 * count + 1] = last;
      count++;
    },
    at(index) {
      if (index >= count) throw new RangeError("no such block was cut");
      return { length: lengths[index], first: times[2 * index], last: times[2 * index + 1] };
    },
  };

  function grow(): void {
    const [oldLengths, oldTimes] = [lengths, times];
    lengths = new Uint32Array(2 * oldLengths.length);
    lengths.set(oldLengths);
    times = new BigInt64Array(2 * oldTimes.length);
    times.set(oldTimes);
  }
}
