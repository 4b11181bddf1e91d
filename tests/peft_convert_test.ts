/** Conversions between PEFT's tensors and Gyre's parameters, against matrices formed from their definitions. @module */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { aval, evaluate, input } from "../core/mod.ts";
import { skewFromEntries } from "../ops/mod.ts";
import {
  asF32,
  blockOfEntries,
  blocksFromEntries,
  entriesFromBlocks,
  entriesFromUpper,
  fromPeft,
  joinFrozen,
  toPeft,
  upperFromEntries,
} from "../train/peft/convert.ts";
import { readPeft } from "../train/peft/files.ts";
import type { HostTensor } from "../train/training.ts";

const root = decodeURIComponent(new URL("fixtures/peft", import.meta.url).pathname);

function tensor(shape: readonly number[], at: (i: number) => number): HostTensor {
  return {
    aval: aval(shape),
    data: Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => at(i)),
  };
}

/** Whole numbers that tell all places apart. */
function counted(...shape: number[]): HostTensor {
  return tensor(shape, (i) => i + 1);
}

/** The skew matrices that Gyre makes of entries, row-major. */
function skewOf(entries: HostTensor, n: number): number[] {
  const x = input(entries.aval);
  return [...evaluate([skewFromEntries(x, n)], new Map([[x, Float64Array.from(entries.data)]]))[0]!];
}

const size = fc.integer({ min: 2, max: 9 });
const count = fc.integer({ min: 1, max: 3 });

Deno.test("PEFT conversion: entries of an upper triangle stand where PEFT puts them", () => {
  fc.assert(fc.property(size, count, fc.constantFrom(1 as const, -1 as const), (n, blocks, factor) => {
    const total = (n * (n - 1)) / 2, upper = counted(blocks, total);
    const skew = skewOf(entriesFromUpper(upper, factor), n);
    let next = 0;
    for (let c = 0; c < blocks; c++) {
      for (let i = 0; i < n; i++) {
        assertEquals(Math.abs(skew[(c * n + i) * n + i]!), 0);
        for (let j = i + 1; j < n; j++) {
          const value = factor * upper.data[next++]!;
          assertEquals([skew[(c * n + i) * n + j], skew[(c * n + j) * n + i]], [value, -value]);
        }
      }
    }
    assertEquals(upperFromEntries(entriesFromUpper(upper, factor), factor), upper);
    assertEquals(blockOfEntries(total), n);
  }));
});

Deno.test("PEFT conversion: full blocks count by their skew part, which becomes the block", () => {
  fc.assert(fc.property(size, count, count, (n, factors, blocks) => {
    const full = tensor([factors, blocks, n, n], (i) => Math.sin(7 * i) * 8);
    const part = tensor([factors, blocks, n, n], (at) => {
      const j = at % n, i = Math.floor(at / n) % n;
      return 0.5 * (full.data[at]! - full.data[at - i * n - j + j * n + i]!);
    });
    const entries = entriesFromBlocks(full);
    assertEquals(entries.aval.shape, [factors, blocks, (n * (n - 1)) / 2]);
    assertEquals(skewOf(entries, n).map((v) => v + 0), [...part.data].map((v) => v + 0));
    assertEquals(blocksFromEntries(entries).data.map((v) => v + 0), part.data.map((v) => v + 0));
    assertEquals(entriesFromBlocks(blocksFromEntries(entries)), entries);
  }));
});

Deno.test("PEFT conversion: frozen factors make plain factors of twice the rank", () => {
  const [r, inDim, outDim] = [2, 3, 4];
  const a = counted(r, inDim), b = tensor([outDim, r], (i) => 2 - i), a0 = tensor([r, inDim], (i) => i * i);
  const b0 = tensor([outDim, r], (i) => 3 * i + 1);
  const product = (x: HostTensor, y: HostTensor): number[] => {
    const [rows, inner] = x.aval.shape as [number, number], columns = y.aval.shape[1]!;
    return Array.from({ length: rows * columns }, (_, at) => {
      const i = Math.floor(at / columns), j = at % columns;
      return Array.from({ length: inner }, (_, k) => x.data[i * inner + k]! * y.data[k * columns + j]!)
        .reduce((s, v) => s + v);
    });
  };
  const joined = joinFrozen(a, b, a0, b0);
  assertEquals([joined.a.aval.shape, joined.b.aval.shape], [[4, 3], [4, 4]]);
  const taken = product(b0, a0);
  assertEquals(product(joined.b, joined.a), product(b, a).map((v, i) => v - taken[i]!));
});

for (const { name } of Deno.readDirSync(root)) {
  // The models that the adapters belong to lie beside them.
  if ([...Deno.readDirSync(`${root}/${name}`)].some((file) => file.name === "config.json")) continue;
  Deno.test(`PEFT conversion: ${name} goes there and back`, () => {
    const { config: { method }, modules } = readPeft(`${root}/${name}`);
    for (const [module, tensors] of modules) {
      const back = toPeft(method, fromPeft(method, tensors));
      assertEquals([...back.keys()].sort(), [...tensors.keys()].sort());
      for (const [leaf, t] of back) {
        const was = asF32(tensors.get(leaf)!);
        const expected = leaf === "boft_R" ? blocksFromEntries(entriesFromBlocks(was)) : was;
        assertEquals(t, expected, `${module} ${leaf}`);
      }
    }
  });
}

Deno.test("PEFT conversion: 16-bit values are read exactly, others refused; entries that fit no block too", () => {
  const bits = Uint16Array.of(0x3c00, 0xc000);
  assertEquals(asF32({ aval: { shape: [2], dtype: "f16" }, data: bits }).data, Float32Array.of(1, -2));
  const wide = Uint16Array.of(0x3f80, 0xc000);
  assertEquals(asF32({ aval: { shape: [2], dtype: "bf16" }, data: wide }).data, Float32Array.of(1, -2));
  assertThrows(() => asF32({ aval: { shape: [1], dtype: "i32" }, data: Int32Array.of(1) }), TypeError, "i32");
  for (const total of [0, 2, 4, 5]) {
    assertThrows(() => blockOfEntries(total), TypeError, `${total} free entries`);
  }
});
