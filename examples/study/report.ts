/** What a study says, for people: a markdown table with its terms, pictures, and everything as JSON. @module */
import { barChart, lineChart, UserError } from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";
import { type MethodSummary, type Stat, windowOf } from "./summary.ts";
import type { Tuned } from "./tune.ts";

/** The terms of a study: what all methods had in common. */
export interface Terms {
  readonly model: string;
  readonly parameters: number;
  readonly layers: number;
  readonly hidden: number;
  readonly task: string;
  readonly rows: string;
  readonly device: string;
  readonly steps: number;
  readonly batch: number;
  readonly seq: number;
  readonly seeds: readonly number[];
  /** Rates given on the command line, by method. */
  readonly givenRates: readonly string[];
  readonly tuned: readonly Tuned[];
  /** Runs that are still to be made. */
  readonly missing: readonly string[];
}

const MIB = 2 ** 20;

function spread(stat: Stat | null, show: (n: number) => string): string {
  if (stat === null) return "–";
  return stat.n < 2 ? show(stat.mean) : `${show(stat.mean)} ± ${show(stat.sd)}`;
}

const fixed = (digits: number) => (n: number): string => n.toFixed(digits);
const significant = (n: number): string => String(Number(n.toPrecision(3)));
const mebibytes = (n: number): string => (n / MIB).toFixed(n < 100 * MIB ? 1 : 0);

function ratio(a: number | undefined, b: number | undefined): string {
  return a === undefined || b === undefined ? "–" : `${(a / b).toFixed(2)}×`;
}

/** The table, a row a method. `–`: not measured, or nothing to compare with. */
export function tableOf(methods: readonly MethodSummary[]): string[][] {
  const full = methods.find((m) => m.method === "full");
  const head = [
    ...["method", "learning rate", "trained", "held-out loss", "exact match, %", "step, ms", "step ÷ full"],
    ...["reached full's loss", "after, steps", "after, s", "÷ full", "step memory, MiB", "memory ÷ full"],
  ];
  return [
    head,
    ...methods.map((m) => [
      m.method,
      // Half is the default: said once below the table.
      m.orthogonalLr === m.lr / 2
        ? significant(m.lr)
        : `${significant(m.lr)} / ${significant(m.orthogonalLr)}`,
      m.trainable?.toLocaleString("en") ?? "–",
      spread(m.heldOutLoss, fixed(4)),
      spread(m.exact, (n) => (100 * n).toFixed(1)),
      spread(m.stepSeconds, (n) => significant(1000 * n)),
      ratio(m.stepSeconds?.mean, full?.stepSeconds?.mean),
      m.reach === null ? "–" : `${m.reach.reached} of ${m.reach.of}`,
      spread(m.reach?.steps ?? null, fixed(0)),
      spread(m.reach?.seconds ?? null, significant),
      m.reach?.ratio ? `${m.reach.ratio.mean.toFixed(2)}×` : "–",
      m.stepBytes ? mebibytes(m.stepBytes.total) : "–",
      ratio(m.stepBytes?.total, full?.stepBytes?.total),
    ]),
  ];
}

function bytesTable(methods: readonly MethodSummary[]): string[][] {
  return [
    [
      "method, MiB",
      "frozen weights",
      "trained",
      "optimiser",
      "activations, gradients",
      "step",
      "peak of the run",
    ],
    ...methods.flatMap(({ method, stepBytes: b, peakBytes }) =>
      b
        ? [[
          method,
          ...[b.weights, b.trained, b.optimiser, b.temporaries, b.total].map(mebibytes),
          peakBytes ? mebibytes(peakBytes.mean) : "–",
        ]]
        : []
    ),
  ];
}

/** Columns are aligned as the project's formatter does it: a page with the table in it needs no formatting. */
function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head, ...body] = rows;
  const widths = head!.map((_, c) => Math.max(3, ...rows.map((r) => r[c]!.length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((x, c) => c === 0 ? x.padEnd(widths[c]!) : x.padStart(widths[c]!)).join(" | ")} |`;
  const rule = widths.map((w, c) => c === 0 ? "-".repeat(w) : `${"-".repeat(w - 1)}:`);
  return [line(head!), line(rule), ...body.map(line)].join("\n");
}

/** Columns of prose in the project's pages. */
const WIDTH = 110;

function wrap(text: string, indent = ""): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= WIDTH) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(last === undefined ? word : `${indent}${word}`);
  }
  return lines.join("\n");
}

/** The study as markdown: terms, table, what the columns mean, how the rates were chosen, what failed. */
export function markdownOf(methods: readonly MethodSummary[], terms: Terms): string {
  const window = windowOf(terms.steps);
  const failed = methods.filter((m) => m.failed.length > 0)
    .map((m) => `${m.method} (seed ${m.failed.join(", ")})`);
  const parts = [
    `Model: ${terms.model}, ${terms.parameters.toLocaleString("en")} parameters, ${terms.layers} layers of ` +
    `${terms.hidden}. Task: ${terms.task}; ${terms.rows}. Device: ${terms.device}.`,
    `Budget of every method: ${terms.steps} steps of ${terms.batch} rows, at most ${terms.seq} tokens each; for a ` +
    `seed the same batches in the same order, and the same held-out rows. Seeds ${terms.seeds.join(", ")}; ` +
    `mean ± sample standard deviation over seeds.`,
    markdownTable(tableOf(methods)),
    `_Reached full's loss_: for how many seeds the training loss, mean of ${window} steps, came down to where full ` +
    `fine-tuning's ended with the same batches; _after_: steps until then, and these times the median time of a ` +
    `step, over the seeds that got there, without compiling and measuring; _÷ full_: mean of the ratios seed by seed. It is the training loss because nothing is held out ` +
    `while training. _Step memory_: what the plan of a training step allocates, with weights and state.`,
    markdownTable(bytesTable(methods)),
    `_Peak of the run_ counts everything on the device, answering the held-out questions included.`,
    ratesText(terms),
    ...(failed.length > 0
      ? [`Gave up because gradients were not finite, left out of the means: ${failed.join("; ")}.`]
      : []),
    ...(terms.missing.length > 0 ? [`Not run yet: ${terms.missing.join("; ")}.`] : []),
  ];
  const wrapped = parts.map((p) =>
    p.startsWith("|")
      ? p
      : p.split("\n").map((line) => wrap(line, line.startsWith("- ") ? "  " : "")).join("\n")
  );
  return `${wrapped.join("\n\n")}\n`;
}

