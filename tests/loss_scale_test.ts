/** Loss scales: the rule, gradients that do not change by it, steps that overflow, runs that go on bit for bit. @module */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import { openCpu } from "../core/cpu/mod.ts";
import { aval, evaluate, fill } from "../core/mod.ts";
import { type RunResult, UserError } from "../train/mod.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { weightShapes } from "../train/decoder.ts";
import { dynamicLossScale, fixedLossScale, LOSS_SCALE, type LossScale } from "../train/loss_scale.ts";
import { methodClasses } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { parseOptions } from "../train/options.ts";
import { checkpointSteps, readCheckpoint, saveCheckpoint } from "../train/run_checkpoint.ts";
import { openSession, type Session } from "../train/session.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { TOO_MANY_SKIPPED } from "../train/train_loop.ts";
import { changedModel, fineTuned, inTempDir, root, type TestRun } from "./runs.ts";

Deno.test("loss scale: halves after what is not finite, doubles after enough good steps in a row, within its bounds", () =>
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 60 }),
      fc.integer({ min: 1, max: 5 }),
      (finite, interval) => {
        const rule = { ...LOSS_SCALE, least: 0.25, most: 8, interval };
        const lossScale = dynamicLossScale(rule);
        let state = Object.fromEntries(Object.entries(lossScale.state).map(([name, s]) => [name, s.initial]));
        let scale: number = rule.initial, good = 0;
        for (const is of finite) {
          const at = Object.fromEntries(Object.entries(state).map(([name, x]) => [name, fill(x)]));
          const next = lossScale.next(at, fill(is ? 1 : 0, [], "bool"));
          const names = Object.keys(next), values = evaluate(Object.values(next));
          state = Object.fromEntries(names.map((name, i) => [name, values[i]![0]!]));
          good = is ? good + 1 : 0;
          if (!is) scale = Math.max(rule.least, scale / 2);
          if (good === interval) [scale, good] = [Math.min(rule.most, scale * 2), 0];
          assertEquals(Object.values(state), [scale, good]);
        }
      },
    ),
    { numRuns: 30 },
  ));

/** A session of the bundled model, and batches. */
async function withSession<T>(
  lossScale: LossScale | null,
  use: (session: Session, step: (i: number) => ReturnType<Session["step"]>) => Promise<T>,
  accumulate = 1,
): Promise<T> {
  const base = `${root}/examples/base`;
  const options = parseOptions(
    ["--method", "hybrid", "--rank", "2", "--target", "q_proj,up_proj", "--seq", "32"],
    { root, now: new Date(0) },
  );
  const { config, weights } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
  const { examples } = loadDataset(options.data, loadTokenizer(base), options.seq);
  const all = [...batches(examples.slice(0, 24), { batch: 4, seq: options.seq, seed: 0, epochs: 1 })];
  const device = await openCpu({ threads: 1 });
  try {
    const session = await openSession({
      device,
      subject: { config, classes: methodClasses(options, config) },
      weights,
      optimiser: adamW({ clip: 1, lossScale }),
      ...{ accumulate, seed: 0, maxLength: options.seq, startBatches: all.slice(0, 1) },
    });
    return await use(session, (i) => session.step(all[i]!, { plain: 1e-3, orthogonal: 5e-4 }));
  } finally {
    await device.close();
  }
}

for (const accumulate of [1, 2]) {
  Deno.test(`loss scale: a power of two changes no bit of a step in f32, in ${accumulate} parts`, async () => {
    const results = await Promise.all(
      [null, fixedLossScale(2 ** 12), dynamicLossScale()].map((lossScale) =>
        withSession(lossScale, async (session, step) => {
          const steps = [await step(0), await step(1), await step(2)];
          const numbers = steps.map(({ loss, gradNorm }) => [loss, gradNorm]);
          const tensors = [...(await session.state()).tensors].filter(([name]) => !/loss_scale/.test(name));
          return { numbers, tensors, scales: steps.map((s) => s.lossScale) };
        }, accumulate)
      ),
    );
    const [none, fixed, dynamic] = results;
    for (const other of [fixed!, dynamic!]) {
      assertEquals([other.numbers, other.tensors], [none!.numbers, none!.tensors]);
    }
    assertEquals(results.map((r) => r.scales), [
      [undefined, undefined, undefined],
      [4096, 4096, 4096],
      [1, 1, 1],
    ]);
  });
}

Deno.test("loss scale: steps that overflow change nothing but the scale, which falls until one goes through", async () => {
  const high = dynamicLossScale({ ...LOSS_SCALE, initial: 2 ** 127, most: 2 ** 127 });
  await withSession(high, async (session, step) => {
    const state = async () => {
      const { tensors } = await session.state();
      return [...tensors].map(([name, { data }]) => [name, [...data]] as const);
    };
    const kept = (all: Awaited<ReturnType<typeof state>>) => all.filter(([name]) => !/loss_scale/.test(name));
    const before = await state();
    let i = 0;
    for (;; i++) {
      const { loss, gradNorm, lossScale } = await step(0);
      assert(Number.isFinite(loss), "the loss itself is scaled");
      assertEquals(lossScale, 2 ** (127 - i));
      if (Number.isFinite(gradNorm)) break;
      const now = await state();
      assertEquals(kept(now), kept(before));
      assertEquals(Object.fromEntries(now)["optimiser.loss_scale"], [2 ** (126 - i)]);
    }
    assert(i > 0 && i < 100, `${i} steps were left out`);
    const after = await state();
    assert(JSON.stringify(kept(after)) !== JSON.stringify(kept(before)), "the good step changed nothing");
    assertEquals(Object.fromEntries(after)["optimiser.loss_scale_good_steps"], [1]);
  });
});

