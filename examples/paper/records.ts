/** What runs came to: a line of JSON each, in a file for each maker, there as soon as it is known. @module */
import type { MethodName } from "../../train/mod.ts";
import { UserError } from "../../train/mod.ts";
import { exists, writeBytes, writeTextAtomically } from "../../train/atomic_file.ts";
import type { Maker } from "./options.ts";
import type { Rates } from "./rates.ts";

/** Numbers and names that decide an outcome. */
export type Settings = Readonly<Record<string, string | number>>;

/** A run to be made. */
export interface RunChoice {
  readonly maker: Maker;
  readonly task: string;
  readonly method: MethodName;
  readonly seed: number;
}

/** What a run came to. */
export interface ScoreRecord extends RunChoice {
  readonly kind: "score";
  readonly settings: Settings;
  /** The processor, for people. */
  readonly processor: string;
  /** By metric; null where the numbers were not finite any more. */
  readonly metrics: Readonly<Record<string, number | null>> | null;
  /** The number that stands for the task. */
  readonly score: number | null;
  readonly trainable: number | null;
  /** Mean training loss of the last tenth of the steps. */
  readonly loss: number | null;
  /** Seconds of the whole run. */
  readonly wall: number;
  /** What was not as it was asked for. */
  readonly note?: string;
}

/** Time and memory of a method, measured with nothing beside it. */
export interface TimeRecord {
  readonly kind: "time";
  readonly maker: Maker;
  readonly method: MethodName;
  readonly settings: Settings;
  readonly processor: string;
  /** Of a step, over the second half of the steps. */
  readonly secondsPerStep: number;
  /** Most bytes on the device while training; null where the device is the processor. */
  readonly deviceBytes: number | null;
  /** Most bytes of the process; null where the system does not tell. */
  readonly processBytes: number | null;
}

/** A rate that was tried on rows held out of those to learn. */
export interface TuneRecord extends RunChoice {
  readonly kind: "tune";
  readonly rates: Rates;
  readonly settings: Settings;
  readonly processor: string;
  /** Held-out loss; null where the numbers were not finite any more. */
  readonly loss: number | null;
}

/** A run that could not be made; the same command tries it again. */
export interface FailRecord extends RunChoice {
  readonly kind: "failed";
  /** The kind of the record that lacks. */
  readonly of: "score" | "time" | "tune";
  readonly settings: Settings;
  readonly reason: string;
}

/** A line of the results. */
export type PaperRecord = ScoreRecord | TimeRecord | TuneRecord | FailRecord;

const MAKERS: readonly Maker[] = ["Gyre", "PEFT"];

/** The file of a maker's results. */
export function resultsFile(out: string, maker: Maker): string {
  return `${out}/${maker.toLowerCase()}.jsonl`;
}

/** Whether `name` in a directory of results may be of a comparison: anything beside results, else the place for work. */
export function isOfPaper(
  { out, work }: { readonly out: string; readonly work: string },
  name: string,
): boolean {
  if (MAKERS.some((maker) => exists(resultsFile(out, maker)))) return true;
  return exists(`${work}/data`) &&
    `${Deno.realPathSync(work)}/`.startsWith(`${Deno.realPathSync(`${out}/${name}`)}/`);
}

/**
 * The results that are there. A last line without its end, which a run that was killed leaves, is taken away. Throws
 * UserError for other lines that cannot be read.
 */
export function readRecords(out: string, makers: readonly Maker[] = MAKERS): PaperRecord[] {
  return makers.flatMap((maker) => {
    const file = resultsFile(out, maker), text = textOf(file);
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole !== text) writeTextAtomically(file, whole);
    return whole.split("\n").slice(0, -1).map((line, i) => {
      try {
        return JSON.parse(line) as PaperRecord;
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        throw new UserError(`${file}:${i + 1}: not JSON; remove the line to repeat its run.`);
      }
    });
  });
}

function textOf(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** Add a line to the results and have it on the disk. */
export function addRecord(out: string, record: PaperRecord): void {
  Deno.mkdirSync(out, { recursive: true });
  const path = resultsFile(out, record.maker);
  using file = Deno.openSync(path, { append: true, create: true });
  writeBytes(file, new TextEncoder().encode(`${JSON.stringify(record)}\n`), path);
  file.syncSync();
}

/** The record of `wanted` among `records`; undefined where there is none. Throws UserError for one of other settings. */
export function recordOf<T extends PaperRecord>(
  records: readonly PaperRecord[],
  wanted: Partial<T> & Pick<T, "kind" | "maker" | "method" | "settings">,
): T | undefined {
  const { settings, ...keys } = wanted as { readonly settings: Settings };
  const found = records.find((record) =>
    Object.entries(keys).every(([key, value]) => Object(record)[key] === value)
  );
  if (!found) return undefined;
  const names = new Set([...Object.keys(settings), ...Object.keys(found.settings)]);
  const other = [...names].filter((name) => settings[name] !== found.settings[name]);
  if (other.length === 0) return found as T;
  const differing = other.map((name) => `${name} ${found.settings[name]}, not ${settings[name]}`).join("; ");
  throw new UserError(
    `A result of ${
      Object.values(keys).join(" ")
    } is there with ${differing}: give another --out, or the same flags.`,
  );
}
