/** Encoders against what transformers computed (tests/fixtures/make_encoders.py), in f32. @module */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { openGpu } from "../core/gpu/mod.ts";
import { type Device, evaluate, fill, gradients, input, sizeOf, type Tensor } from "../core/mod.ts";
import { mul } from "../ops/mod.ts";
import { exportPeft, loadAdapter } from "../train/adapter_directory.ts";
import type { TokenBatch } from "../train/batches.ts";
import { type Classifier, openClassifier } from "../train/classifier.ts";
import { classifierAvals, classifierLoss } from "../train/classifier_objective.ts";
import { classifierGradients } from "../train/classifier_gradients.ts";
import type { Example } from "../train/data.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { loadEncoder } from "../train/encoder_checkpoint.ts";
import { parseEncoderConfig } from "../train/encoder_config.ts";
import type { GlueTarget } from "../train/evaluation/glue_tasks.ts";
import { layoutClasses, type MethodOptions } from "../train/methods.ts";
import { chain, clipByGlobalNorm, type Optimiser, scaleByRate } from "../train/optimiser.ts";
import { bindMaps } from "../train/bind_model.ts";
import { readPeft } from "../train/peft/files.ts";

/** What transformers computed for a model. */
interface Expected {
  readonly rows: number;
  readonly length: number;
  readonly lengths: readonly number[];
  readonly ids: readonly number[];
  readonly types: readonly number[];
  readonly targets: readonly number[];
  readonly outputs: number;
  readonly logits: readonly number[];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, number>>;
}

const root = decodeURIComponent(new URL("fixtures/encoders", import.meta.url).pathname);
const device = await openCpu({ threads: 1 });
const MODELS = ["bert", "bert_number", "roberta"];

function expectedOf(name: string): Expected {
  return JSON.parse(Deno.readTextFileSync(`${root}/${name}/expected.json`)) as Expected;
}

function targetOf({ outputs }: Expected): GlueTarget {
  return outputs === 1
    ? { kind: "regression", least: 0, most: 5 }
    : { kind: "classes", labels: Array.from({ length: outputs }, (_, i) => String(i)) };
}

function examplesOf({ rows, length, lengths, ids, types, targets }: Expected): Example[] {
  return Array.from({ length: rows }, (_, r) => {
    const own = (list: readonly number[]): number[] => list.slice(r * length, r * length + lengths[r]!);
    const tokens = own(ids);
    return {
      ids: tokens,
      trained: tokens.map(() => false),
      promptLength: tokens.length,
      prompt: "",
      classified: { types: own(types), target: targets[r]! },
    };
  });
}

/** All rows in one batch, with a row of padding more. */
function batchOf(expected: Expected): TokenBatch {
  const { rows, length, lengths, ids, types, targets } = expected, all = rows + 1;
  const padded = (list: readonly number[], size: number): Int32Array => {
    const out = new Int32Array(size);
    out.set(list);
    return out;
  };
  const wide = new Float32Array(all);
  wide.set(targets);
  return {
    ids: padded(ids, all * length),
    labels: new Int32Array(all * length).fill(-100),
    rows: all,
    length,
    tokens: rows,
    examples: rows,
    members: examplesOf(expected),
    epoch: 0,
    classified: {
      types: padded(types, all * length),
      lengths: padded(lengths, all),
      targets: wide,
    },
  };
}

async function open(
  name: string,
  options: Partial<MethodOptions>,
  { on = device, optimiser }: { readonly on?: Device; readonly optimiser: Optimiser },
): Promise<Classifier> {
  const expected = expectedOf(name);
  const { config, weights, layout, fresh } = loadEncoder(`${root}/${name}`, {
    dtype: "f32",
    outputs: expected.outputs,
    seed: 0,
  });
  assertEquals(fresh, []);
  const classes = layoutClasses(
    { ...DEFAULT_SETTINGS, method: "lora", target: "all-linear", ...options },
    layout,
  );
  return await openClassifier({
    device: on,
    subject: { config, target: targetOf(expected), classes },
    weights,
    optimiser,
    accumulate: 1,
    seed: 5,
    startBatches: [batchOf(expected)],
  });
}

function apart(ours: readonly number[], theirs: readonly number[]): number {
  assertEquals(ours.length, theirs.length);
  return Math.max(...ours.map((x, i) => Math.abs(x - theirs[i]!)));
}

function norm(data: ArrayLike<number>): number {
  return Math.sqrt(Array.from(data).reduce((total, v) => total + v * v, 0));
}

/** What transformers computed with dropout by the place of a number in place of chance. */
interface ExpectedDropout {
  readonly config: Readonly<Record<string, number>>;
  readonly loss: number;
  readonly gradients: Readonly<Record<string, number>>;
}

