/** The safetensors container: round trips, and files that are damaged in every way the format allows. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { type DType, type HostArray, sizeOf } from "../core/mod.ts";
import { SafetensorsError } from "../train/errors.ts";
import { bf16ToF16, bf16ToF32, countF16Losses, f16ToF32, f32ToBf16, f32ToF16 } from "../train/floats.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "../train/safetensors.ts";
import { parseHeader } from "../train/safetensors_header.ts";

const DTYPES: readonly DType[] = ["f32", "f16", "bf16", "i32", "u32", "bool"];

function hostArray(dtype: DType, bits: Uint32Array): HostArray {
  if (dtype === "f32") return new Float32Array(bits.buffer);
  if (dtype === "i32") return new Int32Array(bits.buffer);
  if (dtype === "bool") return bits.map((b) => b & 1);
  return dtype === "u32" ? bits : Uint16Array.from(bits);
}

const tensors: fc.Arbitrary<StoredTensor> = fc.record({
  shape: fc.array(fc.nat(5), { maxLength: 4 }),
  dtype: fc.constantFrom(...DTYPES),
  seed: fc.nat(),
}).map(({ shape, dtype, seed }) => ({
  aval: { shape, dtype },
  data: hostArray(
    dtype,
    Uint32Array.from({ length: sizeOf(shape) }, (_, i) => Math.imul(seed + i, 2654435761) >>> 0),
  ),
}));

const names = fc.string().filter((s) => s !== "__metadata__");

function bytesOf(data: HostArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function inTempDir(body: (dir: string) => void): void {
  const dir = Deno.makeTempDirSync();
  try {
    body(dir);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

Deno.test("safetensors: what is written is read, whatever the names, shapes and types", () => {
  inTempDir((dir) => {
    const files = fc.array(fc.tuple(names, tensors), { maxLength: 6 });
    const texts = fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true });
    fc.assert(
      fc.property(files, texts, (entries, metadata) => {
        const written = new Map(entries), path = `${dir}/x.safetensors`;
        writeSafetensors(path, written, metadata);
        using file = openSafetensors(path);
        assertEquals({ ...file.header.metadata }, { ...metadata });
        assertEquals([...file.header.tensors.keys()].sort(), [...written.keys()].sort());
        for (const [name, { aval, data }] of written) {
          const read = file.read(name);
          assertEquals(read.aval, aval);
          assertEquals(bytesOf(read.data), bytesOf(data), name);
          if (data.length > 0 && aval.dtype !== "bool") {
            assertEquals(file.header.tensors.get(name)!.begin % data.BYTES_PER_ELEMENT, 0, "unaligned");
          }
        }
      }),
      { numRuns: 60 },
    );
    assertEquals(
      [...Deno.readDirSync(dir)].map((e) => e.name),
      ["x.safetensors"],
      "temporary files are left",
    );
  });
});

Deno.test("safetensors: a failed write leaves the old file and nothing else", () => {
  inTempDir((dir) => {
    const path = `${dir}/x.safetensors`;
    const good = new Map([["w", {
      aval: { shape: [2], dtype: "f32" as const },
      data: Float32Array.of(1, 2),
    }]]);
    writeSafetensors(path, good);
    const before = Deno.readFileSync(path);
    const wrong = new Map([["w", {
      aval: { shape: [3], dtype: "f32" as const },
      data: Float32Array.of(1, 2),
    }]]);
    const error = assertThrows(() => writeSafetensors(path, wrong), SafetensorsError);
    assertStringIncludes(error.message, `tensor "w" has shape [3], 3 values, and 2 were given`);
    assertEquals(Deno.readFileSync(path), before);
    Deno.mkdirSync(`${dir}/taken`);
    assertThrows(() => writeSafetensors(`${dir}/taken`, good));
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name).sort(), ["taken", "x.safetensors"]);
  });
});

Deno.test("safetensors: a file cut anywhere is refused, and never read as something else", () => {
  inTempDir((dir) => {
    const path = `${dir}/x.safetensors`;
    writeSafetensors(
      path,
      new Map([["a.weight", { aval: { shape: [3], dtype: "f32" }, data: Float32Array.of(1, 2, 3) }]]),
    );
    const whole = Deno.readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      Deno.writeFileSync(path, whole.subarray(0, length));
      const error = assertThrows(() => openSafetensors(path), SafetensorsError);
      assertStringIncludes(error.message, path);
      if (length === whole.length - 1) {
        assertStringIncludes(
          error.message,
          `tensor "a.weight" ends at byte 12 of the data, and the file holds 11`,
        );
        assertEquals(error.data["expected"], 12);
        assertEquals(error.data["found"], 11);
      }
    }
  });
});

const entry = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

const DAMAGE: readonly (readonly [what: string, header: unknown, dataBytes: number, says: string])[] = [
  ["no object", [], 0, "not a JSON object"],
  ["null", null, 0, "not a JSON object"],
  [
    "overlap",
    { a: entry(0, 8), b: entry(4, 12) },
    12,
    `tensor "b" begins at byte 4, inside "a", which ends at byte 8`,
  ],
  ["twice the same bytes", { a: entry(0, 8), b: entry(0, 8) }, 8, `inside "a"`],
  ["hole", { a: entry(0, 4), b: entry(8, 12) }, 12, `no tensor owns bytes 4 to 8, before "b"`],
  ["bytes left over", { a: entry(0, 4) }, 8, "end at byte 4 of the data, and the file holds 8"],
  [
    "size against shape",
    { a: entry(0, 8, [3]) },
    8,
    `tensor "a" is F32[3], 12 bytes, and bytes 0 to 8 are 8`,
  ],
  ["type", { a: { ...entry(0, 4), dtype: "Q4" } }, 4, `tensor "a" has element type "Q4"; known are BOOL`],
  ["inherited type", { a: { ...entry(0, 4), dtype: "toString" } }, 4, `element type "toString"`],
  ["shape", { a: { ...entry(0, 4), shape: [-1] } }, 4, `tensor "a" has shape [-1]`],
  ["offsets", { a: { ...entry(0, 4), data_offsets: [4] } }, 4, `tensor "a" has data_offsets [4]`],
  ["backward offsets", { a: entry(8, 4, [1]) }, 8, "bytes 8 to 4 are -4"],
  ["entry", { a: 7 }, 0, `tensor "a" has element type undefined`],
  ["metadata", { __metadata__: { n: 1 } }, 0, "__metadata__ must be an object of strings"],
];

for (const [what, header, dataBytes, says] of DAMAGE) {
  Deno.test(`safetensors: a header with a wrong ${what} is refused`, () => {
    const error = assertThrows(
      () => parseHeader(JSON.stringify(header), dataBytes, "m.safetensors"),
      SafetensorsError,
    );
    assertStringIncludes(error.message, says);
    assert(error.message.startsWith("m.safetensors: ") && !error.message.includes("\n"), error.message);
  });
}

Deno.test("safetensors: a header that is no JSON, a name that is not there, a type that does not fit", () => {
  assertThrows(() => parseHeader("{", 0, "m"), SafetensorsError, "m: the header is not JSON");
  inTempDir((dir) => {
    const path = `${dir}/x.safetensors`;
    const header = JSON.stringify({ n: { dtype: "I64", shape: [1], data_offsets: [0, 8] } });
    const head = new Uint8Array(8);
    new DataView(head.buffer).setBigUint64(0, BigInt(header.length), true);
    const body = new Uint8Array(BigInt64Array.of(-5n).buffer);
    Deno.writeFileSync(path, Uint8Array.from([...head, ...new TextEncoder().encode(header), ...body]));
    using file = openSafetensors(path);
    assertEquals(new BigInt64Array(file.bytes("n").buffer)[0], -5n);
    assertThrows(() => file.read("n"), SafetensorsError, `tensor "n" is I64; expected one of F32`);
    assertThrows(() => file.readF32("n"), SafetensorsError, `tensor "n" is I64`);
    assertThrows(() => file.read("m"), SafetensorsError, `has no tensor "m"`);
  });
});

Deno.test("floats: every 16-bit value survives the way through f32", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const back16 = f32ToF16(f16ToF32(bits)), backB = f32ToBf16(bf16ToF32(bits));
  for (let i = 0; i < 65536; i++) {
    if ((i & 0x7fff) <= 0x7c00) assertEquals(back16[i], i);
    if ((i & 0x7fff) <= 0x7f80) assertEquals(backB[i], i);
  }
  assert(Number.isNaN(f16ToF32(Uint16Array.of(0x7e00))[0]));
  assert(Number.isNaN(bf16ToF32(f32ToBf16(Float32Array.of(NaN)))[0]));
});

/** The nearest of all finite values of a format, found by looking at neighbours; ties to the even word. */
function isNearest(x: number, word: number, decode: (bits: Uint16Array) => Float32Array): boolean {
  const at = (w: number): number => decode(Uint16Array.of(w))[0]!;
  const own = Math.abs(at(word) - x);
  return [word - 1, word + 1].filter((w) => w >= 0 && ((w ^ word) & 0x8000) === 0).every((w) => {
    const other = Math.abs(at(w) - x);
    return own < other || (own === other && word % 2 === 0);
  });
}

