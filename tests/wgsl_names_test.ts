/** Names that the WGSL printer makes up, and workgroup variables that it lets stand together. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaultLimits, entryPoint } from "../core/kernel/wgsl.ts";
import { Module } from "../core/kernel/wgsl_expr.ts";
import { sampleNamed } from "./kernel_samples.ts";

Deno.test("wgsl: names made up are all different, and none hides a type", () => {
  const module = new Module(sampleNamed("row_softmax_3x128").kernel, defaultLimits);
  const names = ["i", "u", "f"].flatMap((prefix) => Array.from({ length: 70 }, () => module.fresh(prefix)));
  assertEquals(new Set(names).size, names.length);
  const types = ["i32", "u32", "f32", "f16", "i64", "u64", "f64"];
  assert(!types.some((type) => names.includes(type)));
  const indices = new Module(sampleNamed("row_softmax_3x128").kernel, defaultLimits);
  assert(!Array.from({ length: 70 }, () => indices.fresh("i")).includes("i32"));
});

Deno.test("wgsl: a buffer of matrix units beside other workgroup variables is refused", () => {
  const buffer = "var<workgroup> memory: buffer<64>;", other = "var<workgroup> flags: array<u32, 4>;";
  const print = (...variables: readonly string[]) => entryPoint("k", variables, 1, 32, "unit", []);
  assertThrows(() => print(other, buffer), Error, "Kernel k has a buffer beside other workgroup variables");
  for (const alone of [[buffer], [other], [other, other]]) print(...alone);
});
