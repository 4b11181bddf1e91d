/** Reports of runs: what they read, what they show, and that a browser shows it. @module */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { openMetrics, readRun, runPage, UserError, writeReport, writeSettings } from "../train/mod.ts";
import { smooth, thin } from "../train/run_report/curves.ts";
import { escapeHtml, markup } from "../train/run_report/html.ts";
import { chosenMaps, singularValues, spectrumOf } from "../train/run_report/spectra.ts";

/** A run's directory as `train.ts` leaves it, with texts that a page must not take for its own. */
function writeRun(dir: string, method: string, steps = 60): void {
  const paths = [0, 1].flatMap((i) =>
    ["self_attn.q_proj", "mlp.up_proj"].map((m) => `model.layers.${i}.${m}`)
  );
  {
    using metrics = openMetrics(dir);
    for (let step = 1; step <= steps; step++) {
      const share = 0.5 + 0.4 * step / steps;
      metrics.append({
        step,
        loss: step === 7 ? NaN : 3 / Math.sqrt(step),
        lr: 1e-3 * (1 - step / steps),
        gradNorm: 1 + Math.sin(step),
        tokensPerSecond: step === 1 ? 0 : 1000 + step,
        lambda: Object.fromEntries(paths.map((p) => [p, [share, 1 - share]])),
      });
    }
  }
  writeSettings(dir, {
    method,
    model: "/models/</style><b>bold",
    lr: 1e-3,
    orthogonalLr: 5e-4,
    clip: 1,
    seed: 0,
  });
  const answer = (generated: string, correct: boolean) => ({
    ...{ prompt: "<script>console.error('run')</script> 1 < 2 & 3?", expected: "4", generated, correct },
  });
  writeSettings(
    dir,
    { before: [answer("<img src=x>", false)], after: [answer("#### 4", true)] },
    "samples.json",
  );
  const step_bytes = { weights: 4e6, trained: 1e5, optimiser: 2e5, temporaries: 6e7, total: 64.3e6 };
  writeSettings(dir, {
    ...{ eval_before: 3.1, eval_after: 0.4, exact_before: 0, exact_after: 0.25, tokens_per_s: 1060 },
    ...{ peak_bytes: 1e8, step_bytes, trainable: 1234, branches: ["lora-ga", "boft"] },
  }, "result.json");
  const base = [4, 0, 0, 0, 2, 0], tuned = [5, 0, 0, 0, 2, 0];
  const { name, ...values } = spectrumOf(paths[0]!, base, tuned, [2, 3]);
  writeSettings(dir, { [name]: values }, "spectra.json");
}

/** In a directory of its own, taken away afterwards. */
async function inDirectory(f: (dir: string) => Promise<void> | void): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await f(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("curves: fewer points keep the mean, smoothing keeps constants and forgets slowly", () => {
  const ys = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(fc.property(ys, fc.integer({ min: 1, max: 50 }), (values, most) => {
    const points = values.map((y, x) => ({ x, y })), few = thin(points, most);
    assert(few.length <= most);
    const width = Math.ceil(points.length / most);
    const mean = (p: readonly { readonly y: number }[]): number =>
      p.reduce((n, { y }) => n + y, 0) / p.length;
    assertAlmostEquals(few[0]!.y, mean(points.slice(0, width)), 1e-9);
  }));
  const flat = smooth([1, 2, 3].map((x) => ({ x, y: 7 })), 3);
  flat.forEach(({ y }) => assertAlmostEquals(y, 7, 1e-12));
  // A jump: after `span` points 1 − 1/e of it, the beginning's weight aside.
  const jump = smooth(Array.from({ length: 1000 }, (_, x) => ({ x, y: x < 900 ? 0 : 1 })), 100);
  assertAlmostEquals(jump.at(-1)!.y, 1 - Math.exp(-1), 1e-3);
});

Deno.test("pages: no text of a run is taken for markup", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    const safe = escapeHtml(text);
    assert(!/[<>"']|&(?!(amp|lt|gt|quot|#39);)/.test(safe), safe);
    assertEquals(markup`<p>${text}</p>`.html, `<p>${safe}</p>`);
  }));
  assertEquals(markup`a${[markup`<b>`, markup`${1}`]}${"<"}`.html, "a<b>1&lt;");
});

