/** Plans that were made before: as text and back, in files that may be damaged, absent, shut or too many. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { defaultLimits, matrixTiles, wgsl } from "../core/kernel/wgsl.ts";
import { kernelKey } from "../core/kernel/show_kernel.ts";
import {
  aval,
  type Capabilities,
  compileTraced,
  fill,
  input,
  matrixGpu,
  type Plan,
  type PlanRequest,
  readPlan,
  type Tensor,
  writePlan,
} from "../core/mod.ts";
import { add, matmul, mul } from "../ops/mod.ts";
import { adamW } from "../train/optimiser.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { weightShapes } from "../train/decoder.ts";
import { methodClasses } from "../train/methods.ts";
import { cacheDirectory, compilerDigest, PlanStore } from "../train/plan_store.ts";
import { llamaShape } from "../train/run_plan/shapes.ts";
import { planStep } from "../train/step_plan.ts";
import { samples } from "./kernel_samples.ts";
import { inTempDir, root } from "./runs.ts";

const CAPABILITIES: Capabilities = {
  ...{
    kind: "gpu",
    adapterName: "none",
    f16: true,
    maxSlots: 32,
    maxBufferBytes: 2 ** 31,
    maxTotalBytes: null,
  },
  gpu: matrixGpu(true),
};

function stepPlan(method: "hybrid" | "unitary"): Plan {
  const config = llamaShape(64, 2, [4, 2], 160, 320, true);
  const options = { ...DEFAULT_SETTINGS, method, target: "all-linear" };
  return planStep({
    capabilities: CAPABILITIES,
    subject: { config, classes: methodClasses(options, config) },
    weights: weightShapes(config),
    optimiser: adamW({ clip: 1 }),
    ...{ accumulate: 1, maxLength: 32, batch: { rows: 2, length: 32 } },
  }).plan;
}

Deno.test("plans: as text and back they print the same kernels, and share what they shared", () => {
  const plans = [
    stepPlan("hybrid"),
    stepPlan("unitary"),
    ...samples.map(({ kernel }): Plan => ({
      inputs: [],
      outputs: [],
      buffers: [],
      kernels: [kernel],
      steps: [],
    })),
  ];
  const limits = {
    ...defaultLimits,
    f16: true,
    maxWorkgroupBytes: 49152,
    maxInvocations: 1024,
    matrix: matrixTiles,
  };
  for (const plan of plans) {
    const back = readPlan(writePlan(plan));
    assertEquals(writePlan(back), writePlan(plan));
    back.kernels.forEach((kernel, i) => {
      assertEquals(kernelKey(kernel), kernelKey(plan.kernels[i]!));
      // The printer names what is shared, so equal text says that it still is.
      assertEquals(wgsl(kernel, limits).code, wgsl(plan.kernels[i]!, limits).code);
    });
  }
  for (const text of ["", "{}", "[]", "[1]", '[{"a":[[3]]}]', '[{"o":[["kernels",1]]}]']) {
    assertThrows(() => readPlan(text), SyntaxError);
  }
});

/** A graph of so many products. */
function graph(
  length: number,
  factor = 2,
): { readonly inputs: readonly Tensor[]; readonly outputs: readonly Tensor[] } {
  const x = input(aval([8, 8]), "x");
  let y = x;
  for (let i = 0; i < length; i++) y = add(matmul(y, x), mul(x, fill(factor + i)));
  return { inputs: [x], outputs: [y] };
}

function requestOf(length: number, factor = 2): PlanRequest {
  const { inputs, outputs } = graph(length, factor);
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  let found: PlanRequest | null = null;
  const plan = { inputs: [], outputs: [], buffers: [], kernels: [], steps: [] };
  compileTraced({ inputs: ends(inputs), outputs: ends(outputs) }, {}, (request) => {
    found = request;
    return plan;
  });
  return found!;
}

Deno.test("plan store: equal requests get the plan that was made, in this process and in the next; others do not", () =>
  inTempDir((dir) => {
    const said: string[] = [];
    const files = { dir: `${dir}/cache`, compiler: "a", say: (line: string) => void said.push(line) };
    const store = new PlanStore(files), plan = store.plan(requestOf(80));
    assert(store.plan(requestOf(80)) === plan, "planned again");
    const names = (): string[] => [...Deno.readDirSync(files.dir)].map((e) => e.name);
    assertEquals(names().length, 1);
    // A marked file shows that it was read.
    const path = `${files.dir}/${names()[0]}`;
    const mark = (text: string): void => Deno.writeTextFileSync(path, text);
    const good = Deno.readTextFileSync(path);
    const again = new PlanStore(files).plan(requestOf(80));
    assertEquals([writePlan(again), said], [writePlan(plan), []]);
    assertEquals(new PlanStore(files).plan(requestOf(80, 3)).kernels.length, plan.kernels.length);
    assertEquals(names().length, 2);
    new PlanStore({ ...files, compiler: "b" }).plan(requestOf(80));
    assertEquals(names().length, 3);
    // Small graphs are planned as fast as files are read.
    new PlanStore(files).plan(requestOf(2));
    assertEquals(names().length, 3);
    for (const bad of ["", "x", good.slice(0, -3), good.replace('"contract"', '"contrast"'), `${good}[]`]) {
      said.length = 0;
      mark(bad);
      assertEquals(writePlan(new PlanStore(files).plan(requestOf(80))), writePlan(plan));
      assertEquals(said, [`${path}: damaged; the plan is made anew.`]);
      assertEquals(Deno.readTextFileSync(path), good);
    }
    return Promise.resolve();
  }));

