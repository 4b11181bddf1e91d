/** `--dry-run`: tokens as the model sees them, what an epoch comes to, and the memory that the run then needs. @module */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import { sizeOf } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { type Example, exampleOf } from "../train/data.ts";
import { epochShape, piecesOf, showPieces, spread } from "../train/data/preview.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses, METHODS } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { openSession } from "../train/session.ts";
import { stepBytes } from "../train/step_bytes.ts";
import { planStep } from "../train/step_plan.ts";
import { UserError } from "../train/errors.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { fineTuned, inTempDir } from "./runs.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;
const tokenizer = loadTokenizer(base);

Deno.test("pieces: together they are the text, each with its ids, and what is learnt is marked", () => {
  const text = fc.string({ unit: "binary" });
  fc.assert(fc.property(text, text, (prompt, completion) => {
    const example = exampleOf({ row: { kind: "prompt", prompt, completion }, where: "d:1" }, tokenizer);
    const pieces = piecesOf(example, tokenizer), { ids, trained } = example;
    assertEquals(pieces.map((p) => p.text).join(""), tokenizer.decode(ids, { special: true }));
    assertEquals(pieces[0]?.from, 0);
    pieces.forEach(({ from, trained: marked }, i) => {
      const to = pieces[i + 1]?.from ?? ids.length;
      assert(to > from);
      assertEquals(marked, trained.some((t, at) => t && at > 0 && at >= from && at < to));
    });
  }));
});