Deno.test("singular values: those of a product of rotations and a diagonal", () => {
  const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
  // [c −s; s c] · diag(3, 1/2) · [s c; −c s]
  const data = [3 * c * s + s * c / 2, 3 * c * c - s * s / 2, 3 * s * s - c * c / 2, 3 * s * c + c * s / 2];
  const found = singularValues(data, 2, 2);
  [3, 0.5].forEach((x, i) => assertAlmostEquals(found[i]!, x, 1e-12));
  const { base, tuned, change } = spectrumOf("m", [4, 0, 0, 0, 2, 0], [4, 0, 0, 0, 2, -3], [2, 3]);
  assertEquals(base, [4, 2]);
  [4, Math.sqrt(13)].forEach((x, i) => assertAlmostEquals(tuned[i]!, x, 1e-12));
  [3, 0].forEach((x, i) => assertAlmostEquals(change[i]!, x, 1e-12));
});

Deno.test("singular values: taken of the ends of the first, the middle and the last layer", () => {
  const paths = Array.from(
    { length: 5 },
    (_, i) => ["mlp.down_proj", "self_attn.q_proj", "mlp.up_proj"].map((m) => `model.layers.${i}.${m}`),
  );
  assertEquals(chosenMaps(paths.flat()), [0, 2, 4].flatMap((i) => [paths[i]![1]!, paths[i]![0]!]));
  assertEquals(chosenMaps(["model.layers.0.mlp.up_proj"]), ["model.layers.0.mlp.up_proj"]);
  assertEquals(chosenMaps([]), []);
});

Deno.test("a run's page holds all that the run left, and nothing from elsewhere", async () => {
  await inDirectory(async (dir) => {
    writeRun(`${dir}/a`, "hybrid");
    const page = await runPage(readRun(`${dir}/a/`));
    for (
      const says of [
        "3.1 → 0.4",
        "0.0\u00a0% → 25.0\u00a0%",
        "1060",
        "95.4 MiB",
        "1,234",
        "λ of lora-ga",
        "orthogonal-lr",
        "expected 4",
        "57.2 MiB",
      ]
    ) {
      assertStringIncludes(page, says);
    }
    for (const title of ["Loss", "Learning rates", "Gradient norm", "Tokens per second", "Memory"]) {
      assertStringIncludes(page, `<h3>${title}</h3>`);
    }
    assertEquals([...page.matchAll(/<svg /g)].length, 7);
    assert(
      !/<(script|img|iframe)|(src|href)="(?!data:)|NaN|undefined/.test(page),
      "the page loads something",
    );
    const ids = [...page.matchAll(/\bid="([^"]+)"/g)].map((m) => m[1]);
    assertEquals(new Set(ids).size, ids.length, "two parts have one name");
  });
});

Deno.test("a run that goes on has a page, with what is there", async () => {
  await inDirectory(async (dir) => {
    writeRun(dir, "lora", 3);
    for (const name of ["result.json", "samples.json", "spectra.json"]) await Deno.remove(`${dir}/${name}`);
    await Deno.writeTextFile(`${dir}/metrics.jsonl`, '{"step":4,"lo', { append: true });
    const page = await runPage(readRun(dir));
    assertStringIncludes(page, "<h3>Loss</h3>");
    assert(!page.includes("Answers before") && !page.includes("Memory"));
    assertEquals(readRun(dir).rows.map((r) => r.step), [1, 2, 3]);
  });
});

Deno.test("runs: a missing or damaged file is named", async () => {
  await inDirectory(async (dir) => {
    const fails = (says: string): void => {
      assertStringIncludes(assertThrows(() => readRun(dir), UserError).message, says);
    };
    fails(`${dir}/config.json: not found`);
    writeSettings(dir, {});
    fails(`${dir}/metrics.jsonl: not found`);
    await Deno.writeTextFile(`${dir}/metrics.jsonl`, '{"step":1}\nx\n');
    fails(`${dir}/metrics.jsonl:2: not JSON`);
    await Deno.writeTextFile(`${dir}/metrics.jsonl`, '{"step":1,"lambda":{"a":["b"]}}\n');
    fails(`${dir}/metrics.jsonl:1: expected lists of numbers`);
    await Deno.writeTextFile(`${dir}/metrics.jsonl`, '{"step":1}\n');
    writeSettings(dir, { a: { base: [1] } }, "spectra.json");
    fails('"a" needs base, tuned and change');
    writeSettings(dir, [], "spectra.json");
    fails("expected a JSON object");
  });
});