Deno.test("plan store: files together stay within their bound, those used last stay", () =>
  inTempDir((dir) => {
    const files = { dir, compiler: "a", say: (line: string) => assert(false, line) };
    new PlanStore(files).plan(requestOf(80));
    const [first] = [...Deno.readDirSync(dir)].map((e) => e.name),
      { size } = Deno.statSync(`${dir}/${first}`);
    const store = new PlanStore({ ...files, mostBytes: 2.5 * size });
    store.plan(requestOf(80, 3));
    const names = [...Deno.readDirSync(dir)].map((e) => e.name);
    names.forEach((name) => Deno.utimeSync(`${dir}/${name}`, 1000, name === first ? 1000 : 2000));
    // Used, so no longer the oldest.
    new PlanStore(files).plan(requestOf(80));
    store.plan(requestOf(80, 4));
    const left = [...Deno.readDirSync(dir)].map((e) => e.name);
    assertEquals([left.length, left.includes(first!), names.every((n) => left.includes(n))], [
      2,
      true,
      false,
    ]);
    return Promise.resolve();
  }));

Deno.test("plan store: a place that takes no files is said once, and plans are made without", () => {
  const said: string[] = [];
  const store = new PlanStore({
    dir: "/proc/gyre/plans",
    compiler: "a",
    say: (line) => void said.push(line),
  });
  for (const factor of [2, 3]) assert(store.plan(requestOf(80, factor)).kernels.length > 0);
  assertEquals(said.length, 1);
  assertStringIncludes(said[0]!, "/proc/gyre/plans: plans are not kept there");
});

Deno.test("plan store: the place is the user's cache directory, the compiler's digest that of its sources", () => {
  const at = (given: Record<string, string>) => cacheDirectory((name) => given[name]);
  assertEquals(at({ HOME: "/home/a", XDG_CACHE_HOME: "/c" }), "/c/gyre");
  assertEquals(at({ HOME: "/home/a", XDG_CACHE_HOME: "" }), "/home/a/.cache/gyre");
  assertEquals(at({ USERPROFILE: "C:\\a" }), "C:\\a/.cache/gyre");
  assertEquals(at({ HOME: "/home/a", GYRE_CACHE: "/g" }), "/g");
  assertEquals(at({}), null);
  assertEquals([compilerDigest()?.length, compilerDigest()], [64, compilerDigest()]);
});

Deno.test("plan store: the program keeps plans, does without, and needs no permission for them", () =>
  inTempDir(async (dir) => {
    const run = async (
      permissions: readonly string[],
      flags: readonly string[],
      out: string,
    ): Promise<string> => {
      const { success, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--no-check", "--no-prompt", ...permissions, `${root}/train.ts`],
          ...["--device", "cpu", "--eval", "none", "--seq", "16", "--batch", "1", "--method", "lora"],
          ...[
            "--target",
            "q_proj",
            "--data",
            `${dir}/rows.jsonl`,
            "--steps",
            "1",
            "--out",
            `${dir}/${out}`,
            ...flags,
          ],
        ],
        env: { GYRE_CACHE: `${dir}/cache` },
        stdout: "null",
      }).output();
      const said = new TextDecoder().decode(stderr);
      assert(success, said);
      return said;
    };
    Deno.writeTextFileSync(`${dir}/rows.jsonl`, '{"text":"Tom has 3 red balls."}\n');
    const isKept = (): boolean => {
      try {
        return [...Deno.readDirSync(`${dir}/cache/plans`)].length > 0;
      } catch {
        return false;
      }
    };
    await run(["-A"], ["--no-cache"], "a");
    assert(!isKept(), "--no-cache keeps plans");
    await run(["--allow-read", `--allow-write=${dir}`], [], "b");
    assert(!isKept(), "plans are kept without --allow-env");
    await run(["-A"], [], "c");
    assert(isKept(), "no plans are kept");
    await run(["-A"], [], "d");
    const adapter = (name: string) => Deno.readFileSync(`${dir}/${name}/adapter/adapter.safetensors`);
    for (const name of ["b", "c", "d"]) assertEquals(adapter(name), adapter("a"));
  }));
