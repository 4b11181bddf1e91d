/** `inspect.ts`: numbers of known tensors, rotations of known quality, every kind of directory, messages. @module */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import * as fc from "fast-check";
import { aval } from "../core/mod.ts";
import {
  inspect,
  inspectHelp,
  OptionError,
  parseInspectFlags,
  showInspection,
  UserError,
  writeSafetensors,
  writeSettings,
} from "../train/mod.ts";
import { orthogonalityErrors, type Rotation } from "../train/inspect/orthogonality.ts";
import type { HostTensor } from "../train/training.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);

const tensor = (shape: readonly number[], f: (i: number) => number): HostTensor => ({
  aval: aval(shape),
  data: Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => f(i)),
});
const wave = (size: number) => (i: number): number => size * Math.sin(1 + 12.9898 * i);

function rotation(leaves: Readonly<Record<string, HostTensor>>, neumann: number | null = null): Rotation {
  return { name: "m", leaves: new Map(Object.entries(leaves)), neumann, gramSchmidt: false };
}

async function errorOf(r: Rotation): Promise<number> {
  return (await orthogonalityErrors([r]))[0]!.error;
}

Deno.test("rotations: exact kinds are orthogonal to rounding at any parameters", async () => {
  const rotations = [0.01, 1, 3].flatMap((size) => [
    rotation({ skew: tensor([2, 12, 6], wave(size)) }),
    rotation({ angles: tensor([3, 20], wave(size)) }),
    rotation({ u: tensor([33, 5], wave(size)) }),
    rotation({
      phases: tensor([3, 10], wave(size)),
      reflections: tensor([2, 20], wave(size)),
      start: tensor([2, 20], (i) => Math.cos(i)),
    }),
    // Too many features for the whole basis.
    rotation({ skew: tensor([2, 128, 28], wave(size)) }),
  ]);
  const found = await orthogonalityErrors(rotations);
  assertEquals(found.map((r) => r.sampled), [0, 1, 2].flatMap(() => [false, false, false, false, true]));
  for (const [i, { error }] of found.entries()) assert(error > 0 && error < 5e-6, `${i}: ${error}`);
});

Deno.test("rotations: a short series is as far from orthogonal as it is", async () => {
  // Blocks [0 −a; a 0] are z = ±i·a, and the series cut off is 1 + 2z + 2z² + … + z^k, or 1 + 2z of two terms.
  const a = 0.3;
  for (const [terms, factors] of [[2, [1, 2]], [4, [1, 2, 2, 1]], [6, [1, 2, 2, 2, 2, 1]]] as const) {
    let [re, im, powerRe, powerIm] = [0, 0, 1, 0];
    for (const factor of factors) {
      [re, im] = [re + factor * powerRe, im + factor * powerIm];
      [powerRe, powerIm] = [-a * powerIm, a * powerRe];
    }
    const expected = Math.abs(re * re + im * im - 1);
    assertAlmostEquals(await errorOf(rotation({ skew: tensor([1, 4, 1], () => a) }, terms)), expected, 1e-6);
  }
  const large = { skew: tensor([1, 300, 6], wave(0.4)) };
  const [exact, long, short] = [
    await errorOf(rotation(large)),
    await errorOf(rotation(large, 6)),
    await errorOf(rotation(large, 2)),
  ];
  assert(exact < 5e-6 && long > 10 * exact && short > 2 * long, `${exact} ${long} ${short}`);
  assert(Number.isNaN(await errorOf(rotation({ angles: tensor([1, 2], () => NaN) }))));
});

