/** Runs that are interrupted go on bit for bit; checkpoints are whole, whatever happens to the program. @module */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type RunResult, UserError } from "../train/mod.ts";
import { checkpointSteps, readCheckpoint, saveCheckpoint } from "../train/run_checkpoint.ts";
import { TOO_MANY_SKIPPED } from "../train/train_loop.ts";
import { fineTuned, inTempDir, root } from "./runs.ts";

const TINY = ["--device", "cpu", "--eval", "none", "--seq", "32", "--batch", "4"];

function refusal({ result }: { readonly result: RunResult | UserError }): string {
  assert(result instanceof UserError, "the run was not refused");
  return result.message;
}

/** The metrics without what depends on the clock. */
function metricsOf(out: string): unknown[] {
  return Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n").map((line) => {
    const { seconds: _s, tokens_per_s: _t, ...rest } = JSON.parse(line);
    return rest;
  });
}

function adapterOf(out: string): Uint8Array {
  return Deno.readFileSync(`${out}/adapter/adapter.safetensors`);
}

const METHODS: readonly (readonly [name: string, argv: readonly string[]])[] = [
  ["hybrid with dropout", ["--method", "hybrid", "--dropout", "0.3", "--target", "q_proj,up_proj"]],
  ["full in two parts", ["--method", "full", "--accumulate", "2"]],
  ["lora-ga, which starts from gradients", ["--method", "lora-ga", "--target", "q_proj,v_proj"]],
];

for (const [name, argv] of METHODS) {
  Deno.test(`40 steps are 20, an end and 20 more, bit for bit: ${name}`, () =>
    inTempDir(async (dir) => {
      const all = [...TINY, ...argv, "--steps", "40"];
      const whole = await fineTuned(`${dir}/whole`, all);
      assert(!(whole.result instanceof UserError), String(whole.result));
      const out = `${dir}/parts`;
      // The checkpoint of step 20 is written before step 21 is begun.
      const first = await fineTuned(out, [...all, "--save-every", "10"], () =>
        checkpointSteps(out).includes(20));
      assert(!(first.result instanceof UserError), String(first.result));
      assertEquals([first.result.steps, checkpointSteps(out)], [20, [10, 20]]);
      assertStringIncludes(first.said, "interrupted after step 20");
      // Lines of steps after the checkpoint are not those of this run.
      Deno.writeTextFileSync(`${out}/metrics.jsonl`, '{"step":21,"loss":0}\n{"st', { append: true });
      const second = await fineTuned(out, ["--resume"]);
      assert(!(second.result instanceof UserError), String(second.result));
      assertStringIncludes(second.said, `goes on from ${out}/checkpoints/step-20: step 20 of 40`);
      assertEquals(metricsOf(out), metricsOf(`${dir}/whole`));
      assertEquals(adapterOf(out), adapterOf(`${dir}/whole`));
      const [a, b] = await Promise.all([out, `${dir}/whole`].map(readCheckpoint));
      assertEquals([a!.step, a!.skipped, a!.tensors], [40, b!.skipped, b!.tensors]);
      const { steps, loss_before, loss_after } = whole.result;
      assertEquals([second.result.steps, second.result.loss_before, second.result.loss_after], [
        steps,
        loss_before,
        loss_after,
      ]);
      assertEquals(
        [...Deno.readDirSync(out)].filter((e) =>
          /partial|replaced|^\.gyre/.test(e.name)
        ),
        [],
      );
    }));
}