function ratesText({ tuned, givenRates }: Terms): string {
  if (tuned.length === 0) {
    const given = givenRates.length > 0 ? ` except for ${givenRates.join(", ")}, given by hand` : "";
    return `Learning rates: the defaults of \`train.ts\`${given}; nothing was tuned for this study.`;
  }
  const list = (kind: string, { chosen, atEdge, trials }: Omit<Tuned, "method" | "orthogonal">): string => {
    const tried = trials.map(({ lr, loss }) => {
      const mark = lr === chosen ? "**" : "";
      return `${mark}${significant(lr)}: ${loss === null ? "not finite" : loss.toFixed(4)}${mark}`;
    });
    return `- ${kind}: ${tried.join(", ")}${atEdge ? " (at the edge of what was tried)" : ""}`;
  };
  const lists = tuned.flatMap((t) => [
    list(t.method, t),
    ...(t.orthogonal ? [list(`${t.method}, orthogonal parameters`, t.orthogonal)] : []),
  ]);
  return `Learning rates were chosen by held-out loss with one seed and the same budget, on rows made for that, none of ` +
    `which is in the study's rows; nothing else was tuned. The rate of orthogonal parameters is half of the other where ` +
    `no second number is given.${
      givenRates.length > 0 ? ` Given by hand: ${givenRates.join(", ")}.` : ""
    }\n\n` +
    lists.join("\n");
}

/** Write `study.json`, `study.md` and the pictures to `out`. Resolves to the text of `study.md`. */
export async function writeReport(
  out: string,
  methods: readonly MethodSummary[],
  terms: Terms,
): Promise<string> {
  const text = markdownOf(methods, terms);
  Deno.mkdirSync(out, { recursive: true });
  const json = { terms, methods: methods.map(({ curve: _curve, ...rest }) => rest) };
  writeTextAtomically(`${out}/study.json`, `${JSON.stringify(json, null, 1)}\n`);
  writeTextAtomically(`${out}/study.md`, text);
  for (const [name, svg] of await drawPictures(methods, terms)) writeTextAtomically(`${out}/${name}`, svg);
  return text;
}

async function drawPictures(
  methods: readonly MethodSummary[],
  { steps, batch, device, seeds }: Terms,
): Promise<Map<string, string>> {
  const subtitle = [`${steps} steps of ${batch} rows, ${seeds.length} seeds`, device];
  const bars = (value: (m: MethodSummary) => Stat | null, times: number) =>
    methods.flatMap((m) => {
      const stat = value(m);
      if (!stat) return [];
      const { mean, sd } = stat;
      return [{ name: m.method, mean: times * mean, low: times * (mean - sd), high: times * (mean + sd) }];
    });
  const pictures = new Map<string, string>();
  const lines = methods.filter((m) => m.curve.length > 0).map((m) => ({ name: m.method, points: m.curve }));
  if (lines.length === 0) return pictures;
  pictures.set(
    "loss.svg",
    await lineChart(lines, {
      title: `Training loss, mean of ${windowOf(steps)} steps`,
      subtitle: [...subtitle, "line: mean over seeds, band: least to greatest"],
      x: "step",
      y: "loss",
      log: true,
    }),
  );
  const charts = [
    ["exact_match.svg", "Held-out exact match, %", bars((m) => m.exact, 100)],
    ["step_time.svg", "Time of a training step, ms", bars((m) => m.stepSeconds, 1000)],
    ["memory.svg", "Memory of a training step, MiB", bars((m) => statOfBytes(m), 1 / MIB)],
  ] as const;
  for (const [file, title, data] of charts) {
    if (data.length > 0) {
      pictures.set(
        file,
        await barChart(data, {
          title,
          subtitle: [...subtitle, "bar: mean over seeds, line: ± standard deviation"],
          x: title,
        }),
      );
    }
  }
  return pictures;
}

function statOfBytes({ stepBytes }: MethodSummary): Stat | null {
  if (!stepBytes) return null;
  const mean = stepBytes.total;
  return { mean, sd: 0, low: mean, high: mean, n: 1 };
}

/**
 * Put `text` between the lines `<!-- study NAME -->` and `<!-- end -->` of a page, in place of what is there. Throws
 * UserError when the page has no such lines.
 */
export function replaceSection(page: string, name: string, text: string): string {
  const begin = `<!-- study ${name} -->`, end = "<!-- end -->";
  const from = page.indexOf(begin), to = page.indexOf(end, from);
  if (from < 0 || to < 0) {
    throw new UserError(`The page has no section "${name}": write the lines ${begin} and ${end} into it.`);
  }
  return `${page.slice(0, from + begin.length)}\n\n${text.trim()}\n\n${page.slice(to)}`;
}