Deno.test("pieces: special tokens are named, line breaks shown, and nothing can command a terminal", () => {
  const row = { kind: "prompt", prompt: "a b\n", completion: "c \x1b[31m" } as const;
  const pieces = piecesOf(exampleOf({ row, where: "d:1" }, tokenizer), tokenizer);
  const plain = showPieces(pieces, false), coloured = showPieces(pieces, true);
  assert(!plain.includes("\x1b"), plain);
  assertStringIncludes(plain, "⏎\n|⟦c");
  assertStringIncludes(plain, "</s>⟧");
  assert(plain.startsWith("<s>|"), plain);
  assertStringIncludes(coloured, "\x1b[32mc\x1b[0m");
  for (const shown of [plain, coloured]) assertStringIncludes(shown, "\\u{1b}");
  // Without its colours, bars and marks, the text is the same.
  // deno-lint-ignore no-control-regex
  assertEquals(coloured.replaceAll(/\x1b\[\d+m/g, ""), plain.replaceAll(/[⟦⟧]/g, ""));
});

Deno.test("epochs: steps, positions and padding are those of the batches", () => {
  const sizes = fc.array(fc.integer({ min: 2, max: 40 }), { minLength: 1, maxLength: 30 });
  fc.assert(fc.property(sizes, fc.integer({ min: 1, max: 5 }), fc.nat(), (lengths, batch, seed) => {
    const examples = lengths.map((n): Example => ({
      ids: new Array<number>(n).fill(7),
      trained: new Array<boolean>(n).fill(true),
      promptLength: 1,
      prompt: "",
    }));
    const all = [...batches(examples, { batch, seq: 39, seed, epochs: 1 })];
    const ids = all.flatMap((b) => [...b.ids]);
    assertEquals(epochShape(examples, { batch, seq: 39, seed }), {
      steps: all.length,
      positions: ids.length,
      padding: ids.filter((id) => id === 0).length,
      longest: Math.max(...all.map((b) => b.length)),
    });
  }));
  assertEquals(spread([3, 1, 2]), { min: 1, median: 2, max: 3 });
  assertEquals(spread([4, 1]), { min: 1, median: 2.5, max: 4 });
});

for (const method of METHODS) {
  Deno.test(`plans: ${method} needs in a step what was planned without one`, async () => {
    const { config, weights } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
    const classes = methodClasses(
      { ...DEFAULT_SETTINGS, method, rank: 4, alpha: 8, target: "all-linear" },
      config,
    );
    const device = await openCpu();
    try {
      const rows = 4, length = 24, maxLength = 64;
      const ids = Int32Array.from({ length: rows * length }, (_, i) => 3 + i % 90);
      const batch = { ids, labels: ids, rows, length };
      const shared = {
        subject: { config, classes },
        optimiser: adamW({ clip: 1 }),
        accumulate: 2,
        maxLength,
      };
      const planned = stepBytes({
        compiled: planStep({
          ...shared,
          capabilities: device.capabilities,
          weights: new Map([...weights].map(([name, t]) => [name, t.aval])),
          batch: { rows, length },
        }),
      });
      const session = await openSession({ ...shared, device, weights, seed: 0, startBatches: [batch] });
      await session.step(batch, { plain: 1e-3, orthogonal: 1e-3 });
      assertEquals(session.stats().step, planned);
      const trained = classes.flatMap((c) => c.leaves.map((l) => c.members.length * sizeOf(l.aval.shape)));
      assert(planned.trained >= 4 * trained.reduce((a, b) => a + b, 0), "parameters are f32");
    } finally {
      await device.close();
    }
  });
}

async function program(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Nothing may be written.
    args: ["run", "--no-check", "--allow-read", `${root}train.ts`, "--dry-run", "--device", "cpu", ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

Deno.test("the program: a dry run tells of rows, steps and memory, and may write nothing", async () => {
  const run = await program("--batch", "8", "--epochs", "2", "--eval", "none");
  assertEquals([run.code, run.out], [0, ""], run.err);
  assert(!run.err.includes("\x1b"), "colour where there is no terminal");
  for (
    const says of ["row 3: ", "⟦", "an epoch: 500 steps of 8 rows, ", "1000 steps", "memory of a step of 8 ×"]
  ) {
    assertStringIncludes(run.err, says);
  }
  assert(!run.err.includes("row 4: "));
  const { code, out } = await program("--json", "--steps", "7", "--method", "lora");
  const result = JSON.parse(out);
  assertEquals([code, result.rows, result.truncated, result.dropped, result.steps], [0, 4000, 0, 0, 7]);
  const { weights, trained, optimiser, temporaries, total } = result.step_bytes;
  assertEquals(weights + trained + optimiser + temporaries, total);
});

Deno.test("the program: a dry run says what does not fit, after what it needs", async () => {
  const run = await program("--batch", "65536", "--eval", "none");
  assertEquals(run.code, 2, run.err);
  const lines = run.err.trim().split("\n");
  assert(lines.some((l) => l.startsWith("memory of a step of 65536 ×")), run.err);
  assertMatch(
    lines.at(-1)!,
    /^A step needs [\d.]+ GiB, and .* [\d.]+ GiB: activations and gradients [\d.]+ GiB, .*What helps most: a smaller --batch/,
  );
});

Deno.test("the program: of a dry run a broken row is named in one line", async () => {
  const file = await Deno.makeTempFile({ suffix: ".csv" });
  try {
    await Deno.writeTextFile(file, 'prompt,completion\na,b\n"c\nd",e,f\n');
    const run = await program("--data", file);
    assertEquals(run.code, 2);
    assertStringIncludes(run.err.trim().split("\n").at(-1)!, `${file}:3: has 3 cells`);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("the program: the memory that a dry run tells is the run's at its peak, within a tenth", () =>
  inTempDir(async (dir) => {
    const held = `${dir}/held.jsonl`;
    const rows = Deno.readTextFileSync(`${root}examples/data/eval.jsonl`).split("\n").slice(0, 12);
    Deno.writeTextFileSync(held, rows.join("\n"));
    const tasks = ["--eval", `gsm8k:${held}`, "--eval", `perplexity:${held}`, "--eval-limit", "6"];
    for (
      const more of [
        ["--eval", "none", "--method", "lora"],
        ["--eval", held, "--method", "hybrid"],
        // Answers of tasks have as many tokens as evaluate.ts lets them have: more than a step.
        [...tasks, "--method", "lora"],
        [...tasks, "--eval", held, "--method", "hybrid"],
      ]
    ) {
      const argv = ["--batch", "4", "--steps", "4", "--device", "cpu", ...more];
      const dry = await program(...argv, "--json");
      const told = JSON.parse(dry.out);
      const { result } = await fineTuned(`${dir}/${more.length} ${more.at(-1)}`, argv);
      assert(!(result instanceof UserError), String(result));
      const ratio = told.peak_bytes / result.peak_bytes;
      assert(ratio > 0.9 && ratio < 1.1, `${told.peak_bytes} told, ${result.peak_bytes} used`);
      assert(told.seconds > 0 && Math.abs(told.seconds - 4 * told.step_seconds) <= 4 * told.step_seconds);
      assertStringIncludes(dry.err, "time of the steps: about ");
      assertEquals(dry.err.includes(", tasks "), more.includes("--eval-limit"), dry.err);
    }
  }));
