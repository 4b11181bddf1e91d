/** What a report shows of one run. @module */
import { showBytes } from "../../core/mod.ts";
import { flagName } from "../parse_flags.ts";
import { label, lambdaCells } from "../plots/lambda.ts";
import { amountChart, cellChart, type Curve, curveChart } from "./charts.ts";
import { known, type Point, smooth, thin } from "./curves.ts";
import { column, heldOut, MOST_POINTS, smoothLoss } from "./figures.ts";
import { type Html, markup, NOTHING, picture } from "./html.ts";
import {
  type AnswerPair,
  asFields,
  type EvaluationRow,
  type Fields,
  finite,
  type RunRecord,
} from "./record.ts";

/** Answers that are shown at once; the others unfold. */
const SHOWN = 8;

/** Metrics of tasks over the steps, the main one of each: those of an encoder's own task, and those of `--eval`. */
function metricCurves({ evaluations }: RunRecord): { readonly name: string; readonly points: Point[] }[] {
  const own = new Set(evaluations.flatMap((e) => Object.keys(e.heldOut)).filter((name) => name !== "loss"));
  const tasks = new Set(evaluations.flatMap((e) => Object.keys(e.tasks)));
  const curve = (name: string, of: (e: EvaluationRow) => number | null | undefined) => ({
    name,
    points: known(evaluations.map((e) => ({ x: e.step, y: of(e) ?? null }))),
  });
  return [
    ...[...own].map((name) => curve(`held-out ${name.replaceAll("_", " ")}`, (e) => e.heldOut[name])),
    ...[...tasks].map((task) => {
      const name = evaluations.map((e) => Object.keys(e.tasks[task] ?? {})[0]).find((n) => n !== undefined);
      return curve(
        name === task ? task : `${task} ${name?.replaceAll("_", " ")}`,
        (e) => e.tasks[task]?.[name ?? ""],
      );
    }),
  ].filter((c) => c.points.length > 0);
}