Deno.test("compared runs: losses over each other, results, and settings that differ alone", async () => {
  await inDirectory(async (dir) => {
    writeRun(`${dir}/a/run`, "hybrid");
    writeRun(`${dir}/b/run`, "lora");
    await writeReport([`${dir}/a/run`, `${dir}/b/run`], `${dir}/both.html`);
    const page = await Deno.readTextFile(`${dir}/both.html`);
    const differing = page.slice(page.indexOf("Settings that differ"));
    assertStringIncludes(differing, "<th>method</th>");
    assert(!differing.includes("<th>seed</th>"));
    // Runs of one name are told apart.
    assertStringIncludes(page, `${dir}/a/run`);
    const [loss] = page.match(/<svg [^>]*aria-label="Training loss.*?<\/svg>/s) ?? [];
    assertEquals([...(loss ?? "").matchAll(/mark-line role-mark/g)].length, 2);
  });
});

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});
if (!CHROMIUM) console.log("no chromium: reports are not looked at in a browser (apt-get install chromium)");

Deno.test({
  name: "a browser shows the page: no error, every plot drawn, light and dark, at the width of a telephone",
  ignore: CHROMIUM === undefined,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inDirectory(async (dir) => {
      writeRun(`${dir}/a`, "hybrid");
      writeRun(`${dir}/b`, "boft");
      await writeReport([`${dir}/a`], `${dir}/one.html`);
      await writeReport([`${dir}/a`, `${dir}/b`], `${dir}/two.html`);
      const { chromium } = await import("playwright-core");
      const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
      try {
        const lightness = new Map<string, number>();
        for (const [file, plots] of [["one", 7], ["two", 5]] as const) {
          for (const [scheme, width] of [["light", 1200], ["dark", 390]] as const) {
            const page = await browser.newPage({ colorScheme: scheme, viewport: { width, height: 800 } });
            const problems: string[] = [];
            page.on("console", (m) => problems.push(m.text()));
            page.on("pageerror", (e) => problems.push(String(e)));
            page.on("request", (r) =>
              r.url().startsWith("file:") || r.url().startsWith("data:") || problems.push(r.url()));
            await page.goto(`file://${dir}/${file}.html`);
            const seen = await page.evaluate(LOOK) as Seen;
            assertEquals(problems, []);
            assertEquals(seen.plots.length, plots);
            for (const { marks, width: drawn, colours } of seen.plots) {
              assert(marks > 0 && drawn >= 250, `${marks} marks, ${drawn} wide`);
              assert(!colours.includes("rgb(0, 0, 0)"), "a colour of the page is not known to a plot");
            }
            assertEquals(seen.scrolls, width, "the page is wider than the window");
            lightness.set(scheme, seen.lightness);
            await page.close();
          }
        }
        assert(lightness.get("light")! > 600 && lightness.get("dark")! < 100);
      } finally {
        await browser.close();
      }
    }),
});

interface Seen {
  readonly plots: readonly {
    readonly marks: number;
    readonly width: number;
    readonly colours: readonly string[];
  }[];
  readonly scrolls: number;
  readonly lightness: number;
}

/** What is looked at inside the page. */
const LOOK = `({
  plots: [...document.querySelectorAll("svg")].map((svg) => {
    const marks = [...svg.querySelectorAll(".role-mark path, .role-mark line")].filter((m) => m.getBoundingClientRect().width > 0);
    return {
      marks: marks.length,
      width: svg.getBoundingClientRect().width,
      colours: marks.map((m) => getComputedStyle(m)[m.getAttribute("stroke") ? "stroke" : "fill"]),
    };
  }),
  scrolls: document.documentElement.scrollWidth,
  lightness: getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((n, x) => n + Number(x), 0),
})`;