for (const name of MODELS) {
  Deno.test(`${name}: a step leaves out where transformers does, scaled as there, and derivatives see it`, () => {
    const expected = expectedOf(name),
      read = (file: string) => Deno.readTextFileSync(`${root}/${name}/${file}`);
    const { config: rates, loss, gradients: norms } = JSON.parse(read("dropout.json")) as ExpectedDropout;
    const config = parseEncoderConfig({ ...JSON.parse(read("config.json")), ...rates }, "config.json");
    assertEquals(config.dropout, { hidden: 0.2, attention: 0.3, head: 0.4 });
    const { weights } = loadEncoder(`${root}/${name}`, { dtype: "f32", outputs: expected.outputs, seed: 0 });
    const inputs = new Map([...weights].map(([at, t]) => [at, input(t.aval, at)]));
    const { rows, length } = expected, avals = classifierAvals({ rows, length });
    const batch = {
      ids: input(avals.ids, "ids"),
      types: input(avals.types, "types"),
      lengths: input(avals.lengths, "lengths"),
      targets: input(avals.targets, "targets"),
    };
    const given = new Map<Tensor, ArrayLike<number>>([
      ...[...inputs].map(([at, x]) => [x, weights.get(at)!.data] as const),
      ...Object.entries(batch).map(([key, x]) => [x, expected[key as keyof typeof batch]] as const),
    ]);
    const seen: string[] = [];
    const { sum } = classifierLoss(
      {
        config,
        ...bindMaps([], Object.fromEntries(inputs), new Map()),
        drop: (x, kind, place) => {
          seen.push(`${kind} ${place}`);
          const rate = config.dropout[kind], factors = input(x.aval, `${kind} ${place}`);
          const left = (i: number): boolean => (37 * i + 11) % 101 < Math.round(101 * rate);
          given.set(
            factors,
            Array.from({ length: sizeOf(x.shape) }, (_, i) => left(i) ? 0 : 1 / (1 - rate)),
          );
          return mul(x, factors);
        },
      },
      targetOf(expected),
      batch,
    );
    assertEquals(new Set(seen).size, seen.length, "two places have one number");
    const mean = mul(sum, 1 / rows), list = [...inputs.values()];
    const [found, ...grads] = evaluate(
      [mean, ...gradients([mean], [fill(1)], list)],
      new Map([...given].map(([x, data]) => [x, Float64Array.from(data)])),
    );
    assert(Math.abs(found![0]! / loss - 1) <= 1e-5, `loss ${found![0]}, transformers ${loss}`);
    const total = norm(Object.values(norms));
    [...inputs.keys()].forEach((at, i) => {
      const gap = Math.abs(norm(grads[i]!) - norms[at]!);
      assert(gap <= 1e-5 * total, `${at}: ${norm(grads[i]!)}, transformers ${norms[at]}`);
    });
  });
}

Deno.test("dropout: the step's key decides, predictions have none, and rates of 0 are none", async () => {
  const losses = async (hidden: number, seed: number): Promise<number[]> => {
    const expected = expectedOf("bert");
    const found = loadEncoder(`${root}/bert`, { dtype: "f32", outputs: expected.outputs, seed: 0 });
    const config = { ...found.config, dropout: { hidden, attention: hidden, head: hidden } };
    const target = targetOf(expected);
    const classes = layoutClasses(
      { ...DEFAULT_SETTINGS, method: "lora", target: "all-linear" },
      found.layout,
    );
    const session = await openClassifier({
      ...{
        device,
        subject: { config, target, classes },
        weights: found.weights,
        optimiser: sgd,
        accumulate: 1,
        seed,
      },
    });
    // Rates of 0: what is trained stays, so that keys alone differ.
    const step = async (): Promise<number> =>
      (await session.step(batchOf(expected), { plain: 0, orthogonal: 0 })).loss;
    const all = [await step(), await step()];
    const { loss } = (await session.predict(examplesOf(expected), { rows: 3, seq: expected.length }))!;
    return [...all, loss];
  };
  const [none, some, again, other] = [
    await losses(0, 5),
    await losses(0.3, 5),
    await losses(0.3, 5),
    await losses(0.3, 6),
  ];
  assertEquals(none[0], none[1]);
  assertEquals(some, again);
  assert(new Set([none[0], some[0], some[1], other[0], other[1]]).size === 5, `${none} ${some} ${other}`);
  assertEquals([some[2], other[2]], [none[2], none[2]]);
});

/** Multiplies gradients in the step that reads them, so that weights of any size do not round them away. */
const GRADIENT_RATE = 2 ** 14;
const sgd: Optimiser = chain(clipByGlobalNorm(0), scaleByRate());

