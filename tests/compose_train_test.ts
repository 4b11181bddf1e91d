/** Composed adapters and weights trained whole, in the bundled model. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { ADAPTERS, DEFAULT_SETTINGS, SETTING_READERS } from "../train/adapter_specs.ts";
import { namedParams } from "../train/adapter_file.ts";
import { countTrainable } from "../train/arena.ts";
import { batches } from "../train/batches.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { loadDataset } from "../train/data.ts";
import { UserError } from "../train/errors.ts";
import { weightShapes } from "../train/decoder.ts";
import { describeClasses, methodClasses, type MethodOptions } from "../train/methods.ts";
import { adamW } from "../train/optimiser.ts";
import { openSafetensors } from "../train/safetensors.ts";
import { openSession, type Session } from "../train/session.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
const base = `${root}examples/base`;
const { config, weights } = loadCheckpoint(base, { dtype: "f32", shapes: weightShapes });
const ISSUED = "on(attn, hybrid(lora-ga(r=16), boft(b=8,m=2))) + on(mlp, dora(r=8))";

function classesOf(options: Partial<MethodOptions>) {
  return methodClasses({ ...DEFAULT_SETTINGS, method: "compose", target: "all-linear", ...options }, config);
}

/** Train on one batch again and again; the losses, then what `use` makes of the session. */
async function train<T>(
  options: Partial<MethodOptions>,
  use: (session: Session) => Promise<T>,
): Promise<{ readonly losses: readonly number[]; readonly result: T }> {
  const { examples } = loadDataset(`${root}examples/data/train.jsonl`, loadTokenizer(base), 64);
  const all = [...batches(examples.slice(0, 8), { batch: 4, seq: 64, seed: 0, epochs: 1 })];
  const device = await openCpu();
  try {
    const session = await openSession({
      device,
      subject: { config, classes: classesOf(options) },
      weights,
      optimiser: adamW({ clip: 1 }),
      accumulate: 1,
      seed: 0,
      maxLength: 64,
      startBatches: all,
    });
    const losses = [(await session.evaluate(all.slice(0, 1))).loss];
    for (let i = 0; i < 3; i++) {
      await session.step(all[0]!, { plain: 2e-3, orthogonal: 1e-3 });
      losses.push((await session.evaluate(all.slice(0, 1))).loss);
    }
    return { losses, result: await use(session) };
  } finally {
    await device.close();
  }
}

function requireFalling(losses: readonly number[]): void {
  losses.slice(1).forEach((loss, i) => assert(loss < losses[i]!, `losses ${losses.join(" ")}`));
}

/** Loss of the model as it is on the batch of {@linkcode train}. */
const untouched = await train({ compose: "identity", saveModules: "norm" }, () => Promise.resolve(null));

Deno.test("compose: one adapter on attention, another on the MLPs, three steps with falling loss", async () => {
  const { losses, result } = await train({ compose: ISSUED }, (session) => session.lambdas());
  requireFalling(losses);
  // Both kinds start from the base model.
  assert(Math.abs(losses[0]! / untouched.losses[0]! - 1) < 1e-5);
  const paths = Object.keys(result);
  assertEquals(paths.length, 4 * config.layers);
  assert(paths.every((path) => path.includes("self_attn")));
  Object.values(result).forEach((lambda) => assert(Math.abs(lambda[0]! + lambda[1]! - 1) < 1e-5));
  assertEquals(
    describeClasses(classesOf({ compose: ISSUED })),
    `mix(lora-ga, boft) on maps: ${4 * config.layers}, dora on maps: ${3 * config.layers}`,
  );
});

Deno.test("compose: an expression trains as the method of the same name", async () => {
  const lambdas = (session: Session) => session.lambdas();
  const composed = await train({ compose: "hybrid", rank: 4 }, lambdas);
  assertEquals(composed, await train({ method: "hybrid", rank: 4 }, lambdas));
});

Deno.test("compose: mixes of two and of three branches share within layers, each place for itself", async () => {
  const compose =
    "on(attn, mix(lora, boft, scope=layer)) + on(mlp, mix(lora, boft, oft, scope=layer, space=delta))";
  const { losses, result } = await train({ compose }, (session) => session.lambdas());
  requireFalling(losses);
  const shares = (part: string): readonly (readonly number[])[] =>
    Object.entries(result).filter(([path]) => path.includes(`.0.${part}`)).map(([, lambda]) => lambda);
  for (const [part, maps, branches] of [["self_attn", 4, 2], ["mlp", 3, 3]] as const) {
    const all = shares(part);
    assertEquals([all.length, all[0]!.length], [maps, branches]);
    all.forEach((lambda) => assertEquals(lambda, all[0]));
  }
});

