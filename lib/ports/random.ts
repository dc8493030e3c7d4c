/** Chance, handed in. */
export interface Random {
  /** `digits` hexadecimal digits, never given out before: at least 16. */
  id(digits: number): string;
  /** At least 0, less than 1: for jitter. */
  fraction(): number;
}