Deno.test("floats: f32 rounds to the nearest 16-bit value, ties to even", () => {
  fc.assert(fc.property(fc.float({ noNaN: true, min: -60000, max: 60000 }), (x) => {
    assert(isNearest(x, f32ToF16(Float32Array.of(x))[0]!, f16ToF32), `f16 of ${x}`);
  }));
  fc.assert(
    fc.property(
      fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e38), max: Math.fround(1e38) }),
      (x) => {
        assert(isNearest(x, f32ToBf16(Float32Array.of(x))[0]!, bf16ToF32), `bf16 of ${x}`);
      },
    ),
  );
  // Half-way between two neighbours: 1 + 2⁻¹¹ and 1 + 3·2⁻¹¹ in f16, 1 + 2⁻⁸ and 1 + 3·2⁻⁸ in bf16.
  assertEquals([...f32ToF16(Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11))], [0x3c00, 0x3c02]);
  assertEquals([...f32ToBf16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8))], [0x3f80, 0x3f82]);
});

Deno.test("floats: values that f16 cannot hold are counted exactly where they become infinite or 0", () => {
  const x = Float32Array.of(65504, 65519.996, 65520, -1e9, Infinity, NaN, 1e-30, -(2 ** -25), 2.99e-8, 0, -0);
  assertEquals(countF16Losses(x), { infinite: 2, vanished: 2 });
  assertEquals([...f16ToF32(f32ToF16(x))].slice(0, 5), [65504, 65504, Infinity, -Infinity, Infinity]);
  fc.assert(fc.property(fc.float(), (x) => {
    const y = f16ToF32(f32ToF16(Float32Array.of(x)))[0]!;
    assertEquals(countF16Losses(Float32Array.of(x)), {
      infinite: Number.isFinite(x) && !Number.isFinite(y) ? 1 : 0,
      vanished: x !== 0 && y === 0 ? 1 : 0,
    });
  }));
});

Deno.test("floats: bf16 becomes f16 as by way of f32, and as many values are lost", () => {
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i), wide = bf16ToF32(all);
  const { data, lost } = bf16ToF16(all);
  assertEquals([data, lost], [f32ToF16(wide), countF16Losses(wide)]);
});