/** What tasks came to while training went on, a card for each metric that was measured more than before and after. */
export async function metricCards(run: RunRecord): Promise<Html[]> {
  const curves = metricCurves(run).filter((c) => c.points.length > 2);
  return await Promise.all(curves.map(async ({ name, points }, i) => {
    const svg = await curveChart([{ name, points, style: "dots", colour: 1 }], { x: "step" });
    return card(
      name.startsWith("held-out") ? capital(name) : name,
      "",
      picture(svg, `${name} over the steps`, `metric${i}`),
    );
  }));
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** A chart with its heading. */
export function card(title: string, note: string, drawing: Html): Html {
  const said = note === "" ? NOTHING : markup`<p>${note}</p>`;
  return markup`<figure class="card" style="margin:0"><h3>${title}</h3>${said}${drawing}</figure>`;
}

/** The curves of the steps, as cards. */
export async function stepCharts(run: RunRecord): Promise<Html[]> {
  const { rows, config } = run;
  const lr = column(rows, (r) => r.lr), plain = finite(config["lr"]), turned = finite(config["orthogonalLr"]);
  const rates: Curve[] = [{ name: "--lr", points: thin(lr, MOST_POINTS), colour: 0 }];
  if (plain !== null && turned !== null && plain > 0 && usesRotations(run)) {
    const scaled = lr.map(({ x, y }) => ({ x, y: y * turned / plain }));
    rates.push({ name: "--orthogonal-lr", points: thin(scaled, MOST_POINTS), colour: 1 });
  }
  const norms = column(rows, (r) => r.gradNorm), speed = column(rows.slice(1), (r) => r.tokensPerSecond);
  const held = heldOut(run), clip = finite(config["clip"]);
  const charts: readonly (readonly [string, string, readonly Curve[], Parameters<typeof curveChart>[1]])[] = [
    [
      "Loss",
      held.length > 0
        ? `Mean per trained token, in nats; held-out rows ${held.length > 2 ? "too" : "before and after"}.`
        : "Mean per trained token, in nats.",
      [
        { name: "step", points: thin(column(rows, (r) => r.loss), MOST_POINTS), style: "faint", colour: 0 },
        { name: "training", points: smoothLoss(rows), colour: 0 },
        ...(held.length > 0 ? [{ name: "held-out", points: held, style: "dots" as const, colour: 1 }] : []),
      ],
      { x: "step" },
    ],
    ["Learning rates", "Of each step.", rates, { x: "step", zero: true, format: "~e" }],
    [
      "Gradient norm",
      clip ? `Of all gradients together, before it is clipped to ${clip}.` : "Of all gradients together.",
      [
        { name: "step", points: thin(norms, MOST_POINTS), style: "faint", colour: 0 },
        { name: "norm", points: thin(smooth(norms, Math.max(3, norms.length / 40)), MOST_POINTS), colour: 0 },
      ],
      { x: "step", log: true, format: "~g" },
    ],
    [
      "Tokens per second",
      "Mean since the second step; the first one compiles.",
      [{ name: "tokens/s", points: thin(speed, MOST_POINTS), colour: 0 }],
      { x: "step", zero: true, format: "~s" },
    ],
  ];
  const shown = charts.filter(([, , curves]) => curves.some((c) => c.points.length > 0));
  return await Promise.all(shown.map(async ([title, note, curves, axes], i) => {
    const svg = await curveChart(curves, axes);
    return card(title, note, picture(svg, `${title} over the steps`, `step${i}`));
  }));
}

/** Whether the second learning rate does anything: orthogonal leaves there may be in all methods but these. */
function usesRotations({ config }: RunRecord): boolean {
  return !["full", "lora", "rslora", "lora-ga", "dora", "pissa", "olora"].includes(String(config["method"]));
}

/** Memory by kind; null where the run did not say. */
export async function memoryCard({ result }: RunRecord): Promise<Html | null> {
  const bytes = asFields(result["step_bytes"]), peak = finite(result["peak_bytes"]);
  const kinds: readonly (readonly [string, number | null])[] = [
    ["weights", finite(bytes["weights"])],
    ["trained parameters", finite(bytes["trained"])],
    ["optimiser", finite(bytes["optimiser"])],
    ["activations, gradients", finite(bytes["temporaries"])],
    ["most at one time", peak],
  ];
  const amounts = kinds.flatMap(([name, value]) =>
    value === null ? [] : [{ name, value, shown: showBytes(value) }]
  );
  if (amounts.length < 2) return null;
  const note = "Of a training step, on the device; the last bar counts evaluation and answering too.";
  return card("Memory", note, picture(await amountChart(amounts), "Memory by kind", "memory"));
}

/** λ over layers and steps; null for runs without mixed adapters. */
export async function lambdaSection({ rows, result }: RunRecord): Promise<Html | null> {
  const steps = rows.flatMap(({ step, lambda }) => lambda ? [{ step, lambda }] : []);
  const names = Array.isArray(result["branches"]) ? result["branches"].map(String) : [];
  const cells = lambdaCells(steps, names);
  if (cells.length === 0) return null;
  const two = new Set(cells.map((c) => c.panel)).size === 1;
  const note = two
    ? `λ of ${names[0] ?? "the first branch"}; ${names[1] ?? "the second"} has 1 − λ.`
    : "The weight of each branch; those of a map sum to 1.";
  const drawing = picture(await cellChart(cells, { x: "step", value: "λ" }), "λ by layer and step", "lambda");
  return markup`
    <h2>How the branches shared the steps</h2>
    <div class="card">
      <p>${note}</p>
      <div class="wide">${drawing}</div>
    </div>
  `;
}

/** Singular values of some maps; null where none were taken. */
export async function spectraSection({ spectra }: RunRecord): Promise<Html | null> {
  if (spectra.length === 0) return null;
  const cards = await Promise.all(spectra.map(async ({ name, base, tuned, change }, i) => {
    // What is that small is rounding.
    const least = (base[0] ?? 0) * 1e-6;
    const points = (values: readonly number[]): Point[] =>
      values.flatMap((y, x) => y > least ? [{ x: x + 1, y }] : []);
    const svg = await curveChart([
      { name: "before", points: points(base), style: "wide", colour: 0 },
      { name: "after", points: points(tuned), colour: 1 },
      { name: "the change", points: points(change), colour: 2 },
    ], { x: "number of the singular value", log: true, format: "~g" });
    return card(label(name), "", picture(svg, `Singular values of ${name}`, `spectrum${i}`));
  }));
  return markup`<h2>Singular values</h2>
<p class="soft small">Of some adapted weights W before, W′ after, and of W′ − W, which training added.</p>
<div class="cards">${cards}</div>`;
}

/** Answers of the base and the tuned model side by side; null without any. */
export function answersSection({ answers }: RunRecord): Html | null {
  if (answers.length === 0) return null;
  const each = answers.map(answerOf), more = each.slice(SHOWN);
  const rest = more.length === 0
    ? NOTHING
    : markup`<details><summary>${more.length} more</summary>${more}</details>`;
  return markup`<h2>Answers before and after</h2>
<p class="soft small">Held-out questions, answered by the likeliest tokens.</p>${
    each.slice(0, SHOWN)
  }${rest}`;
}

function answerOf({ prompt, expected, before, after }: AnswerPair): Html {
  const side = (title: string, { text, correct }: AnswerPair["before"]): Html => {
    const [kind, verdict] = correct ? ["good", "correct"] : ["bad", "wrong"];
    const mark = expected === null ? NOTHING : markup`<span class="${kind}">${verdict}</span>`;
    return markup`<div><div class="small"><span class="soft">${title}</span> ${mark}</div>
<div class="text">${text.trim()}</div></div>`;
  };
  const right = expected === null ? NOTHING : markup`<span class="soft small">expected ${expected}</span>`;
  return markup`<div class="answer"><p><span class="question">${prompt.trim()}</span> ${right}</p>
<div class="sides">${side("before", before)}${side("after", after)}</div></div>`;
}

/** Options that say nothing about a run that is over. */
const PASSING: readonly string[] = ["resume", "dryRun", "json", "help"];

/** Settings by the name of their flag. */
export function settingsOf(config: Fields): Map<string, string> {
  const shown = Object.entries(config).filter(([name]) => !PASSING.includes(name));
  return new Map(shown.map(([name, value]) => [
    name === "adapter_name" ? "processor" : flagName(name),
    value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value),
  ]));
}

/** All settings of a run. */
export function settingsSection({ config }: RunRecord): Html {
  const each = [...settingsOf(config)].map(([name, value]) =>
    markup`
      <div>
        <dt>${name}</dt>
        <dd>${value}</dd>
      </div>
    `
  );
  return markup`
    <h2>Settings</h2>
    <dl class="settings">${each}</dl>
  `;
}
