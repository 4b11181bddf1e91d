/** Pictures: well-formed SVG with the marks that the data asks for, drawn without any permission. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  barChart,
  drawLambdaHeatmap,
  heatMap,
  lambdaCells,
  type LambdaStep,
  lineChart,
  openMetrics,
} from "../train/mod.ts";

/** Throws unless every tag is closed in order; returns the names of all elements. */
function elementsOf(svg: string): string[] {
  const open: string[] = [], all: string[] = [];
  for (const [, close, name, , self] of svg.matchAll(/<(\/?)([A-Za-z]+)((?:[^<>"]|"[^"<]*")*?)(\/?)>/g)) {
    if (close) assertEquals(open.pop(), name, "a tag is closed that is not open");
    else {
      all.push(name!);
      if (!self) open.push(name!);
    }
  }
  assertEquals(open, []);
  assertEquals(all[0], "svg");
  return all;
}

/** Paths inside the groups of marks of a kind. */
function marks(svg: string, kind: string): number {
  return [...svg.matchAll(new RegExp(`<g class="mark-${kind} role-mark[^"]*"[^>]*>(.*?)</g>`, "gs"))]
    .reduce((n, [, inner]) => n + [...inner!.matchAll(/<(path|line|text)/g)].length, 0);
}

const line = (name: string, means: readonly number[]) => ({
  name,
  points: means.map((mean, i) => ({ x: i + 1, mean, low: mean * 0.9, high: mean * 1.1 })),
});

Deno.test({
  name: "a line chart has a line and a band for each method, and its labels",
  permissions: "none",
  fn: async () => {
    const svg = await lineChart([line("full", [3, 2, 1]), line("lora & co", [3, 2.5, 2])], {
      ...{ title: "Loss", subtitle: ["three steps"], x: "step", y: "loss", log: true },
    });
    elementsOf(svg);
    assertEquals([marks(svg, "line"), marks(svg, "area")], [2, 2]);
    for (const text of ["Loss", "three steps", "step", "loss", "full", "lora &amp; co"]) {
      assertStringIncludes(svg, `>${text}<`);
    }
    assert(!svg.includes("NaN"));
  },
});

Deno.test({
  name: "a bar chart has a bar, a spread and a number for each method",
  permissions: "none",
  fn: async () => {
    const bars = [{ name: "full", mean: 20, low: 18, high: 22 }, {
      name: "boft",
      mean: 40,
      low: 40,
      high: 40,
    }];
    const svg = await barChart(bars, { title: "Step time", x: "ms" });
    elementsOf(svg);
    assertEquals([marks(svg, "rect"), marks(svg, "rule"), marks(svg, "text")], [2, 2, 2]);
    assert(svg.indexOf(">full<") < svg.indexOf(">boft<"), "the order of the bars changed");
  },
});

/** λ of some maps over steps: step s gives map m the weight (m + 1) / (s + m + 2). */
function history(steps: number, layers: number, branches = 2): LambdaStep[] {
  const paths = ["mlp.up_proj", "self_attn.q_proj"].flatMap((map) =>
    Array.from({ length: layers }, (_, i) => `model.layers.${layers - 1 - i}.${map}`)
  );
  return Array.from({ length: steps }, (_, s) => ({
    step: s + 1,
    lambda: Object.fromEntries(paths.map((path, m) => {
      const first = (m + 1) / (s + m + 2);
      return [path, [first, ...Array.from({ length: branches - 1 }, () => (1 - first) / (branches - 1))]];
    })),
  }));
}

Deno.test("λ: rows by layer and then by the way of the data, columns by step", () => {
  const cells = lambdaCells(history(3, 12));
  const rows = [...new Set(cells.map((c) => c.row))];
  assertEquals(rows.slice(0, 4), ["0.q_proj", "0.up_proj", "1.q_proj", "1.up_proj"]);
  assertEquals(rows.at(-1), "11.up_proj");
  assertEquals(cells.length, 3 * 24);
  // model.layers.11.mlp.up_proj is the first path; its λ is 1/2, 1/3, 1/4.
  const last = cells.filter((c) => c.row === "11.up_proj");
  assertEquals(last.map((c) => [c.from, c.to]), [[0.5, 1.5], [1.5, 2.5], [2.5, 3.5]]);
  last.forEach((c, i) => assert(Math.abs(c.value - 1 / (i + 2)) < 1e-12));
});

Deno.test("λ: many maps become the means of their layers, many steps the means of several", () => {
  const cells = lambdaCells(history(129, 40));
  assertEquals(new Set(cells.map((c) => c.row)).size, 40);
  const first = cells.filter((c) => c.row === "layer 39");
  // 129 steps: 43 columns of 3.
  assertEquals([first.length, first[0]!.from, first[0]!.to, first.at(-1)!.to], [43, 0.5, 3.5, 129.5]);
  const weights = [0, 40].flatMap((m) => [0, 1, 2].map((s) => (m + 1) / (s + m + 2)));
  const mean = weights.reduce((a, b) => a + b) / weights.length;
  assert(Math.abs(first[0]!.value - mean) < 1e-12, `${first[0]!.value}, not ${mean}`);
});

Deno.test("λ: three branches are three panels", async () => {
  const cells = lambdaCells(history(4, 2, 3));
  assertEquals([...new Set(cells.map((c) => c.panel))], ["branch 1", "branch 2", "branch 3"]);
  const svg = await heatMap(cells, { title: "λ", subtitle: "", x: "step", value: "λ" });
  elementsOf(svg);
  assertEquals(marks(svg, "rect"), 3 * 4 * 4);
  assertEquals(new Set(lambdaCells(history(4, 2, 3), ["lora", "boft", "hra"]).map((c) => c.panel)).size, 3);
  assertEquals(lambdaCells(history(1, 1, 3), ["lora", "boft", "hra"]).at(-1)!.panel, "hra");
});

Deno.test("λ: mixes of two and of three branches in one model, also inside another adapter", () => {
  const lambda = {
    "model.layers.1.mlp.up_proj inner": [0.2, 0.8],
    "model.layers.0.mlp.up_proj inner": [0.1, 0.3, 0.6],
    "model.layers.0.self_attn.q_proj inner": [0.5, 0.5],
  };
  const cells = lambdaCells([{ step: 1, lambda }]);
  assertEquals(cells.map((c) => [c.panel, c.row, c.value]), [
    ["branch 1", "0.q_proj inner", 0.5],
    ["branch 1", "0.up_proj inner", 0.1],
    ["branch 1", "1.up_proj inner", 0.2],
    ["branch 2", "0.q_proj inner", 0.5],
    ["branch 2", "0.up_proj inner", 0.3],
    ["branch 2", "1.up_proj inner", 0.8],
    ["branch 3", "0.up_proj inner", 0.6],
  ]);
});

Deno.test("λ: a run's metrics become a picture, and a run without λ none", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const step = { loss: 1, lr: 1e-3, gradNorm: 1, tokensPerSecond: 1 };
    {
      using metrics = openMetrics(`${dir}/mixed`);
      for (const { step: at, lambda } of history(5, 3)) metrics.append({ ...step, step: at, lambda });
      using plain = openMetrics(`${dir}/plain`);
      plain.append({ ...step, step: 1 });
    }
    const names = ["low rank", "rotation"];
    assertEquals(await drawLambdaHeatmap(`${dir}/mixed/metrics.jsonl`, `${dir}/lambda.svg`, names), true);
    const svg = await Deno.readTextFile(`${dir}/lambda.svg`);
    elementsOf(svg);
    assertEquals(marks(svg, "rect"), 5 * 6);
    assertStringIncludes(svg, "λ of low rank; rotation has 1 − λ");
    assertEquals(await drawLambdaHeatmap(`${dir}/plain/metrics.jsonl`, `${dir}/none.svg`), false);
    assert(!(await Deno.stat(`${dir}/none.svg`).then(() => true, () => false)));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