Deno.test("save-modules: weights of their own train beside adapters that start from gradients, and are saved", async () => {
  const options = { compose: "on(attn, lora-ga(r=2))", saveModules: "embed_tokens,*norm*,down_proj" };
  const classes = classesOf(options);
  const { losses, result } = await train(options, (session) => session.trained());
  requireFalling(losses);
  assert(Math.abs(losses[0]! / untouched.losses[0]! - 1) < 1e-5);
  const named = namedParams(classes, result);
  const whole = [...named.keys()].filter((name) => name.endsWith(".weight"));
  const expected = [...weights.keys()].filter((name) => /embed_tokens|norm|down_proj/.test(name));
  assertEquals(whole.sort(), expected.sort());
  assertEquals(whole.length, 2 + 3 * config.layers);
  for (const name of whole) {
    const now = named.get(name)!, before = weights.get(name)!;
    assertEquals(now.aval.shape, before.aval.shape);
    assert(now.data.some((v, i) => v !== before.data[i]), `${name} has not moved`);
  }
  assert([...named.keys()].includes("model.layers.0.self_attn.q_proj.a"));
  const alone = countTrainable(classesOf({ compose: options.compose }));
  const saved = expected.reduce((n, name) => n + weights.get(name)!.data.length, 0);
  assertEquals(countTrainable(classes), alone + saved);
});

Deno.test("compose: the page on adapters names all there is, and its examples fit the bundled model", () => {
  const page = Deno.readTextFileSync(`${root}docs/ADAPTERS.md`);
  for (const name of Object.keys(ADAPTERS)) assertStringIncludes(page, `| \`${name}\``);
  for (const name of Object.keys(SETTING_READERS)) {
    const written = name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
    assert(new RegExp(`^\\|[^|]*\`${written}\``, "m").test(page), `${written} is missing`);
  }
  const examples = [...page.matchAll(/--compose "(.*?)"(?: --target "([^"]*)")?$/gm)];
  assertEquals(examples.length, 3);
  for (const [, compose, target = "all-linear"] of examples) {
    assert(countTrainable(classesOf({ compose: compose!, target })) > 0);
  }
  const shown = page.match(/^--compose: .*\n {2}(.*)\n *\^$/m)!;
  const { message } = assertThrows(() => classesOf({ compose: shown[1]! }), UserError);
  assertEquals(message.replace(/There are .*/, "There are …"), shown[0]);
});

Deno.test("save-modules: what is refused", () => {
  const refused = (options: Partial<MethodOptions>, ...parts: string[]): void => {
    const { message } = assertThrows(() => classesOf({ method: "lora", ...options }), UserError);
    for (const part of parts) assertStringIncludes(message, part);
  };
  refused({ saveModules: "norms" }, '"norms"', "embed_tokens, q_proj", "input_layernorm", "norm");
  refused({ saveModules: "norm,lm_head" }, '"lm_head"', "its head is embed_tokens");
  refused({ saveModules: " , " }, "give names");
  refused({ saveModules: "norm,*.1.mlp.*" }, "model.layers.1.mlp.gate_proj has an adapter already");
  refused({ target: "attn", saveModules: "all-linear" }, "q_proj has an adapter already");
  refused({ method: "compose", compose: "identity" }, "nothing to train");
});

Deno.test("the program: an expression and whole weights reach the files", async () => {
  const out = await Deno.makeTempDir();
  const program = async (...args: string[]) => {
    const run = ["run", "--no-check", "--allow-read", "--allow-write", "--allow-env", `${root}train.ts`];
    const output = await new Deno.Command(Deno.execPath(), {
      args: [...run, "--device", "cpu", "--eval", "none", "--steps", "2", "--batch", "2", ...args],
    }).output();
    return {
      code: output.code,
      err: new TextDecoder().decode(output.stderr),
      out: new TextDecoder().decode(output.stdout),
    };
  };
  const trained = await program(
    "--compose",
    ISSUED,
    "--save-modules",
    "norm",
    "--out",
    `${out}/a`,
    "--json",
    "--merge",
  );
  assertEquals(trained.code, 0, trained.err);
  assertEquals(JSON.parse(trained.out).method, "compose");
  assertStringIncludes(trained.err, "dora on maps: 15, weights trained whole: 1");
  for (const file of ["config.json", "adapter/adapter.json"]) {
    const settings = JSON.parse(Deno.readTextFileSync(`${out}/a/${file}`));
    assertEquals([settings.method, settings.compose, settings.rank], ["compose", ISSUED, 8]);
  }
  using saved = openSafetensors(`${out}/a/adapter/adapter.safetensors`);
  const names = [...saved.header.tensors.keys()];
  for (const name of ["model.norm.weight", "model.layers.0.mlp.up_proj.magnitude"]) {
    assert(names.includes(name));
  }
  using merged = openSafetensors(`${out}/a/merged/model.safetensors`);
  assertEquals([...merged.header.tensors.keys()].sort(), [...weights.keys()].sort());
  const norm = saved.readF32("model.norm.weight");
  assertEquals(merged.readF32("model.norm.weight"), norm);
  assert(norm.some((v, i) => v !== weights.get("model.norm.weight")!.data[i]));
  const wrong = await program("--compose", "on(attn, lorra)", "--out", `${out}/b`);
  assertEquals(wrong.code, 2);
  assertEquals(wrong.err.trimEnd().split("\n").slice(-2), ["  on(attn, lorra)", "           ^"]);
  const both = await program("--method", "lora", "--save-modules", "q_proj", "--out", `${out}/b`);
  assertEquals(both.code, 2, both.err);
  const unfit = await program("--compose", "mix(lora(r=999), boft)", "--out", `${out}/b`);
  assertEquals(unfit.code, 2, unfit.err);
  assertStringIncludes(unfit.err, "lora does not fit at character 5: Cannot adapt a map from 128 to");
  assert(!(await Deno.stat(`${out}/b`).then(() => true, () => false)));
});
