/** What a run is asked to do. @module */
import type { AdapterSettings } from "./adapter_specs.ts";
import type { STREAMS } from "./data/open_rows.ts";
import type { DeviceChoice } from "./devices.ts";
import type { GlueTaskName } from "./evaluation/glue_tasks.ts";
import type { MethodName } from "./methods.ts";
import type { TableOf } from "./parse_flags.ts";
import type { FormatName } from "./rows.ts";
import type { ScheduleName } from "./schedule.ts";

/** What a run is asked to do. */
export interface TrainOptions extends AdapterSettings {
  readonly model: string;
  readonly data: string;
  /** Rows and tasks to measure by, as parseAsked takes them; null: no evaluation. */
  readonly eval: string | null;
  /** Steps between evaluations; 0: before the first step and after the last alone. */
  readonly evalEvery: number;
  /** Rows of each file of `eval`, the first ones; null: all. */
  readonly evalLimit: number | null;
  /** Keep the state with the least held-out loss, and leave that. */
  readonly keepBest: boolean;
  /** Dropout of an encoder in place of its `config.json`'s; null: that. */
  readonly modelDropout: number | null;
  /** What rows look like; "auto": their fields say. */
  readonly format: FormatName | "auto";
  /** When rows are kept in a file of tokens in place of memory: "auto" for large files. */
  readonly stream: typeof STREAMS[number];
  /** Directory of those files; null: in the user's cache directory. */
  readonly tokenCache: string | null;
  /** Task of GLUE that an encoder learns; null: a language model learns the rows as text. */
  readonly task: GlueTaskName | null;
  readonly out: string;
  /** "compose" where an expression says what is trained. */
  readonly method: MethodName | "compose";
  /** Expression of adapters and their places; null: the method says what goes where. */
  readonly compose: string | null;
  /** Weights trained whole beside the adapters, as patterns separated by commas; null: none. */
  readonly saveModules: string | null;
  /** Batches whose gradients LoRA-GA starts from. */
  readonly startBatches: number;
  readonly target: string;
  readonly rank: number;
  readonly alpha: number;
  /** Null: the largest of 8, 4 and 2 that fits a map. */
  readonly block: number | null;
  /** Null: 2 where they fit a map, else 1. */
  readonly factors: number | null;
  /** Null: as many as the epochs have. */
  readonly steps: number | null;
  readonly epochs: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly seq: number;
  /** Put several examples into a row. */
  readonly pack: boolean;
  readonly lr: number;
  readonly orthogonalLr: number;
  readonly schedule: ScheduleName;
  /** Below 1 a share of all steps, otherwise steps. */
  readonly warmup: number;
  /** 0: no clipping. */
  readonly clip: number;
  readonly seed: number;
  readonly device: DeviceChoice;
  readonly dtype: "f32" | "f16";
  /** Null: dynamic with f16, none with f32. */
  readonly lossScale: "dynamic" | number | null;
  /** Null: a fresh adapter. */
  readonly adapter: string | null;
  readonly merge: boolean;
  /** Go on with the run in `out`. */
  readonly resume: boolean;
  /** Steps between checkpoints; 0: only when training ends. */
  readonly saveEvery: number;
  /** Checkpoints kept, the newest ones. */
  readonly keep: number;
  /** The file that flags were read from; null: none. */
  readonly config: string | null;
  /** Measure the tiles of products. */
  readonly tuneKernels: boolean;
  /** Keep no plans between runs. */
  readonly noCache: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** What defaults depend on. */
export interface Site {
  /** Directory of the repository, where the bundled model and data are. */
  readonly root: string;
  /** Names the default output directory. */
  readonly now: Date;
}

/** A flag for each option. */
export type Table = TableOf<TrainOptions, Site>;