async function check(name: string, on: Device): Promise<void> {
  const expected = expectedOf(name);
  const session = await open(name, { method: "full" }, { on, optimiser: sgd });
  // Rows alone, each without padding, and all of them together give the same.
  for (const rows of [1, 3]) {
    const found = (await session.predict(examplesOf(expected), { rows, seq: expected.length }))!;
    const gap = apart(found.outputs.flat(), expected.logits);
    assert(gap <= 1e-4, `${rows} rows at a time: outputs differ by ${gap}`);
    assert(Math.abs(found.loss / expected.loss - 1) <= 1e-5, `loss ${found.loss}, ${expected.loss} expected`);
  }
  const before = await session.trained();
  const { loss, gradNorm } = await session.step(batchOf(expected), {
    plain: GRADIENT_RATE,
    orthogonal: GRADIENT_RATE,
  });
  assert(Math.abs(loss / expected.loss - 1) <= 1e-5, `loss ${loss}, transformers ${expected.loss}`);
  const total = norm(Object.values(expected.gradients));
  assert(Math.abs(gradNorm / total - 1) <= 1e-4, `gradient norm ${gradNorm}, transformers ${total}`);
  const after = await session.trained();
  assertEquals([...before.keys()].sort(), Object.keys(expected.gradients).sort());
  for (const [weight, leaves] of before) {
    const old = leaves.get("weight")!.data, now = after.get(weight)!.get("weight")!.data;
    const ours = norm(Float64Array.from(old, (v, i) => (v - now[i]!) / GRADIENT_RATE));
    const theirs = expected.gradients[weight]!;
    // Offsets of keys change nothing: softmax sees differences alone, and what is left is rounding.
    const gap = Math.abs(ours - theirs);
    assert(gap <= 1e-4 * theirs + 1e-6 * total, `gradient of ${weight}: ${ours}, transformers ${theirs}`);
  }
}

for (const name of MODELS) {
  Deno.test(`${name}: outputs, loss and gradients are those of transformers`, () => check(name, device));
}

Deno.test("encoders on a GPU: outputs, loss and gradients", async () => {
  const gpu = await openGpu({ software: true });
  if (!gpu) {
    assert(Deno.env.get("GYRE_REQUIRE_GPU") !== "1", "GYRE_REQUIRE_GPU=1 and there is no WebGPU adapter");
    return console.log("skipped: there is no WebGPU adapter");
  }
  try {
    for (const name of ["bert", "roberta"]) await check(name, gpu);
  } finally {
    await gpu.close();
  }
});

Deno.test("gradients for starts are those of transformers", async () => {
  const expected = expectedOf("bert");
  const { config, weights, layout } = loadEncoder(`${root}/bert`, { dtype: "f32", outputs: 3, seed: 0 });
  const arrays = new Map(
    [...weights].map(([n, t]) => [`weights.${n}`, device.upload(t.data, t.aval)] as const),
  );
  const paths = new Set(layout.modules.map((m) => m.path));
  const frozen = Object.fromEntries([...weights].map(([n, t]) => [n, t.aval]));
  const subject = { config, target: targetOf(expected), classes: [] };
  let seen = 0;
  // Twice the same batch: the mean is its gradient.
  const batches = [batchOf(expected), batchOf(expected)];
  for await (
    const { gradients } of classifierGradients({ device, subject, frozen, arrays, batches }, paths)
  ) {
    for (const [path, array] of gradients) {
      const ours = norm(await device.download(array)), theirs = expected.gradients[`${path}.weight`]!;
      assert(Math.abs(ours / theirs - 1) <= 1e-4, `gradient of ${path}: ${ours}, transformers ${theirs}`);
      seen++;
    }
  }
  assertEquals(seen, paths.size);
});

for (const name of ["bert", "roberta"]) {
  Deno.test(`${name}: an adapter of PEFT with its head gives PEFT's outputs, and comes back as it was`, async () => {
    const expected = expectedOf(name), dir = `${root}/${name}_peft`;
    const { logits } = JSON.parse(Deno.readTextFileSync(`${dir}/expected.json`)) as Pick<Expected, "logits">;
    const outputs = async (from: string) => {
      const { config, weights, layout } = loadEncoder(`${root}/${name}`, {
        dtype: "f32",
        outputs: expected.outputs,
        seed: 0,
      });
      const adapter = loadAdapter(from, layout, weights, { training: true });
      const session = await openClassifier({
        device,
        subject: { config, target: targetOf(expected), classes: adapter.classes },
        weights: adapter.weights,
        optimiser: sgd,
        accumulate: 1,
        seed: 0,
        values: adapter.values,
      });
      const found = await session.predict(examplesOf(expected), { rows: 3, seq: expected.length });
      return { adapter, layout, trained: await session.trained(), outputs: found!.outputs.flat() };
    };
    const read = await outputs(dir);
    const gap = apart(read.outputs, logits);
    assert(gap <= 1e-4, `outputs differ by ${gap}`);
    assert(apart(read.outputs, expected.logits) > 1e-2, "the adapter changes nothing");
    const back = `${Deno.makeTempDirSync()}/peft`;
    const { layout, adapter: { classes, layouts }, trained } = read;
    exportPeft(back, layouts!, { model: name, layout, classes, trained, task: "sst2" });
    assertEquals((await outputs(back)).outputs, read.outputs);
    const written = readPeft(back).config;
    assertEquals([written.taskType, written.targets.saved], ["SEQ_CLS", ["classifier"]]);
  });
}
