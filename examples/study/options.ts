/** What a study is asked to do, and the runs that follow from it. @module */
import { parseArgs } from "@std/cli/parse-args";
import { METHODS, OptionError, parseOptions, type TrainOptions, UserError } from "../../train/mod.ts";

/** The tasks that the study can make rows for; `files`: rows given by `--data` and `--eval`. */
export type Task = "two-step" | "long" | "files";

/** What a study is asked to do. */
export interface StudyOptions {
  readonly out: string;
  readonly task: Task;
  readonly model: string;
  readonly data: string;
  readonly eval: string;
  readonly methods: readonly string[];
  readonly seeds: readonly number[];
  /** Learning rates given by hand, by method. */
  readonly rates: ReadonlyMap<string, Rates>;
  /** Multiples of a method's default learning rate to choose from; empty: no choosing. */
  readonly tune: readonly number[];
  /** Multiples of the chosen rate to choose the rate of orthogonal parameters from, for methods with others too. */
  readonly tuneOrthogonal: readonly number[];
  /** No run is begun after so many minutes. */
  readonly minutes: number;
  /** A markdown page and the section of it that gets the table; null: none. */
  readonly page: { readonly file: string; readonly section: string } | null;
  /** Flags of every run, as `train.ts` takes them. */
  readonly flags: readonly string[];
}

/** Learning rates of a method. */
export interface Rates {
  readonly lr: number;
  /** Of orthogonal parameters; absent: the default share of `lr`. */
  readonly orthogonalLr?: number;
}

/** The text of `--help`. */
export const STUDY_HELP =
  `Compare fine-tuning methods: deno run -A examples/study.ts [flags] [-- flags of train.ts]

  --out DIR        directory of the study; finished runs in it are not repeated [runs/study]
  --task NAME      two-step (the bundled rows) or long (three and four steps, written to DIR) [two-step]
  --model DIR      model directory [examples/base]
  --data, --eval   rows to learn and held-out rows, instead of a task's
  --methods LIST   ${METHODS.join(",")} [all]
  --seeds LIST     [0,1,2]
  --steps N        [100]
  --batch N        [16]
  --seq N          [128]
  --device NAME    auto, cpu or gpu [auto]
  --lr LIST        learning rates by method: full=5e-4,hybrid=2e-3/9e-3, the second for orthogonal parameters
                   [those of train.ts, or what --tune chose]
  --tune LIST      first choose each method's rate among these multiples of its default, on rows that the generator
                   makes for this alone, and up to three beyond while the best is at an edge; --tune 0.3,1,3
  --tune-orthogonal LIST   with --tune: then choose the rate of orthogonal parameters among these multiples of the
                   chosen rate, where a method has both kinds; --tune-orthogonal 0.5,1.5,4.5
  --minutes N      begin no run after N minutes; the same command goes on later [no limit]
  --page FILE#NAME put the table between the lines <!-- study NAME --> and <!-- end --> of a markdown page
`;

const STRINGS = [
  ...["out", "task", "model", "data", "eval", "methods", "seeds", "steps", "batch", "seq", "device", "lr"],
  ...["tune", "tune-orthogonal", "minutes", "page"],
] as const;

