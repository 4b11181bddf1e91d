/** Runs as pages: one run whole, or several beside each other. @module */
import { writeTextAtomically } from "../atomic_file.ts";
import { COLOURS, type Curve, curveChart } from "./charts.ts";
import { thin } from "./curves.ts";
import { column, heldOut, keyFigures, smoothLoss, tiles } from "./figures.ts";
import { type Html, markup, page, picture } from "./html.ts";
import { readRun, type RunRecord } from "./record.ts";
import {
  answersSection,
  card,
  lambdaSection,
  memoryCard,
  metricCards,
  settingsOf,
  settingsSection,
  spectraSection,
  stepCharts,
} from "./sections.ts";

/** A run as a page of its own. */
export async function runPage(run: RunRecord): Promise<string> {
  const { name, config } = run;
  const steps = [...await stepCharts(run), ...await metricCards(run)], memory = await memoryCard(run);
  const text = (key: string): string => String(config[key] ?? "–");
  const sections = [
    markup`<h1>${name}</h1>
<p class="soft">${text("method")} on ${text("model").split("/").at(-1) ?? ""}, ${text("adapter_name")}</p>`,
    tiles(run),
    markup`<div class="cards">${memory ? [...steps, memory] : steps}</div>`,
    await lambdaSection(run),
    await spectraSection(run),
    answersSection(run),
    settingsSection(run),
  ];
  return page(`${name} – Gyre`, sections.filter((s) => s !== null));
}

/** Names of runs, no two alike: their directories' own where these differ. */
function namesOf(runs: readonly RunRecord[]): string[] {
  const own = runs.map((r) => r.name), dirs = runs.map((r) => r.dir);
  if (new Set(own).size === own.length) return own;
  return new Set(dirs).size === dirs.length ? dirs : dirs.map((dir, i) => `${i + 1}: ${dir}`);
}

/** Several runs on one page: their curves over each other, what they came to, and the settings that differ. */
export async function comparePage(runs: readonly RunRecord[]): Promise<string> {
  const names = namesOf(runs);
  const curves = (of: (run: RunRecord) => Curve["points"], style: Curve["style"] = "line"): Curve[] =>
    runs.map((run, i) => ({ name: names[i]!, points: of(run), style, colour: i % COLOURS }));
  const charts: readonly (readonly [string, string, readonly Curve[], Parameters<typeof curveChart>[1]])[] = [
    ["Training loss", "Smoothed.", curves((r) => smoothLoss(r.rows)), { x: "step" }],
    ["Held-out loss", "", curves(heldOut, "dots"), { x: "step" }],
    ["Gradient norm", "", curves((r) => thin(column(r.rows, (x) => x.gradNorm), 200)), {
      x: "step",
      log: true,
      format: "~g",
    }],
    [
      "Tokens per second",
      "Mean since the second step.",
      curves((r) => thin(column(r.rows.slice(1), (x) => x.tokensPerSecond), 200)),
      { x: "step", zero: true, format: "~s" },
    ],
    ["Learning rate", "", curves((r) => thin(column(r.rows, (x) => x.lr), 200)), {
      x: "step",
      zero: true,
      format: "~e",
    }],
  ];
  const shown = charts.filter(([, , all]) => all.some((c) => c.points.length > 0));
  const cards = await Promise.all(shown.map(async ([title, note, all, axes], i) => {
    const svg = await curveChart(all.filter((c) => c.points.length > 0), axes);
    return card(title, note, picture(svg, `${title} of ${names.join(", ")}`, `compare${i}`));
  }));
  const figures = runs.map((r) => new Map(keyFigures(r)));
  const settings = runs.map((r) => settingsOf(r.config));
  const differing = keysOf(settings).filter((key) => new Set(settings.map((s) => s.get(key))).size > 1);
  return page("Runs compared – Gyre", [
    markup`<h1>${runs.length} runs</h1>`,
    markup`<h2>Results</h2>`,
    table(names, keysOf(figures), figures, true),
    markup`
      <h2>Curves</h2>
      <div class="cards">${cards}</div>
    `,
    markup`<h2>Settings that differ</h2>`,
    differing.length === 0
      ? markup`<p class="soft">None: the runs were asked for the same.</p>`
      : table(names, differing, settings, false),
  ]);
}

function keysOf(maps: readonly ReadonlyMap<string, string>[]): string[] {
  return [...new Set(maps.flatMap((m) => [...m.keys()]))];
}

/** A row for each run. */
function table(
  names: readonly string[],
  keys: readonly string[],
  values: readonly ReadonlyMap<string, string>[],
  keyed: boolean,
): Html {
  const mark = (i: number): Html =>
    keyed ? markup`<span class="key" style="background:var(--s${i % COLOURS + 1})"></span>` : markup``;
  const rows = names.map((name, i) =>
    markup`<tr><th>${mark(i)}${name}</th>${
      keys.map((key) => markup`<td>${values[i]!.get(key) ?? "–"}</td>`)
    }</tr>`
  );
  return markup`
    <div class="scroll">
      <table>
        <thead>
          <tr><th>run</th>${keys.map((key) => markup`<th>${key}</th>`)}</tr>
        </thead>
        <tbody>${rows}</tbody>
      </table>
    </div>
  `;
}

/** Write the page of one run, or of several compared, to `file`. Throws UserError where a directory is no run's. */
export async function writeReport(dirs: readonly string[], file: string): Promise<void> {
  const runs = dirs.map(readRun);
  writeTextAtomically(file, runs.length === 1 ? await runPage(runs[0]!) : await comparePage(runs));
}
