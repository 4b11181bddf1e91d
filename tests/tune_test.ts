/** Tiles by measurement: any tile gives the same numbers, choices are kept by the text of kernels, damaged files are told. @module */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { openAdapter } from "../core/gpu/adapter.ts";
import { openGpu } from "../core/gpu/mod.ts";
import { wgsl } from "../core/kernel/wgsl.ts";
import { defaultLimits } from "../core/kernel/wgsl_memory.ts";
import { productOf, rankTiles, tileName, tuningKey } from "../core/kernel/wgsl_tile.ts";
import { aval, compileTraced, evaluate, input, type Plan, sizeOf, type Tensor } from "../core/mod.ts";
import { add, linear } from "../ops/mod.ts";
import { openTiles, tileFile, tuneKernels } from "../train/tile_store.ts";
import { difference, numbersOf } from "./matrix.ts";
import { inTempDir } from "./runs.ts";

const gpu = await openGpu({ software: true, provider: "deno" });
await gpu?.close();
if (!gpu) console.log("skipped: tuning on a device, since there is no WebGPU adapter");

/** x·wᵀ + y, ragged. */
function product() {
  const x = input(aval([37, 50]), "x"), w = input(aval([45, 50]), "w"), y = input(aval([37, 45]), "y");
  const inputs = [x, w, y], output = add(linear(x, w), y);
  const given = new Map<Tensor, Float64Array>(inputs.map((t, i) => [t, numbersOf(sizeOf(t.shape), 3 + i)]));
  const ends = (list: readonly Tensor[]) => list.map((leaf, i) => ({ path: String(i), leaf }));
  const { plan } = compileTraced({ inputs: ends(inputs), outputs: ends([output]) }, {});
  return { plan, inputs, given, want: evaluate([output], given)[0]! };
}

function contractOf({ kernels }: Plan) {
  for (const kernel of kernels) if (kernel.body.form === "contract") return { kernel, body: kernel.body };
  throw new Error("The plan has no product.");
}

Deno.test("tiles: a kernel is printed with the tile that was measured, others and unknown names with the model's", () => {
  const { kernel, body } = contractOf(product().plan);
  const names = rankTiles(productOf(body), defaultLimits).map(tileName), key = tuningKey(kernel);
  const texts = names.map((name) => wgsl(kernel, { ...defaultLimits, tuned: new Map([[key, name]]) }).code);
  assertEquals(new Set(texts).size, names.length);
  assertEquals(wgsl(kernel, defaultLimits).code, texts[0]);
  for (const tuned of [[key, "9x9x9 9x9 9"], ["another kernel", names[1]!]] as const) {
    assertEquals(wgsl(kernel, { ...defaultLimits, tuned: new Map([tuned]) }).code, texts[0]);
  }
});

Deno.test({
  name: "tuning: what is measured is remembered, what is remembered is used, and the numbers stay",
  ignore: !gpu,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const device = (await openGpu({ software: true, provider: "deno" }))!;
    const { gpu, limits } = (await openAdapter({ software: true, provider: "deno", halfProducts: false }))!;
    gpu.destroy();
    const { plan, inputs, given, want } = product(), bytes = device.memory().bytes;
    const tiles = rankTiles(productOf(contractOf(plan).body), limits).slice(0, 3).map(tileName);
    const known = new Map<string, string>();
    assertEquals((await device.tune(plan, known)).measured, 1);
    assertEquals([known.size, device.memory().bytes], [1, bytes]);
    assertEquals((await device.tune(plan, known)).measured, 0);
    const [text] = known.keys();
    for (const [i, tile] of tiles.entries()) {
      const { other, measured } = await device.tune(plan, new Map([[text!, tile]]));
      assertEquals([measured, other], [0, i === 0 ? 0 : 1]);
      // An equal plan, since this one is prepared by then.
      const executable = await device.compile(product().plan);
      const arrays = inputs.map((t) => device.upload(new Float32Array(given.get(t)!), t.aval));
      const [result] = executable.run(arrays);
      const got = new Float64Array(await device.download(result!));
      assert(difference(got, want) < 1e-5, `${tile}: off by ${difference(got, want)}`);
      executable.dispose();
      arrays.forEach((a) => device.free(a));
    }
    await device.close();
  },
});

Deno.test("tuning: the file is the adapter's, keeps what is new, and a damaged one is told and replaced", () =>
  inTempDir(async (dir) => {
    const said: string[] = [], say = (line: string): void => void said.push(line);
    const one = {
      kind: "gpu",
      adapterName: "A (driver 1)",
      f16: true,
      maxSlots: 8,
      maxBufferBytes: 1,
    } as const;
    const capabilities = { ...one, maxTotalBytes: null, gpu: null };
    const file = tileFile(dir, capabilities);
    assertNotEquals(file, tileFile(dir, { ...capabilities, adapterName: "A (driver 2)" }));
    const first = openTiles(file, say);
    assertEquals(first.tiles.get("kernel"), undefined);
    first.save();
    assertEquals([...Deno.readDirSync(dir)], []);
    first.tiles.set("kernel", "8x8");
    first.save();
    assertEquals([openTiles(file, say).tiles.get("kernel"), said], ["8x8", []]);
    for (const bad of ["", "[]", '{"a":1}', '{"a":']) {
      said.length = 0;
      Deno.writeTextFileSync(file, bad);
      const again = openTiles(file, say);
      assertEquals([again.tiles.get("kernel"), said], [undefined, [
        `${file}: cannot be used; tiles are measured anew.`,
      ]]);
      again.tiles.set("kernel", "8x8");
      again.save();
      assertEquals(openTiles(file, say).tiles.get("kernel"), "8x8");
    }
    said.length = 0;
    const shut = openTiles("/proc/gyre/tiles/a.json", say);
    shut.tiles.set("kernel", "8x8");
    shut.save();
    assertStringIncludes(said[0]!, "what was tuned is not kept");
    // No device, or one without a choice: a word and nothing else.
    said.length = 0;
    const { openCpu } = await import("../core/cpu/mod.ts");
    const cpu = await openCpu({ threads: 1 });
    await tuneKernels(cpu, product().plan, { noCache: true, say });
    await cpu.close();
    assertEquals(said, ["--tune-kernels: the processor has nothing to tune"]);
  }));