/** Read the command line. Throws OptionError. `root` is the directory of the repository. */
export function parseStudy(argv: readonly string[], root: string): StudyOptions {
  const cut = argv.indexOf("--");
  const own = cut < 0 ? [...argv] : argv.slice(0, cut), passed = cut < 0 ? [] : argv.slice(cut + 1);
  const flags = parseArgs(own, {
    string: [...STRINGS],
    unknown: (arg) => {
      throw new OptionError(`There is no flag ${arg}: see --help; flags of train.ts follow after --.`, {
        arg,
      });
    },
  });
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const task = text("data") === undefined && text("eval") === undefined
    ? text("task") ?? "two-step"
    : "files";
  if (task !== "two-step" && task !== "long" && task !== "files") {
    throw new OptionError(`--task is "${task}": give two-step or long.`, { task });
  }
  if (task === "files" && (!text("data") || !text("eval"))) {
    throw new OptionError("--data and --eval belong together: rows to learn and rows to measure on.");
  }
  const out = text("out") ?? "runs/study";
  const tune = text("tune") === undefined ? [] : numbers("tune", text("tune")!);
  const shares = text("tune-orthogonal");
  const tuneOrthogonal = shares === undefined ? [] : numbers("tune-orthogonal", shares);
  if (tune.length === 0 && tuneOrthogonal.length > 0) {
    throw new OptionError("--tune-orthogonal goes with --tune: the rate itself is chosen first.");
  }
  if (task === "files" && tune.length > 0) {
    throw new OptionError("--tune makes its own rows and can do so for --task two-step or long alone.");
  }
  const common = ["steps", "batch", "seq", "device"].flatMap((name) => {
    const given = text(name) ?? { steps: "100" }[name];
    return given === undefined ? [] : [`--${name}`, given];
  });
  const methods = list("methods", text("methods") ?? METHODS.join());
  const rates = readRates(text("lr"));
  for (const method of rates.keys()) {
    if (!methods.includes(method)) {
      throw new OptionError(`--lr names ${method}, which is not among --methods ${methods.join()}.`, {
        method,
      });
    }
  }
  const bundled = `${root}/examples`;
  const files = task === "long"
    ? { data: `${out}/data/train.jsonl`, eval: `${out}/data/eval.jsonl` }
    : { data: `${bundled}/data/train.jsonl`, eval: `${bundled}/data/eval.jsonl` };
  return {
    out,
    task,
    model: text("model") ?? `${bundled}/base`,
    data: text("data") ?? files.data,
    eval: text("eval") ?? files.eval,
    methods,
    seeds: numbers("seeds", text("seeds") ?? "0,1,2"),
    rates,
    tune,
    tuneOrthogonal,
    minutes: text("minutes") === undefined ? Infinity : numbers("minutes", text("minutes")!)[0]!,
    page: readPage(text("page")),
    flags: [...common, ...passed],
  };
}

/** Parts between commas, each once. */
function list(flag: string, text: string): string[] {
  const parts = [...new Set(text.split(",").map((part) => part.trim()).filter((part) => part !== ""))];
  if (parts.length === 0) {
    throw new OptionError(`--${flag} is "${text}": give values with commas between them.`);
  }
  return parts;
}

function numbers(flag: string, text: string): number[] {
  return list(flag, text).map((part) => {
    const n = Number(part);
    if (Number.isFinite(n) && n >= 0) return n;
    throw new OptionError(`--${flag} has "${part}": give numbers from 0 on.`, { flag, value: part });
  });
}

function readRates(text: string | undefined): Map<string, Rates> {
  if (text === undefined) return new Map();
  const parts = list("lr", text).map((part): [string, Rates] => {
    const [, method, rate, orthogonal] = /^([^=]+)=([^/]+)(?:\/(.+))?$/.exec(part) ?? [];
    const lr = Number(rate), orthogonalLr = Number(orthogonal ?? rate);
    if (lr > 0 && orthogonalLr > 0) {
      return [method!, orthogonal === undefined ? { lr } : { lr, orthogonalLr }];
    }
    throw new OptionError(
      `--lr has "${part}": give method=rate or method=rate/orthogonal, such as full=5e-4.`,
      { value: part },
    );
  });
  return new Map(parts);
}

function readPage(text: string | undefined): StudyOptions["page"] {
  if (text === undefined) return null;
  const [file, section] = text.split("#");
  if (!file || !section) throw new OptionError(`--page is "${text}": give FILE#NAME.`, { value: text });
  return { file, section };
}

/** Where a run differs from the study's other runs. */
export interface RunChoice {
  readonly method: string;
  readonly seed: number;
  readonly out: string;
  /** Absent: the defaults of `train.ts`. */
  readonly rates?: Rates | undefined;
  /** Other rows than the study's. */
  readonly data?: string;
  readonly eval?: string;
}

function rateFlags(rates: Rates | undefined): string[] {
  if (rates === undefined) return [];
  const { lr, orthogonalLr } = rates;
  return ["--lr", `${lr}`, ...(orthogonalLr === undefined ? [] : ["--orthogonal-lr", `${orthogonalLr}`])];
}

/** The options of one run: what the flags of `train.ts` make of it. Throws OptionError, for unknown methods too. */
export function runOptions(
  study: StudyOptions,
  root: string,
  { method, seed, out, rates, ...rows }: RunChoice,
): TrainOptions {
  const { model, data, eval: held } = { ...study, ...rows };
  const options = parseOptions([
    ...study.flags,
    ...["--model", model, "--data", data, "--eval", held, "--method", method],
    ...["--seed", String(seed), "--out", out, ...rateFlags(rates)],
    // A run is made anew, and its directory removed in the end.
    ...["--save-every", "0"],
  ], { root, now: new Date() });
  if (options.steps === null) {
    throw new UserError("A study needs --steps: equal budgets are counted in steps.");
  }
  return options;
}