Deno.test("resume: what would make it another run is refused by flag, old and new value; the rest may change", () =>
  inTempDir(async (dir) => {
    const out = `${dir}/run`, rows = `${dir}/rows.jsonl`;
    const text = Deno.readTextFileSync(`${root}/examples/data/train.jsonl`).split("\n").slice(0, 40).join(
      "\n",
    );
    Deno.writeTextFileSync(rows, text);
    assertStringIncludes(
      refusal(await fineTuned(out, ["--resume"])),
      `${out}/checkpoints has no checkpoint; leave out --resume`,
    );
    const begun = [...TINY, "--method", "lora", "--data", rows, "--rank", "4"];
    const first = await fineTuned(out, [
      ...begun,
      "--steps",
      "3",
      "--merge",
      "--save-every",
      "1",
      "--keep",
      "2",
    ]);
    assert(!(first.result instanceof UserError), String(first.result));
    assertEquals(checkpointSteps(out), [2, 3]);
    const old = adapterOf(out);
    const cases: readonly (readonly [readonly string[], string])[] = [
      [["--rank", "8"], "--rank was 4 and is 8"],
      [["--method", "dora"], "--method was lora and is dora"],
      [["--lr", "1"], "--lr was 0.006 and is 1"],
      [["--save-modules", "norm"], "--save-modules was not given and is norm"],
      [["--batch", "2"], "--batch was 4 and is 2"],
      [["--seed", "7"], "--seed was 0 and is 7"],
      [["--steps", "2"], "the run has done 3 steps and is to have 2"],
    ];
    for (const [argv, says] of cases) {
      assertStringIncludes(refusal(await fineTuned(out, ["--resume", ...argv])), says);
    }
    assertStringIncludes(
      refusal(await fineTuned(out, begun)),
      "continue it with --resume, or give another directory",
    );
    Deno.writeTextFileSync(rows, text.split("\n").slice(1).join("\n"));
    assertStringIncludes(
      refusal(await fineTuned(out, ["--resume", "--steps", "5"])),
      `${rows} has other rows`,
    );
    Deno.writeTextFileSync(rows, text);
    const metrics = Deno.readTextFileSync(`${out}/metrics.jsonl`);
    Deno.writeTextFileSync(`${out}/metrics.jsonl`, metrics.slice(0, -20));
    assertMatch(
      refusal(await fineTuned(out, ["--resume", "--steps", "5"])),
      /metrics\.jsonl: line 3 is not that/,
    );
    Deno.writeTextFileSync(`${out}/metrics.jsonl`, metrics);
    assertEquals(adapterOf(out), old);

    const more = await fineTuned(out, ["--resume", "--steps", "5", "--keep", "1", "--merge"]);
    assert(!(more.result instanceof UserError), String(more.result));
    assertEquals([more.result.steps, metricsOf(out).length, checkpointSteps(out)], [5, 5, [5]]);
    assert(adapterOf(out).some((b, i) => b !== old[i]), "the adapter is the old one");
    for (const name of ["merged/model.safetensors", "peft/adapter_model.safetensors"]) {
      assert(Deno.statSync(`${out}/${name}`).isFile);
    }
    // What was lost after the last checkpoint is written again.
    const last = adapterOf(out);
    Deno.removeSync(`${out}/adapter`, { recursive: true });
    await fineTuned(out, ["--resume"]);
    assertEquals(adapterOf(out), last);
  }));

Deno.test("resume: what was measured before the first step is measured once", () =>
  inTempDir(async (dir) => {
    const held = `${dir}/held.jsonl`;
    const rows = Deno.readTextFileSync(`${root}/examples/data/eval.jsonl`).split("\n").slice(0, 4);
    Deno.writeTextFileSync(held, rows.join("\n"));
    const begun = [...TINY, "--method", "lora", "--target", "q_proj", "--eval", held, "--steps", "4"];
    const whole = await fineTuned(`${dir}/whole`, begun);
    const out = `${dir}/parts`;
    await fineTuned(out, [...begun, "--save-every", "2"], () => checkpointSteps(out).length > 0);
    const parts = await fineTuned(out, ["--resume"]);
    assert(!(whole.result instanceof UserError) && !(parts.result instanceof UserError));
    assertEquals(parts.said.split("measuring on").length, 2);
    for (const key of ["eval_before", "eval_after", "exact_before", "exact_after"] as const) {
      assertEquals(typeof parts.result[key], "number");
      assertEquals(parts.result[key], whole.result[key], key);
    }
    const samples = (at: string): unknown => JSON.parse(Deno.readTextFileSync(`${at}/samples.json`));
    assertEquals(samples(out), samples(`${dir}/whole`));
  }));

Deno.test("resume: a damaged checkpoint is refused by name, and the one before it used once it is removed", () =>
  inTempDir(async (dir) => {
    const out = `${dir}/run`;
    const begun = [...TINY, "--method", "lora", "--target", "q_proj", "--save-every", "1"];
    await fineTuned(out, [...begun, "--steps", "2"]);
    const newest = `${out}/checkpoints/step-2`;
    for (const name of ["tensors.safetensors", "state.json"]) {
      const path = `${newest}/${name}`, good = Deno.readFileSync(path);
      const flip = (at: number): Uint8Array => good.map((b, i) => i === at ? b ^ 1 : b);
      // The last byte of the JSON is the end of its line, which says nothing.
      const cuts = Array.from({ length: 12 }, () => Math.floor(Math.random() * (good.length - 1)));
      const damages = [
        ...[0, ...cuts].map((n) => [`cut to ${n} bytes`, good.subarray(0, n)] as const),
        ...cuts.map((at) => [`bit of byte ${at}`, flip(at)] as const),
      ];
      for (const [what, bytes] of damages) {
        Deno.writeFileSync(path, bytes);
        const error = await readCheckpoint(out).then(() => null, (e: unknown) => e);
        assert(error instanceof UserError, `${name}, ${what}: ${error}`);
        assertStringIncludes(error.message, path, what);
        assertStringIncludes(error.message, `to go on from step 1 instead, remove ${newest}.`, what);
      }
      Deno.removeSync(path);
      assertStringIncludes(refusal(await fineTuned(out, ["--resume", "--steps", "3"])), `${path}: not found`);
      Deno.writeFileSync(path, good);
    }
    Deno.removeSync(newest, { recursive: true });
    const again = await fineTuned(out, ["--resume", "--steps", "3"]);
    assert(!(again.result instanceof UserError), String(again.result));
    assertStringIncludes(again.said, "step 1 of 3");
    // Steps that were left out count over all parts of a run.
    const { dir: _dir, tensors, ...state } = await readCheckpoint(out);
    await saveCheckpoint(out, { ...state, skipped: TOO_MANY_SKIPPED }, tensors, 1);
    assertStringIncludes(
      refusal(await fineTuned(out, ["--resume", "--steps", "5"])),
      `${TOO_MANY_SKIPPED} steps had gradients that are not finite`,
    );
  }));

