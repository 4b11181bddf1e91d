/** TensorBoard's files: checksums, framing and fields, read by a decoder of the test's own. @module */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { openMetrics } from "../train/mod.ts";
import { encodeEvent } from "../train/tensorboard/event.ts";
import { evaluationScalars } from "../train/evaluated.ts";
import { addScalars, eventFiles, withEvents } from "../train/tensorboard/event_file.ts";
import { crc32c, maskedCrc, record } from "../train/tensorboard/records.ts";

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/** CRC-32C bit by bit from the highest, as polynomial division, without a table. */
function slowCrc(bytes: Uint8Array): number {
  const reversed = (x: number, bits: number): number =>
    Number.parseInt((x >>> 0).toString(2).padStart(bits, "0").split("").reverse().join(""), 2);
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc = (crc ^ (reversed(byte, 8) << 24)) >>> 0;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x80000000 ? (crc << 1) ^ 0x1edc6f41 : crc << 1) >>> 0;
  }
  return (reversed(crc, 32) ^ 0xffffffff) >>> 0;
}

Deno.test("checksums: the values of RFC 3720, and division without a table", () => {
  assertEquals(crc32c(ascii("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
    assertEquals(crc32c(bytes), slowCrc(bytes));
    const crc = BigInt(slowCrc(bytes)), turned = (crc >> 15n) | (crc << 17n & 0xffffffffn);
    assertEquals(BigInt(maskedCrc(bytes)), (turned + 0xa282ead8n) % 2n ** 32n);
  }));
});

/** Whole records of a file, and how many bytes are behind them. */
function recordsOf(file: Uint8Array): { readonly records: Uint8Array[]; readonly rest: number } {
  const records: Uint8Array[] = [], view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  while (at + 12 <= file.length) {
    const length = Number(view.getBigUint64(at, true));
    if (at + 16 + length > file.length) break;
    assertEquals(view.getUint32(at + 8, true), maskedCrc(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), maskedCrc(data));
    records.push(data);
    at += 16 + length;
  }
  return { records, rest: file.length - at };
}

type Field = readonly [number: number, value: number | bigint | Uint8Array];

/** Fields of a protocol buffer: number and value; fixed ones as their bits. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n, shift = 0n;
    for (;; shift += 7n) {
      const byte = view.getUint8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint()), number = key >> 3, wire = key & 7;
    if (wire === 0) fields.push([number, varint()]);
    else if (wire === 1) fields.push([number, view.getFloat64((at += 8) - 8, true)]);
    else if (wire === 5) fields.push([number, view.getFloat32((at += 4) - 4, true)]);
    else {
      assertEquals(wire, 2);
      const length = Number(varint());
      fields.push([number, bytes.subarray(at, at += length)]);
    }
  }
  return fields;
}

const bytesAt = (fields: readonly Field[], number: number): Uint8Array[] =>
  fields.flatMap(([n, value]) => n === number && value instanceof Uint8Array ? [value] : []);
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

/** An event in words. */
function eventOf(bytes: Uint8Array) {
  const fields = fieldsOf(bytes);
  const of = (number: number) => fields.find(([n]) => n === number)?.[1];
  const values = bytesAt(fields, 5).flatMap((s) => bytesAt(fieldsOf(s), 1)).map(fieldsOf);
  return {
    time: Number(of(1)),
    step: Number(of(2) ?? 0),
    version: text(bytesAt(fields, 3)[0]),
    starts: bytesAt(fields, 7).some((log) => fieldsOf(log).some(([n, v]) => n === 1 && v === 1n)),
    scalars: Object.fromEntries(values.map((v) => [text(bytesAt(v, 1)[0]), v.find(([n]) => n === 2)![1]])),
  };
}

Deno.test("events: any step, names and numbers come back", () => {
  const scalars = fc.dictionary(fc.string({ unit: "grapheme", maxLength: 200 }), fc.float());
  fc.assert(
    fc.property(scalars, fc.nat({ max: 2 ** 40 }), fc.double({ noNaN: true }), (given, step, wallTime) => {
      const { records, rest } = recordsOf(record(encodeEvent({ wallTime, step, scalars: given })));
      assertEquals([records.length, rest], [1, 0]);
      const found = eventOf(records[0]!);
      assertEquals([found.time, found.step, found.starts], [wallTime, step, false]);
      assertEquals(found.scalars, Object.fromEntries(Object.entries(given)));
    }),
  );
});

Deno.test("a run's events: one file a part, each step once, and a torn end is passed over", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const report = (step: number) => ({
      ...{ step, loss: 1 / step, lr: 1e-3, gradNorm: 2, tokensPerSecond: 100 },
      lambda: { "model.layers.0.mlp.up_proj": [0.25, 0.75], "model.layers.1.mlp.up_proj": [0.2, 0.3, 0.5] },
    });
    const before = evaluationScalars({ loss: 3, exact: 0.5 });
    {
      using metrics = withEvents(openMetrics(dir), dir, { steps: 0, rateRatio: 0.5, before });
      for (let step = 1; step <= 3; step++) metrics.append(report(step));
    }
    const [first] = eventFiles(dir);
    const whole = await Deno.readFile(`${dir}/${first}`);
    // Cut anywhere, all records before the cut are there.
    for (let cut = whole.length - 30; cut < whole.length; cut++) {
      assertEquals(recordsOf(whole.subarray(0, cut)).records.length, 5);
    }
    await Deno.truncate(`${dir}/${first}`, whole.length - 5);
    {
      using metrics = withEvents(openMetrics(dir), dir, { steps: 2, rateRatio: 0.5 });
      metrics.append(report(3));
    }
    addScalars(dir, 3, evaluationScalars({ loss: 1, exact: null }));
    const files = eventFiles(dir);
    assertEquals(files.length, 2);
    assert(files[0]! < files[1]! && files.every((f) => f.includes("tfevents")));
    const [old, fresh] = files.map((f) => recordsOf(Deno.readFileSync(`${dir}/${f}`)).records.map(eventOf));
    assertEquals(old!.map((e) => e.step), [0, 0, 0, 1, 2]);
    assertEquals([old![0]!.version, old![1]!.starts], ["brain.Event:2", true]);
    assertEquals(old![2]!.scalars, { "held_out/loss": 3, "held_out/exact_match": 0.5 });
    assertEquals(fresh!.map((e) => [e.step, e.starts]), [[0, false], [3, true], [3, false], [3, false]]);
    assertEquals(fresh![3]!.scalars, { "held_out/loss": 1 });
    const { scalars, time } = fresh![2]!;
    assert(Math.abs(time - Date.now() / 1000) < 60);
    const expected = {
      ...{ "train/loss": 1 / 3, "train/grad_norm": 2, "train/tokens_per_s": 100 },
      ...{ "learning_rate/plain": 1e-3, "learning_rate/orthogonal": 5e-4 },
      ...{ "lambda/0.up_proj": 0.25, "lambda/1.up_proj/branch1": 0.2, "lambda/1.up_proj/branch2": 0.3 },
      "lambda/1.up_proj/branch3": 0.5,
    };
    assertEquals(Object.keys(scalars), Object.keys(expected));
    Object.entries(expected).forEach(([tag, x]) => assertAlmostEquals(Number(scalars[tag]), x, 1e-7));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