const TINY = [
  ...["--device", "cpu", "--eval", "none", "--seq", "32", "--batch", "2", "--method", "lora"],
  ...["--target", "q_proj,up_proj", "--dtype", "f16"],
];

function done({ result }: TestRun): RunResult {
  assert(!(result instanceof UserError), String(result));
  return result;
}

function metricsOf(out: string): Record<string, unknown>[] {
  return Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n").map((line) => {
    const { seconds: _s, tokens_per_s: _t, ...rest } = JSON.parse(line);
    return rest;
  });
}

Deno.test("loss scale: a run in f16 logs it, and goes on with it bit for bit, through steps that overflow", () =>
  inTempDir(async (dir) => {
    const whole = `${dir}/whole`, parts = `${dir}/parts`;
    done(await fineTuned(whole, [...TINY, "--steps", "4"]));
    assertEquals(metricsOf(whole).map((m) => m["loss_scale"]), [1, 1, 1, 1]);
    // On from a scale that no gradient can bear.
    const { dir: _dir, tensors, ...state } = await readCheckpoint(whole);
    const high = { aval: aval([]), data: Float32Array.of(2 ** 127) };
    await saveCheckpoint(whole, state, new Map(tensors).set("optimiser.loss_scale", high), 1);
    copyRun(whole, parts);
    done(await fineTuned(whole, ["--resume", "--steps", "40"]));
    const stopped = await fineTuned(
      parts,
      ["--resume", "--steps", "40", "--save-every", "1"],
      () => checkpointSteps(parts).includes(6),
    );
    assertEquals(done(stopped).steps, 6);
    done(await fineTuned(parts, ["--resume", "--steps", "40"]));
    assertEquals(metricsOf(parts), metricsOf(whole));
    const [a, b] = await Promise.all([whole, parts].map(readCheckpoint));
    assertEquals([a!.step, a!.skipped, a!.tensors], [40, b!.skipped, b!.tensors]);
    const steps = metricsOf(whole).slice(4);
    const wasLeft = steps.map((m) => !Number.isFinite(Number(m["grad_norm"])));
    const left = wasLeft.filter(Boolean).length;
    assert(left > 2 && left < 30, `${left} steps were left out`);
    assertEquals(a!.skipped, left);
    let scale = 2 ** 127;
    steps.forEach((m, i) => {
      assertEquals(m["loss_scale"], scale);
      if (wasLeft[i]) scale /= 2;
    });
  }));

function copyRun(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyRun(`${from}/${name}`, `${to}/${name}`);
    else Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
  }
}

Deno.test("loss scale: where the least one does not help, the run ends with the step and where it began", () =>
  inTempDir(async (dir) => {
    const weight = "model.layers.1.mlp.gate_proj.weight";
    const model = changedModel(`${dir}/nan`, weight, (w) => w[3] = NaN);
    const { result } = await fineTuned(`${dir}/a`, [...TINY, "--model", model, "--steps", "30"]);
    assert(result instanceof UserError, "the run was not refused");
    assertMatch(
      result.message,
      /^step 15: the loss is NaN, and its gradients are not finite at the least loss scale, 0\.00006103515625 on /,
    );
    assertStringIncludes(result.message, `not finite first was the weight ${weight}.`);
    assertStringIncludes(result.message, "--dtype f32");
    // A fixed scale is not lowered: the run gives up after as many steps as in f32.
    const fixed = await fineTuned(`${dir}/b`, [
      ...TINY,
      "--model",
      model,
      "--steps",
      "30",
      "--loss-scale",
      "8",
    ]);
    assert(fixed.result instanceof UserError, "the run was not refused");
    assertStringIncludes(fixed.result.message, `${TOO_MANY_SKIPPED} steps had gradients that are not finite`);
    assertEquals(new Set(metricsOf(`${dir}/b`).map((m) => m["loss_scale"])), new Set([8]));
  }));

Deno.test("loss scale: f32 has none, and none is taken", async () => {
  const { result } = await fineTuned("/nowhere", ["--loss-scale", "8"]);
  assert(result instanceof UserError);
  assertEquals(
    result.message,
    "--loss-scale 8: gradients in f32 need no scale; leave it out, or give --dtype f16.",
  );
  const odd = await fineTuned("/nowhere", ["--dtype", "f16", "--loss-scale", "-1"]);
  assert(odd.result instanceof UserError);
  assertEquals(odd.result.message, '--loss-scale is "-1": give dynamic, or a number above 0.');
});