/** The smallest model at hand: one of 260,000 parameters beside the checkout, else the bundled one. */
const SMALLEST = `${root}/../shared/data/models/stories260K`;
const KILLS = 10;

Deno.test(`checkpoints: after ${KILLS} kills at random moments and a SIGTERM a run ends as if nothing had been`, () =>
  inTempDir(async (dir) => {
    const model = await Deno.stat(SMALLEST).then(() => SMALLEST, () => `${root}/examples/base`);
    const rows = Array.from({ length: 9 }, (_, i) => JSON.stringify({ text: `Tom has ${i} red balls.` }));
    Deno.writeTextFileSync(`${dir}/rows.jsonl`, rows.join("\n"));
    const begun = [
      ...["--model", model, "--data", `${dir}/rows.jsonl`, "--device", "cpu"],
      // All weights: most of the time goes into writing.
      ...["--method", "full", "--batch", "2", "--seq", "32", "--steps", "100000", "--save-every", "1"],
    ];
    const out = `${dir}/killed`;
    const start = (...more: readonly string[]): Deno.ChildProcess =>
      new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--no-check", "--allow-read", "--allow-write", "--allow-env", `${root}/train.ts`],
          ...(checkpointSteps(out).length > 0 ? ["--resume", "--out", out] : [...begun, "--out", out]),
          ...more,
        ],
        stdout: "null",
        stderr: "piped",
      }).spawn();
    const newest = (): number => checkpointSteps(out).at(-1) ?? 0;
    const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));
    /** Wait until the run has written a checkpoint, or is over. */
    const underWay = async (child: Deno.ChildProcess, from: number): Promise<void> => {
      let over = false;
      child.status.then(() => over = true);
      while (newest() <= from && !over) await pause(1);
    };
    const moments: string[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const from = newest(), child = start();
      const errors = new Response(child.stderr).text();
      // Most kills hit steps and checkpoints, some the start.
      if (kill % 4 !== 3) await underWay(child, from);
      const wait = Math.random() * (kill % 4 !== 3 ? 120 : 1500);
      const early = await Promise.race([pause(wait), child.status]);
      assert(!early, `the run ended by itself: ${early && await errors}`);
      child.kill("SIGKILL");
      assertEquals((await child.status).signal, "SIGKILL", await errors);
      moments.push(`${wait.toFixed(0)} ms after step ${from}`);
      assert(newest() >= from, `a checkpoint was lost; kills: ${moments.join(", ")}`);
      if (newest() > 0) assertEquals((await readCheckpoint(out)).step, newest(), moments.join(", "));
    }
    assert(newest() >= KILLS / 2, `kills: ${moments.join(", ")}; step ${newest()}`);
    const from = newest(), child = start("--save-every", "0");
    const errors = new Response(child.stderr).text();
    // The metrics are opened anew when the first step has gone through.
    const opened = (): unknown => Deno.statSync(`${out}/metrics.jsonl`).mtime?.getTime();
    for (const before = opened(); opened() === before;) await pause(1);
    await pause(Math.random() * 300);
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 130, await errors);
    assert(newest() > from);
    assertStringIncludes(await errors, `interrupted after step ${newest()}:`);

    const end = newest() + 20;
    await fineTuned(out, ["--resume", "--save-every", "1"], () => newest() >= end);
    assertEquals(newest(), end);
    // The same steps in one go.
    const whole = `${dir}/whole`;
    await fineTuned(whole, [...begun, "--save-every", `${end}`], () => checkpointSteps(whole).length > 0);
    assertEquals(metricsOf(out), metricsOf(whole));
    assertEquals(adapterOf(out), adapterOf(whole));
    const left = [out, `${out}/checkpoints`].flatMap((d) => [...Deno.readDirSync(d)].map((e) => e.name));
    assertEquals(left.filter((name) => /partial|replaced/.test(name)), []);
  }));
