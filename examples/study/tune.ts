/** Learning rates, chosen on rows that are made for this alone. @module */
import { UserError } from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { longTaskRows, type TaskRow, taskRows } from "../corpus.ts";
import type { StudyOptions } from "./options.ts";

/** A rate that was tried, with the held-out loss it led to; null: the gradients were not finite. */
export interface Trial {
  readonly lr: number;
  readonly loss: number | null;
}

/** What was tried for a method, and the choice: the least held-out loss. */
export interface Tuned {
  readonly method: string;
  readonly chosen: number;
  /** The same for the rate of orthogonal parameters, beside the chosen rate of the others; null: not chosen. */
  readonly orthogonal: Omit<Tuned, "method" | "orthogonal"> | null;
  /** The choice is the least or the greatest rate tried: a better one may lie beyond. */
  readonly atEdge: boolean;
  readonly trials: readonly Trial[];
}

/** Rows of a study of the long task. */
const LONG_ROWS = { train: 8000, eval: 200 };
/** Rows to choose on. */
const TUNE_ROWS = { train: 4000, eval: 200 };
/** Seed of the study's rows, and of those to choose on. */
const STUDY_SEED = 1, TUNE_SEED = 77;

/** Where rows lie. */
export interface RowFiles {
  readonly data: string;
  readonly eval: string;
}

/** Write the rows of the long task to where the study reads them; other tasks have theirs. */
export function writeTaskRows({ task, data, eval: held }: StudyOptions): void {
  if (task !== "long") return;
  writeRows(data, longTaskRows("train", STUDY_SEED, LONG_ROWS.train));
  writeRows(held, longTaskRows("eval", STUDY_SEED, LONG_ROWS.eval));
}

/**
 * Write rows to choose learning rates on. All come from the generator's part for training, so that no held-out problem
 * of the study is among them, and no question of the study's training rows is either; no problem to learn from occurs
 * among those to measure on.
 */
export function writeTuneRows({ task, out, data }: StudyOptions): RowFiles {
  const make = task === "long" ? longTaskRows : taskRows;
  const used = new Set(readRows(data).map((r) => r.question));
  const fresh = (seed: number, count: number): TaskRow[] =>
    make("train", seed, 3 * count).filter((r) => !used.has(r.question));
  const train = fresh(TUNE_SEED, TUNE_ROWS.train).slice(0, TUNE_ROWS.train);
  const learnt = new Set(train.map((r) => r.answer));
  const held = fresh(TUNE_SEED + 1, 20 * TUNE_ROWS.eval).filter((r) => !learnt.has(r.answer))
    .slice(0, TUNE_ROWS.eval);
  const files = { data: `${out}/tune/train.jsonl`, eval: `${out}/tune/eval.jsonl` };
  writeRows(files.data, train);
  writeRows(files.eval, held);
  return files;
}

/** The rate with the least held-out loss. Throws UserError when none was finite. */
export function choose(method: string, trials: readonly Trial[]): Tuned {
  const sorted = trials.toSorted((a, b) => a.lr - b.lr);
  const best = sorted.filter((t) => t.loss !== null).toSorted((a, b) => a.loss! - b.loss!)[0];
  if (!best) {
    throw new UserError(
      `${method}: no learning rate of ${
        sorted.map((t) => t.lr).join(", ")
      } gave finite gradients; give others with --tune.`,
    );
  }
  const atEdge = sorted.length > 1 && (best === sorted[0] || best === sorted.at(-1));
  return { method, chosen: best.lr, atEdge, trials: sorted, orthogonal: null };
}

/** Rates beyond the first ones that are tried at most. */
const MOST_BEYOND = 3;

/**
 * The rates to try next: first the multiples of the usual one; then, while the best is the least or the greatest tried,
 * one beyond it, as far from it as its neighbour is. Empty: enough was tried.
 */
export function nextRates(usual: number, multiples: readonly number[], trials: readonly Trial[]): number[] {
  const round = (lr: number): number => Number(lr.toPrecision(3));
  if (trials.length === 0) return multiples.map((m) => round(usual * m));
  if (trials.length < 2 || trials.length >= multiples.length + MOST_BEYOND) return [];
  if (trials.every((t) => t.loss === null)) return [round(Math.min(...trials.map((t) => t.lr)) / 4)];
  const { chosen, atEdge, trials: sorted } = choose("", trials);
  if (!atEdge) return [];
  const neighbour = chosen === sorted[0]!.lr ? sorted[1]! : sorted.at(-2)!;
  return [round(chosen * (chosen / neighbour.lr))];
}

/** Rows of a file, a line each. */
export function countRows(file: string): number {
  return Deno.readTextFileSync(file).trimEnd().split("\n").length;
}

function readRows(file: string): TaskRow[] {
  return Deno.readTextFileSync(file).trimEnd().split("\n").map((line) => JSON.parse(line) as TaskRow);
}

function writeRows(file: string, rows: readonly TaskRow[]): void {
  Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
  writeTextAtomically(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}