async function inDirectory(f: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await f(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("tensors: norms, sizes and what is not finite, whatever the element type", async () => {
  await inDirectory(async (dir) => {
    const file = `${dir}/a.safetensors`;
    writeSafetensors(
      file,
      new Map<string, HostTensor>([
        ["model.layers.10.w", tensor([2, 2], (i) => [3, -4, NaN, Infinity][i]!)],
        ["model.layers.2.w", { aval: aval([3], "bf16"), data: Uint16Array.of(0x3f80, 0xc000, 0) }],
        ["ids", { aval: aval([2], "i32"), data: Int32Array.of(1, 2) }],
      ]),
    );
    const found = await inspect(file);
    assertEquals(found.tensors.map((t) => [t.name, t.norm, t.largest, t.nonfinite]), [
      ["ids", null, null, null],
      ["model.layers.2.w", Math.sqrt(5), 2, 0],
      ["model.layers.10.w", 5, 4, 2],
    ]);
    assertEquals([found.kind, found.parameters, found.bytes, found.nonfinite], ["tensors", 9, 30, 2]);
    assertEquals(found.dtypes, { F32: 4, BF16: 3, I32: 2 });
    assertEquals(found.layers.map((l) => [l.layer, l.norm]), [[2, Math.sqrt(5)], [10, 5], [null, null]]);
    const shown = showInspection(found, true);
    for (const says of ["2 values are NaN or infinite", "model.layers.10.w", "2×2", "outside"]) {
      assertStringIncludes(shown, says);
    }
    assert(!showInspection(found, false).includes("2×2"));
  });
});

Deno.test("adapters: λ and the rotations of the branches stand in the row of their map", async () => {
  await inDirectory(async (dir) => {
    const path = (i: number): string => `model.layers.${i}.self_attn.q_proj`;
    const tensors = [0, 1].flatMap((i): [string, HostTensor][] => [
      [`${path(i)}.branches.0.a`, tensor([2, 8], wave(1))],
      [`${path(i)}.branches.1.skew`, tensor([1, 2, 6], wave(0.5))],
      [`${path(i)}.weights`, tensor([2], (k) => k === 0 ? 0.75 : 0.25)],
    ]);
    await Deno.mkdir(`${dir}/adapter`);
    writeSafetensors(`${dir}/adapter/adapter.safetensors`, new Map(tensors));
    writeSettings(`${dir}/adapter`, { method: "hybrid", neumann: null }, "adapter.json");
    // A run's directory stands for its adapter.
    const found = await inspect(`${dir}/`);
    assertEquals([found.kind, found.method, found.dir], ["adapter", "hybrid", `${dir}/adapter`]);
    assertEquals(found.lambdas, { [path(0)]: [0.75, 0.25], [path(1)]: [0.75, 0.25] });
    assertEquals(found.rotations.map((r) => r.name), [0, 1].map((i) => `${path(i)}.branches.1`));
    const rows = showInspection(found, false).split("\n").filter((l) => l.includes("q_proj"));
    assertEquals(rows.length, 2);
    for (const row of rows) assert(/^\d\.q_proj +\d\.\de-[78] +0\.750 0\.250$/.test(row), row);
    writeSettings(`${dir}/adapter`, { method: "hybrid", neumann: 2 }, "adapter.json");
    assert((await inspect(dir)).rotations[0]!.error > 1e-3);
    writeSettings(
      `${dir}/adapter`,
      { method: "compose", compose: "on(attn, oft(neumann=2))" },
      "adapter.json",
    );
    const unclear = await inspect(dir);
    assertEquals(unclear.rotations, []);
    assertStringIncludes(unclear.notes[0]!, "Neumann");
  });
});

Deno.test("directories of PEFT: exact rotations and truncated series are told apart", async () => {
  const worst = async (name: string): Promise<number> => {
    const { kind, rotations } = await inspect(`${root}tests/fixtures/peft/${name}`);
    assertEquals(kind, "peft");
    assert(rotations.length > 0);
    return Math.max(...rotations.map((r) => r.error));
  };
  for (const name of ["oft", "boft", "boft_m2", "hra", "hra_gs"]) assert(await worst(name) < 5e-6, name);
  assert(await worst("oft_neumann") > 1e-3);
  assert(await worst("oft_neumann7") < await worst("oft_neumann"));
  assertEquals((await inspect(`${root}tests/fixtures/peft/lora`)).rotations, []);
});

Deno.test("models: the bundled one, layer by layer", async () => {
  const { kind, method, layers, tensors, parameters } = await inspect(`${root}examples/base`);
  assertEquals([kind, method, parameters], ["model", "llama", 988544]);
  assertEquals(layers.map((l) => l.layer), [0, 1, 2, 3, 4, null]);
  const sum = layers.reduce((n, l) => n + l.parameters, 0);
  assertEquals(sum, parameters);
  const squares = (list: readonly { readonly norm: number | null }[]): number =>
    list.reduce((n, x) => n + x.norm! ** 2, 0);
  assertAlmostEquals(squares(layers), squares(tensors), 1e-6 * squares(tensors));
});

Deno.test("what is no model is named, and no damaged file crashes", async () => {
  await inDirectory(async (dir) => {
    const fails = async (path: string, says: string): Promise<void> => {
      assertStringIncludes((await assertRejects(() => inspect(path), UserError)).message, says);
    };
    await fails(`${dir}/none`, "not found");
    await fails(dir, "is no model, adapter, checkpoint or run");
    await Deno.writeTextFile(`${dir}/pytorch_model.bin`, "x");
    await fails(dir, "pytorch_model.bin: a pickle can run any program");
    const whole = await Deno.readFile(`${root}tests/fixtures/peft/hra/adapter_model.safetensors`);
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: whole.length - 1 }),
        fc.nat({ max: 255 }),
        fc.boolean(),
        async (at, byte, cut) => {
          const bytes = cut ? whole.slice(0, at) : whole.with(at, byte);
          await Deno.writeFile(`${dir}/x.safetensors`, bytes);
          try {
            await inspect(`${dir}/x.safetensors`);
          } catch (error) {
            assert(error instanceof UserError, String(error));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
  assertThrows(() => parseInspectFlags([]), OptionError);
  assertThrows(() => parseInspectFlags(["a", "b"]), OptionError);
  assertEquals(parseInspectFlags(["--tensors", "a"])?.path, "a");
  assertEquals(parseInspectFlags(["a", "--help"]), null);
  assertStringIncludes(inspectHelp(), "--tensors");
});
