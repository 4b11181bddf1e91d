/** Progress, tables, metrics and schedules of a run, as people and programs read them. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import {
  barLine,
  openProgress,
  plainLine,
  showDuration,
  showTable,
  type StepReport,
} from "../train/report.ts";
import { metricsLine, openMetrics, writeSettings } from "../train/run_files.ts";

function report(step: number): StepReport {
  return { step, loss: 1.23456, lr: 2e-3, gradNorm: 0.512345, tokensPerSecond: 1234.5 };
}

function recorded(
  total: number,
  width: number | null,
  body: (p: ReturnType<typeof openProgress>) => void,
): string {
  let text = "", time = 0;
  const progress = openProgress(total, {
    write: (t) => (text += t),
    columns: () => width,
    now: () => (time += 1000),
  });
  body(progress);
  return text;
}

Deno.test("progress: without a terminal it is plain lines, first, each tenth and last", () => {
  const text = recorded(23, null, (p) => {
    for (let step = 1; step <= 23; step++) p.step(report(step));
    p.done();
  });
  const lines = text.trimEnd().split("\n");
  assertEquals(lines.map((l) => l.split("  ")[0]), ["step 1/23", "step 10/23", "step 20/23", "step 23/23"]);
  assert(!text.includes("\x1b") && !text.includes("\r"));
  assertStringIncludes(lines[1]!, "loss 1.2346  lr 2.00e-3  grad 0.512  1235 tokens/s  ");
  assert(lines[2]!.endsWith(" left") && !lines[3]!.includes("left"));
});

Deno.test("progress: on a terminal it is one line that is drawn anew, and notes stand above it", () => {
  const text = recorded(4, 100, (p) => {
    p.step(report(1));
    p.note("evaluating");
    p.step(report(4));
    p.done();
    p.done();
  });
  const shown = text.split("\n").map((line) => line.split("\r\x1b[K").at(-1)!);
  assertEquals(shown[0], "evaluating");
  assertStringIncludes(shown[1]!, "step 4/4");
  assertEquals(shown.slice(2), [""]);
});

Deno.test("progress: a bar never is wider than its terminal", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 9999 }),
      fc.integer({ min: 1, max: 9999 }),
      (width, a, b) => {
        const line = barLine(report(Math.min(a, b)), Math.max(a, b), 100, width);
        assert(line.length < width || width === 1, `${line.length} of ${width}`);
      },
    ),
  );
  assert(barLine(report(50), 100, null, 120).startsWith("████████████░░░░░░░░░░░░  step 50/100"));
  assertEquals(
    [60, 44, 30].map((width) => barLine(report(50), 100, 61, width)),
    [
      "███░░░  step 50/100  loss 1.2346  1235 tokens/s  1m01s left",
      "███░░  step 50/100  loss 1.2346  1m01s left",
      "step 50/100  loss 1.2346",
    ],
  );
  assertEquals(plainLine(report(3), 9, 61).split("  ").at(-1), "1m01s left");
});

Deno.test("progress: a bar that a narrower terminal broke into lines is erased whole", () => {
  let text = "", time = 0, width = 100;
  const progress = openProgress(9, {
    write: (t) => (text += t),
    columns: () => width,
    now: () => (time += 1000),
  });
  progress.step(report(1));
  const long = text.length;
  width = 30;
  progress.step(report(2));
  assertStringIncludes(text, `\x1b[${Math.ceil(long / 30) - 1}A\r\x1b[J`);
});

Deno.test("progress: durations", () => {
  assertEquals([0.4, 59, 60, 123, 3599.6, 3720, 90061].map(showDuration), [
    "0s",
    "59s",
    "1m00s",
    "2m03s",
    "1h00m",
    "1h02m",
    "25h01m",
  ]);
});

Deno.test("tables: columns are aligned, numbers at the right", () => {
  assertEquals(
    showTable([["", "before", "after"], ["loss", "1.25", "0.5"], ["exact answers", "3 %", "97 %"]]),
    [
      "               before  after",
      "─────────────  ──────  ─────",
      "loss             1.25    0.5",
      "exact answers     3 %   97 %",
    ].join("\n"),
  );
  assertEquals(showTable([]), "");
});

Deno.test("metrics: a line a step, readable at once; not-a-number stays visible", () => {
  const dir = Deno.makeTempDirSync();
  try {
    {
      using metrics = openMetrics(`${dir}/run/one`);
      metrics.append(report(1));
      metrics.append({ ...report(2), loss: NaN, lambda: { "model.layers.0.mlp.up_proj": [0.25, 0.75] } });
      const lines = Deno.readTextFileSync(`${dir}/run/one/metrics.jsonl`).trimEnd().split("\n").map((l) =>
        JSON.parse(l)
      );
      assertEquals(lines[0], {
        step: 1,
        loss: 1.23456,
        lr: 0.002,
        grad_norm: 0.512345,
        tokens_per_s: 1234.5,
      });
      assertEquals([lines[1].loss, lines[1].lambda], ["NaN", { "model.layers.0.mlp.up_proj": [0.25, 0.75] }]);
    }
    openMetrics(`${dir}/run/one`)[Symbol.dispose]();
    assertEquals(Deno.readTextFileSync(`${dir}/run/one/metrics.jsonl`), "");
    assertEquals(metricsLine(report(1)).includes("lambda"), false);
    writeSettings(`${dir}/run/two`, { rank: 8 });
    assertEquals(Deno.readTextFileSync(`${dir}/run/two/config.json`), '{\n  "rank": 8\n}\n');
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});
