/** What the tasks of an evaluation have in common. @module */
import type { Session } from "../session.ts";
import type { Tokenizer } from "../tokenizer.ts";

/** A model that is examined. */
export interface Examinee {
  readonly session: Session;
  readonly tokenizer: Tokenizer;
  /** Longest sequence, in tokens, prompt and answer together. */
  readonly seq: number;
}

/** Numbers by name; null where a number is not defined, as of no rows. */
export type Numbers = Readonly<Record<string, number | null>>;

/** What came out. */
export interface Outcome {
  /** Of the whole data. */
  readonly metrics: Numbers;
  /** Of its parts: languages, pairs, categories; empty where there are none. */
  readonly parts: readonly { readonly name: string; readonly metrics: Numbers }[];
  /** A record for each row, for `--out`. */
  readonly items: readonly object[];
  /** What a reader of the numbers should know. */
  readonly notes: readonly string[];
  /** Set where nothing could be measured, though there are items to keep: why. */
  readonly failure?: string;
}

/** Told how many of how many rows are done. */
export type Follow = (done: number, total: number) => void;

/** A task whose data has been read. */
export interface PreparedTask {
  /** Whether `run` needs a model. */
  readonly asks: boolean;
  /** `examinee` is null where the task does not ask for one. */
  readonly run: (examinee: Examinee | null, follow: Follow) => Promise<Outcome>;
  /** Ask a model all that `run` asks it, and judge nothing outside of this process. */
  readonly ask: (examinee: Examinee) => Promise<unknown>;
}

/** A task that asks a model. */
export function asking(run: (examinee: Examinee, follow: Follow) => Promise<Outcome>): PreparedTask {
  return {
    asks: true,
    run: (examinee, follow) => {
      if (!examinee) throw new Error("This task needs a model.");
      return run(examinee, follow);
    },
    ask: (examinee) => run(examinee, () => {}),
  };
}

/** The mean of numbers; null of none. */
export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
}
